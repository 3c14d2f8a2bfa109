"""Published means, intervals and t-tests recomputed from the published values per run.

Sources: PROTOCOL 1.0 (statistics of the paper) and 1.3, caveat a: the overall t-tests of Table 2 come from a stale
notebook cell and disagree. Digitised points alone serve Figure 3 and Supplementary Figure 6.
"""

import numpy as np
import pandas as pd
from scipy.stats import ttest_ind_from_stats

from bench.published import digitised, per_run, summary
from bench.statistics.intervals import published_interval, published_ttest

RUNS = {  # experiment of the summary -> experiments of its runs
    "table1": ("table1_lr",),
    "table1_table2": ("table1_table2_finetune", "table2_ablation"),
    "table2_ttest": ("table1_table2_finetune", "table2_ablation"),
    "fig2": ("fig2_fewshot",),
    "fig2_ttest": ("fig2_fewshot",),
    "fig3_suppTable4": ("fig3_fewshot",),
    "suppTable4": ("fig3_fewshot",),
    "fig3_ttest": ("fig3_fewshot",),
    "suppFig6_suppTable5": ("suppFig6", "fig3_fewshot"),
    "macparland_lr": ("macparland_lr",),
}
FROM_FIGURES = ("fig3_fewshot", "suppFig6")
POINT_ERROR = {"fig3_fewshot": 0.002, "suppFig6": 0.003}  # of a digitised value, as noted in its row
GROUP_ERROR = 0.001  # of an SD, or a difference of means, of ten digitised values: PROTOCOL finds SD gaps up to 0.0009


def recompute() -> pd.DataFrame:
    """Return every published mean, interval, t and p beside its value recomputed from the runs.

    Columns: quantity, published, recomputed, difference (recomputed - published), agrees, origin of the runs. A value
    agrees if the rounding of what was printed, or the error of digitising, explains the difference.
    """
    runs = pd.concat([per_run(), digitised()], ignore_index=True)
    runs = runs[runs.experiment.isin(FROM_FIGURES) == runs.origin.eq("digitised")]
    groups = dict(tuple(runs.groupby(["dataset", "fraction", "metric"])))
    rows = [_row(published, groups) for published in summary().itertuples() if published.statistic]
    return pd.DataFrame(rows)


def _row(published, groups: dict[tuple, pd.DataFrame]) -> dict:
    runs = groups[published.dataset, published.fraction, published.metric]
    arms = [_arm(runs, published, model, variant) for model, variant in _arms(published)]
    values = [arm.value.to_numpy() for arm in arms]
    experiment = arms[0].experiment.iloc[0]
    recomputed, low, high = _compare(published.statistic, published.value, values, experiment)
    place = (
        f"{published.experiment}: {published.dataset}, {published.model}, {published.variant}, {published.fraction:g}"
    )
    return {
        "quantity": f"{place}, {published.metric} {published.statistic}",
        "published": published.value,
        "recomputed": recomputed,
        "difference": recomputed - published.value,
        "agrees": bool(low <= published.value <= high),
        "origin": arms[0].origin.iloc[0],
    }


def _arms(published) -> list[tuple[str, str | None]]:
    """Return (model, variant) of the one or two groups of runs behind a number; None = the only variant there."""
    if " vs " in published.model:
        return [(model, None) for model in published.model.split(" vs ")]
    return [(published.model, variant) for variant in published.variant.split(" vs ")]


def _arm(runs: pd.DataFrame, published, model: str, variant: str | None) -> pd.DataFrame:
    same = runs.experiment.isin(RUNS[published.experiment]) & runs.model.eq(model)
    return runs[same & (True if variant is None else runs.variant.eq(variant))]


def _compare(statistic: str, published: float, values: list[np.ndarray], experiment: str) -> tuple[float, float, float]:
    """Return the recomputed number and the range of published numbers that it allows."""
    from_figure = experiment in FROM_FIGURES
    if statistic in ("mean", "ci95_halfwidth"):
        interval = published_interval(values[0])
        recomputed = interval.mean if statistic == "mean" else interval.half_width
        error = POINT_ERROR[experiment] if statistic == "mean" and from_figure else GROUP_ERROR
        error = (error if from_figure else _half_unit(values[0])) + _half_unit([published])
        return recomputed, recomputed - error, recomputed + error
    test = published_ttest(*values)
    if from_figure:
        return test.pvalue, *_p_range(*values)
    recomputed = test.statistic if statistic == "t" else test.pvalue
    coarse = min(_decimals(group) for group in values) <= 4  # the baseline's runs are printed to four decimals
    error = recomputed * (1e-2 if coarse else 1e-4) + (_half_unit([published]) if "recomputed" in statistic else 0)
    return recomputed, recomputed - error, recomputed + error


def _p_range(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """Return the p values if difference and pooled SD of the digitised points are off by GROUP_ERROR, both ways."""
    gap, pooled = abs(a.mean() - b.mean()), np.sqrt((a.var(ddof=1) + b.var(ddof=1)) / 2)
    corners = ((gap + GROUP_ERROR, max(pooled - GROUP_ERROR, 1e-9)), (max(gap - GROUP_ERROR, 0), pooled + GROUP_ERROR))
    return tuple(ttest_ind_from_stats(shift, sd, len(a), 0, sd, len(b)).pvalue for shift, sd in corners)


def _decimals(values) -> int:
    """Return the decimals that were printed: the fewest that hold every value."""
    return next((n for n in range(17) if np.array_equal(np.round(values, n), values)), 17)


def _half_unit(values) -> float:
    return 0.5 * 10.0 ** -_decimals(values)
