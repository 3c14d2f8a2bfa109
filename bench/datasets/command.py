"""The command ``bench cache``."""

import shutil
from contextlib import suppress
from pathlib import Path

import click

KINDS = {
    "downloads": "files as they were published",
    "datasets": "data sets, checked",
    "cells": "tokens of cells for pretraining",
    "weights": "converted and pretrained weights",
    "frozen": "what frozen layers give for cells; at most 10 GB",
    "hashes": "SHA-256 of large files that models from outside are given",
    "unfinished": "fine-tunings that were stopped",
}


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
