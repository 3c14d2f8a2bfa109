"""The commands ``bench split`` and ``bench score``: cells for other tools, and what these have made of them."""

import re
import shlex
from pathlib import Path

import click

from bench.core.errors import Faults
from bench.core.file_options import of_a_file

SPLIT = "random, authors, held_out:GROUP or held_out:* for each in turn; the data's own unless given."


@click.command()
@click.argument("data")
@of_a_file
@click.option("--split", "splits", multiple=True, metavar="SPLIT", help=f"As often as needed: {SPLIT}")
@click.option("--query", metavar="DATA", help="Other data whose cells are scored, in the place of a split.")
@click.option("--fractions", default="1.0", show_default=True, help="Shares of the training cells, such as 0.1,1.0.")
@click.option("--seeds", default="0", show_default=True, help="Of the draws, such as 0,1,2; at 1.0 nothing is drawn.")
@click.option("--subset", default="paired", show_default=True, help="paired or published: how few cells are drawn.")
@click.option("--with-truth", is_flag=True, help="Write the types of scored cells, too.")
@click.option("--out", required=True, metavar="FILE", help="Where to write: splits.csv, or splits.csv.gz.")
@click.option("--overwrite", is_flag=True, help="Write FILE also where it is there already.")
def split(
    data: str, splits, query, fractions: str, seeds: str, subset: str, with_truth: bool, out: str, overwrite: bool, **of
):
    """Write which cells of DATA are trained on and which are scored, as a table for other tools.

    A row per cell, split, fraction and seed; read.csv in R and read_csv in pandas read it without an option. Predict
    the cells whose role is scored, then: bench score

    Example: bench split my.h5ad --label cell_type --fractions 0.1,1.0 --seeds 0,1,2 --out splits.csv
    """
    from bench.datasets.request import Request
    from bench.protocol import labels
    from bench.protocol.elsewhere import split_table

    faults, path = Faults(), Path(out).expanduser()
    drawn = {"fractions": (fractions, float), "seeds": (seeds, int)}
    numbers = {name: _numbers(name, text, kind, faults) for name, (text, kind) in drawn.items()}
    with faults.noted():
        labels.check_free(path, overwrite=overwrite)
    with faults.noted():
        split_table.check_name(path)
    request = Request(data, **of)
    drawn = (numbers["fractions"] or (1.0,), numbers["seeds"] or (0,))
    asked = split_table.Asked(request, splits, *drawn, subset, query)
    with faults.noted():
        tasks = asked.tasks()
    faults.raised()
    table, sizes = split_table.table_of(tasks, asked, with_truth=with_truth)
    content = split_table.content_of(table, path)
    labels.write(content, path, overwrite=overwrite)
    click.echo(sizes.to_string(index=False))
    click.echo(f"written: {path}, {len(table):,} rows, {len(content) / 1e6:,.1f} MB")
    if len(content) > 50e6 and path.suffix != ".gz":
        click.echo("a name that ends in .csv.gz makes it some ten times smaller, and R and pandas read that, too")
    click.echo(f"predict the cells whose role is scored, then: bench score predictions.csv --splits {shlex.quote(out)}")


@click.command()
@click.argument("predictions")
@click.option("--splits", metavar="FILE", help="The table of bench split that the tool was given.")
@click.option("--data", help="In its place a data set or a file; or where the file lies now.")
@of_a_file
@click.option("--split", "which", metavar="SPLIT", help="Which split the predictions are of.")
@click.option("--query", metavar="DATA", help="With --data: other data that was predicted; or where it lies now.")
@click.option("--fraction", type=float, help="Share of the training cells that the tool was given.")
@click.option("--seed", type=int, help="Of that draw; with all training cells, of the tool.")
@click.option("--subset", help="With --data: paired or published.")
@click.option("--cell-column", metavar="NAME", help="Column with the names of cells, if it is not recognised.")
@click.option("--label-column", metavar="NAME", help="Column with the predicted types, likewise.")
@click.option("--probabilities", metavar="FILE", help="Another file with a column per type, such as CellTypist's.")
@click.option("--rejects", multiple=True, metavar="WORD", help="A label that means no type, besides Unassigned.")
@click.option(
    "--missing",
    type=click.Choice(["refuse", "abstain"]),
    default="refuse",
    show_default=True,
    help="What becomes of scored cells that the file lacks.",
)
@click.option("--name", help="What figures call the tool; the name of the file unless given.")
@click.option(
    "--seen",
    type=click.Choice(["yes", "no", "unknown"]),
    default="unknown",
    show_default=True,
    help="Has the tool been trained on scored cells before?",
)
@click.option("--experiment", default="other_tools", show_default=True, help="Beside which chapter's models it stands.")
@click.option("--tier", default="quick", show_default=True, help="quick, standin or paper: beside which runs.")
@click.option("--replace", is_flag=True, help="Put it in the place of other predictions of that name.")
def score(predictions: str, **options) -> None:
    """Score predictions that another tool has made, and record them like those of any model.

    PREDICTIONS is a table of labels, or of probabilities, with names of cells: one split, fraction and seed a file.

    Example: bench score predicted.csv --splits splits.csv --fraction 0.1 --seed 0 --name SingleR
    """
    from bench.protocol.elsewhere.scoring import scored

    for line in scored(Path(predictions).expanduser(), options):
        click.echo(line)


def _numbers(name: str, text: str, kind: type, faults: Faults) -> tuple:
    """Return numbers that are written with commas, with blanks, or as a list."""
    try:
        return tuple(kind(part) for part in re.split(r"[,\s]+", text.strip("[]() ")))
    except ValueError:
        example = "whole numbers, such as 0,1,2" if kind is int else "numbers, such as 0.1,1.0"
        faults.add(f"--{name} {text!r} should be {example}.")
        return ()
