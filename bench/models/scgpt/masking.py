"""scGPT's masked expression: which genes of a long cell are taken, and which of their values are hidden.

Source: Cui et al., Nature Methods 2024, and PROTOCOL 3.2 of the paper: a share of the values, one of three drawn for
each cell, is hidden.  Every cell has a generator of its own, so that nothing depends on how a batch is divided.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

SHARES = (0.25, 0.5, 0.75)  # of hidden values, each as often


@dataclass(frozen=True)
class Hidden:
    """Bins of some cells, (n_cells, n_tokens), and which of the stored ones are to be predicted, (nnz,) bool."""

    bins: sp.csr_matrix
    where: np.ndarray

    def rows(self, rows: np.ndarray) -> "Hidden":
        """Return some of the cells."""
        marks = sp.csr_matrix((self.where.astype(np.uint8) + 1, self.bins.indices, self.bins.indptr), self.bins.shape)
        return Hidden(self.bins[rows], marks[rows].data == 2)


def hide(bins: sp.csr_matrix, max_genes: int, draw: Callable[[int], np.random.Generator]) -> Hidden:
    """Return cells with some of their values hidden, at least one of each cell that expresses a gene.

    Parameters
    ----------
    bins
        Of all expressed genes, (n_cells, n_tokens).
    max_genes
        Of a cell with more a random subset is taken, in the order of tokens.
    draw
        Generator of the cell in a row.
    """
    kept, where = [], []
    for row, (start, end) in enumerate(zip(bins.indptr, bins.indptr[1:], strict=False)):
        rng, n_genes = draw(row), min(end - start, max_genes)
        subset = np.sort(rng.choice(end - start, n_genes, replace=False)) if n_genes < end - start else slice(None)
        kept.append(np.arange(start, end)[subset])
        where.append(rng.permutation(n_genes) < np.ceil(rng.choice(SHARES) * n_genes))
    place, ends = np.concatenate(kept), np.cumsum([0, *map(len, kept)])
    return Hidden(sp.csr_matrix((bins.data[place], bins.indices[place], ends), bins.shape), np.concatenate(where))
