"""The paper's L1 logistic regression solved to its optimum: all classes and folds share one matrix.

Looked at before writing a solver: skglm 0.5 and celer 0.7.4 have the problem, but no weights of cells in it, so that
each fold needs a copy of the matrix, and skglm's loops hold the interpreter's lock, so that threads do not help; adelie
1.1 asks for numpy below 2; glum 3.4 was not tried, for the packages that it brings.

Objectives beside liblinear's at its finest, seconds and memory of the whole protocol: ``tests/perf``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import chain, pairwise

import numpy as np
import scipy.sparse as sp
from joblib import Parallel, delayed, effective_n_jobs
from threadpoolctl import threadpool_limits

from bench.models.baselines.l1_optimum import kernels
from bench.models.baselines.l1_optimum.solver import TOGETHER, Solution, paths


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
    X = sp.csr_matrix(X)
    n_cells, n_features = X.shape
    columns = kernels.with_ones(X.indptr, X.indices, X.data, n_features)
    return sp.csc_matrix(columns, shape=(n_cells, n_features + 1))


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
    tasks = [(*fold, name) for name in classes for fold in folds]  # folds of one class take equally long
    found = _on_all_cores(partial(_held_out, X, y, Cs), tasks)
    accuracy = np.empty((len(Cs), len(folds)))
    for number, (_, test) in enumerate(folds):
        values = np.stack(found[number :: len(folds)])  # (n_classes, n_Cs, n_held_out)
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
    found = _on_all_cores(partial(_last, X, y, Cs), list(sides))
    w = np.stack([solution.w for solution in found])
    if len(classes) == 2:
        w = np.concatenate([-w, w])
    return Linear(classes, w[:, :-1], w[:, -1], max(solution.gap for solution in found))


def _held_out(X, y: np.ndarray, Cs: list[float], tasks: list[tuple]) -> list[np.ndarray]:
    """Return decision values for held-out cells, (n_Cs, n_held_out), of each task: a fold's two parts and a class.

    They are -inf where no training cell is of the class.
    """
    found = [np.full((len(Cs), len(test)), -np.inf) for _, test, _ in tasks]
    there = [number for number, (train, _, name) in enumerate(tasks) if (y[train] == name).any()]
    signs = [_sign(y, name, train) for train, _, name in (tasks[number] for number in there)]
    for row, solutions in enumerate(paths(X, signs, Cs) if there else ()):
        for number, solution in zip(there, solutions, strict=True):
            found[number][row] = solution.f[tasks[number][1]]
    return found


def _sign(y: np.ndarray, name: str, train: np.ndarray) -> np.ndarray:
    """Return 1 for training cells of a class, -1 for others, and 0 for cells that are left out."""
    sign = np.zeros(len(y))
    sign[train] = np.where(y[train] == name, 1, -1)
    return sign


def _last(X, y: np.ndarray, Cs: list[float], names: list[str]) -> list[Solution]:
    *_, solutions = paths(X, [np.where(y == name, 1.0, -1.0) for name in names], Cs)
    return solutions


def _on_all_cores(function: Callable[[list], list], tasks: list) -> list:
    """Return a function's values for tasks, of which it is given a few at a time; threads see the same matrix.

    As many threads as joblib gives processes elsewhere, each with one thread in its linear algebra.
    """
    n_threads = effective_n_jobs()
    n_groups = max(-(-len(tasks) // TOGETHER), min(n_threads, len(tasks)))
    ends = np.linspace(0, len(tasks), n_groups + 1).round().astype(int)
    with threadpool_limits(1):
        groups = (delayed(function)(tasks[start:end]) for start, end in pairwise(ends))
        return list(chain.from_iterable(Parallel(n_threads, backend="threading")(groups)))
