"""Tables on confidence and cost: calibration, shares that can be kept, what the front of cost and accuracy holds."""

import numpy as np
import pandas as pd

from bench.report.figures.pareto import COSTS, front, of_models
from bench.report.figures.reliability import Said
from bench.report.figures.style import label_of
from bench.statistics.calibration import area, shares_kept
from bench.statistics.metrics import confidence

TARGETS = (0.95, 0.99)  # accuracies of the cells kept


def calibration(runs: pd.DataFrame, said: Said) -> pd.DataFrame:
    """Return accuracy, mean confidence, their difference and the ECE per panel and model, means over runs.

    Accuracy and ECE are the recorded ones; the confidence needs predictions and is missing where none are kept.

    Parameters
    ----------
    runs, said
        Of `bench.report.figures.complete_runs` and `bench.report.figures.predictions_of`.
    """
    by = runs[~runs["control"]].groupby(["panel", "series"], sort=False)
    table = by.agg(
        runs=("key", "nunique"), cells=("n_test", "first"), accuracy=("accuracy", "mean"), ECE=("ece", "mean")
    )
    sure = {key: np.mean([confidence(run)[0].mean() for run in several]) for key, several in said.items()}
    table["confidence"] = pd.Series(sure, dtype=float).reindex(table.index)
    table["confidence - accuracy"] = table["confidence"] - table["accuracy"]
    columns = ["runs", "cells", "accuracy", "confidence", "confidence - accuracy", "ECE"]
    return table.assign(cells=table["cells"].round().astype("Int64"))[columns].rename_axis(
        index={"panel": "", "series": "model"}
    )


def abstention(said: Said, targets: tuple[float, ...] = TARGETS) -> pd.DataFrame:
    """Return accuracy on all cells, area under the curve and the share of cells kept at target accuracies.

    Means over runs; a share comes with its 95 % bootstrap interval over the scored cells.
    """
    rows = {}
    for key, several in said.items():
        row = {"accuracy, all cells": np.mean([confidence(run)[1].mean() for run in several])}
        row["area under the curve"] = np.mean([area(run) for run in several])
        for target, (share, low, high) in zip(targets, shares_kept(several, targets), strict=True):
            row[f"kept at {target:g}"] = f"{100 * share:.0f} % ({100 * low:.0f}–{100 * high:.0f})"
        rows[key] = row
    index = pd.MultiIndex.from_tuples(rows, names=["", "model"])
    return pd.DataFrame(rows.values(), index)


def fronts(runs: pd.DataFrame) -> pd.DataFrame:
    """Return accuracy, seconds and peak memory as `figures.pareto.of_models` does, and who is on which front."""
    models = of_models(runs)
    for cost, name in zip(COSTS, ("front, seconds", "front, memory"), strict=True):
        for _, own in models.groupby("panel", sort=False):
            on_front = front(own[cost], own["accuracy"])
            models.loc[own.index, name] = np.where(on_front, "yes", "no")
    models["seconds"] = models["seconds"].map("{:,.1f}".format)
    models["peak_memory_mb"] = models["peak_memory_mb"].round().astype(int)
    names = {"peak_memory_mb": "peak memory (MB)", "panel": "", "series": "model"}
    return models.rename(columns=names).set_index(["", "model"])


def on_every_front(runs: pd.DataFrame, model: str) -> pd.Series:
    """Return by panel whether a model is on the fronts of seconds and of memory; no where it was not run.

    Parameters
    ----------
    runs
        Of `bench.report.figures.complete_runs`.
    model
        Name, in its plain variant.
    """
    costs = fronts(runs)
    own = costs[costs.index.get_level_values("model") == label_of(model)].droplevel("model")
    found = own["front, seconds"].eq("yes") & own["front, memory"].eq("yes")
    return found.reindex(runs["panel"].unique(), fill_value=False)


def seconds_again(records: pd.DataFrame, model: str) -> pd.Series:
    """Return least and most seconds, ``min`` and ``max``, of the trial whose repeated fits are furthest apart.

    Several experiments may have run one trial, each with a clock of its own.
    """
    runs = records[records["model"] == model]
    ends = runs.groupby(["tier", "key"])["seconds"].agg(["min", "max"])
    return ends.loc[(ends["max"] - ends["min"]).idxmax()]
