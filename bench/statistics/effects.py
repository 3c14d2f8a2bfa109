"""How far two arms are apart, with an interval at any level and one-sided p values at any border.

The best statistic that the runs allow: Welch's for published runs, which pair by no seed; for this project's a t
distribution over pairs of equal seeds (three or more), with the sampling of the scored cells in quadrature where
predictions are kept; with fewer pairs a paired bootstrap over the scored cells, the widest of the seeds, which covers
the choice of cells and not that of seeds.  From ten donors (batches) among the scored cells on, whole donors are drawn
in the place of cells.  For masked bins: the normal distribution of their standard errors over cells.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from bench.statistics.bootstrap import Resamples
from bench.statistics.intervals import welch

MIN_PAIRS = 3  # of seeds, for an interval over them
SMALLEST = 1e-12  # standard error: runs may agree to the last digit


@dataclass(frozen=True)
class Effect:
    """Arm a minus arm b, how that was found, and what is known of its sampling."""

    value: float
    how: str
    spread: tuple = ()  # distributions with ppf, cdf and sf, one or one per seed: the widest counts; none without test

    def interval(self, level: float) -> tuple[float, float]:
        """Return the ends of the interval, nan without."""
        tail = (1 - level) / 2
        ends = [(float(s.ppf(tail)), float(s.ppf(1 - tail))) for s in self.spread] or [(np.nan, np.nan)]
        return min(low for low, _ in ends), max(high for _, high in ends)

    def above(self, border: float) -> float:
        """Return the one-sided p value against a difference at or below a border; nan without."""
        return max((float(s.cdf(border)) for s in self.spread), default=np.nan)

    def below(self, border: float) -> float:
        """Return the one-sided p value against a difference at or above a border; nan without."""
        return max((float(s.sf(border)) for s in self.spread), default=np.nan)

    def differs(self) -> float:
        """Return the two-sided p value against no difference; nan without."""
        return float(np.fmin(1, 2 * np.fmin(self.above(0), self.below(0)))) if self.spread else np.nan

    def same(self, margin: float) -> float:
        """Return the p value of two one-sided tests against a difference of the margin or more; nan without."""
        return max(self.above(-margin), self.below(margin))


def of_published(a: pd.DataFrame, b: pd.DataFrame) -> Effect:
    """Return mean of a minus mean of b for published runs, with Welch's distribution from two runs each."""
    first, second = a["value"].to_numpy(), b["value"].to_numpy()
    value, n = float(first.mean() - second.mean()), (len(first), len(second))
    if min(n) >= 2:
        error = np.hypot(stats.sem(first), stats.sem(second))
        df = welch(first, second).df if error > SMALLEST else min(n) - 1
        return Effect(value, f"Welch, {n[0]} and {n[1]} runs", (_t(df, value, error),))
    if max(n) >= MIN_PAIRS:
        many = first if n[0] > 1 else second
        return Effect(value, f"t, {max(n)} runs against one", (_t(max(n) - 1, value, stats.sem(many)),))
    return Effect(value, "one number each")


def over_seeds(gaps: np.ndarray, cells: list[Resamples]) -> Effect:
    """Return the mean difference of pairs, with the best distribution that they and the bootstraps allow."""
    value, n = float(gaps.mean()), len(gaps)
    if n >= MIN_PAIRS:
        of_cells = float(np.mean([found.draws.std() for found in cells])) if cells else 0.0
        how = f"t over {n} seeds" + (f" and {cells[0].unit}s" if cells else "")
        return Effect(value, how, (_t(n - 1, value, np.hypot(stats.sem(gaps), of_cells)),))
    if cells:
        return Effect(value, f"bootstrap over {cells[0].unit}s", tuple(cells))
    return Effect(value, f"{n} seed{'s' * (n > 1)}, no interval")


def _t(df: float, value: float, error: float):
    return stats.t(df, value, max(error, SMALLEST))
