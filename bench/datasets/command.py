"""The commands ``bench data`` and ``bench cache``."""

import shutil
from contextlib import suppress
from pathlib import Path

import click

from bench.core.errors import BenchError
from bench.core.file_options import of_a_file

KINDS = {
    "downloads": "files as they were published",
    "datasets": "data sets, checked",
    "cells": "tokens of cells for pretraining",
    "weights": "converted and pretrained weights",
    "frozen": "what frozen layers give for cells",
    "embeddings": "embeddings of cells, for probes; with what frozen layers give at most 10 GB",
    "hashes": "SHA-256 of large files that models from outside are given",
    "unfinished": "fine-tunings that were stopped",
    "sent": "files that runs on a cluster have sent to workers of this machine",
}


@click.command()
@click.argument("name")
@click.option("--path", type=click.Path(path_type=Path), help="File or folder with the original files, if downloaded.")
@of_a_file
def data(name: str, path: Path | None, **columns) -> None:
    """Fetch, check and describe a data set; or say what is in an .h5ad file, and what can be done with it.

    Example: bench data my.h5ad --label cell_type --batch donor
    """
    from bench.datasets.loading import DATASETS
    from bench.datasets.request import Request, is_file

    asked = Request(name, **columns)
    if name in DATASETS or not is_file(name):
        _describe(asked, path)
        return
    from bench.datasets.h5ad import check_columns
    from bench.datasets.overview import lines

    if path is not None:
        raise BenchError("--path goes with a data set by name; a file is named alone: bench data FILE.")
    check_columns(asked)
    click.echo(name)
    last = ""
    for heading, said in lines(asked):
        if said:
            click.echo(f"  {heading if heading != last else '':<9}{said}")
            last = heading


def _describe(asked, path: Path | None) -> None:
    """Print what a data set of the book is."""
    from bench.datasets.loading import described, loaded

    dataset, adata = described(asked), loaded(asked, path)
    click.echo(f"{dataset.title}: {adata.n_obs:,} cells, {adata.n_vars:,} genes, values {dataset.values}")
    click.echo(f"licence {dataset.licence}; labels {dataset.label_origin}; split {dataset.split}")
    for column in adata.obs:
        counts = adata.obs[column].value_counts()
        click.echo(f"{column}: " + ", ".join(f"{value} {n:,}" for value, n in counts.items()))


@click.command()
@click.option(
    "--clean", multiple=True, type=click.Choice([*KINDS]), help="Remove this kind; it is made again if needed."
)
def cache(clean: tuple[str, ...]) -> None:
    """Show what lies in the cache, by kind, and how large it is; or remove some of it.

    Example: bench cache --clean frozen --clean unfinished
    """
    from bench.datasets.sources import cache_folder

    for kind in clean:
        with suppress(FileNotFoundError):
            shutil.rmtree(cache_folder() / kind)
    click.echo(f"{cache_folder()}, or what BENCH_CACHE names; your own results are elsewhere, as bench records says")
    for kind, meaning in KINDS.items():
        click.echo(f"  {kind:<12}{_size(cache_folder() / kind) / 1e6:>10,.1f} MB  {meaning}")


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
