"""Intervals and tests over runs: the published ones as published, and the ones this project reports.

Sources: PROTOCOL 1.0 and 5.7; Holm 1979; Schuirmann 1987.  Differences on the same cells: `bench.statistics.bootstrap`.
The paper's own way is kept under the names `published_*`: population SD in the interval, unpaired tests, no correction.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
from scipy import stats

from bench.core.errors import BenchError

PUBLISHED_N, PUBLISHED_QUANTILE = 10, 2.262  # the paper's constant: t_{0.975, 9} = 2.26216, to four digits
ALPHA = 0.05  # of every test, after correction where there are several
MARGIN = 0.01  # of accuracy and F1 within which this project calls two arms the same; argued in chapters/findings.md
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


@dataclass(frozen=True)
class Equivalence:
    """Mean of a minus mean of b, two one-sided tests against a margin, and the interval that says the same."""

    difference: float
    low: float
    high: float
    p: float  # the larger one of the two tests
    margin: float
    level: float  # of the interval: 1 - 2 alpha
    n: tuple[int, int]  # runs of a and of b
    paired: bool

    @property
    def shown(self) -> bool:
        """Whether the interval lies within the margin, which is p < alpha: equivalence is shown."""
        return self.p < (1 - self.level) / 2

    @property
    def smallest_margin(self) -> float:
        """The margin from which on equivalence would be shown."""
        return max(abs(self.low), abs(self.high))


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
    quantile = PUBLISHED_QUANTILE if n == PUBLISHED_N else _quantile(0.975, n - 1)
    return Interval(float(values.mean()), float(values.std(ddof=0) / np.sqrt(n) * quantile))


def t_interval(values: Sequence[float], level: float = 0.95) -> Interval:
    """Return mean and half width of the textbook t interval (sample SD, n - 1 degrees of freedom).

    Raises
    ------
    BenchError
        If there are fewer than two values or one is not finite.
    """
    values = _runs(values)
    error = values.std(ddof=1) / len(values) ** 0.5
    return Interval(float(values.mean()), float(error * _quantile((1 + level) / 2, len(values) - 1)))


@cache
def _quantile(share: float, df: int) -> float:
    """Return a quantile of Student's t; a page asks thousands of times for a few, and SciPy takes a millisecond."""
    return stats.t.ppf(share, df)


def published_ttest(a: Sequence[float], b: Sequence[float]):
    """Return scipy's two-sided, unpaired, pooled-variance t test (statistic, pvalue), positive where a is larger."""
    return stats.ttest_ind(_runs(a), _runs(b), equal_var=True)


def welch(a: Sequence[float], b: Sequence[float]):
    """Return scipy's two-sided, unpaired t test with unequal variances (statistic, pvalue)."""
    return stats.ttest_ind(_runs(a), _runs(b), equal_var=False)


def equivalence(
    a: Sequence[float], b: Sequence[float], margin: float, *, paired: bool = False, alpha: float = 0.05
) -> Equivalence:
    """Test whether the means of a and b differ by less than a margin: two one-sided t tests (TOST).

    Source: Schuirmann 1987, doi:10.1007/BF01068419.

    Parameters
    ----------
    a, b
        Values per run; with ``paired`` those at the same place share seed and cells.
    margin
        Largest difference that would not matter, in the unit of the values; to be chosen without looking at them.
    paired
        True tests the differences run by run, False is Welch's test, with unequal variances.
    alpha
        Level of each one-sided test; the interval has the level 1 - 2 alpha.

    Raises
    ------
    BenchError
        If runs are too few or not finite, pairs are incomplete, or the margin is not positive.
    """
    a, b = _runs(a), _runs(b)
    if not margin > 0:
        raise BenchError(f"margin is {margin}; expected a positive difference, such as 0.01 in accuracy.")
    if paired and len(a) != len(b):
        raise BenchError(f"Got {len(a)} and {len(b)} paired runs; expected as many of each, in the same order.")
    compare = stats.ttest_rel if paired else partial(stats.ttest_ind, equal_var=False)
    above = compare(a + margin, b, alternative="greater")  # against a - b <= -margin
    below = compare(a - margin, b, alternative="less")  # against a - b >= margin
    low, high = compare(a, b).confidence_interval(1 - 2 * alpha)
    p = float(max(above.pvalue, below.pvalue))
    difference = float(a.mean() - b.mean())
    return Equivalence(difference, float(low), float(high), p, margin, 1 - 2 * alpha, (len(a), len(b)), paired)


def holm(p_values: Sequence[float]) -> np.ndarray:
    """Return Holm's step-down adjusted p values in the order given, shape (n_tests,)."""
    p_values = np.asarray(p_values, dtype=float)
    if not ((p_values >= 0) & (p_values <= 1)).all():
        raise BenchError(f"p values are {p_values.tolist()}; expected all in [0, 1]. Leave out tests that failed.")
    # statsmodels' multipletests says the same, and collects garbage first: a fifth of a second at every call
    order = np.argsort(p_values, kind="stable")
    adjusted = np.maximum.accumulate(p_values[order] * np.arange(len(p_values), 0, -1))
    return np.minimum(adjusted, 1)[np.argsort(order, kind="stable")]


def stars(p_value: float) -> str:
    """Return the paper's stars: ``****`` up to 0.0001, ``***`` up to 0.001, ``**`` up to 0.01, ``*`` up to 0.05, ns."""
    return next((mark for limit, mark in STARS.items() if p_value <= limit), "ns")
