"""The genes whose levels of expression vary most among training cells, as features of models that need few."""

import numpy as np
import scipy.sparse as sp


class VariableGenes:
    """Columns of largest variance, chosen on training cells.

    Parameters
    ----------
    X
        Levels of expression of training cells, (n_cells, n_genes).
    n_genes
        How many, or all where there are fewer; of equal ones the first.
    scaled
        Give each gene mean 0 and standard deviation 1 among the training cells.
    """

    def __init__(self, X: sp.csr_matrix, n_genes: int, *, scaled: bool = False):
        mean, squares = (M.mean(axis=0, dtype=np.float64).A1 for M in (X, X.power(2)))
        variance = np.maximum(squares - mean**2, 0)
        self.columns_ = np.sort(np.argsort(-variance, kind="stable")[:n_genes])
        mean, deviation = mean[self.columns_], np.sqrt(variance[self.columns_])
        deviation[deviation == 0] = 1  # of genes that are the same in all cells
        self._shift, self._scale = (mean, deviation) if scaled else (np.zeros_like(mean), np.ones_like(mean))

    def transform(self, X: sp.csr_matrix) -> np.ndarray:
        """Return (n_cells, n_genes) values, float32."""
        return ((X[:, self.columns_].toarray() - self._shift) / self._scale).astype(np.float32)
