"""The paper's numbers as tidy tables in the project's own names; the CSV files themselves are never edited.

Sources: Boiarsky et al. 2023 (bioRxiv 2023.10.19.563100) and clinicalml/sc-foundation-eval (BSD-3), cell by cell in the
column `source`; PROTOCOL 1. Digitised values are measured from figures: typical error 0.001, worst 0.011.

Columns of every table: experiment, dataset, model, variant, fraction, run, metric, class, statistic, value, origin
(`printed`, `digitised` or `derived`), source, note. The published `macro_f1` averages over the labels seen in truth or
prediction: its counterpart among this project's metrics is `macro_f1_seen`.
"""

from functools import cache
from importlib.resources import files

import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment

from bench.core.errors import BenchError, unknown

COLUMNS = ["experiment", "dataset", "model", "variant", "fraction", "run", "metric", "class", "statistic", "value"]
COLUMNS += ["origin", "source", "note"]
COUNTERPART = {"macro_f1": "macro_f1_seen"}  # published metric -> the project's metric of the same definition

DATASETS = {
    "Zheng68K": "zheng68k",
    "multiple sclerosis": "ms",
    "myeloid": "myeloid",
    "pancreas": "hpancreas",
    "MacParland liver": "liver",
    "Panglao": "panglao",
}
TITLES = {  # what readers see a data set of the paper called
    **{"zheng68k": "Zheng68K", "panglao": "Panglao", "ms": "MS", "hpancreas": "pancreas"},
    **{"myeloid": "myeloid", "liver": "liver"},
}
MODELS = {
    "": "",
    "LogisticRegression": "l1_logistic",
    "scBERT": "scbert",
    "scGPT": "scgpt",
    "scBERT vs LogisticRegression": "scbert vs l1_logistic",
    "scGPT vs LogisticRegression": "scgpt vs l1_logistic",
    "scGPT and LogisticRegression": "scgpt and l1_logistic",
}
VARIANTS = {  # the baseline has no variants: how its C was chosen is said in PROTOCOL 2
    "": "",
    "pretrained": "pretrained",
    "pretrained+gene2vec": "pretrained",
    "pretrained full fine-tune": "pretrained",
    "gene2vec (ckpt epoch 17)": "pretrained",
    "no_gene2vec": "no_gene2vec",
    "no_gene2vec (ckpt epoch 6)": "no_gene2vec",
    "no_pretraining": "no_pretraining",
    "no_pretraining_freeze": "no_pretraining_frozen_embeddings",
    "pretrained vs no_gene2vec": "pretrained vs no_gene2vec",
    "pretrained vs no_pretraining": "pretrained vs no_pretraining",
    "as reported by Yang et al. 2022": "reported_by_yang",
    "L1 C=0.1": "",
    "L1 C=0.1 liblinear": "",
    "L1 liblinear CV C": "",
    "merged hepatocytes": "",
    "merged hepatocytes (15 classes)": "",
    "20 clusters (unmerged)": "20_clusters",
    "n=3 vs 3": "",
    "n=10 vs 10": "",
    "lr 1e-4, 10 epochs": "",
    **{f"log2(1+CP10K) in [{low},{low + 1})": f"log2(1+CP10K) in [{low},{low + 1})" for low in range(14)},
}
METRICS = {
    "hard_cd8_accuracy": "hard_accuracy",
    "hard_cd8_macro_f1": "hard_f1",
    "class_accuracy": "recall",
    "frac_cells_predicting_most_common_bin": "cells_predicting_most_common_bin",
    "frac_predictions_equal_most_common_bin": "predictions_equal_most_common_bin",
    "baseline_accuracy_most_common_bin": "most_common_bin_accuracy",
    "params_trainable_all": "n_trainable",
    "params_trainable_frozen_embeddings": "n_trainable_frozen_embeddings",
    "cells": "n_cells",
    "genes": "n_genes",
    "train_cells": "n_train",
    "test_cells": "n_test",
    "validation_cells": "n_validation",
}
SAME_METRICS = {  # called alike by the paper and the project
    *("accuracy", "macro_f1", "macro_precision", "macro_recall", "train_accuracy", "masked_accuracy"),
    *("n_cells", "n_correct", "best_epoch", "best_C", "C", "entry_count", "max_value", "learning_rate"),
    *("cv5_accuracy_C10", "cv5_accuracy_C100", "cv5_accuracy_C1000", "cv5_accuracy_C10000"),
}
STATISTICS = ("mean", "ci95_halfwidth", "t", "p", "p_recomputed_from_printed", "pooled_sd_ddof1")
COMPUTED = ("recomputed here", "histogram total", "68450-54760")  # sources that are no print of the authors


def per_run() -> pd.DataFrame:
    """Return the 452 numbers per run that a notebook of the paper prints."""
    return _read("published_per_run.csv", "printed").copy()


def digitised() -> pd.DataFrame:
    """Return the 720 points measured from figure 3 and supplementary figure 6."""
    return _read("digitised_per_run.csv", "digitised").copy()


def summary() -> pd.DataFrame:
    """Return the 231 published means, intervals, tests, chosen C, sizes and parameter counts."""
    return _read("published_summary.csv", "printed").copy()


def derived() -> pd.DataFrame:
    """Return the 62 numbers derived from published ones: class counts, pooled SDs, learning rates."""
    return _read("derived.csv", "derived").copy()


def everything() -> pd.DataFrame:
    """Return all four tables below each other: per run, summary, digitised and derived."""
    return pd.concat([per_run(), summary(), digitised(), derived()])


def few_shot(dataset: str) -> pd.DataFrame:
    """Return the published points of the few-shot figures: accuracy and macro_f1 per run, model and fraction.

    Zheng68K: three scBERT runs and three fits of the baseline per fraction, ten fits at 100 %. Liver (15 merged types):
    three fits of the baseline. ms, hpancreas, myeloid: ten runs of both models, digitised unless the run is printed.

    Raises
    ------
    BenchError
        If the paper has no few-shot results for the data set.
    """
    return _few_shot(dataset).copy()


@cache
def _few_shot(dataset: str) -> pd.DataFrame:
    tables = {"zheng68k": ("fig2_fewshot", "table1_lr"), "liver": ("macparland_lr",)}
    tables |= dict.fromkeys(("ms", "hpancreas", "myeloid"), ("fig3_fewshot",))
    if dataset not in tables:
        raise unknown("few-shot data set", dataset, tables)
    points = pd.concat([per_run(), digitised()], ignore_index=True)
    points = points[points.dataset.eq(dataset) & points.experiment.isin(tables[dataset])]
    points = points[points.metric.isin(["accuracy", "macro_f1"]) & points.variant.isin(["", "pretrained"])]
    groups = [_one_point_per_run(group) for _, group in points.groupby(["model", "fraction"])]
    return pd.concat(groups).sort_values(["model", "fraction", "metric", "run"], ignore_index=True)


def _one_point_per_run(points: pd.DataFrame) -> pd.DataFrame:
    """Drop the digitised point of every printed run: the pairing with the least total distance."""
    table = points.pivot(index=["origin", "run"], columns="metric", values="value")
    if set(points.origin) != {"printed", "digitised"}:
        return points
    printed, measured = table.loc["printed"], table.loc["digitised"]
    distance = np.linalg.norm(printed.to_numpy()[:, None] - measured.to_numpy(), axis=2)  # (n_printed, n_digitised)
    counted_twice = measured.index[linear_sum_assignment(distance)[1]]
    return points[points.origin.eq("printed") | ~points.run.isin(counted_twice)]


@cache
def _read(name: str, origin: str) -> pd.DataFrame:
    with files("bench.published").joinpath(name).open(encoding="utf-8") as file:
        table = pd.read_csv(file, dtype=str, keep_default_na=False)
    computed = table.source.str.startswith(COMPUTED)
    metric, table["class"], table["statistic"] = _split(table.metric)
    table["dataset"] = _rename(table.dataset, DATASETS, "data set")
    table["model"] = _rename(table.model, MODELS, "model")
    table["variant"] = _rename(table.variant, VARIANTS, "variant")
    figure_3 = table.experiment.isin(["fig3_fewshot", "fig3_suppTable4", "suppTable4"])
    table.loc[figure_3 & table.model.eq("scgpt"), "variant"] = "pretrained"  # left blank in these tables
    table["metric"] = _rename(metric, METRICS | {name: name for name in SAME_METRICS}, "metric")
    table["fraction"] = table.fraction.replace("", "nan").astype(float)
    table["value"] = table.value.astype(float)  # exact, unlike pandas.to_numeric
    table["origin"] = np.where(computed, "derived", origin)
    return table.rename(columns={"seed_or_run": "run"})[COLUMNS]


def _split(metric: pd.Series) -> tuple[pd.Series, pd.Series, pd.Series]:
    """Split 'accuracy_mean' and 'n_cells:Dendritic' into metric, cell type and statistic."""
    parts = metric.str.extract(
        rf"^(?P<metric>[^:]+?)(?::(?P<cell_type>.+))?(?:_(?P<statistic>{'|'.join(STATISTICS)}))?$"
    )
    return parts["metric"], parts["cell_type"].fillna(""), parts["statistic"].fillna("")


def _rename(names: pd.Series, mapping: dict[str, str], kind: str) -> pd.Series:
    if unmapped := sorted(set(names) - set(mapping)):
        raise BenchError(f"The published tables hold {kind} {unmapped} without a project name; add it to the mapping.")
    return names.map(mapping)
