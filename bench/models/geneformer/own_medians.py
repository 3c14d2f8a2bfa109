"""Medians of the cells that a pretraining in this project is made of, and the ranks that follow from them.

Published medians belong to the published vocabularies; here they are those of the training cells themselves: of counts
per 10,000, over the cells that express a gene, exact up to a number of cells that fits into memory.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import scipy.sparse as sp

from bench.core.errors import BenchError
from bench.models.geneformer.ranks import TARGET, ordered
from bench.training.blocks import Selection, Stream, open_stream

MOST_CELLS = 20_000  # of which medians are taken, evenly spaced


@lru_cache(maxsize=4)
def medians_of(selections: tuple[Selection, ...], genes: tuple[str, ...]) -> np.ndarray:
    """Return the median of each gene, (n_genes,) float64; of one that no cell expresses, the middle of the others.

    Raises
    ------
    BenchError
        If a data set does not hold counts, or none of the genes is expressed.
    """
    streams = [open_stream(selection) for selection in selections]
    every = -(-sum(int(stream.kept.sum()) for stream in streams) // MOST_CELLS)
    parts = [part for stream in streams for part in _scaled(stream, genes, every)]
    together = sp.csc_matrix(sp.vstack(parts))
    together.eliminate_zeros()
    columns = np.split(together.data, together.indptr[1:-1])
    found = np.array([np.median(values) if len(values) else np.nan for values in columns])
    if np.isnan(found).all():
        raise BenchError(f"None of the {len(genes):,} genes is expressed in any cell; choose other genes.")
    return np.where(np.isnan(found), np.nanmedian(found), found)


def columns_of(stream: Stream, genes: Sequence[str]) -> np.ndarray:
    """Return the number that each gene of a data set has in a list, -1 for those that are not in it."""
    number = {gene: i for i, gene in enumerate(genes)}
    return np.array([number.get(gene, -1) for gene in stream.genes])


def check_counts(stream: Stream) -> None:
    """Raise a BenchError if a data set holds logarithms."""
    if stream.values != "counts":
        raise BenchError(
            f"{stream.name!r} holds logarithms, and geneformer ranks counts divided by medians of counts: name the "
            "counts of the file with --layer, or leave it out."
        )


def _scaled(stream: Stream, genes: Sequence[str], every: int) -> Iterator[sp.csr_matrix]:
    """Yield counts per 10,000 of one cell in ``every``, (some cells, n_genes)."""
    check_counts(stream)
    columns, seen = columns_of(stream, genes), 0
    here = np.flatnonzero(columns >= 0)
    place = sp.csr_matrix((np.ones(len(here)), (here, columns[here])), shape=(len(columns), len(genes)))
    for start, X in stream.blocks():
        rows = np.flatnonzero(stream.kept[start : start + X.shape[0]])
        taken, seen = rows[(seen + np.arange(len(rows))) % every == 0], seen + len(rows)
        counts = X[taken].astype(np.float64)
        totals = np.maximum(np.asarray(counts.sum(axis=1)).ravel(), 1)
        yield sp.diags(TARGET / totals) @ (counts @ place)


@dataclass(frozen=True)
class Ranking:
    """Ranks as `bench.training.cells.Tokens` of a store: a cell's genes stand in the order of their ranks."""

    selections: tuple[Selection, ...]
    library = "ranks"

    def settings(self) -> dict[str, int]:
        """Return of how many cells medians are taken."""
        return {"medians_of": MOST_CELLS}

    def check(self, genes: Sequence[str]) -> None:
        """Accept any genes."""

    def __call__(self, X: sp.csr_matrix, stream: Stream, genes: list[str], ids: np.ndarray) -> sp.csr_matrix:
        """Return ones, (n_cells, n_genes), whose order within a cell is that of the ranks."""
        check_counts(stream)
        totals = np.maximum(np.asarray(X.sum(axis=1, dtype=np.float64)).ravel(), 1)
        medians = medians_of(self.selections, tuple(genes))
        found = ordered(X, totals, columns_of(stream, genes), medians)
        ones = np.ones(len(found.tokens), dtype=np.uint8)
        return sp.csr_matrix((ones, found.tokens, found.ends), shape=(X.shape[0], len(genes)))
