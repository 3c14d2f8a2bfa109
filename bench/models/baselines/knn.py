"""k nearest neighbours on principal components: the second baseline, without any training by gradient.

Source: common practice in single-cell analysis; 15 neighbours on 50 components of log2(1 + CP10K), both fitted on the
training cells alone.
"""

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from anndata import AnnData
from sklearn.decomposition import PCA
from sklearn.neighbors import KNeighborsClassifier

from bench.core.checked import Checked
from bench.core.keys import added
from bench.models.contract import Annotator, labels_of
from bench.preprocess import GENES, LEAST_GENES, features, listed_genes, looked_for


@dataclass(frozen=True)
class KNNConfig(Checked):
    """Hyper-parameters."""

    sizes: ClassVar = ("n_neighbors", "n_components")
    above: ClassVar = {"log_base": 1}
    fractions: ClassVar = ("least_genes",)
    choices: ClassVar = {"genes": GENES}

    n_neighbors: int = 15  # neighbours that vote, each with one voice
    n_components: int = 50  # principal components; fewer where there are fewer cells
    genes: str = "all"  # or "panglao"
    log_base: float = 2.0  # of log(1 + CP10K); data declared as log1p are used as given
    least_genes: float = added(LEAST_GENES)  # share of genes that must be found by name; see bench.preprocess


class KNN(Annotator):
    """Annotator by vote of the nearest training cells."""

    Config = KNNConfig
    recipes = ("clean",)
    takes: ClassVar[dict[str, float]] = {"clean": 1.3}
    stochastic = False

    def fit(self, train: AnnData, *, seed: int, validation: AnnData | None = None) -> Self:
        """Fit the components and index the training cells."""
        self.genes_ = looked_for(train, listed_genes(train, self.config.genes), self.config.least_genes)
        X = self._features(train)
        n_components = min(self.config.n_components, min(X.shape) - 1)
        self._pca = PCA(n_components, svd_solver="arpack", random_state=seed)
        n_neighbors = min(self.config.n_neighbors, train.n_obs)
        self._knn = KNeighborsClassifier(n_neighbors).fit(self._pca.fit_transform(X), labels_of(train))
        self.classes_ = self._knn.classes_
        return self

    def embed(self, cells: AnnData) -> np.ndarray:
        """Return (n_cells, n_components) principal components."""
        return self._pca.transform(self._features(cells))

    def predict_proba(self, cells: AnnData) -> np.ndarray:
        """Return the share of each label among the neighbours."""
        return self._knn.predict_proba(self.embed(cells))

    def _features(self, cells: AnnData):
        return features(cells, genes=self.config.genes, base=self.config.log_base)
