"""The command ``bench gene2vec``."""

from pathlib import Path

import click

from bench.training.command import of_cells


@click.command()
@of_cells
@click.option("--dim", default=200, show_default=True, help="Length of the vectors.")
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE.npy", help="In the cache unless given.")
def gene2vec(recipe: str, dim: int, out: Path | None, settings, **cells) -> None:
    """Train gene vectors (Gene2vec) on the cells that a pretraining of the same options trains on.

    DATA is a data set or an .h5ad file; cells that the SPLITs score are left out.
    """
    from bench.datasets.sources import cache_folder
    from bench.models.scbert.gene2vec import train_file
    from bench.training.choice import chosen

    asked = chosen("scbert", recipe, dict(settings), **cells)[1]
    store = asked.cells()
    rows, _ = store.split(asked.validation_share, asked.seed)
    out = out or cache_folder() / "weights" / f"gene2vec-{store.content[:8]}-{dim}.npy"
    file = train_file(out, store, rows=rows, dim=dim, seed=asked.seed)
    click.echo(f"vectors  {file}: {store.n_genes:,} genes, {dim} dimensions, from {len(rows):,} cells")
    click.echo(f"card     {file.with_suffix('.json')}")
