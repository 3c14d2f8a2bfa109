"""Nearest centroid on normalised expression: the mean profile of each type, and nothing else.

Source: Rocchio's classifier as scikit-learn has it, with probabilities for calibration: a normal distribution around
each centroid, with one variance for all types and directions and equal priors.  The label is the nearest centroid's.
"""

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import scipy.sparse as sp
from anndata import AnnData
from scipy.special import softmax
from sklearn.metrics.pairwise import euclidean_distances

from bench.core.checked import Checked
from bench.models.contract import Annotator, labels_of
from bench.preprocess import GENES, LEAST_GENES, features, listed_genes, looked_for


class Centroids:
    """The mean vector of each class, and how far cells lie from their own."""

    def fit(self, X: np.ndarray | sp.csr_matrix, y: np.ndarray) -> Self:
        """Average the (n_cells, n_features) vectors of each class."""
        self.classes_, codes = np.unique(y, return_inverse=True)
        members = sp.csr_matrix((np.ones(len(y)), (codes, np.arange(len(y)))))
        means = members @ X / np.bincount(codes)[:, None]
        self.centroids_ = means.toarray() if sp.issparse(means) else np.asarray(means)
        own = self._squared(X)[np.arange(len(y)), codes]
        self.variance_ = own.mean() / X.shape[1] or 1.0  # 0 where every type has one cell
        return self

    def predict(self, X: np.ndarray | sp.csr_matrix) -> np.ndarray:
        """Return the class of the nearest centroid, the first on ties."""
        return self.classes_[self._squared(X).argmin(axis=1)]

    def predict_proba(self, X: np.ndarray | sp.csr_matrix) -> np.ndarray:
        """Return (n_cells, n_classes) probabilities."""
        return softmax(-self._squared(X) / (2 * self.variance_), axis=1)

    def _squared(self, X) -> np.ndarray:
        """Return the squared distance of each cell to each centroid."""
        return euclidean_distances(X, self.centroids_, squared=True)


@dataclass(frozen=True)
class NearestCentroidConfig(Checked):
    """Hyper-parameters."""

    above: ClassVar = {"log_base": 1}
    fractions: ClassVar = ("least_genes",)
    choices: ClassVar = {"genes": GENES}

    genes: str = "all"  # or "panglao"
    log_base: float = 2.0  # of log(1 + CP10K); data declared as log1p are used as given
    least_genes: float = LEAST_GENES  # share of genes that must be found by name; see bench.preprocess


class NearestCentroid(Annotator):
    """Annotator by the nearest mean profile; nothing is tuned, for there is nothing to tune."""

    Config = NearestCentroidConfig
    recipes = ("clean",)
    takes: ClassVar[dict[str, float]] = {"clean": 2.5}
    stochastic = False

    def fit(self, train: AnnData, *, seed: int, validation: AnnData | None = None) -> Self:
        """Average the training cells of each type."""
        self.genes_ = looked_for(train, listed_genes(train, self.config.genes), self.config.least_genes)
        self._centroids = Centroids().fit(self._features(train), labels_of(train))
        self.classes_ = self._centroids.classes_
        return self

    def predict_proba(self, cells: AnnData) -> np.ndarray:
        """Return probabilities around the centroids."""
        return self._centroids.predict_proba(self._features(cells))

    def predict(self, cells: AnnData) -> np.ndarray:
        """Return the type of the nearest centroid."""
        return self._centroids.predict(self._features(cells))

    def _features(self, cells: AnnData):
        return features(cells, genes=self.config.genes, base=self.config.log_base)
