"""L2-penalised logistic regression on normalised expression: one multinomial problem for all types.

Source: scikit-learn's defaults (L-BFGS, intercept not penalised) on log2(1 + CP10K), sparse; Abdelaal et al. 2019
(Genome Biology 20:194) find such linear models among the best annotators.
"""

import warnings
from dataclasses import dataclass

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from bench.models.baselines.tuned import Tuned, TunedConfig
from bench.models.baselines.tuning import Classifier, Setting


@dataclass(frozen=True)
class L2LogisticConfig(TunedConfig):
    """Hyper-parameters."""

    Cs: tuple[float, ...] = (1.0, 1e-4, 1e-3, 1e-2, 1e-1, 10.0)  # inverse penalties tried; the first is the default
    max_iter: int = 200  # L-BFGS's limit


class L2Logistic(Tuned):
    """Annotator with one multinomial problem; six C x 3 folds on at most 3,000 training cells."""

    Config = L2LogisticConfig

    def settings(self) -> list[Setting]:
        """Return the inverse penalties."""
        return [{"C": C} for C in self.config.Cs]

    def fitted(self, X, y: np.ndarray, setting: Setting) -> Classifier:
        """Return the fitted regression."""
        return logistic(X, y, setting["C"], self.config.max_iter)


def logistic(X, y: np.ndarray, C: float, max_iter: int) -> LogisticRegression:
    """Return multinomial logistic regression on (n_cells, n_features) values; ``max_iter`` is a limit, no error."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return LogisticRegression(C=C, max_iter=max_iter).fit(X, y)
