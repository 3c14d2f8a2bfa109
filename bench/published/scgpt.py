"""The paper's numbers on scGPT, in the columns of `bench.published.few_shot`.

Source: PROTOCOL 1.7 and 1.8; the notebooks' cells stand in the column `source`.  Points of supplementary figure 6 are
digitised, typically to 0.001; means and intervals of supplementary table 5 are printed.

Collapse is derived, the paper does not speak of it: without pretraining many runs have one and the same accuracy, as a
network has that says one type for every cell.  A run is called constant if its digitised accuracy is within the error
of digitising of that value.  Accuracies and macro F1 of this figure are not paired by run; since a constant prediction
has the lowest macro F1 there is, as many of the lowest are called constant.
"""

import pandas as pd

from bench.core.errors import unknown
from bench.published import digitised, few_shot, summary

DATASETS = ("ms", "hpancreas", "myeloid")
CONSTANT = {"ms": 0.0235, "myeloid": 0.158}  # accuracy of saying one type; no run on hpancreas is near any such value
POINT_ERROR = 0.003  # of a digitised value of supplementary figure 6, as noted in its row
EPOCHS = {"pretrained": 20, "no_pretraining": 30, "no_pretraining_frozen_embeddings": 30}


def supplementary_figure6(dataset: str) -> pd.DataFrame:
    """Return accuracy and macro F1 per run of scGPT with and without pretraining, on all training cells.

    The pretrained arm is that of figure 3.  Beyond the usual columns there are ``constant``, whether the run is taken
    for a constant prediction (derived, see the module), and ``epochs``, how long it was trained.

    Raises
    ------
    BenchError
        If the paper has no such runs on the data set.
    """
    points = digitised()
    points = points[points["experiment"].eq("suppFig6") & points["dataset"].eq(_known(dataset))]
    runs = pd.concat([_figure3(dataset, "scgpt"), points], ignore_index=True)
    groups = runs.groupby(["variant", "metric"], sort=False)
    lowest = groups["value"].rank(method="first")
    is_accuracy = runs["metric"].eq("accuracy")
    near = is_accuracy & (runs["value"] - CONSTANT.get(dataset, -1)).abs().le(POINT_ERROR)
    n_constant = near.groupby(runs["variant"]).transform("sum")
    return runs.assign(constant=near.where(is_accuracy, lowest <= n_constant), epochs=runs["variant"].map(EPOCHS))


def baseline(dataset: str) -> pd.DataFrame:
    """Return the published logistic regression on all training cells, to stand beside `supplementary_figure6`."""
    return _figure3(_known(dataset), "l1_logistic")


def with_baseline(dataset: str) -> pd.DataFrame:
    """Return the runs of `baseline`, then those of `supplementary_figure6`."""
    return pd.concat([baseline(dataset), supplementary_figure6(dataset)])


def n_constant(dataset: str, variant: str) -> int:
    """Return how many of the ten runs of one arm of `supplementary_figure6` are taken for a constant prediction.

    Raises
    ------
    BenchError
        If the paper has no such arm.
    """
    if variant not in EPOCHS:
        raise unknown("arm of supplementary figure 6", variant, EPOCHS)
    runs = supplementary_figure6(dataset)
    return int(runs.loc[runs["variant"].eq(variant) & runs["metric"].eq("accuracy"), "constant"].sum())


def supplementary_table5(dataset: str) -> pd.DataFrame:
    """Return the printed means and 95 % half-widths: rows variant x metric.  The intervals are about 5 % too narrow."""
    table = summary()
    table = table[table["experiment"].eq("suppFig6_suppTable5") & table["dataset"].eq(_known(dataset))]
    return table.pivot(index=["variant", "metric"], columns="statistic", values="value")[["mean", "ci95_halfwidth"]]


def printed_mean(dataset: str, variant: str, metric: str = "accuracy") -> float:
    """Return one mean of `supplementary_table5`, of accuracy or macro_f1."""
    return float(supplementary_table5(dataset).loc[(variant, metric), "mean"])


def printed_tests(*datasets: str) -> pd.DataFrame:
    """Return the printed p values of scGPT against logistic regression, one per fraction and metric (figure 3).

    Without a name those of all three data sets.
    """
    table, names = summary(), [_known(dataset) for dataset in datasets or DATASETS]
    return table[table["experiment"].eq("fig3_ttest") & table["dataset"].isin(names)].reset_index(drop=True)


def n_trainable() -> dict[str, int]:
    """Return how many weights the text says are trained: all of them, and with ``frozen_embeddings``.

    The difference is exactly gene embedding, its norm, and value encoder: transformer and decoders are trained in both.
    """
    table = summary()
    table = table[table["experiment"] == "scgpt_param_count"].set_index("metric")["value"].astype(int)
    return {"all": int(table["n_trainable"]), "frozen_embeddings": int(table["n_trainable_frozen_embeddings"])}


def _figure3(dataset: str, model: str) -> pd.DataFrame:
    table = few_shot(dataset)
    return table[table["model"].eq(model) & table["fraction"].eq(1)].reset_index(drop=True)


def _known(dataset: str) -> str:
    if dataset not in DATASETS:
        raise unknown("data set of supplementary figure 6", dataset, DATASETS)
    return dataset
