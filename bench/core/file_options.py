"""Options of commands that say how a user's file is read, as `bench.datasets.request.Request` has them."""

import click

OF_A_FILE = (
    click.option("--label", help="Column of obs with the cell type, for an .h5ad file."),
    click.option("--batch", help="Column of obs with donor, study or condition, for an .h5ad file."),
    click.option("--layer", help="raw, the name of a layer, or X; X or known counts unless given."),
    click.option("--symbols", help="Column of var with gene symbols; var_names or a usual one unless given."),
    click.option("--drop", multiple=True, metavar="TYPE", help="A cell type to leave out; as often as needed."),
)


def of_a_file(command):
    """Add the options to a command, which gets them as ``label``, ``batch``, ``layer``, ``symbols`` and ``drop``."""
    for option in reversed(OF_A_FILE):
        command = option(command)
    return command
