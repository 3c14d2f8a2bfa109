"""One budget for tuning the baselines: 8 settings x 3 folds on 3,000 training cells, drawn once.

Enough to find the order of magnitude of a penalty, and the same for all, so that no baseline is strong because it was
searched for longer.  L1 logistic regression and nearest neighbours keep the protocols that they are published with.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Real
from time import perf_counter
from typing import Any, Protocol

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from sklearn.dummy import DummyClassifier
from sklearn.model_selection import StratifiedKFold
from sklearn.preprocessing import FunctionTransformer

from bench.core.errors import BenchError

MOST_SETTINGS = 8
FOLDS = 3
MOST_CELLS = 3000

Setting = Mapping[str, Any]


class Transformer(Protocol):
    """Features that do not depend on the setting."""

    def transform(self, X):
        """Return (n_cells, n_features) features of (n_cells, n_genes) levels of expression."""


class Classifier(Protocol):
    """What a baseline fits."""

    classes_: np.ndarray  # (n_classes,) sorted

    def predict(self, X) -> np.ndarray:
        """Return (n_cells,) labels."""

    def predict_proba(self, X) -> np.ndarray:
        """Return (n_cells, n_classes) probabilities."""


Prepare = Callable[[Any, np.ndarray], Transformer]
Fit = Callable[[Any, np.ndarray, Setting], Classifier]


@dataclass(frozen=True)
class Chosen:
    """The setting that the folds prefer, and what the search took; nothing where there was none."""

    setting: Setting = field(default_factory=dict)
    n_cells: int = 0
    n_fits: int = 0
    seconds: float = 0.0

    def diagnostics(self) -> dict[str, float]:
        """Return figures for the records: every number of the setting, and the cost."""
        numbers = {f"chosen_{name}": float(value) for name, value in self.setting.items() if isinstance(value, Real)}
        cost = {"tuning_cells": float(self.n_cells), "tuning_fits": float(self.n_fits), "tuning_s": self.seconds}
        return numbers | cost


def as_given(X, y: np.ndarray) -> Transformer:
    """Return a transformer that changes nothing."""
    return FunctionTransformer()


def chosen(
    settings: Sequence[Setting],
    fit: Fit,
    X,
    y: np.ndarray,
    *,
    seed: int,
    tuned: bool = True,
    prepare: Prepare = as_given,
) -> Chosen:
    """Return the setting of most right predictions in cross-validation.

    Parameters
    ----------
    settings
        At most 8.  The first one is the default: taken where ``tuned`` is False, where there is but one type, and
        where no type has a cell for each of the 3 folds.  Of equally good ones the first wins: put simple ones first.
    fit
        Return a classifier of features, types and a setting.
    X, y
        Training cells alone: levels of expression (n_cells, n_genes), types (n_cells,).
    seed
        Of the draw of at most 3,000 cells, and of the folds.
    prepare
        Return features, fitted on the training part of a fold, that all settings share.  Neither is asked about cells
        of a single type.

    Raises
    ------
    BenchError
        If there are more settings than the budget allows.
    """
    if not 0 < len(settings) <= MOST_SETTINGS:
        raise BenchError(
            f"{len(settings)} settings are to be tried; the budget of a baseline is {MOST_SETTINGS}: give it 1 to "
            f"{MOST_SETTINGS}, where those of several lists are multiplied."
        )
    cells = drawn(y, seed)
    counts = np.unique(y[cells], return_counts=True)[1]
    if not tuned or len(settings) == 1 or len(counts) == 1 or counts.max() < FOLDS:
        return Chosen(settings[0])
    start = perf_counter()
    X, y = X[cells], y[cells]
    jobs = [delayed(_right)(X, y, *fold, settings, fit, prepare) for fold in folds(y, seed)]
    right = np.sum(Parallel()(jobs), axis=0)  # whole numbers, so that equal is equal
    return Chosen(settings[int(right.argmax())], len(y), len(jobs) * len(settings), perf_counter() - start)


def drawn(y: np.ndarray, seed: int) -> np.ndarray:
    """Return the sorted places of at most 3,000 cells: one of each type, the others in proportion to the types."""
    order = np.random.default_rng(seed).permutation(len(y))
    of_type = pd.Series(y[order]).groupby(y[order])
    rank = of_type.cumcount().to_numpy()
    place = np.where(rank == 0, -1, (rank + 0.5) / of_type.transform("size").to_numpy())
    return np.sort(order[np.argsort(place, kind="stable")[:MOST_CELLS]])


def folds(y: np.ndarray, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the places of training and held-out cells of each fold; some type has a cell for each."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The least populated class")  # it misses from some folds
        return list(StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(np.zeros(len(y)), y))


def ready(prepare: Prepare, X, y: np.ndarray) -> Transformer:
    """Return what ``prepare`` makes, or where there is a single type, which needs no features, X as it is."""
    return as_given(X, y) if (y == y[0]).all() else prepare(X, y)


def classifier(fit: Fit, X, y: np.ndarray, setting: Setting) -> Classifier:
    """Return what ``fit`` makes, or where there is a single type, with nothing to decide, that type."""
    if (y == y[0]).all():
        return DummyClassifier(strategy="prior").fit(np.zeros((len(y), 1)), y)
    return fit(X, y, setting)


def _right(X, y, train, test, settings: Sequence[Setting], fit: Fit, prepare: Prepare) -> list[int]:
    """Return the number of right predictions of each setting on one fold."""
    of_fold = ready(prepare, X[train], y[train])
    seen, held_out = of_fold.transform(X[train]), of_fold.transform(X[test])
    models = (classifier(fit, seen, y[train], setting) for setting in settings)
    return [int((model.predict(held_out) == y[test]).sum()) for model in models]
