"""Linear support vector machine on normalised expression, one problem per type, with one temperature for all.

Source: scikit-learn's `LinearSVC` (liblinear, squared hinge loss, dual, intercept penalised) on log2(1 + CP10K); the
best of the 22 annotators compared by Abdelaal et al. 2019, Genome Biology 20:194.  Probabilities by temperature scaling
(Guo et al. 2017, arXiv:1706.04599) of the decision values: one number, so that the label stays that of the largest
decision value, and types of one cell need no sigmoid of their own.
Deviation: the temperature is found on held-out folds of the 3,000 cells of the budget, not of all training cells.
"""

import warnings
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from sklearn.exceptions import ConvergenceWarning
from sklearn.svm import LinearSVC

from bench.models.baselines.l1_logistic import decision_values
from bench.models.baselines.tuned import Tuned, TunedConfig
from bench.models.baselines.tuning import FOLDS, Setting, drawn, folds


@dataclass(frozen=True)
class LinearSVMConfig(TunedConfig):
    """Hyper-parameters."""

    sizes: ClassVar = ("max_iter",)
    above: ClassVar = {"Cs": 0}

    Cs: tuple[float, ...] = (1.0, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1)  # inverse penalties tried; the first is the default
    max_iter: int = 1000  # liblinear's limit


@dataclass(frozen=True)
class Tempered:
    """A support vector machine with probabilities that keep the order of its decision values."""

    machine: LinearSVC
    scale: float  # inverse temperature

    @property
    def classes_(self) -> np.ndarray:
        """Types, sorted."""
        return self.machine.classes_

    def predict(self, X) -> np.ndarray:
        """Return the type of the largest decision value."""
        return self.machine.predict(X)

    def predict_proba(self, X) -> np.ndarray:
        """Return (n_cells, n_classes) probabilities."""
        return softmax(self.scale * decision_values(self.machine, X), axis=1)


class LinearSVM(Tuned):
    """Annotator by maximal margin; 6 settings x 3 folds on at most 3,000 training cells, and 3 fits to calibrate."""

    Config = LinearSVMConfig
    takes: ClassVar[dict[str, float]] = {"clean": 5.0}

    def settings(self) -> list[Setting]:
        """Return the inverse penalties."""
        return [{"C": C} for C in self.config.Cs]

    def fitted(self, X, y: np.ndarray, setting: Setting) -> LinearSVC:
        """Return the fitted machine, which predicts but has no probabilities."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            machine = LinearSVC(C=setting["C"], dual=True, max_iter=self.config.max_iter, random_state=self.seed_)
            return machine.fit(X, y)

    def final(self, X, y: np.ndarray, setting: Setting) -> Tempered:
        """Return the fitted machine with its temperature."""
        cells = drawn(y, self.seed_)
        return Tempered(self.fitted(X, y, setting), self._scale(X[cells], y[cells], setting))

    def _scale(self, X, y: np.ndarray, setting: Setting) -> float:
        """Return the inverse temperature of largest likelihood on held-out cells; 1 where none can be held out."""
        if np.unique(y, return_counts=True)[1].max() < FOLDS:
            return 1.0
        held_out = []  # decision values (n_cells, n_classes of the fold) and places of the true types among them
        for train, test in folds(y, self.seed_):
            test = test[np.isin(y[test], y[train])]
            if len(np.unique(y[train])) > 1 and len(test):
                machine = self.fitted(X[train], y[train], setting)
                held_out.append((decision_values(machine, X[test]), np.searchsorted(machine.classes_, y[test])))

        def loss(log_scale: float) -> float:
            logs = [log_softmax(np.exp(log_scale) * values, axis=1) for values, _ in held_out]
            return -sum(of[np.arange(len(of)), true].sum() for of, (_, true) in zip(logs, held_out, strict=True))

        return float(np.exp(minimize_scalar(loss, bounds=(-4, 4), method="bounded").x)) if held_out else 1.0
