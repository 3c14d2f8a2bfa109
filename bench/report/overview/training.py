"""What Figures 4 and 5 show, from this project's runs: small batches against large ones, and slow runs."""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy import stats

from bench.core.errors import BenchError
from bench.report.effects import MIN_PAIRS, Effect, over_seeds
from bench.report.figures.epochs import by_setting, ends_of, slow
from bench.report.overview.quantities import FAMILIES, SMALL_BATCHES

BATCHES = (8, 128)  # cells; the sizes of Figure 4 that every tier runs


def training_effect(table: pd.DataFrame, tier: str, dataset: str, metric: str) -> Effect | None:
    """Return what Figures 4 and 5 show, from the records of ``sensitivity``; None where batch sizes are missing."""
    asked = {"experiment": "sensitivity", "tier": tier, "dataset": dataset, "model": "scbert"}
    rows = table[(table[list(asked)] == pd.Series(asked)).all(axis=1)]
    try:
        ends = ends_of(by_setting(rows, "batch_size")) if len(rows) else rows
    except BenchError:  # a single batch size is recorded so far
        return None
    if len(ends) and len(ends[["title", "series"]].drop_duplicates()) > 1:
        return Effect(float("nan"), "several settings recorded")
    groups = dict(tuple(ends.groupby("setting"))) if len(ends) else {}
    if metric == FAMILIES and groups:
        last = max((group["last"] for group in groups.values()), key=len)
        return Effect(float(slow(last).mean()), f"{len(last)} runs, no test")
    if not set(BATCHES) <= set(groups):
        return None
    small, large = (groups[size].set_index("seed")["best"] for size in BATCHES)
    if metric == SMALL_BATCHES:
        return over_seeds((small - large).dropna().to_numpy(), [])
    found = ratio_of_spreads(small.to_numpy(), large.to_numpy())
    few = f"{len(small)} and {len(large)} seeds, no interval" if min(len(small), len(large)) < MIN_PAIRS else ""
    return replace(found, how=few, spread=()) if few else found


@dataclass(frozen=True)
class LogRatio:
    """Sampling of the logarithm of a ratio of two SDs of normal values, from the F distribution."""

    value: float
    df: tuple[int, int]  # of the numerator and of the denominator

    def cdf(self, border: float) -> float:
        """Return the p value against a ratio at or below a border."""
        return float(stats.f.sf(np.exp(2 * (self.value - border)), *self.df))

    def sf(self, border: float) -> float:
        """Return the p value against a ratio at or above a border."""
        return 1 - self.cdf(border)

    def ppf(self, share: float) -> float:
        """Return an end of the one-sided interval."""
        return float(self.value - np.log(stats.f.isf(share, *self.df)) / 2)


def ratio_of_spreads(small: np.ndarray, large: np.ndarray) -> Effect:
    """Return the logarithm of the ratio of the SDs, large batches over small ones; nan below two seeds each."""
    n = len(large), len(small)
    if min(n) < 2 or not small.std() or not large.std():
        return Effect(np.nan, "")
    value = float(np.log(large.std(ddof=1) / small.std(ddof=1)))
    return Effect(value, f"F, {n[1]} and {n[0]} seeds", (LogRatio(value, (n[0] - 1, n[1] - 1)),))
