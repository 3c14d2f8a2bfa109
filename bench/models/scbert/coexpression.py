"""Which genes are expressed together: Pearson correlations of tokens, summed up over blocks of cells.

Memory is that of one float32 matrix of genes x genes, whatever the number of cells.
"""

from collections.abc import Iterator

import numpy as np
import scipy.sparse as sp
from scipy.linalg.blas import ssyrk

from bench.training.store import Cells

BLOCK = 512  # rows of a dense block, of cells or of genes


def coexpressed(
    cells: Cells, rows: np.ndarray, *, pairs_per_gene: int, min_correlation: float, min_cells: int
) -> tuple[np.ndarray, float]:
    """Return the pairs of co-expressed genes of one data set, and the largest correlation of any two genes.

    Parameters
    ----------
    cells, rows
        The cells of one data set, at least two.
    pairs_per_gene, min_correlation, min_cells
        As in `bench.models.scbert.gene2vec.gene2vec`.

    Returns
    -------
    Columns of the two genes, (n_pairs, 2), each pair once, the smaller first, in ascending order; and the correlation.
    """
    active = _genes_in(cells, rows, min_cells)
    if len(active) < 2:
        return np.empty((0, 2), np.int64), 0.0
    correlation, largest, pairs = _correlation(cells, rows, active), 0.0, []
    for start in range(0, len(active), BLOCK):
        block = correlation[start : start + BLOCK]
        largest = max(largest, float(block.max(initial=0)))
        gene, other = np.nonzero(block >= min_correlation)
        order = np.lexsort((other, -block[gene, other], gene))  # of each gene the most correlated first
        gene, other = gene[order], other[order]
        rank = np.arange(len(gene)) - np.searchsorted(gene, gene)
        best = rank < pairs_per_gene
        pairs.append(np.column_stack([gene[best] + start, other[best]]))
    return np.unique(active[np.sort(np.concatenate(pairs), axis=1)], axis=0), largest


def _blocks(cells: Cells, rows: np.ndarray) -> Iterator[sp.csr_matrix]:
    for start in range(0, len(rows), BLOCK):
        yield cells.sparse(rows[start : start + BLOCK])


def _genes_in(cells: Cells, rows: np.ndarray, min_cells: int) -> np.ndarray:
    """Return the columns with a token above 0 in enough cells and that differ between cells."""
    n, total, squares = (np.zeros(cells.n_genes) for _ in range(3))
    for X in _blocks(cells, rows):
        n += np.bincount(X.indices, minlength=cells.n_genes)
        total += np.bincount(X.indices, X.data, cells.n_genes)
        squares += np.bincount(X.indices, X.data.astype(float) ** 2, cells.n_genes)
    return np.flatnonzero((n >= min_cells) & (squares * len(rows) > total**2))


def _correlation(cells: Cells, rows: np.ndarray, active: np.ndarray) -> np.ndarray:
    """Return Pearson correlations (n_active, n_active) float32, the diagonal 0.

    Sums of products of tokens are whole numbers, exact in float32 up to 16.7 million (670,000 cells at the very least).
    """
    gram = np.zeros((len(active), len(active)), np.float32, order="F")
    total = np.zeros(len(active))
    for X in _blocks(cells, rows):
        block = X[:, active].toarray().astype(np.float32)
        total += block.sum(axis=0, dtype=np.float64)
        gram = ssyrk(1.0, block.T, beta=1.0, c=gram, overwrite_c=1, lower=0)  # in place, the upper triangle
    gram = gram.T  # in rows: the lower triangle
    scale = np.sqrt(np.diag(gram).astype(np.float64) * len(rows) - total**2)
    for start in range(0, len(active), BLOCK):
        part = slice(start, start + BLOCK)
        # in double precision: the difference of two large numbers
        found = (gram[part].astype(np.float64) * len(rows) - np.outer(total[part], total)) / np.outer(
            scale[part], scale
        )
        gram[part] = np.tril(found, start - 1)
    for start in range(0, len(active), BLOCK):
        part = slice(start, start + BLOCK)
        gram[part, start:] += gram[start:, part].T
    return gram
