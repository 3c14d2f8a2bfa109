"""Embeddings of cells without a pretrained network, under the classifiers that probes have: what theirs must beat.

Principal components, the most variable genes, and random directions, of log2(1 + CP10K).  Components and genes are
those of the training cells, without their labels; the directions see no cell.
Sources: common practice; random directions after Johnson & Lindenstrauss 1984, as scikit-learn draws them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import scipy.sparse as sp
from anndata import AnnData
from sklearn.random_projection import GaussianRandomProjection

from bench.models.baselines.columns import most_variable
from bench.models.baselines.pca_logistic import components
from bench.models.baselines.tuning import Transformer
from bench.models.classifiers import ClassifierConfig, OfVectors, fitted
from bench.models.contract import labels_of
from bench.preprocess import GENES, LEAST_GENES, features, listed_genes, looked_for

SEED = 0  # of what is drawn besides directions: where a search for components begins, liblinear's order


@dataclass(frozen=True)
class ProjectionConfig(ClassifierConfig):
    """Hyper-parameters."""

    sizes: ClassVar = ("n_dimensions",)
    above: ClassVar = {"log_base": 1}
    fractions: ClassVar = ("least_genes",)
    choices: ClassVar = {"genes": GENES}

    n_dimensions: int = 50  # of the embedding, or as many as there can be
    genes: str = "all"  # or "panglao"
    log_base: float = 2.0  # of log(1 + CP10K); data declared as log1p are used as given
    least_genes: float = LEAST_GENES  # share of genes that must be found by name; see bench.preprocess


def directions(X: sp.csr_matrix, n_dimensions: int, seed: int) -> Transformer:
    """Return independent normal directions in the space of the (n_cells, n_genes) values."""
    return GaussianRandomProjection(n_dimensions, random_state=seed).fit(X[:1])  # only their number of genes counts


PROJECTIONS: dict[str, Callable[[sp.csr_matrix, int, int], Transformer]] = {
    "pca": lambda X, n, seed: components(X, n, SEED),
    "variable_genes": lambda X, n, seed: most_variable(X, n),
    "random_directions": directions,
}


class Projection(OfVectors):
    """Classifier of an embedding that no network has made; the variant says which."""

    Config = ProjectionConfig
    takes: ClassVar[dict[str, float]] = {"clean": 2.7}
    variants = tuple(PROJECTIONS)
    variant_settings: ClassVar = {
        "variable_genes": {"n_dimensions": 500},
        "random_directions": {"n_dimensions": 200},  # as wide as scBERT's embedding
    }
    variant_declares: ClassVar = {"random_directions": {"stochastic": True}}

    def fit(self, train: AnnData, *, seed: int, validation: AnnData | None = None) -> Self:
        """Fit the projection, then the classifier, on the training cells."""
        self.genes_ = looked_for(train, listed_genes(train, self.config.genes), self.config.least_genes)
        X = self._features(train)
        self._projection = PROJECTIONS[self.variant](X, self.config.n_dimensions, seed)
        self.classifier_ = fitted(self._projection.transform(X), labels_of(train), self.config, SEED)
        self.classes_ = self.classifier_.classes_
        return self

    def embed(self, cells: AnnData) -> np.ndarray:
        """Return (n_cells, n_dimensions) coordinates."""
        return self._projection.transform(self._features(cells))

    def _features(self, cells: AnnData) -> sp.csr_matrix:
        return features(cells, genes=self.config.genes, base=self.config.log_base)
