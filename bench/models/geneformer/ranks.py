"""A cell as Geneformer sees it: its expressed genes in the order of counts per 10,000, divided by the gene's median.

Source: Theodoris et al., Nature 2023.  Computed in float64 in the published order of operations, and sorted stably.
Known deviations from the published tokeniser, whose own behaviour `ordered` has as ``as_published``: columns of one
gene are added up always (it forgets to where the same label is repeated), and stored zeros are no expression.  Equal
values keep the order of token ids, so that the order of columns does not matter (its sort is not stable).
"""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

TARGET = 1e4  # counts per cell that values are scaled to


@dataclass(frozen=True)
class Ordered:
    """Expressed genes of some cells, each cell's by falling value."""

    tokens: np.ndarray  # (n_genes of all cells,) ids
    scaled: np.ndarray  # counts per 10,000, likewise float64
    values: np.ndarray  # these divided by the gene's median
    ends: np.ndarray  # (n_cells + 1,) where cells begin and end

    def ranks(self, most: int, bounds: tuple[int, int] | None = None, empty: int | None = None) -> sp.csr_matrix:
        """Return token ids by rank; see `laid_out`."""
        return laid_out(self.tokens, self.ends, most, bounds, empty)


def laid_out(
    tokens: np.ndarray,
    ends: np.ndarray,
    most: int,
    bounds: tuple[int, int] | None = None,
    empty: int | None = None,
) -> sp.csr_matrix:
    """Return token ids by rank, int32 CSR of shape (n_cells, most), whose columns are ranks.

    Parameters
    ----------
    tokens, ends
        Genes of all cells in the order of their ranks, and where cells begin and end, (n_cells + 1,).
    most
        Positions of a cell; the lowest ranks of a longer one are cut off.
    bounds
        Ids of the tokens put before and behind the genes of every cell, in V2.
    empty
        The only token of a cell that would have none.
    """
    around = 2 if bounds else 0
    n_genes = np.minimum(np.diff(ends), most - around)
    lengths = n_genes + around
    lengths[(lengths == 0) & (empty is not None)] = 1
    indptr = np.concatenate([[0], np.cumsum(lengths)])
    ranks = np.arange(indptr[-1]) - np.repeat(indptr[:-1], lengths)
    found = np.full(indptr[-1], -1 if empty is None else empty, dtype=np.int32)
    taken = np.arange(n_genes.sum()) - np.repeat(np.cumsum(n_genes) - n_genes, n_genes)
    to = np.repeat(indptr[:-1], n_genes) + taken + bool(bounds)
    found[to] = tokens[np.repeat(ends[:-1], n_genes) + taken]
    if bounds:
        found[indptr[:-1]], found[indptr[1:] - 1] = bounds
    return sp.csr_matrix((found, ranks, indptr), shape=(len(lengths), most))


def ordered(
    X: sp.csr_matrix,
    totals: np.ndarray,
    columns: np.ndarray,
    medians: np.ndarray,
    *,
    as_published: bool = False,
    labels: list[str] | None = None,
) -> Ordered:
    """Return the expressed genes of cells, each cell's by falling value.

    Parameters
    ----------
    X
        Counts, (n_cells, n_genes), or values in proportion to them within a cell.
    totals
        Of each cell over all that was measured, (n_cells,); a common factor of a cell, which moves no rank.
    columns
        Token of each column, -1 for those that are left out.
    medians
        Of each token.
    as_published, labels
        Do what the published tokeniser does: it adds up columns of one gene only if there are more different labels
        than genes, and takes a stored zero for expression; ``labels`` of the columns, in upper case.
    """
    known = np.flatnonzero(columns >= 0)
    X, columns = sp.csr_matrix(X, dtype=np.float64)[:, known], columns[known]
    forgets = as_published and len({labels[i] for i in known}) == len(set(columns.tolist()))
    if not forgets:
        columns, to = np.unique(columns, return_inverse=True)
        X = X @ sp.csr_matrix((np.ones(len(to)), (np.arange(len(to)), to)), shape=(len(to), len(columns)))
    if not as_published:
        X.eliminate_zeros()
    X.sort_indices()
    rows = np.repeat(np.arange(X.shape[0]), np.diff(X.indptr))
    scaled = X.data / np.asarray(totals, dtype=np.float64)[rows] * TARGET
    tokens = columns[X.indices]
    values = scaled / medians[tokens]
    order = np.lexsort((-values, rows))  # stable
    return Ordered(tokens[order], scaled[order], values[order], X.indptr.astype(np.int64))
