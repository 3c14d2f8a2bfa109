"""A linear classifier on ranks of genes within a cell: a representation without anything learnt beforehand.

Source: Souza & Mehta 2026 (arXiv:2602.16696): library size, ranks of genes within a cell as z-scores (inverse normal
distribution, equal values share their mean rank, as scTOP documents it), genes chosen by analysis of variance on the
training cells, principal components, a linear classifier.  Written from this description.
Deviations: z-scores are counted from that of the genes without any count, which is zero here: otherwise it moves with
the depth of a cell, and analysis of variance chooses thousands of unexpressed genes for it.  Numbers of genes and
components and the penalty are ours, and the classifier is multinomial logistic regression.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import scipy.sparse as sp
from scipy.special import ndtri
from scipy.stats import rankdata

from bench.models.baselines.pca_logistic import PCALogistic, PCALogisticConfig, components
from bench.models.baselines.tuning import Transformer


@dataclass(frozen=True)
class RankLinearConfig(PCALogisticConfig):
    """Hyper-parameters."""

    sizes: ClassVar = ("n_genes",)

    n_genes: int = 2000  # those that differ most between types


class RankLinear(PCALogistic):
    """Annotator by ranks within a cell; 8 settings x 3 folds on at most 3,000 training cells."""

    Config = RankLinearConfig
    takes: ClassVar[dict[str, float]] = {"clean": 4.0}

    def prepared(self, X: sp.csr_matrix, y: np.ndarray) -> Transformer:
        """Return components of the ranks of the chosen genes."""
        scores = ranks(X)
        genes = np.sort(np.argsort(-explained(scores, y), kind="stable")[: self.config.n_genes])
        return OfRanks(genes, components(scores[:, genes], max(self.config.n_components), self.seed_))


@dataclass(frozen=True)
class OfRanks:
    """Components of the ranks of some genes; the ranks are those among all genes."""

    genes: np.ndarray  # columns
    components: Transformer

    def transform(self, X: sp.csr_matrix) -> np.ndarray:
        """Return (n_cells, n_components) values."""
        return self.components.transform(ranks(X)[:, self.genes])


def ranks(X: sp.csr_matrix) -> sp.csr_matrix:
    """Return z-scores of the ranks of genes within each cell, less that of the genes that are zero.

    Parameters
    ----------
    X
        Values of shape (n_cells, n_genes), at least 0; which logarithm and library size they have changes no rank.
    """
    X = sp.csr_matrix(X, copy=True)
    X.eliminate_zeros()
    n_genes, n_zeros = X.shape[1], X.shape[1] - np.diff(X.indptr)
    of_zeros = ndtri((n_zeros + 1) / 2 / (n_genes + 1))  # their mean rank
    scores = X.data.astype(np.float64)
    for cell, (start, end) in enumerate(zip(X.indptr[:-1], X.indptr[1:], strict=True)):
        of_cell = n_zeros[cell] + rankdata(scores[start:end])
        scores[start:end] = ndtri(of_cell / (n_genes + 1)) - of_zeros[cell]
    return sp.csr_matrix((scores, X.indices, X.indptr), shape=X.shape)


def explained(X: sp.csr_matrix, y: np.ndarray) -> np.ndarray:
    """Return the share of each gene's variance that lies between types, (n_genes,); it orders genes as F does."""
    codes = np.unique(y, return_inverse=True)[1]
    members = sp.csr_matrix((np.ones(len(y)), (codes, np.arange(len(y)))))
    sums = (members @ X).toarray()  # (n_types, n_genes)
    by_chance = sums.sum(axis=0) ** 2 / len(y)
    between = (sums**2 / np.bincount(codes)[:, None]).sum(axis=0) - by_chance
    total = np.asarray(X.power(2).sum(axis=0)).ravel() - by_chance
    varies = total > 1e-9  # a gene of one value everywhere has rounding noise only
    return np.where(varies, between / np.where(varies, total, 1), 0)
