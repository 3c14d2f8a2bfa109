"""Options that commands share which train on unlabelled cells."""

import click

_OPTIONS = (
    click.option("--recipe", default="quick", show_default=True, help="quick or standin."),
    click.option("--data", multiple=True, metavar="DATA[:SPLIT,...]", help="Cells in the place of the recipe's."),
    click.option("--label", help="Column of obs with the cell type, for an .h5ad file."),
    click.option("--batch", help="Column of obs with donor, study or condition, for an .h5ad file."),
    click.option("-p", "settings", nargs=2, multiple=True, metavar="NAME VALUE", help="Another setting."),
)


def of_cells(command):
    """Add the options that say on which cells to train."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command
