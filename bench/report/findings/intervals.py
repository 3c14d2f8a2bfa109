"""What the paper's intervals and tests say: stale p values, the divisor, refits, and whether arms are equivalent.

Source: PROTOCOL 1.0, 1.1 and 1.3.
"""

import numpy as np
import pandas as pd
from scipy import stats

from bench.published import COUNTERPART, TITLES, few_shot, scbert, summary
from bench.report.figures.style import METRICS, series_of
from bench.report.tables import comparisons
from bench.statistics.intervals import (
    MARGIN,
    Equivalence,
    equivalence,
    holm,
    published_interval,
    published_ttest,
    t_interval,
    welch,
)

PUBLISHED_RUNS = 10


def stale_tests() -> pd.DataFrame:
    """Return the eight tests of Table 2 as printed, and again from the printed runs, with how far the two p differ."""
    table = comparisons(scbert.table2(), summary(), "scbert", "pretrained", scbert.SCORES)
    return table.assign(**{"printed is off by": (table["p, printed"] / table["p, recomputed"] - 1).abs()})


def figure2_tests() -> pd.DataFrame:
    """Return the tests drawn in Figure 2: as printed, and corrected, both as published (pooled) and by Welch."""
    runs = few_shot("zheng68k")
    drawn = runs[(runs["fraction"] < 1) & runs["metric"].isin(["accuracy", "macro_f1"])]
    printed = summary().query("experiment == 'fig2_ttest'").set_index(["fraction", "metric"])["value"]
    rows = {}
    for case, group in drawn.groupby(["fraction", "metric"]):
        arms = [group.loc[group["model"] == model, "value"] for model in ("scbert", "l1_logistic")]
        rows[case] = printed[case], published_ttest(*arms).pvalue, welch(*arms).pvalue
    index = pd.MultiIndex.from_tuples(rows, names=["training cells", "metric"])
    table = pd.DataFrame(list(rows.values()), index, columns=["p, printed", "pooled, Holm", "Welch, Holm"])
    return table.assign(**{name: holm(table[name]) for name in ("pooled, Holm", "Welch, Holm")})


def widths() -> pd.DataFrame:
    """Return the half widths of Table 2 in accuracy, as published and with the sample SD, rows variant."""
    rows = {}
    for variant, values in table2_runs("accuracy").items():
        theirs, textbook = published_interval(values), t_interval(values)
        rows[series_of("scbert", variant)] = (theirs.mean, theirs.half_width, textbook.half_width)
    return pd.DataFrame.from_dict(rows, "index", columns=["mean accuracy", "± as published", "± with n − 1"])


def published_coverage() -> float:
    """Return how often the paper's interval holds the mean of ten normal values; the textbook one does in 0.95."""
    values = np.arange(PUBLISHED_RUNS)  # any ten: the ratio of the two standard errors is the same
    quantile = published_interval(values).half_width / stats.sem(values)
    return float(1 - 2 * stats.t.sf(quantile, PUBLISHED_RUNS - 1))


def refits() -> pd.DataFrame:
    """Return two intervals of the linear model's accuracy with all training cells: over refits, and over scored cells.

    The first is the paper's, over ten fits to the same cells; the second is the binomial one, derived.
    """
    scored = sizes("n_test") | sizes("n_validation")
    rows = {}
    for dataset in ("zheng68k", "ms", "hpancreas", "myeloid"):
        mean, over_fits = _refitted(dataset)
        over_cells = stats.norm.ppf(0.975) * standard_error(mean, scored[dataset])
        rows[TITLES[dataset]] = (mean, over_fits, over_cells, round(over_cells / over_fits), int(scored[dataset]))
    names = ["mean accuracy", "± over refits", "± over scored cells", "times as wide", "scored cells"]
    return pd.DataFrame.from_dict(rows, "index", columns=names)


def equivalences(margin: float = MARGIN) -> dict[tuple[str, str], Equivalence]:
    """Return the tests of "pretraining makes no difference" on Table 2, by metric and design.

    Paired are the seven seeds that both arms share; the ten runs of each arm are compared by Welch's test.
    """
    found = {}
    for metric in scbert.SCORES:
        full, without = (table2_runs(metric)[variant] for variant in ("pretrained", "no_pretraining"))
        shared = full.index.intersection(without.index)
        name = METRICS[COUNTERPART.get(metric, metric)]
        found[name, "all runs"] = equivalence(full, without, margin)
        found[name, "shared seeds"] = equivalence(full[shared], without[shared], margin, paired=True)
    return found


def runs_needed(a, b, margin: float = MARGIN, power: float = 0.8, alpha: float = 0.05) -> int:
    """Return how many runs per arm show equivalence with that power if the arms do not differ at all.

    Parameters
    ----------
    a, b
        Runs of the two arms, for their variances.
    margin, power, alpha
        Of two one-sided, unpaired tests; normal approximation.
    """
    quantiles = stats.norm.ppf(1 - alpha) + stats.norm.ppf((1 + power) / 2)
    return int(np.ceil((np.var(a, ddof=1) + np.var(b, ddof=1)) * (quantiles / margin) ** 2))


def table2_runs(metric: str) -> dict[str, pd.Series]:
    """Return the ten runs of each variant of Table 2 by seed, the full model first."""
    runs = scbert.table2()
    runs = runs[runs["metric"] == metric]
    return {name: group.set_index("run")["value"] for name, group in runs.groupby("variant", sort=False)}


def standard_error(share: float, n: float) -> float:
    """Return the standard error of a share of n cells."""
    return float(np.sqrt(share * (1 - share) / n))


def sizes(metric: str) -> dict[str, float]:
    """Return ``n_train``, ``n_test`` or ``n_validation`` by data set, as published."""
    rows = summary().query("experiment == 'dataset_size' and metric == @metric")
    return dict(zip(rows["dataset"], rows["value"], strict=True))


def _refitted(dataset: str) -> tuple[float, float]:
    """Return mean and published half width of the linear model; of Zheng68K's ten fits only the values are printed."""
    if dataset == "zheng68k":
        runs = scbert.baseline()
        interval = published_interval(runs.loc[runs["metric"] == "accuracy", "value"])
        return interval.mean, interval.half_width
    rows = summary().query("dataset == @dataset and model == 'l1_logistic' and metric == 'accuracy' and fraction == 1")
    values = rows.set_index("statistic")["value"]
    return values["mean"], values["ci95_halfwidth"]
