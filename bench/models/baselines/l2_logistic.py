"""L2-penalised logistic regression on normalised expression: one multinomial problem for all types.

Source: scikit-learn's `LogisticRegression` (L-BFGS, intercept not penalised) on log2(1 + CP10K), sparse; linear models
of this kind are among the best in Abdelaal et al. 2019, Genome Biology 20:194.
Deviation: a tolerance of 1e-2 in place of 1e-4, with which L-BFGS takes four times as long to say the same.
"""

import warnings
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from bench.models.baselines.tuned import Tuned, TunedConfig
from bench.models.baselines.tuning import Classifier, Setting


@dataclass(frozen=True)
class L2LogisticConfig(TunedConfig):
    """Hyper-parameters."""

    above: ClassVar = {"Cs": 0, "tol": 0}

    Cs: tuple[float, ...] = (1.0, 1e-3, 1e-2, 1e-1, 10.0)  # inverse penalties tried; the first is the default
    tol: float = 1e-2  # largest gradient at which L-BFGS stops


class L2Logistic(Tuned):
    """Annotator with one multinomial problem; 5 settings x 3 folds on at most 3,000 training cells."""

    Config = L2LogisticConfig
    takes: ClassVar[dict[str, float]] = {"clean": 1.2}

    def settings(self) -> list[Setting]:
        """Return the inverse penalties."""
        return [{"C": C} for C in self.config.Cs]

    def fitted(self, X, y: np.ndarray, setting: Setting) -> Classifier:
        """Return the fitted regression."""
        return logistic(X, y, setting["C"], self.config.tol)


def logistic(X, y: np.ndarray, C: float, tol: float = 1e-4) -> LogisticRegression:
    """Return multinomial logistic regression on (n_cells, n_features) values; the limit of steps is no error."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return LogisticRegression(C=C, tol=tol, max_iter=200).fit(X, y)
