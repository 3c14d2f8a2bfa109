"""Cells that stand in a data set twice, and how many scored cells are trained on as well."""

from collections.abc import Iterable, Iterator

import numpy as np
import scipy.sparse as sp
from anndata import AnnData

from bench.core.errors import BenchError
from bench.datasets.splits import split

FEWEST = 10  # genes a cell must express to be told from others; below that cells are alike by chance
BLOCK_VALUES = 2**18  # that are mixed together


def profiles(X: sp.csr_matrix) -> np.ndarray:
    """Return a number for each row, (n_cells,) uint64, equal for rows of equal values; 0 where there are too few."""
    n = X.shape[0]
    found = np.zeros(n, np.uint64)
    start = 0
    while start < n:
        last = int(np.searchsorted(X.indptr, X.indptr[start] + BLOCK_VALUES, side="right")) - 1
        last = min(max(last, start + 1), n)
        ends = X.indptr[start : last + 1].astype(np.int64)
        values = X.data[ends[0] : ends[-1]].view(np.uint32)
        mixed = _mixed(X.indices[ends[0] : ends[-1]].astype(np.uint64) << np.uint64(32) | values)
        sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(mixed)])  # wraps around, as differences do
        found[start:last] = sums[ends[1:] - ends[0]] - sums[ends[:-1] - ends[0]]
        start = last
    found[np.diff(X.indptr) < FEWEST] = 0
    return found


def repeated(X: sp.csr_matrix) -> int:
    """Return how many rows have the values of an earlier one."""
    found = profiles(X)
    found = found[found != 0]
    return len(found) - len(np.unique(found))


def across(adata: AnnData, splits: Iterable[str]) -> Iterator[tuple[str, int, int]]:
    """Yield for each split its name, how many scored cells have the values of one that is trained on, and of how many.

    Parameters
    ----------
    adata
        A data set that keeps the contract, X CSR float32.
    splits
        Names, see `bench.datasets.splits`.
    """
    found = profiles(adata.X)
    for name in splits:
        try:
            sides = split(adata, name)
        except BenchError:  # said where it is asked for
            continue
        scored = found[sides.test]
        yield name, int((np.isin(scored, found[sides.train]) & (scored != 0)).sum()), len(scored)


def warnings(adata: AnnData, splits: Iterable[str]) -> list[str]:
    """Return a sentence for each split that scores cells which it trains on."""
    return [
        f"split {name}: {n:,} of {n_scored:,} scored cells are trained on as well, as repeats with equal values."
        for name, n, n_scored in across(adata, splits)
        if n
    ]


def _mixed(values: np.ndarray) -> np.ndarray:
    """Return numbers of 64 bits in which each bit depends on all of the given ones (splitmix64)."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
