"""One L1-penalised logistic problem over ascending C, each solved to its optimum, which the duality gap certifies.

Sources: working sets as in celer (Massias, Gramfort & Salmon 2018, https://proceedings.mlr.press/v80/massias18a.html);
the dual of logistic regression as in Ndiaye et al. 2017 (https://jmlr.org/papers/v18/16-577.html).
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from scipy.special import xlog1py, xlogy

from bench.core.errors import BenchError
from bench.models.baselines.l1_optimum import kernels
from bench.models.baselines.l1_optimum.newton import newton, objective, pull, violations

GAP = 5e-7  # share of the objective by which it may be above the optimum, at most
FIRST = 1e-3  # C where a path starts at the latest; hardly a gene has a coefficient there
LEAST_SET, MOST_SETS = 50, 200


class Solution(NamedTuple):
    """The optimum of one problem at one C."""

    w: np.ndarray  # (n_columns,)
    f: np.ndarray  # decision values of all cells, (n_cells,), also of those that were left out
    gap: float  # the objective is above the optimum by no more than this share of it
    slope: np.ndarray  # minus the gradient of the loss, (n_columns,)


def path(X: sp.csc_matrix, sign: np.ndarray, Cs: list[float]) -> Iterator[Solution]:
    """Yield the optimum for each C, each found from those before.

    Parameters
    ----------
    X
        (n_cells, n_columns), all columns penalised; it is only read, and may be shared by threads.
    sign
        1 and -1 for the two sides, 0 for cells that are left out, (n_cells,).
    Cs
        Inverse penalties, ascending.

    Raises
    ------
    BenchError
        If an optimum is not reached.
    """
    w, f = np.zeros(X.shape[1]), np.zeros(X.shape[0])
    now = before = Solution(w, f, np.inf, kernels.times(X.indptr, X.indices, X.data, sign / 2))
    last = earlier = FIRST
    for C in [*_decades(Cs[0]), *Cs]:
        start = _foreseen(X, before, now, np.log(C / last) / np.log(last / earlier)) if last > earlier else now
        better = objective(start.w, start.f, sign, C) < objective(now.w, now.f, sign, C)
        before, now = now, _solved(X, sign, C, start if better else now)
        earlier, last = last, C
        if C in Cs:
            yield now


def _decades(C: float) -> list[float]:
    """Return the powers of ten from the first below C: from nothing at once to a large C is a long way."""
    return [step for step in FIRST * 10.0 ** np.arange(12) if step < C * (1 - 1e-9)]


def _foreseen(X, before: Solution, now: Solution, ratio: float) -> Solution:
    """Return coefficients that go on as they went, in log C, without change of sign.

    Where the two sides can be separated, margins grow with log C.
    """
    w = now.w + ratio * (now.w - before.w)
    w[np.sign(w) != np.sign(now.w)] = 0
    return now._replace(w=w, f=_values(X, w))


def _solved(X: sp.csc_matrix, sign: np.ndarray, C: float, start: Solution) -> Solution:
    """Solve on a working set, look at all columns, and again with another set until the gap is small."""
    w, f, _, slope = start
    allowed = 0.01
    for _ in range(MOST_SETS):
        columns = _working_set(w, slope)
        rows = kernels.rows_of(X.indptr, X.indices, X.data, columns, X.shape[0])
        w = w.copy()
        w[columns] = newton(rows, w[columns], f, sign, C, max(allowed, 0.1 * GAP))
        f = _values(X, w)  # anew: a cell without any gene of w has exactly the same value as another
        wrong = pull(f, sign)
        slope = kernels.times(X.indptr, X.indices, X.data, C * wrong * sign)
        gap = _gap(w, f, slope, wrong, sign, C)
        if gap <= GAP:
            return Solution(w, f, gap, slope)
        allowed = 0.01 * min(violations(slope, w).max(), 1)
    raise BenchError(
        f"L1 logistic regression at C={C:g} is within {gap:.1g} of its optimum after {MOST_SETS} working sets, "
        f"expected {GAP:g} of the objective; leave large values out of 'Cs', or use the recipe 'published'."
    )


def _working_set(w: np.ndarray, slope: np.ndarray) -> np.ndarray:
    """Return the columns with a coefficient and as many again, those with the steepest slopes."""
    score = np.where(w != 0, np.inf, np.abs(slope))
    size = min(max(LEAST_SET, 2 * np.count_nonzero(w)), len(w))
    return np.sort(np.argpartition(-score, size - 1)[:size])


def _values(X: sp.csc_matrix, w: np.ndarray) -> np.ndarray:
    columns = np.flatnonzero(w)
    return X[:, columns] @ w[columns]


def _gap(w, f, slope, wrong, sign, C: float) -> float:
    """Return the duality gap as a share of the objective; the dual point is ``wrong``, scaled until it is allowed."""
    found = objective(w, f, sign, C)
    dual = wrong / max(np.abs(slope).max(), 1)
    entropy = -(xlogy(dual, dual) + xlog1py(1 - dual, -dual)).sum()
    return float((found - C * entropy) / found)
