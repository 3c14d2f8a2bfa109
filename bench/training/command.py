"""The command ``bench pretrain``, and the options that commands share which train on unlabelled cells."""

import os
import sys

import click

from bench.core.file_options import OF_A_FILE
from bench.core.switches import PerFamily, switched

_OPTIONS = (
    click.option("--recipe", default="quick", show_default=True, help="quick, standin or standin_gpu."),
    click.option("--data", multiple=True, metavar="DATA[:SPLIT,...]", help="Cells in the place of the recipe's."),
    *OF_A_FILE,
    click.option("-p", "settings", nargs=2, multiple=True, metavar="NAME VALUE", help="Another setting."),
)


def of_cells(command):
    """Add the options that say on which cells to train."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@click.command(cls=PerFamily, part="recipes")
@click.argument("model")
@of_cells
@click.option("--device", help="cpu, cuda or cuda:1; a GPU if there is one.")
def pretrain(
    model: str, recipe: str, device: str | None, settings, data, label, batch, layer, symbols, drop, **switches: bool
) -> None:
    """Pretrain MODEL by masked expression; what is there is found, and an interrupted run goes on.

    MODEL is one of FAMILIES.  DATA is a data set or an .h5ad file; cells that the SPLITs score are left out, so that
    they can be scored later.

    Example: bench pretrain MODEL --data my.h5ad:random --label cell_type

    For two processes put before it: torchrun --nproc-per-node 2 --no-python
    """
    from bench.training.choice import chosen
    from bench.training.pretrain import best_device, summary
    from bench.training.pretrain import pretrain as train

    settings = dict(settings) | switched("pretrain", switches)
    columns = {"label": label, "batch": batch, "layer": layer, "symbols": symbols, "drop": drop}
    name, asked = chosen(model, recipe, settings, data, **columns)
    try:
        file = train(name, asked, device=device or best_device(name, asked))
    except KeyboardInterrupt:
        click.echo("\nbench: interrupted; what was trained is saved, the same command goes on from there.", err=True)
        sys.exit(130)
    if os.environ.get("RANK", "0") == "0":
        click.echo("\n".join(summary(file)))
