"""Classifiers of vectors of cells, whatever made them: embeddings of users and of foundation models.

One configuration and one function for all, so that two embeddings differ in nothing but their numbers.  L1 logistic
regression is the paper's (`bench.models.baselines.l1_logistic`) with its grid of C; L2 has the same grid and the same
folds.  Vectors are taken as they are: scaling them would be one more choice.
"""

import warnings
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
from anndata import AnnData
from sklearn.dummy import DummyClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.neighbors import KNeighborsClassifier

from bench.core.checked import Checked
from bench.core.keys import added
from bench.models.baselines import l1_logistic
from bench.models.baselines.l1_logistic import L1LogisticConfig
from bench.models.baselines.nearest_centroid import Centroids
from bench.models.contract import Annotator


@dataclass(frozen=True)
class ClassifierConfig(Checked):
    """Hyper-parameters of a classifier of vectors."""

    sizes: ClassVar = ("n_neighbors",)
    least: ClassVar = {"folds": 2}
    above: ClassVar = {"Cs": 0}
    choices: ClassVar = {"classifier": ("l1_logistic", "l2_logistic", "knn", "nearest_centroid")}

    classifier: str = added("l1_logistic")  # or "l2_logistic", "knn", "nearest_centroid"
    Cs: tuple[float, ...] = added(L1LogisticConfig().Cs)  # inverse penalties tried; a single one is not searched
    folds: int = added(L1LogisticConfig().folds)  # of the cross-validation that chooses C
    n_neighbors: int = added(15)  # that vote, each with one voice


class Classifier(Protocol):
    """What `fitted` returns."""

    classes_: np.ndarray  # (n_classes,) sorted

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Return (n_cells,) labels, of equally good ones the first in ``classes_``."""

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """Return (n_cells, n_classes) probabilities."""


class OfVectors(Annotator):
    """Annotator whose ``classifier_`` judges what its ``embed`` gives."""

    Config = ClassifierConfig
    recipes = ("clean",)
    stochastic = False
    is_embedding = True

    def predict_proba(self, cells: AnnData) -> np.ndarray:
        """Return the classifier's probabilities."""
        return self.classifier_.predict_proba(self.embed(cells))

    def predict(self, cells: AnnData) -> np.ndarray:
        """Return the classifier's labels."""
        return self.classifier_.predict(self.embed(cells))


def fitted(X: np.ndarray, y: np.ndarray, config: ClassifierConfig, seed: int) -> Classifier:
    """Return a classifier fitted on training cells.

    Parameters
    ----------
    X, y
        Vectors of shape (n_cells, n_dimensions) and types of shape (n_cells,).
    config
        Which classifier; what it does not use is ignored.
    seed
        Of liblinear's order of coordinates.

    Raises
    ------
    BenchError
        If there are too few cells for the folds.
    """
    return CLASSIFIERS[config.classifier](X, y, config, seed)


class _L1:
    """The paper's L1 logistic regression, labels and probabilities as there."""

    def __init__(self, X: np.ndarray, y: np.ndarray, config: ClassifierConfig, seed: int):
        settings = L1LogisticConfig(Cs=config.Cs, folds=config.folds)
        C, _ = l1_logistic.choose_C(X, y, settings, seed)
        self._model = l1_logistic.fitted(X, y, C, settings, seed, parallel=True)
        self.classes_ = self._model.classes_

    def predict(self, X: np.ndarray) -> np.ndarray:
        return self.classes_[l1_logistic.decision_values(self._model, X).argmax(axis=1)]

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        return l1_logistic.probabilities(self._model, X)


def _l2(X: np.ndarray, y: np.ndarray, config: ClassifierConfig, seed: int) -> Classifier:
    """Return one multinomial problem by L-BFGS; C by the folds of L1 and on accuracy, the smallest winning ties."""
    if len(np.unique(y)) == 1:  # there is no boundary to find
        return DummyClassifier(strategy="prior").fit(X, y)
    one = LogisticRegression(max_iter=1000)
    if len(config.Cs) == 1:
        return one.set_params(C=config.Cs[0]).fit(X, y)
    l1_logistic.check_folds(y, config.folds)
    search = GridSearchCV(one, {"C": sorted(config.Cs)}, cv=StratifiedKFold(config.folds), scoring="accuracy")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The least populated class")  # as in l1_logistic
        warnings.simplefilter("ignore", ConvergenceWarning)
        return search.fit(X, y).best_estimator_


CLASSIFIERS = {
    "l1_logistic": _L1,
    "l2_logistic": _l2,
    "knn": lambda X, y, config, seed: KNeighborsClassifier(min(config.n_neighbors, len(y))).fit(X, y),
    "nearest_centroid": lambda X, y, config, seed: Centroids().fit(X, y),
}
