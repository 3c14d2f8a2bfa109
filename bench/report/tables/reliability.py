"""Tables on confidence and cost: calibration, shares that can be kept, what the front of cost and accuracy holds."""

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd

from bench.report.figures.pareto import COSTS, front, of_models
from bench.report.figures.reliability import Said
from bench.report.figures.style import label_of
from bench.statistics.calibration import area, largest_share, shares_kept
from bench.statistics.confidence import confidence
from bench.statistics.predictions import Predictions

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


def calibration_by_run(runs: pd.DataFrame, said: Said) -> dict[str, dict[str, pd.DataFrame]]:
    """Return by score and panel a row per model and a column per run, for `figures.ranking`.

    The calibration error, by how much mean confidence exceeds accuracy, and the largest share of the cells, in per
    cent, that can be kept at the first of ``TARGETS``; the latter two only where predictions are kept.
    """
    sure = {
        "Calibration error": {},
        "Confidence - accuracy": {},
        f"Cells kept at {TARGETS[0]:g} (%)": {},
    }
    errors, over, kept = sure.values()
    for panel, own in runs[~runs["control"]].groupby("panel", sort=False):
        errors[panel] = own.pivot_table(index="series", columns="seed", values="ece").dropna(how="all")
        of_panel = {series: several for (title, series), several in said.items() if title == panel}
        over[panel] = _by_run(of_panel, lambda run: float(np.subtract(*map(np.mean, confidence(run)))))
        kept[panel] = _by_run(of_panel, lambda run: 100 * largest_share([run], TARGETS[0]))
    return sure


def _by_run(said: Mapping[str, list[Predictions]], score: Callable[[Predictions], float]) -> pd.DataFrame:
    return pd.DataFrame.from_dict({name: [score(run) for run in several] for name, several in said.items()}, "index")


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
