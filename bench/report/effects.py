"""How far two arms of recorded runs are apart, with the bootstrap over scored cells where predictions are kept."""

import numpy as np
import pandas as pd
from scipy import stats

from bench.core.errors import BenchError
from bench.datasets import DATASETS, find
from bench.protocol import beside
from bench.statistics.bootstrap import FAST, MIN_DONORS, Resamples, resampled
from bench.statistics.effects import MIN_PAIRS, Effect, of_published, over_seeds

__all__ = ["MIN_PAIRS", "Effect", "of_published", "of_runs", "over_seeds"]

ONE_ARM = ["title", "series"]  # an arm is one setting on one data set as it was read


def of_runs(a: pd.DataFrame, b: pd.DataFrame, errors: list[pd.DataFrame] | tuple = ()) -> Effect:
    """Return a minus b for this project's runs of one tier, data set and share of the training cells.

    Parameters
    ----------
    a, b
        Rows of `bench.report.figures.runs_of`, one metric each.
    errors
        ``masked_accuracy_se`` of the runs of a and of b, for the masked accuracy; else empty.
    """
    if any(len(arm[told].drop_duplicates()) > 1 for arm in (a, b) for told in [arm.columns.intersection(ONE_ARM)]):
        return Effect(float("nan"), "several settings recorded")
    pairs = _pairs(a, b)
    if pairs.empty:
        return Effect(float(a["value"].mean() - b["value"].mean()), "no seed in common")
    gaps = (pairs["value_a"] - pairs["value_b"]).to_numpy()
    if errors:
        error = float(np.sqrt(sum(of_arm["value"].mean() ** 2 for of_arm in errors)))
        return Effect(float(gaps.mean()), "standard errors over cells", (stats.norm(gaps.mean(), error),))
    return over_seeds(gaps, _bootstraps(pairs, a["metric"].iloc[0]))


def _pairs(a: pd.DataFrame, b: pd.DataFrame) -> pd.DataFrame:
    """Return one row per seed of both; a single fit on all cells, which no seed changes, goes with every seed."""
    columns = ["seed", "value", "key", "experiment", "tier", "dataset"]
    how = "cross" if min(len(a), len(b)) == 1 and a["fraction"].eq(1).all() else "inner"
    on = {} if how == "cross" else {"on": "seed"}
    return a[columns].merge(b[columns], how=how, suffixes=("_a", "_b"), **on)


def _bootstraps(pairs: pd.DataFrame, metric: str) -> list[Resamples]:
    """Return the bootstrap over cells of each pair whose predictions are kept."""
    found = []
    for pair in pairs.itertuples() if metric in FAST else ():
        hard_pair = find(pair.dataset_a).hard_pair if pair.dataset_a in DATASETS else ()
        if metric.startswith("hard_") and not hard_pair:
            continue
        try:
            cells, a = beside.read_predictions(pair.experiment_a, pair.tier_a, pair.key_a)
            others, b = beside.read_predictions(pair.experiment_b, pair.tier_b, pair.key_b)
        except BenchError:  # large predictions are not committed
            continue
        if not np.array_equal(cells, others) or not np.array_equal(a.truth, b.truth):  # scored on other cells
            continue
        clusters = a.batch if a.batch is not None and len(set(a.batch)) >= MIN_DONORS else None
        found.append(resampled(a, b, metric, hard_pair=hard_pair, clusters=clusters))
    return found
