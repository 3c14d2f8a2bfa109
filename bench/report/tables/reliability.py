"""Tables on confidence and cost: calibration, shares that can be kept, what the front of cost and accuracy holds."""

import numpy as np
import pandas as pd

from bench.report.figures.panels import title_of
from bench.report.figures.pareto import COSTS, front, of_models
from bench.report.figures.reliability import Said
from bench.report.figures.style import TIERS, label_of
from bench.statistics.calibration import area, share_kept
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
    return table.assign(cells=table["cells"].astype(int))[columns].rename_axis(index={"panel": "", "series": "model"})


def abstention(said: Said, targets: tuple[float, ...] = TARGETS) -> pd.DataFrame:
    """Return accuracy on all cells, area under the curve and the share of cells kept at target accuracies.

    Means over runs; a share comes with its 95 % bootstrap interval over the scored cells.
    """
    rows = {}
    for key, several in said.items():
        row = {"accuracy, all cells": np.mean([confidence(run)[1].mean() for run in several])}
        row["area under the curve"] = np.mean([area(run) for run in several])
        for target in targets:
            share, low, high = share_kept(several, target)
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


def facts(runs: pd.DataFrame, said: Said) -> dict[str, float]:
    """Return the numbers that chapters/calibration_and_cost.md says in words, by name; tiers are counted apart.

    Of each tier: cases whose confidence is known, those overconfident, the largest gap, panels, and those in which the
    linear model is on both fronts.  Then the linear model on single panels of the stand-in tier.
    """
    sure, costs, linear = calibration(runs, said), fronts(runs), label_of("l1_logistic")
    best = (costs.xs(linear, level="model")[["front, seconds", "front, memory"]] == "yes").all(axis=1)
    found = {"low": TARGETS[0], "high": TARGETS[1]}
    for tier in ("standin", "quick"):
        panels = [panel for panel in dict.fromkeys(runs["panel"]) if panel.startswith(f"{TIERS[tier]}: ")]
        gap = sure.loc[panels, "confidence - accuracy"].dropna()
        values = {"known": len(gap), "over": (gap > 0).sum(), "gap": gap.max()}
        values |= {"panels": len(panels), "front": best.reindex(panels).sum()}
        found |= {f"{tier}-{name}": value for name, value in values.items()}
    facs, donor, kang = ((title_of("standin", *of), linear) for of in _SAID_OF)
    found |= {"facs": sure.loc[facs, "accuracy"], "donor": sure.loc[donor, "ECE"], "kang": sure.loc[kang, "ECE"]}
    for name, key, target in (("facs-kept", facs, TARGETS[0]), ("donor-kept", donor, TARGETS[1])):
        found[name] = 100 * share_kept(said[key], target, n_resamples=1)[0]
    return {name: float(value) for name, value in found.items()}


_SAID_OF = ("pbmc_facs", "random"), ("baron", "held_out:human1"), ("kang", "held_out:stimulated")
