"""Proximal Newton steps for one L1-penalised logistic problem on the few columns that matter for it.

Sources: Lee, Sun & Saunders 2014 (https://doi.org/10.1137/130921428) for inexact proximal Newton steps with a line
search; Andrew & Gao 2007 (https://doi.org/10.1145/1273496.1273501) for steps that end where a coefficient would change
its sign.  The quadratic of a step is minimised by turns of coordinate descent, which finds the signs, and a direct
solution with these signs, which large C needs: there the curvature is nearly singular.
"""

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve
from scipy.special import expit

from bench.models.baselines.l1_optimum import kernels
from bench.models.baselines.l1_optimum.scratch import Scratch

SWEEPS = 5  # of coordinate descent before a direct solution
NEGLIGIBLE = 1e-4  # share of the largest curvature of a cell; cells below shape no step, but count in every gradient
RIDGE = 1e-10  # share of the mean curvature that is added, so that none is zero
MOST_STEPS, MOST_TURNS, MOST_HALVINGS = 100, 200, 30


def objective(w: np.ndarray, f: np.ndarray, sign: np.ndarray, C: float) -> float:
    """Return sum |w| + C sum log(1 + exp(-sign f)) over the cells whose sign is not 0."""
    return np.abs(w).sum() + C * np.logaddexp(0, -sign * f)[sign != 0].sum()


def pull(f: np.ndarray, sign: np.ndarray) -> np.ndarray:
    """Return the probability of the wrong side, (n_cells,); 0 for cells whose sign is 0."""
    return expit(-sign * f) * (sign != 0)


def violations(slope: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Return by how much each coefficient misses the condition of the optimum; slope is minus the loss's gradient."""
    return np.where(w == 0, np.maximum(np.abs(slope) - 1, 0), np.abs(slope - np.sign(w)))


def newton(rows, w: np.ndarray, f: np.ndarray, sign: np.ndarray, C: float, tol: float, scratch: Scratch) -> np.ndarray:
    """Return coefficients of the columns of ``rows`` of which none misses its condition by more than ``tol``.

    Parameters
    ----------
    rows
        CSR matrix of cells and these columns: where rows start, columns, values.
    w, f
        Coefficients to start from, (n_columns,), and the decision values that they give, (n_cells,).
    sign
        1 and -1 for the two sides, 0 for cells that are left out, (n_cells,).
    C, tol
        Inverse penalty, and the largest violation.
    scratch
        Memory for the curvature.
    """
    reached = objective(w, f, sign, C)
    for _ in range(MOST_STEPS):
        wrong = pull(f, sign)
        slope = kernels.transposed_times(*rows, C * wrong * sign, len(w))
        off = violations(slope, w)
        if (worst := off.max()) <= tol:
            break
        active = _active(off, w)
        H = _curvature(rows, C * wrong * (1 - wrong), active, len(w), scratch)
        # Ever more exact, so that convergence is faster than linear; exact early on would be wasted.
        exact = max(0.1 * min(worst, worst**1.5), 0.3 * tol)
        step = np.zeros(len(w))
        step[active] = quadratic(H, slope[active], w[active], exact, scratch) - w[active]
        w, f, reached = _search(w, f, step, kernels.times(*rows, step), slope, sign, C, reached)
    return w


def _active(off: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Return the columns that a step may change: those with a coefficient, and a few that miss their condition most."""
    n_there = np.count_nonzero(w)
    most = n_there + max(20, n_there // 3)
    score = np.where(w != 0, np.inf, off)
    active = np.flatnonzero(score > 0)
    return active if len(active) <= most else np.sort(np.argpartition(-score, most - 1)[:most])


def _curvature(rows, weight: np.ndarray, active: np.ndarray, n_columns: int, scratch: Scratch) -> np.ndarray:
    place = np.full(n_columns, -1, np.int32)
    place[active] = np.arange(len(active))
    H = scratch.array("curvature", (len(active), len(active)))
    kernels.curvature(*rows, weight, NEGLIGIBLE * weight.max(), place, H)
    H[np.diag_indices_from(H)] += RIDGE * max(H.diagonal().mean(), 1)
    return H


def _search(w, f, step, change, slope, sign, C, reached):
    """Return coefficients, decision values and objective after as much of a step as lowers the objective enough."""
    promised = np.abs(w + step).sum() - np.abs(w).sum() - slope @ step
    share = 1.0
    for _ in range(MOST_HALVINGS):
        found = objective(w + share * step, f + share * change, sign, C)
        if found <= reached + 0.01 * share * promised + 1e-13 * reached:  # the last term is rounding
            break
        share /= 2
    return w + share * step, f + share * change, found


def quadratic(H: np.ndarray, slope: np.ndarray, w: np.ndarray, tol: float, scratch: Scratch) -> np.ndarray:
    """Return the u with the least (u - w) H (u - w) / 2 - slope (u - w) + sum |u|, to a violation of ``tol``."""
    u, slope = w.copy(), slope.copy()
    for _ in range(MOST_TURNS):
        if kernels.sweep(H, slope, u, tol, SWEEPS) <= tol:
            break
        _solve(H, slope, u, scratch)
    return u


def _solve(H: np.ndarray, slope: np.ndarray, u: np.ndarray, scratch: Scratch) -> None:
    """Move to the minimum with the present signs, or towards it; what would change its sign becomes zero; in place."""
    there = np.flatnonzero(u)
    if not len(there):
        return
    old, signs = u[there], np.sign(u[there])
    part = scratch.array("part", (len(there), len(there)))
    kernels.part(H, there, part)
    try:
        factor = cho_factor(part.T, overwrite_a=True, check_finite=False)  # .T, so that LAPACK copies none
    except LinAlgError:  # singular but for rounding; coordinate descent goes on alone
        return
    wanted = cho_solve(factor, slope[there] - signs, check_finite=False)
    moved = np.zeros(len(u))
    for _ in range(MOST_HALVINGS):
        new = old + wanted
        new[np.sign(new) != signs] = 0
        moved[there] = step = new - old
        bent = H @ moved
        if step @ bent[there] / 2 - slope[there] @ step + np.abs(new).sum() - np.abs(old).sum() <= 0:
            u[there] = new
            slope -= bent
            return
        wanted /= 2
