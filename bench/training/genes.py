"""Which genes a pretraining is over, where it has no list of its own: those of the data sets."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bench.core.errors import BenchError
from bench.training.blocks import Selection, open_stream
from bench.training.cells import MAX_GENES, build


def most_variable(folder: Path, selections: Sequence[Selection], n_genes: int) -> list[str]:
    """Return the genes whose level of expression varies most, averaged over data sets, in alphabetical order.

    Levels are those of `bench.preprocess.tokens`.

    Parameters
    ----------
    folder
        For the store of the tokens of all shared genes.
    selections
        Data sets, and the splits whose scored cells are left out.
    n_genes
        How many of the genes that all data sets have.

    Raises
    ------
    BenchError
        If the data sets share fewer.
    """
    shared = sorted(set.intersection(*_genes(selections)))
    if len(shared) < n_genes:
        raise BenchError(f"{n_genes} genes were asked for; the data sets share {len(shared)}.")
    cells = build(folder, list(selections), shared, "all")
    variance = np.zeros(len(shared))
    for number in range(len(cells.datasets)):
        rows = np.flatnonzero(cells.dataset == number)
        sums, squares = np.zeros(len(shared)), np.zeros(len(shared))
        for part in np.array_split(rows, -(-len(rows) // 1000)):
            X = cells.sparse(part).astype(np.float64)
            sums, squares = sums + X.sum(axis=0).A1, squares + X.multiply(X).sum(axis=0).A1
        variance += squares / len(rows) - (sums / len(rows)) ** 2
    return sorted(np.array(shared)[np.argsort(-variance, kind="stable")[:n_genes]].tolist())


def of_any(selections: Sequence[Selection]) -> list[str]:
    """Return the genes that at least one of the data sets has, in alphabetical order.

    Raises
    ------
    BenchError
        If a store cannot hold so many.
    """
    found = sorted(set.union(*_genes(selections)))
    if len(found) >= MAX_GENES:
        raise BenchError(
            f"The data sets have {len(found):,} genes together, and a store holds fewer than {MAX_GENES:,}; ask for "
            "the most variable ones with n_genes, such as 5000, or give fewer data sets."
        )
    return found


def _genes(selections: Sequence[Selection]) -> list[set[str]]:
    return [set(open_stream(selection).genes) for selection in selections]
