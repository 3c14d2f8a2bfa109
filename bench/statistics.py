"""Intervals and tests over runs: the published ones as published, and the ones this project reports.

Sources: PROTOCOL 1.0 and 5.7; Holm 1979.  Differences on the same cells: `bench.bootstrap`.
The paper's own way is kept under the names `published_*`: population SD in the interval, unpaired tests, no correction.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats
from statsmodels.stats.multitest import multipletests

from bench.errors import BenchError

PUBLISHED_N, PUBLISHED_QUANTILE = 10, 2.262  # the paper's constant: t_{0.975, 9} = 2.26216, to four digits
STARS = {1e-4: "****", 1e-3: "***", 1e-2: "**", 5e-2: "*"}


@dataclass(frozen=True)
class Interval:
    """A mean and the half width of its confidence interval, in the unit of the values."""

    mean: float
    half_width: float

    @property
    def low(self) -> float:
        """Lower end."""
        return self.mean - self.half_width

    @property
    def high(self) -> float:
        """Upper end."""
        return self.mean + self.half_width


def _runs(values: Sequence[float]) -> np.ndarray:
    values = np.asarray(values, dtype=float)
    if values.ndim != 1 or len(values) < 2 or not np.isfinite(values).all():
        raise BenchError(f"Got runs {values.tolist()}; expected two or more finite values. Leave failed runs out.")
    return values


def published_interval(values: Sequence[float]) -> Interval:
    """Return mean and 95 % half width as the paper computes them: population SD / sqrt(n) * t quantile.

    The paper writes 2.262 for its ten runs; other n take t_{0.975, n-1}. With ddof 0 the interval is too narrow,
    by 5 % at n = 10: use it to compare with published intervals, and `t_interval` to report.

    Raises
    ------
    BenchError
        If there are fewer than two values or one is not finite.
    """
    values = _runs(values)
    n = len(values)
    quantile = PUBLISHED_QUANTILE if n == PUBLISHED_N else stats.t.ppf(0.975, n - 1)
    return Interval(float(values.mean()), float(values.std(ddof=0) / np.sqrt(n) * quantile))


def t_interval(values: Sequence[float], level: float = 0.95) -> Interval:
    """Return mean and half width of the textbook t interval (sample SD, n - 1 degrees of freedom).

    Raises
    ------
    BenchError
        If there are fewer than two values or one is not finite.
    """
    values = _runs(values)
    quantile = stats.t.ppf((1 + level) / 2, len(values) - 1)
    return Interval(float(values.mean()), float(stats.sem(values) * quantile))


def published_ttest(a: Sequence[float], b: Sequence[float]):
    """Return scipy's two-sided, unpaired, pooled-variance t test (statistic, pvalue), positive where a is larger."""
    return stats.ttest_ind(_runs(a), _runs(b), equal_var=True)


def welch(a: Sequence[float], b: Sequence[float]):
    """Return scipy's two-sided, unpaired t test with unequal variances (statistic, pvalue)."""
    return stats.ttest_ind(_runs(a), _runs(b), equal_var=False)


def holm(p_values: Sequence[float]) -> np.ndarray:
    """Return Holm's step-down adjusted p values in the order given, shape (n_tests,)."""
    p_values = np.asarray(p_values, dtype=float)
    if not ((p_values >= 0) & (p_values <= 1)).all():
        raise BenchError(f"p values are {p_values.tolist()}; expected all in [0, 1]. Leave out tests that failed.")
    return multipletests(p_values, method="holm")[1] if len(p_values) else p_values


def stars(p_value: float) -> str:
    """Return the paper's stars: <= 0.0001 ****, <= 0.001 ***, <= 0.01 **, <= 0.05 *, else ns."""
    return next((mark for limit, mark in STARS.items() if p_value <= limit), "ns")
