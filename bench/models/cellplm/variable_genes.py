"""The genes of largest variance beyond what their mean lets expect, as scanpy's ``seurat_v3`` finds them.

Source: Stuart et al., Cell 2019 (the criterion); Cleveland & Grosse 1991 (the smoother: local quadratics at the corners
of a tree of intervals, cubic pieces between them), written from the descriptions.
"""

import numpy as np
import scipy.sparse as sp

SPAN = 0.3  # share of the genes that decide the curve at a point
LEAF = 0.2  # share of those that an interval may hold before it is cut
MARGIN = 0.005  # of the range, by which the outer corners lie beyond the data


def most_variable(counts: sp.csr_matrix, n: int) -> np.ndarray:
    """Return the columns of the ``n`` genes of largest criterion, in their order.

    Parameters
    ----------
    counts
        (n_cells, n_genes) counts of all cells that decide.
    n
        0, or as many as there are genes, for all of them.
    """
    if not 0 < n < counts.shape[1]:
        return np.arange(counts.shape[1])
    return np.sort(ranked(criterion(counts)[2])[:n])


def ranked(values: np.ndarray) -> np.ndarray:
    """Return numbers of genes, that of the largest criterion first; equal ones in their order."""
    return np.argsort(-values, kind="stable")


def criterion(counts: sp.csr_matrix) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the mean, the variance, and the variance of clipped and standardised counts of each gene, float64."""
    X = sp.csr_matrix(counts, dtype=np.float64)
    n = X.shape[0]
    mean = np.asarray(X.mean(axis=0)).ravel()
    variance = (np.asarray(X.multiply(X).mean(axis=0)).ravel() - mean**2) * n / (n - 1)
    variance = np.maximum(variance, 0)
    varies = variance > 0
    scale = np.ones(len(mean))
    if varies.any():
        scale[varies] = np.sqrt(10 ** loess(np.log10(mean[varies]), np.log10(variance[varies])))
    most = mean + scale * np.sqrt(n)
    clipped = np.minimum(X.data, most[X.indices])
    sums = np.bincount(X.indices, clipped, minlength=len(mean))
    squares = np.bincount(X.indices, clipped**2, minlength=len(mean))
    return mean, variance, (n * mean**2 + squares - 2 * mean * sums) / ((n - 1) * scale**2)


def loess(x: np.ndarray, y: np.ndarray, span: float = SPAN) -> np.ndarray:
    """Return the smooth curve through points, at each of them.

    Parameters
    ----------
    x, y
        (n,) float64.
    span
        Share of the points that decide the curve at one place.
    """
    corners = np.sort(_corners(np.sort(x), max(1, int(len(x) * span * LEAF))))
    at = np.array([_local(x, y, corner, min(len(x), int(len(x) * span + 1e-5))) for corner in corners])
    left = np.clip(np.searchsorted(corners, x, side="right") - 1, 0, len(corners) - 2)
    width = corners[left + 1] - corners[left]
    h = (x - corners[left]) / width
    value = (1 - h) ** 2 * (1 + 2 * h) * at[left, 0] + h**2 * (3 - 2 * h) * at[left + 1, 0]
    return value + (h * (1 - h) ** 2 * at[left, 1] - h**2 * (1 - h) * at[left + 1, 1]) * width


def _corners(x: np.ndarray, most: int) -> list[float]:
    """Return where intervals of sorted points begin and end, cut in two while one holds more than ``most`` points."""
    margin = MARGIN * max(x[-1] - x[0], 1e-3 * np.abs(x[[0, -1]]).max() + 1e-30)
    low, high = x[0] - margin, x[-1] + margin
    found, waiting = [low, high], [(0, len(x) - 1, low, high)]
    while waiting:
        first, last, low, high = waiting.pop()
        if last - first + 1 <= most:
            continue
        middle = _between_different(x, first, (first + last) // 2, last)
        cut = x[middle]
        if cut in (low, high):
            continue
        found.append(cut)
        waiting += [(first, middle, low, cut), (middle + 1, last, cut, high)]
    return found


def _between_different(x: np.ndarray, first: int, middle: int, last: int) -> int:
    """Return the place nearest to the middle where the next point is another one, looked for on both sides in turn."""
    offset = 0
    while first <= middle + offset < last and x[middle + offset] == x[middle + offset + 1]:
        offset = -offset if offset > 0 else 1 - offset
    return middle + offset if first <= middle + offset < last else middle


def _local(x: np.ndarray, y: np.ndarray, at: float, n: int) -> tuple[float, float]:
    """Return value and slope, at one place, of the quadratic through the ``n`` nearest points."""
    distance = np.abs(x - at)
    reach = np.partition(distance, n - 1)[n - 1]
    if reach == 0:  # of few cells many genes are alike
        return y[distance == 0].mean(), 0.0
    near = distance < reach
    weight = np.sqrt((1 - (distance[near] / reach) ** 3) ** 3)
    powers = (x[near] - at)[:, None] ** np.arange(3)
    solution = np.linalg.lstsq(powers * weight[:, None], y[near] * weight, rcond=None)[0]
    return solution[0], solution[1]
