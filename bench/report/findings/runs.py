"""What the paper's runs say beyond their means: penalties, epochs, slow runs, labels that were never there, batches.

Source: PROTOCOL 1.1-1.3, 1.7, 2 and 3.1.
"""

from itertools import pairwise

import numpy as np
import pandas as pd
from scipy import stats

from bench.published import COUNTERPART, TITLES, per_run, summary
from bench.report.figures.epochs import slow
from bench.report.figures.style import METRICS, series_of
from bench.report.findings.intervals import sizes, standard_error, table2_runs

EPOCHS = 10  # of fine-tuning; the one with the best accuracy on the scored cells is reported
PANCREAS_TYPES = 11  # in its test file; three more are in the training file alone (PROTOCOL 1.7)
POSITIONS, DIM, HIDDEN, TYPES = 16_907, 200, (512, 128), 11  # of scBERT's classifier on Zheng68K (PROTOCOL 3.1)
LAYER, NORM = 834_000, 2 * DIM  # trained with the classifier: the last Performer layer and the final norm


def penalties() -> pd.DataFrame:
    """Return the penalties C of the linear model that the paper prints, rows data x share of the training cells."""
    runs = per_run()
    runs = runs[runs["metric"].eq("best_C") & runs["variant"].eq("")]
    fixed = summary().query("experiment == 'lr_chosen_C' and dataset == 'zheng68k'")["value"].item()
    rows = {("Zheng68K", "all shares"): (f"{fixed:g}", "no")}
    for (dataset, share), group in runs.groupby(["dataset", "fraction"]):
        rows[TITLES[dataset], f"{100 * share:g} %"] = (", ".join(f"{C:g}" for C in sorted(group["value"])), "yes")
    index = pd.MultiIndex.from_tuples(rows, names=["", "training cells"])
    return pd.DataFrame(list(rows.values()), index, ["C of the runs", "cross-validated"])


def selection_bound() -> float:
    """Return how much choosing the best of ten epochs on the scored cells can add to the accuracy by chance, at most.

    The chance is which cells are scored.  The mean of the largest of ten independent errors is an upper bound: epochs
    of one run are scored on the same cells and are not equally good.
    """
    largest = stats.norm.expect(lambda x: EPOCHS * x * stats.norm.cdf(x) ** (EPOCHS - 1))
    mean = np.mean(table2_runs("accuracy")["pretrained"])
    return float(largest * standard_error(mean, sizes("n_validation")["zheng68k"]))


def families() -> pd.DataFrame:
    """Return the slow runs of Table 2 and the mean accuracy of either group; what is slow: `figures.epochs`."""
    rows = {}
    for variant, values in table2_runs("accuracy").items():
        is_slow = slow(values)
        groups = (values, values[~is_slow], values[is_slow])
        rows[series_of("scbert", variant)] = (len(values), int(is_slow.sum()), *(group.mean() for group in groups))
    names = ["runs", "slow", "mean of all", "mean of the others", "mean of the slow"]
    return pd.DataFrame.from_dict(rows, "index", columns=names)


def baseline_over_shares(datasets=("hpancreas", "myeloid")) -> pd.DataFrame:
    """Return the linear model's published means, rows data x metric, columns shares of the training cells."""
    means = summary().query("model == 'l1_logistic' and statistic == 'mean'")
    table = means.pivot_table(index=["dataset", "metric"], columns="fraction", values="value").loc[list(datasets)]
    table.columns = [f"{100 * share:g} %" for share in table.columns]
    names = {metric: METRICS[COUNTERPART.get(metric, metric)] for metric in ("accuracy", "macro_f1")}
    return table.rename(TITLES, level=0).rename(names, level=1).rename_axis(["", "metric"])


def evaluated_twice() -> pd.DataFrame:
    """Return the accuracy of three checkpoints that the notebooks evaluate twice, with the difference in cells."""
    runs = per_run().query("dataset == 'zheng68k' and model == 'scbert' and metric == 'accuracy' and fraction == 1")
    runs = runs.assign(run=runs["run"].str.extract(r"(k\d)", expand=False)).dropna(subset="run")
    table = runs.pivot(index="run", columns="experiment", values="value")
    table = table.set_axis(["for Figure 2", "for Table 1"], axis=1).rename_axis("checkpoint")
    cells = (table["for Figure 2"] - table["for Table 1"]) * sizes("n_validation")["zheng68k"]
    return table.assign(**{"difference in cells": cells.round().astype(int)})


def trained_weights() -> pd.DataFrame:
    """Return how many weights scBERT trains on Zheng68K, rows part, and what share of them each part has."""
    widths = [POSITIONS, *HIDDEN, TYPES]
    linear = sum((a + 1) * b for a, b in pairwise(widths))
    counts = pd.Series({"classifier": DIM + 1 + linear, "last layer": LAYER, "final norm": NORM}, name="weights")
    return counts.to_frame().assign(share=counts / counts.sum())
