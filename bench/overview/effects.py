"""How far two arms of a claim are apart: in the published runs, and in this project's.

Statistics, best one that the runs allow: Welch's interval for published runs, which pair by no seed; for this project's
a t interval over pairs of equal seeds (three or more), with the sampling of the scored cells in quadrature where
predictions are kept; with fewer pairs a paired bootstrap over the scored cells, the widest of the seeds, which covers
the choice of cells and not that of seeds; for masked bins two standard errors over cells.
"""

from dataclasses import replace

import numpy as np
import pandas as pd
from scipy import stats

from bench import records
from bench.bootstrap import paired_bootstrap
from bench.errors import BenchError
from bench.figures.epochs import by_setting, ends_of, slow
from bench.masked.compare import ERRORS
from bench.overview.claims import Effect
from bench.overview.quantities import FAMILIES, SMALL_BATCHES
from bench.statistics import t_interval, welch

MIN_PAIRS = 3  # of seeds, for an interval over them
BATCHES = (8, 128)  # cells; the sizes of Figure 4 that every tier runs


def published_effect(a: pd.DataFrame, b: pd.DataFrame, level: float) -> Effect:
    """Return mean of a minus mean of b for published runs, with Welch's interval where there are two runs or more."""
    first, second = a["value"].to_numpy(), b["value"].to_numpy()
    value, n = float(first.mean() - second.mean()), (len(first), len(second))
    if min(n) >= 2:
        low, high = welch(first, second).confidence_interval(level)
        return Effect(value, float(low), float(high), f"Welch, {n[0]} and {n[1]} runs")
    if max(n) >= MIN_PAIRS:
        half = t_interval(first if n[0] > 1 else second, level).half_width
        return Effect(value, value - half, value + half, f"t, {max(n)} runs against one fit")
    return Effect(value, np.nan, np.nan, "one number each")


def effect(a: pd.DataFrame, b: pd.DataFrame, errors: list[pd.DataFrame], level: float) -> Effect:
    """Return a minus b for this project's runs of one tier and data set.

    Parameters
    ----------
    a, b
        Rows of `bench.overview.counterparts.reproduced`, one metric each.
    errors
        ``masked_accuracy_se`` of the runs of a and of b, for the masked accuracy; else empty.
    level
        Of the interval.
    """
    if max(a["series"].nunique(), b["series"].nunique()) > 1:
        return Effect(float(a["value"].mean() - b["value"].mean()), np.nan, np.nan, "several settings recorded")
    pairs = _pairs(a, b)
    if pairs.empty:
        return Effect(float(a["value"].mean() - b["value"].mean()), np.nan, np.nan, "no seed in common")
    gaps = (pairs["value_a"] - pairs["value_b"]).to_numpy()
    if errors:
        value = float(gaps.mean())
        error = np.sqrt(sum(of_arm["value"].mean() ** 2 for of_arm in errors))
        return Effect(value, value - ERRORS * error, value + ERRORS * error, "standard errors over cells")
    return _over_seeds(gaps, _bootstraps(pairs, a["metric"].iloc[0], level), level)


def _over_seeds(gaps: np.ndarray, cells: np.ndarray, level: float) -> Effect:
    """Return the mean difference of pairs, with the best interval that they and the bootstraps (n, 2) allow."""
    value, n = float(gaps.mean()), len(gaps)
    if n >= MIN_PAIRS:
        half, more = t_interval(gaps, level).half_width, ""
        if len(cells):
            half, more = np.hypot(half, np.mean((cells[:, 1] - cells[:, 0]) / 2)), " and cells"
        return Effect(value, value - half, value + half, f"t over {n} seeds{more}")
    if len(cells):
        return Effect(value, float(cells[:, 0].min()), float(cells[:, 1].max()), "bootstrap over cells")
    return Effect(value, np.nan, np.nan, f"{n} seed{'s' * (n > 1)}, no interval")


def training_effect(table: pd.DataFrame, tier: str, dataset: str, metric: str) -> Effect | None:
    """Return what Figures 4 and 5 show, from the records of ``sensitivity``; None where batch sizes are missing."""
    asked = {"experiment": "sensitivity", "tier": tier, "dataset": dataset, "model": "scbert"}
    rows = table[(table[list(asked)] == pd.Series(asked)).all(axis=1)]
    try:
        ends = ends_of(by_setting(rows, "batch_size")) if len(rows) else rows
    except BenchError:  # a single batch size is recorded so far
        return None
    groups = dict(tuple(ends.groupby("setting"))) if len(ends) else {}
    if metric == FAMILIES and groups:
        last = max((group["last"] for group in groups.values()), key=len)
        return Effect(float(slow(last).mean()), np.nan, np.nan, f"{len(last)} runs, no test")
    if not set(BATCHES) <= set(groups):
        return None
    small, large = (groups[size]["best"].to_numpy() for size in BATCHES)
    found = _difference(small, large) if metric == SMALL_BATCHES else _spread(small, large)
    enough = min(len(small), len(large)) >= MIN_PAIRS
    return (
        found
        if enough
        else replace(found, low=np.nan, high=np.nan, how=f"{len(small)} and {len(large)} seeds, no interval")
    )


def _pairs(a: pd.DataFrame, b: pd.DataFrame) -> pd.DataFrame:
    """Return one row per seed of both; a single fit on all cells, which no seed changes, goes with every seed."""
    columns = ["seed", "value", "key", "experiment", "tier"]
    how = "cross" if min(len(a), len(b)) == 1 and a["fraction"].eq(1).all() else "inner"
    on = {} if how == "cross" else {"on": "seed"}
    return a[columns].merge(b[columns], how=how, suffixes=("_a", "_b"), **on)


def _bootstraps(pairs: pd.DataFrame, metric: str, level: float) -> np.ndarray:
    """Return the ends of the bootstrap interval of each pair whose predictions are kept, (n, 2); accuracy alone."""
    ends = []
    for pair in pairs.itertuples() if metric == "accuracy" else ():
        try:
            said = [
                records.read_predictions(pair.experiment_a, pair.tier_a, key)[1] for key in (pair.key_a, pair.key_b)
            ]
        except BenchError:  # large predictions are not committed
            continue
        found = paired_bootstrap(*said, metric, level=level)
        ends.append((found.low, found.high))
    return np.array(ends).reshape(-1, 2)


def _difference(small: np.ndarray, large: np.ndarray) -> Effect:
    return published_effect(pd.DataFrame({"value": small}), pd.DataFrame({"value": large}), 0.95)


def _spread(small: np.ndarray, large: np.ndarray) -> Effect:
    """Return the logarithm of the ratio of the SDs, with its F interval; nan below two seeds each."""
    n = len(large), len(small)
    if min(n) < 2 or not small.std() or not large.std():
        return Effect(np.nan, np.nan, np.nan, "")
    value = float(np.log(large.std(ddof=1) / small.std(ddof=1)))
    low, high = value - np.log(stats.f.ppf((0.975, 0.025), n[0] - 1, n[1] - 1)) / 2
    return Effect(value, float(low), float(high), f"F, {n[1]} and {n[0]} seeds")
