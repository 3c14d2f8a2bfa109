"""The paper's L1 logistic regression solved to its optimum: all classes and folds share one matrix and its path of C.

Looked at before writing a solver: skglm 0.5 and celer 0.7.4 have the problem, but no weights of cells in it, so that
each fold needs a copy of the matrix, and skglm's loops hold the interpreter's lock, so that threads do not help; adelie
1.1 asks for numpy below 2; glum 3.4 was not tried, for the packages that it brings.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import scipy.sparse as sp
from joblib import Parallel, delayed, effective_n_jobs
from threadpoolctl import threadpool_limits

from bench.models.baselines.l1_optimum.solver import Solution, path


@dataclass(frozen=True)
class Linear:
    """One linear decision value for each class, as scikit-learn's classifiers have it."""

    classes_: np.ndarray  # (n_classes,) sorted
    coef_: np.ndarray  # (n_classes, n_features)
    intercept_: np.ndarray  # (n_classes,)
    gap_: float  # largest share of its objective by which a class's problem may be above its optimum

    def decision_function(self, X) -> np.ndarray:
        """Return (n_cells, n_classes) decision values."""
        return X @ self.coef_.T + self.intercept_


def with_constant(X) -> sp.csc_matrix:
    """Return the columns of X and a last one of ones: liblinear's intercept is the coefficient of such a column."""
    X = sp.csc_matrix(X)
    n_cells, n_features = X.shape
    data = np.concatenate([X.data, np.ones(n_cells, X.dtype)])
    indices = np.concatenate([X.indices, np.arange(n_cells, dtype=X.indices.dtype)])
    indptr = np.append(X.indptr, X.indptr[-1] + n_cells).astype(X.indptr.dtype)
    return sp.csc_matrix((data, indices, indptr), shape=(n_cells, n_features + 1))


def cross_validated(X: sp.csc_matrix, y: np.ndarray, Cs: list[float], folds) -> np.ndarray:
    """Return the accuracy of each C on each fold, shape (n_Cs, n_folds).

    Parameters
    ----------
    X, y
        What `with_constant` gives, and types, (n_cells,).
    Cs
        Inverse penalties, ascending.
    folds
        Places of training and held-out cells, a pair for each fold.
    """
    classes = np.unique(y)
    tasks = [(*fold, name) for fold in folds for name in classes]
    found = _on_all_cores(partial(_held_out, X, y, Cs), tasks)
    accuracy = np.empty((len(Cs), len(folds)))
    for number, (_, test) in enumerate(folds):
        values = np.stack(found[number * len(classes) : (number + 1) * len(classes)])  # (n_classes, n_Cs, n_held_out)
        accuracy[:, number] = (classes[values.argmax(axis=0)] == y[test]).mean(axis=1)
    return accuracy


def fitted(X: sp.csc_matrix, y: np.ndarray, Cs: list[float]) -> Linear:
    """Return the optimum at the last of ascending Cs, found from those before; two classes are one problem.

    Parameters
    ----------
    X, y, Cs
        As in `cross_validated`.
    """
    classes = np.unique(y)
    if len(classes) == 1:  # nothing to decide
        return Linear(classes, np.zeros((1, X.shape[1] - 1)), np.zeros(1), 0.0)
    sides = classes[1:] if len(classes) == 2 else classes
    found = _on_all_cores(partial(_last, X, y, Cs), [(name,) for name in sides])
    w = np.stack([solution.w for solution in found])
    if len(classes) == 2:
        w = np.concatenate([-w, w])
    return Linear(classes, w[:, :-1], w[:, -1], max(solution.gap for solution in found))


def _held_out(X, y: np.ndarray, Cs: list[float], train: np.ndarray, test: np.ndarray, name: str) -> np.ndarray:
    """Return a class's decision values for held-out cells, (n_Cs, n_held_out); -inf where no training cell is of it."""
    sign = np.zeros(len(y))
    sign[train] = np.where(y[train] == name, 1, -1)
    if not (sign > 0).any():
        return np.full((len(Cs), len(test)), -np.inf)
    return np.stack([solution.f[test] for solution in path(X, sign, Cs)])


def _last(X, y: np.ndarray, Cs: list[float], name: str) -> Solution:
    *_, solution = path(X, np.where(y == name, 1.0, -1.0), Cs)
    return solution


def _on_all_cores(function: Callable, tasks: list[tuple]) -> list:
    """Return a function's value for each task; threads of one process see the same matrix.

    As many threads as joblib gives processes elsewhere, each with one thread in its linear algebra.
    """
    with threadpool_limits(1):
        return Parallel(effective_n_jobs(), backend="threading")(delayed(function)(*task) for task in tasks)
