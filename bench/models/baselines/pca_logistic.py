"""Logistic regression on principal components of normalised expression: what a linear embedding leaves.

Source: common practice; components of log2(1 + CP10K), centred and not scaled, fitted on the training cells alone.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import scipy.sparse as sp
from sklearn.decomposition import PCA

from bench.models.baselines.l2_logistic import logistic
from bench.models.baselines.tuned import Tuned, TunedConfig
from bench.models.baselines.tuning import Classifier, Setting, Transformer, as_given


@dataclass(frozen=True)
class PCALogisticConfig(TunedConfig):
    """Hyper-parameters."""

    sizes: ClassVar = ("n_components",)
    above: ClassVar = {"Cs": 0}

    n_components: tuple[int, ...] = (50, 100)  # principal components tried; fewer where there are fewer cells
    Cs: tuple[float, ...] = (1.0, 1e-3, 1e-2, 1e-1)  # inverse penalties tried; the first of each is the default


class PCALogistic(Tuned):
    """Annotator with one multinomial problem; 8 settings x 3 folds on at most 3,000 training cells."""

    Config = PCALogisticConfig
    takes: ClassVar[dict[str, float]] = {"clean": 1.3}

    def settings(self) -> list[Setting]:
        """Return numbers of components with inverse penalties."""
        return [{"n_components": n, "C": C} for n in self.config.n_components for C in self.config.Cs]

    def prepared(self, X: sp.csr_matrix, y: np.ndarray) -> Transformer:
        """Return the components, as many as the largest setting takes; those of the others are the first of them."""
        return components(X, max(self.config.n_components), self.seed_)

    def fitted(self, X: np.ndarray, y: np.ndarray, setting: Setting) -> Classifier:
        """Return the regression on the first components."""
        return FirstColumns(setting["n_components"], logistic(X[:, : setting["n_components"]], y, setting["C"]))


@dataclass(frozen=True)
class FirstColumns:
    """A classifier of the first columns of what it is given."""

    n_columns: int
    classifier: Classifier

    @property
    def classes_(self) -> np.ndarray:
        """Types, sorted."""
        return self.classifier.classes_

    def predict(self, X) -> np.ndarray:
        """Return labels."""
        return self.classifier.predict(X[:, : self.n_columns])

    def predict_proba(self, X) -> np.ndarray:
        """Return (n_cells, n_classes) probabilities."""
        return self.classifier.predict_proba(X[:, : self.n_columns])


def components(X, n_components: int, seed: int) -> Transformer:
    """Return principal components fitted on (n_cells, n_genes) values, fewer where cells or genes are fewer."""
    n = min(n_components, min(X.shape) - 1)
    if n < 1:  # a single gene is its own component
        return as_given(X, None)
    return PCA(n, svd_solver="arpack", random_state=seed).fit(X)
