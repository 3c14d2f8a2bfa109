"""A part of the genes, as dense features of models that cannot take all."""

from typing import Self

import numpy as np
import scipy.sparse as sp


class Columns:
    """Some genes of a matrix.

    Parameters
    ----------
    columns
        Their places, (n_chosen,).
    """

    def __init__(self, columns: np.ndarray):
        self.columns_ = columns
        self._mean, self._deviation = 0, 1

    def scaled(self, X: sp.csr_matrix) -> Self:
        """Give each gene mean 0 and standard deviation 1 among these (n_cells, n_genes) training cells."""
        mean, variance = moments(X[:, self.columns_])
        self._mean, self._deviation = (part.astype(np.float32) for part in (mean, np.sqrt(variance)))
        self._deviation[self._deviation == 0] = 1  # of genes that are the same in all cells
        return self

    def transform(self, X: sp.csr_matrix) -> np.ndarray:
        """Return (n_cells, n_chosen) values, float32."""
        dense = X[:, self.columns_].toarray()
        dense -= self._mean
        dense /= self._deviation
        return dense


def most_variable(X: sp.csr_matrix, n_genes: int) -> Columns:
    """Return the genes whose (n_cells, n_genes) levels of expression vary most; all where there are fewer."""
    return Columns(np.sort(np.argsort(-moments(X)[1], kind="stable")[:n_genes]))


def moments(X: sp.csr_matrix) -> tuple[np.ndarray, np.ndarray]:
    """Return means and variances of the columns, (n_columns,), float64."""
    mean, squares = (np.asarray(M.mean(axis=0, dtype=np.float64)).ravel() for M in (X, X.power(2)))
    return mean, np.maximum(squares - mean**2, 0)
