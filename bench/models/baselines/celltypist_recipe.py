"""CellTypist's recipe: scaled genes, chosen by a first fast fit, then one L2 logistic regression per type.

Source: Dominguez Conde et al. 2022 (doi:10.1126/science.abl5197) and the documentation of ``celltypist.train`` with
``feature_selection``: ln(1 + CP10K); genes scaled to unit variance and cut off at 10; a logistic regression by
stochastic gradient descent on all genes; for each type the 300 genes of largest absolute coefficient, and their union;
an L2 logistic regression per type on these.  Probabilities are sigmoids of the decision values.  Written from the
documentation; the package itself does not run with scikit-learn 1.8 and later.
Deviations: sparse, as with its option ``with_mean=False`` (in the second fit centring would but move the intercepts); C
is tuned; the sigmoids are scaled to sum to one; no majority vote in clusters, which would look at the other cells.
"""

import warnings
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import scipy.sparse as sp
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.multiclass import OneVsRestClassifier

from bench.models.baselines.columns import moments
from bench.models.baselines.l1_logistic import decision_values, probabilities
from bench.models.baselines.tuned import Tuned, TunedConfig
from bench.models.baselines.tuning import Setting, Transformer

CUT_OFF = 10.0  # standard deviations above the mean


@dataclass(frozen=True)
class CellTypistRecipeConfig(TunedConfig):
    """Hyper-parameters."""

    sizes: ClassVar = ("top_genes", "max_iter")
    above: ClassVar = {"alpha": 0, "Cs": 0}

    log_base: float = float(np.e)  # of log(1 + CP10K); data declared as log1p are used as given
    top_genes: int = 300  # of each type
    alpha: float = 1e-4  # penalty of the first fit
    Cs: tuple[float, ...] = (1.0, 1e-3, 1e-2, 1e-1)  # inverse penalties of the second; the first is the default
    max_iter: int = 1000  # its limit


class CellTypistRecipe(Tuned):
    """Annotator by CellTypist's steps; 4 settings x 3 folds on at most 3,000 training cells."""

    Config = CellTypistRecipeConfig
    takes: ClassVar[dict[str, float]] = {"clean": 5.5}

    def settings(self) -> list[Setting]:
        """Return the inverse penalties."""
        return [{"C": C} for C in self.config.Cs]

    def prepared(self, X: sp.csr_matrix, y: np.ndarray) -> Transformer:
        """Return the scaling and the genes that the first fit weighs most."""
        scaled = Scaled().fit(X)
        quick = SGDClassifier(loss="log_loss", alpha=self.config.alpha, random_state=self.seed_)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            weights = np.abs(quick.fit(scaled.transform(X), y).coef_)  # (n_types, n_genes); one row for two types
        scaled.genes_ = np.unique(np.argsort(-weights, axis=1, kind="stable")[:, : self.config.top_genes])
        return scaled

    def fitted(self, X: sp.csr_matrix, y: np.ndarray, setting: Setting) -> "Sigmoids":
        """Return the regressions on the chosen genes."""
        binary = LogisticRegression(C=setting["C"], max_iter=self.config.max_iter, tol=1e-3)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            return Sigmoids(OneVsRestClassifier(binary).fit(X, y))


class Scaled:
    """Genes in units of their standard deviation among the training cells, cut off; not centred, so that zeros stay."""

    genes_ = slice(None)  # columns that are kept

    def fit(self, X: sp.csr_matrix) -> Self:
        """Find means and standard deviations of (n_cells, n_genes) values."""
        mean, variance = moments(X)
        scale = np.sqrt(variance)
        self.scale_ = np.where(scale > 1e-6, scale, 1)
        self.largest_ = CUT_OFF + mean / self.scale_
        return self

    def transform(self, X: sp.csr_matrix) -> sp.csr_matrix:
        """Return the kept genes, scaled and cut off."""
        found = sp.csr_matrix(X, dtype=np.float64, copy=True)
        found.data = np.minimum(found.data / self.scale_[found.indices], self.largest_[found.indices])
        return found[:, self.genes_]


@dataclass(frozen=True)
class Sigmoids:
    """One regression per type; the label is that of the largest decision value."""

    regressions: OneVsRestClassifier

    @property
    def classes_(self) -> np.ndarray:
        """Types, sorted."""
        return self.regressions.classes_

    def predict(self, X) -> np.ndarray:
        """Return labels."""
        return self.classes_[decision_values(self.regressions, X).argmax(axis=1)]

    def predict_proba(self, X) -> np.ndarray:
        """Return the sigmoid of each decision value, scaled to sum to one."""
        return probabilities(self.regressions, X)
