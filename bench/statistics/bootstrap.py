"""Paired bootstraps over cells, or over donors from ten donors on: how far two models differ on the same cells.

Source: Efron & Tibshirani 1993 (percentile and cluster bootstrap).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from bench.core.errors import BenchError
from bench.statistics.kinds import FAST, drawn_kinds
from bench.statistics.metrics import METRICS, demand_pair, evaluate, has_pair
from bench.statistics.predictions import Predictions

MIN_DONORS = 10  # fewer clusters make a cluster bootstrap far too narrow


@dataclass(frozen=True)
class Resamples:
    """Metric of a minus metric of b in resamples of the cells, or donors, that both are scored on."""

    unit: str  # what was resampled: "cell" or "donor"
    draws: np.ndarray = field(repr=False, compare=False)  # (n_resamples,) differences

    def ppf(self, share: float) -> float:
        """Return a quantile of the resamples."""
        return float(np.quantile(self.draws, share))

    def cdf(self, border: float) -> float:
        """Return the share of resamples at or below a border, the estimate counted as one that is: never zero."""
        return float((1 + (self.draws <= border).sum()) / (1 + len(self.draws)))

    def sf(self, border: float) -> float:
        """Return the share of resamples at or above a border, likewise."""
        return float((1 + (self.draws >= border).sum()) / (1 + len(self.draws)))


@dataclass(frozen=True, kw_only=True)
class Difference(Resamples):
    """Metric of a minus metric of b on the same cells, with a percentile interval over resampled units."""

    estimate: float
    low: float
    high: float


def paired_bootstrap(
    a: Predictions,
    b: Predictions,
    metric: str,
    *,
    n_resamples: int = 2000,
    seed: int = 0,
    clusters: Sequence[str] | None = None,
    hard_pair: Sequence[str] = (),
    level: float = 0.95,
) -> Difference:
    """Return metric(a) - metric(b) with a percentile interval from `resampled`, whose parameters and errors it has.

    The interval covers the choice of test cells, not that of training seeds.

    Parameters
    ----------
    level
        Of the interval.
    """
    how = {"n_resamples": n_resamples, "seed": seed, "clusters": clusters, "hard_pair": hard_pair}
    found = resampled(a, b, metric, **how)
    estimate = _number(metric, a, hard_pair) - _number(metric, b, hard_pair)
    low, high = (found.ppf((1 + side * level) / 2) for side in (-1, 1))
    return Difference(found.unit, found.draws, estimate=estimate, low=low, high=high)


def resampled(
    a: Predictions,
    b: Predictions,
    metric: str,
    *,
    n_resamples: int = 2000,
    seed: int = 0,
    clusters: Sequence[str] | None = None,
    hard_pair: Sequence[str] = (),
) -> Resamples:
    """Return metric(a) - metric(b) in resamples of the cells, or donors, of one test set.

    Both models are scored on the same resample. A type that a resample misses leaves the average there.
    The draws depend on `seed` alone.

    Parameters
    ----------
    clusters
        Donor of every cell, shape (n_cells,): whole donors are resampled. Needs ten distinct donors.
    hard_pair
        The two hard types, for `hard_accuracy` and `hard_f1`.

    Raises
    ------
    BenchError
        If the cells differ, the metric is unknown, per class or without its hard pair, or donors are fewer than ten.
    """
    _same_cells(a, b)
    demand_pair(metric, a, hard_pair)
    donor = None if clusters is None else _donor_codes(a, clusters)
    if metric in FAST:
        (truth, of_a, of_b), weights = drawn_kinds(a, b, donor, n_resamples, seed)
        draws = FAST[metric](truth, of_a, weights, hard_pair) - FAST[metric](truth, of_b, weights, hard_pair)
    else:
        chosen = _resamples(len(a.truth), donor, n_resamples, np.random.default_rng(seed))
        draws = np.array(
            [_number(metric, a.take(i), hard_pair) - _number(metric, b.take(i), hard_pair) for i in chosen]
        )
    return Resamples("cell" if donor is None else "donor", draws)


def per_donor(
    predictions: Predictions, donors: Sequence[str], metric: str, hard_pair: Sequence[str] = ()
) -> pd.DataFrame:
    """Return one metric per donor: columns donor, n_cells, value (NaN where a donor lacks the hard types)."""
    _number(metric, predictions, hard_pair)
    donors = _donors(predictions, donors)
    rows = []
    for donor in np.unique(donors):
        own = predictions.take(donors == donor)
        defined = not METRICS[metric].hard or has_pair(own, hard_pair)
        rows.append((donor, len(own.truth), _number(metric, own, hard_pair) if defined else np.nan))
    return pd.DataFrame(rows, columns=["donor", "n_cells", "value"])


def _number(metric: str, predictions: Predictions, hard_pair: Sequence[str]) -> float:
    value = evaluate(metric, predictions, hard_pair)
    if isinstance(value, dict):
        raise BenchError(f"{metric!r} gives one value per cell type; expected one number. Use macro_f1 or accuracy.")
    return value


def _same_cells(a: Predictions, b: Predictions) -> None:
    if len(a.truth) != len(b.truth):
        raise BenchError(f"a has {len(a.truth)} cells and b {len(b.truth)}; score both models on the same test cells.")
    if different := int((a.truth != b.truth).sum()):
        raise BenchError(f"The true types of a and b differ in {different} cells; put both into the same cell order.")


def _donors(predictions: Predictions, donors: Sequence[str]) -> np.ndarray:
    donors = np.asarray(donors)
    if donors.shape != predictions.truth.shape:
        raise BenchError(f"donors have shape {donors.shape}; expected one per cell, {predictions.truth.shape}.")
    if missing := int(pd.isna(donors).sum()):
        raise BenchError(f"{missing} cells have no donor; name their donor or leave them out.")
    return donors.astype(str)


def _donor_codes(predictions: Predictions, clusters: Sequence[str]) -> np.ndarray:
    names, codes = np.unique(_donors(predictions, clusters), return_inverse=True)
    if len(names) < MIN_DONORS:
        raise BenchError(
            f"clusters has {len(names)} distinct donors; a cluster bootstrap needs at least {MIN_DONORS}. "
            "Show one value per donor instead, with per_donor(predictions, donors, metric)."
        )
    return codes


def _resamples(n_cells: int, donor: np.ndarray | None, n: int, rng: np.random.Generator):
    """Yield the cells of n resamples as indices: cells drawn with replacement, or all cells of drawn donors."""
    groups = None if donor is None else [np.flatnonzero(donor == code) for code in range(donor.max() + 1)]
    for _ in range(n):
        if groups is None:
            yield rng.integers(n_cells, size=n_cells)
        else:
            yield np.concatenate([groups[i] for i in rng.integers(len(groups), size=len(groups))])
