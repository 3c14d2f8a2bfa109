"""Metrics of many resamples at once: cells of equal truth and equal predictions are one kind, and kinds are counted.

Ten times as fast as scoring the cells of each resample, with the same numbers.
"""

from functools import lru_cache

import numpy as np
import pandas as pd

from bench.statistics.predictions import ABSTAINED, Predictions


def drawn_kinds(a: Predictions, b: Predictions, donor: np.ndarray | None, n: int, seed: int):
    """Return distinct (truth, a, b), shape (3, n_kinds), and how often each kind is drawn, (n, n_kinds).

    Cells that agree in all three are exchangeable, so drawing counts of kinds is drawing cells.
    """
    codes, names = pd.factorize(np.concatenate([a.truth, a.predicted, b.predicted]), sort=True)
    base = len(names) ** np.arange(2, -1, -1)[:, None]
    kinds, kind = np.unique((codes.reshape(3, -1) * base).sum(axis=0), return_inverse=True)  # one number for three
    kinds = names[kinds // base % len(names)]
    if donor is None:
        return kinds, _drawn(tuple(np.bincount(kind)), n, seed)
    table = np.zeros((donor.max() + 1, kinds.shape[1]), dtype=int)
    np.add.at(table, (donor, kind), 1)
    return kinds, _drawn((1,) * len(table), n, seed) @ table


@lru_cache(maxsize=8)  # several metrics of the same pairs of runs are asked for one after another
def _drawn(counts: tuple[int, ...], n: int, seed: int) -> np.ndarray:
    """Return how often each kind is drawn in n resamples, given how many there are of each: (n, n_kinds)."""
    total = sum(counts)
    weights = np.random.default_rng(seed).multinomial(total, np.array(counts) / total, size=n)
    weights.flags.writeable = False
    return weights


def _accuracy(truth: np.ndarray, predicted: np.ndarray, weights: np.ndarray, hard_pair=()) -> np.ndarray:
    return weights @ (truth == predicted) / weights.sum(axis=1)


def _hard_accuracy(truth: np.ndarray, predicted: np.ndarray, weights: np.ndarray, hard_pair) -> np.ndarray:
    hard = np.isin(truth, list(hard_pair))
    return _accuracy(truth[hard], predicted[hard], weights[:, hard])


def _per_type(truth: np.ndarray, predicted: np.ndarray, weights: np.ndarray, labels) -> tuple[np.ndarray, ...]:
    """Return the cells of each type, all calls of it and the right ones, each (n_resamples, n_types)."""
    true, call = truth[:, None] == labels, predicted[:, None] == labels  # (n_kinds, n_types)
    masks = np.hstack([true, call, true & call]).astype(float)
    return tuple(np.split(weights @ masks, 3, axis=1))  # one product: weights are made floating point for it


def _mean_over_types(numerator: np.ndarray, denominator: np.ndarray, counted: np.ndarray) -> np.ndarray:
    return np.nanmean(np.divide(numerator, denominator, where=counted, out=np.full(counted.shape, np.nan)), axis=1)


def _balanced_accuracy(truth: np.ndarray, predicted: np.ndarray, weights: np.ndarray, hard_pair=()) -> np.ndarray:
    support, _, hits = _per_type(truth, predicted, weights, np.unique(truth))
    return _mean_over_types(hits, support, support > 0)


def _macro_f1(truth: np.ndarray, predicted: np.ndarray, weights: np.ndarray, hard_pair=()) -> np.ndarray:
    support, calls, hits = _per_type(truth, predicted, weights, np.unique(truth))
    return _mean_over_types(2 * hits, support + calls, support > 0)


def _macro_f1_seen(truth: np.ndarray, predicted: np.ndarray, weights: np.ndarray, hard_pair=()) -> np.ndarray:
    seen = np.setdiff1d([truth, predicted], [ABSTAINED])
    support, calls, hits = _per_type(truth, predicted, weights, seen)
    return _mean_over_types(2 * hits, support + calls, support + calls > 0)


def _hard_f1(truth: np.ndarray, predicted: np.ndarray, weights: np.ndarray, hard_pair) -> np.ndarray:
    support, calls, hits = _per_type(truth, predicted, weights, np.array(list(hard_pair)))
    return _mean_over_types(2 * hits, support + calls, support > 0)


# from counts of kinds of cells; every other metric scores the resampled cells themselves
FAST = {
    "accuracy": _accuracy,
    "balanced_accuracy": _balanced_accuracy,
    "macro_f1": _macro_f1,
    "macro_f1_seen": _macro_f1_seen,
    "hard_accuracy": _hard_accuracy,
    "hard_f1": _hard_f1,
}
