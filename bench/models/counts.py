"""Counts behind a data set's values: as they are, or out of logarithms whose base and total are declared."""

import numpy as np
import scipy.sparse as sp
from anndata import AnnData

from bench.core.errors import BenchError

TOLERANCE = 0.04  # of a whole number
DECLARE = (
    "This model needs counts. Name the layer or raw that holds them, or declare how the logarithms were made, such as "
    "adata.uns['bench'] = {'values': 'log1p', 'base': 'e', 'total': 10000}."
)


def counts_of(cells: AnnData) -> sp.csr_matrix:
    """Return the counts of cells, CSR of shape (n_cells, n_genes).

    Of logarithms, log(1 + counts scaled to a total), the smallest value of a cell is taken to be one count.

    Raises
    ------
    BenchError
        If the cells hold logarithms whose base or total is not declared, or which do not come from whole counts.
    """
    X, about = sp.csr_matrix(cells.X), cells.uns["bench"]
    if about["values"] == "counts":
        return X
    if "base" not in about or "total" not in about:
        raise BenchError(f"Data set {about.get('name', '')!r} holds logarithms of an unknown base and total. {DECLARE}")
    try:
        base, total = (np.e if about["base"] == "e" else float(about["base"])), float(about["total"])
    except (TypeError, ValueError):
        base = total = 0.0
    if base <= 1 or total <= 0:
        raise BenchError(f"base={about['base']!r} and total={about['total']!r} are not those of logarithms. {DECLARE}")
    scaled = np.power(base, X.data.astype(np.float64)) - 1
    n = np.diff(X.indptr)
    there = n > 0
    smallest = np.minimum.reduceat(np.append(scaled, np.inf), X.indptr[:-1][there]) if there.any() else np.empty(0)
    counts = scaled / np.repeat(smallest, n[there])
    small = counts < 20
    if small.any() and (np.abs(counts - np.round(counts))[small] < TOLERANCE).mean() < 0.9:
        raise BenchError(
            f"The values of {about.get('name', '')!r} are no logarithms of base {about['base']} of scaled counts: they "
            f"are no multiples of one count. {DECLARE}"
        )
    return sp.csr_matrix((np.round(counts).astype(np.float32), X.indices, X.indptr), X.shape)
