"""The paper's numbers on scBERT, table by table, in the columns of `bench.published.few_shot`.

Source: PROTOCOL 1.1, 1.3 and 1.4; the notebooks' cells stand in the column `source`.  Table 3's baseline, which the
tables hold as a metric of scBERT, is a model of its own here: ``mode_per_cell``.
"""

import pandas as pd

from bench.core.errors import unknown
from bench.published import per_run, summary

SCORES = ("accuracy", "macro_f1", "hard_accuracy", "hard_f1")


def table1() -> pd.DataFrame:
    """Return Table 1 per run on Zheng68K: ten runs of scBERT, the baseline, and what Yang et al. reported.

    The baseline has ten fits for accuracy and macro F1 and one for the hard CD8 cells; Yang et al. reported the hard
    cells alone, as one number each.
    """
    reported = summary()
    reported = reported[reported["variant"] == "reported_by_yang"].assign(run="reported")
    return pd.concat([_scores("table1_table2_finetune"), baseline(), reported], ignore_index=True)


def baseline() -> pd.DataFrame:
    """Return the L1 logistic regression of Table 1, to stand beside scBERT on other tables of the same data."""
    return _scores("table1_lr")


def table2() -> pd.DataFrame:
    """Return Table 2 per run on Zheng68K: ten runs of scBERT each, in full, without pretraining, without gene2vec."""
    return pd.concat([_scores("table1_table2_finetune"), _scores("table2_ablation")], ignore_index=True)


def table3(dataset: str) -> pd.DataFrame:
    """Return Table 3 for ``panglao`` or ``zheng68k``: one number per variant and metric, and its baseline.

    ``masked_accuracy`` is the share of replaced positions predicted right.  The baseline predicts the most common bin
    of the cell; it was computed with the masks of either variant (column ``run``), hence its two values.

    Raises
    ------
    BenchError
        If the paper has no such numbers for the data set.
    """
    table = per_run()
    table = table[table["experiment"] == "table3_masked_pretraining"].reset_index(drop=True)
    if dataset not in set(table["dataset"]):
        raise unknown("data set of Table 3", dataset, set(table["dataset"]))
    is_baseline = table["metric"] == "most_common_bin_accuracy"
    theirs = {"model": "mode_per_cell", "variant": "", "metric": "masked_accuracy"}
    table.loc[is_baseline, "run"] = "masks of " + table.loc[is_baseline, "variant"]
    table.loc[is_baseline, list(theirs)] = list(theirs.values())
    return table[table["dataset"] == dataset].reset_index(drop=True)


def class_recall() -> pd.DataFrame:
    """Return the recall of the published logistic regression per cell type of Zheng68K, from one fit."""
    table = per_run()
    return table[table["experiment"] == "lr_per_class"].reset_index(drop=True)


def value_histogram() -> pd.DataFrame:
    """Return how many entries of Panglao fall into each unit of log2(1+CP10K); ``class`` is the lower edge, 0 to 13."""
    table = per_run()
    table = table[(table["experiment"] == "panglao_value_histogram") & (table["metric"] == "entry_count")]
    return table.assign(**{"class": table["variant"].str.extract(r"\[(\d+),")[0]}, variant="").reset_index(drop=True)


def bin_shares() -> pd.Series:
    """Return the share of Panglao's entries in each of scBERT's bins 0-5, the last one open above; they sum to one."""
    table = value_histogram()
    counts = table["value"].groupby(table["class"].astype(int).clip(upper=5).rename("bin")).sum()
    return counts / counts.sum()


def _scores(experiment: str) -> pd.DataFrame:
    table = per_run()
    chosen = table["experiment"].eq(experiment) & table["metric"].isin(SCORES)
    return table[chosen].reset_index(drop=True)
