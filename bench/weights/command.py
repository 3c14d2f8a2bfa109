"""The command ``bench weights``."""

from pathlib import Path

import click

from bench.core.errors import BenchError
from bench.core.families import with_part
from bench.core.switches import PerFamily, switched


@click.command(cls=PerFamily, part="converter")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option("--path", type=click.Path(path_type=Path), help="File or folder, if downloaded, or of your own.")
@click.option("--genes", type=click.Path(path_type=Path), help="With a file of your own: its gene symbols, one a line.")
@click.option("--data", help="A data set or an .h5ad file: which of its genes the weights know.")
@click.option("--layer", help="With a file as --data: raw or the name of a layer.")
@click.option("--accept-licence", is_flag=True, help="Accept the terms of a licence that asks for it.")
@click.option("--symbols", help="With a file as --data: the column of var with its gene symbols.")
def weights(names: tuple[str, ...], path, genes, data, layer, symbols, accept_licence: bool, **switches: bool):
    """Fetch, check and convert pretrained weights, or describe a file of them.

    NAME is a model (FAMILIES), whose published weights are fetched unless --path names a checkpoint of your own; or the
    name of weights, see bench list; or a .safetensors file.  Several are made side by side.

    Example: bench weights MODEL --path FOLDER --data my.h5ad
    """
    from bench.weights import describe
    from bench.weights.vocabulary import coverage_of

    options = switched("weights", switches)
    if len(names) > 1 and (path or genes or options or accept_licence):
        raise BenchError(f"--path, --genes and switches go with one name; {len(names)} are given.")
    one = {"path": path, "genes": genes, "options": options, "accepted": accept_licence}
    for file in _side_by_side(names) if len(names) > 1 else [_weights(names[0], **one)]:
        click.echo(file)
        for line in describe(file):
            click.echo(line)
        if data:
            click.echo(f"{data}: {coverage_of(file, data, layer, symbols)}")


def _weights(
    name: str,
    path: Path | None = None,
    genes: Path | None = None,
    options: dict | None = None,
    accepted: bool = False,
) -> Path:
    """Return the file of one NAME of `weights`."""
    from bench.weights import known, of_model, published, resolve

    options = options or {}
    if name in {family.name for family in with_part("converter")}:
        return of_model(name, path, genes, accepted=accepted, **options)
    if genes or options:
        option = "--genes" if genes else f"--{next(iter(options))}"
        raise BenchError(f"{option} goes with a checkpoint of your own: bench weights MODEL --path FILE")
    return published(name, path, accepted=accepted) if path or name in known() else resolve(name)


def _side_by_side(names: tuple[str, ...]) -> list[Path]:
    """Return the files of several names, in that order; made in processes that share the cores."""
    from contextlib import closing

    from joblib import cpu_count

    from bench.core.workers import answers

    with closing(answers(_weights_or_why, names, min(2 * cpu_count(), len(names)))) as made:
        files = dict(made)
    if errors := [f"{name}: {files[name]}" for name in names if isinstance(files[name], Exception)]:
        raise BenchError("; ".join(errors))
    return [files[name] for name in names]


def _weights_or_why(name: str) -> Path | BenchError:
    """Return the file, or why there is none, so that the others are made all the same."""
    try:
        return _weights(name)
    except BenchError as error:
        return error
