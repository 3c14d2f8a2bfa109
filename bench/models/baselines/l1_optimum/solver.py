"""L1-penalised logistic problems over ascending C, each solved to its optimum, which the duality gap certifies.

Up to four problems of one matrix go along together: what a look at all of its columns costs is reading them.

Sources: working sets as in celer (Massias, Gramfort & Salmon 2018, https://proceedings.mlr.press/v80/massias18a.html);
the dual of logistic regression as in Ndiaye et al. 2017 (https://jmlr.org/papers/v18/16-577.html).
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from scipy.special import xlog1py, xlogy

from bench.core.errors import BenchError
from bench.models.baselines.l1_optimum import kernels
from bench.models.baselines.l1_optimum.newton import newton, objective, pull, violations
from bench.models.baselines.l1_optimum.scratch import Scratch

GAP = 9e-7  # share of the objective by which it may be above the optimum, at most
TOGETHER = 4  # problems, as `kernels.slopes` has them
FIRST = 1e-3  # C where a path starts at the latest; hardly a gene has a coefficient there
ALLOWED = 1e-4  # violation on the first working set; a set costs more than the last steps on it
LEAST_SET, MOST_SETS = 50, 200


class Solution(NamedTuple):
    """The optimum of one problem at one C."""

    w: np.ndarray  # (n_columns,)
    f: np.ndarray  # decision values of all cells, (n_cells,), also of those that were left out
    gap: float  # the objective is above the optimum by no more than this share of it
    slope: np.ndarray  # minus the gradient of the loss, (n_columns,)


def paths(X: sp.csc_matrix, signs: Sequence[np.ndarray], Cs: list[float]) -> Iterator[list[Solution]]:
    """Yield the optimum of each problem for each C, each found from those before.

    Parameters
    ----------
    X
        (n_cells, n_columns), all columns penalised; it is only read, and may be shared by threads.
    signs
        Of each of at most ``TOGETHER`` problems: 1 and -1 for the two sides, 0 for cells that are left out, (n_cells,).
        A solution does not depend on the other problems.
    Cs
        Inverse penalties, ascending.

    Raises
    ------
    BenchError
        If an optimum is not reached.
    """
    slopes = _slopes(X, [sign / 2 for sign in signs])
    now = before = [Solution(np.zeros(X.shape[1]), np.zeros(X.shape[0]), np.inf, slope) for slope in slopes]
    last, earlier, scratch = FIRST, FIRST, Scratch()
    for C in [*_decades(Cs[0]), *Cs]:
        starts = now
        if last > earlier:
            ratio = np.log(C / last) / np.log(last / earlier)
            starts = [_start(X, C, ratio, *three) for three in zip(signs, before, now, strict=True)]
        before, now = now, _solved(X, signs, C, starts, scratch)
        earlier, last = last, C
        if C in Cs:
            yield now


def _decades(C: float) -> list[float]:
    """Return the powers of ten from the first below C: from nothing at once to a large C is a long way."""
    return [step for step in FIRST * 10.0 ** np.arange(12) if step < C * (1 - 1e-9)]


def _start(X, C: float, ratio: float, sign: np.ndarray, before: Solution, now: Solution) -> Solution:
    """Return coefficients that go on as they went, in log C, without change of sign; or as they are, if that is better.

    Where the two sides can be separated, margins grow with log C.
    """
    w = now.w + ratio * (now.w - before.w)
    w[np.sign(w) != np.sign(now.w)] = 0
    f = _values(X, w)
    better = objective(w, f, sign, C) < objective(now.w, now.f, sign, C)
    return now._replace(w=w, f=f) if better else now


def _solved(
    X: sp.csc_matrix, signs: Sequence[np.ndarray], C: float, starts: list[Solution], scratch: Scratch
) -> list[Solution]:
    """Solve each on a working set, look at all columns, and again with another set until its gap is small."""
    found, allowed, left = list(starts), [ALLOWED] * len(starts), range(len(starts))
    for _ in range(MOST_SETS):
        moved = [_on_a_set(X, signs[i], C, found[i], allowed[i], scratch) for i in left]
        wrong = [pull(f, signs[i]) for i, (_, f) in zip(left, moved, strict=True)]
        slopes = _slopes(X, [C * wrong[k] * signs[i] for k, i in enumerate(left)])
        for k, i in enumerate(left):
            (w, f), slope = moved[k], slopes[k]
            found[i] = Solution(w, f, _gap(w, f, slope, wrong[k], signs[i], C), slope)
            allowed[i] = min(allowed[i], 0.003 * violations(slope, w).max())
        left = [i for i in left if found[i].gap > GAP]
        if not left:
            return found
    worst = max(solution.gap for solution in found)
    raise BenchError(
        f"L1 logistic regression at C={C:g} is within {worst:.1g} of its optimum after {MOST_SETS} working sets, "
        f"expected {GAP:g} of the objective; leave large values out of 'Cs', or use the recipe 'published'."
    )


def _on_a_set(
    X, sign: np.ndarray, C: float, start: Solution, allowed: float, scratch: Scratch
) -> tuple[np.ndarray, np.ndarray]:
    """Return coefficients and decision values after the steps on one working set."""
    columns = _working_set(start.w, start.slope)
    rows = _rows(X, columns, scratch)
    w = start.w.copy()
    w[columns] = newton(rows, w[columns], start.f, sign, C, max(allowed, 0.1 * GAP), scratch)
    return w, _values(X, w)  # anew: a cell without any gene of w has exactly the same value as another


def _rows(X, columns: np.ndarray, scratch: Scratch) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return some columns as a CSR matrix: where rows start, columns, values."""
    starts = kernels.starts_of(X.indptr, X.indices, columns, X.shape[0])
    column = scratch.array("column", (starts[-1],), np.int32)
    value = scratch.array("value", (starts[-1],), X.dtype)
    kernels.fill_rows(X.indptr, X.indices, X.data, columns, starts, column, value)
    return starts, column, value


def _working_set(w: np.ndarray, slope: np.ndarray) -> np.ndarray:
    """Return the columns with a coefficient and as many again, those with the steepest slopes."""
    score = np.where(w != 0, np.inf, np.abs(slope))
    size = min(max(LEAST_SET, 2 * np.count_nonzero(w)), len(w))
    return np.sort(np.argpartition(-score, size - 1)[:size])


def _slopes(X, residuals: Sequence[np.ndarray]) -> np.ndarray:
    """Return X.T @ r of each residual, (n_residuals, n_columns)."""
    R = np.zeros((X.shape[0], TOGETHER))
    R[:, : len(residuals)] = np.transpose(residuals)
    return np.ascontiguousarray(kernels.slopes(X.indptr, X.indices, X.data, R).T[: len(residuals)])


def _values(X, w: np.ndarray) -> np.ndarray:
    return kernels.values(X.indptr, X.indices, X.data, np.flatnonzero(w), w, X.shape[0])


def _gap(w, f, slope, wrong, sign, C: float) -> float:
    """Return the duality gap as a share of the objective; the dual point is ``wrong``, scaled until it is allowed."""
    found = objective(w, f, sign, C)
    dual = wrong / max(np.abs(slope).max(), 1)
    entropy = -(xlogy(dual, dual) + xlog1py(1 - dual, -dual)).sum()
    return float((found - C * entropy) / found)
