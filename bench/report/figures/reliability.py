"""Confidence against the share that is right, and the accuracy of the cells that are kept."""

from textwrap import fill

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator

from bench.core.errors import BenchError
from bench.protocol.beside import read_predictions
from bench.report.figures.style import look_of, natural, style
from bench.statistics.calibration import error, kept, per_bin
from bench.statistics.predictions import Predictions

Said = dict[tuple[str, str], list[Predictions]]  # by panel and series, see `predictions_of`
COLUMNS = 4
SAME = 1e-4  # in accuracy; committed records have six digits


def predictions_of(runs: pd.DataFrame) -> dict[tuple[str, str], list[Predictions]]:
    """Return what was predicted in the runs whose predictions are kept, by (panel, series), lowest seed first.

    Controls are left out; so are runs without predictions, which are committed only where they are small, runs of which
    labels alone are known, and predictions that have another accuracy than the record: they are of another run.

    Parameters
    ----------
    runs
        Of `bench.report.figures.complete_runs`.
    """
    said = {}
    for run in runs[~runs["control"]].itertuples():
        try:
            cells, predictions = read_predictions(run.experiment, run.tier, run.key)
        except BenchError:
            continue
        if predictions.probabilities is None:
            continue
        if abs(np.mean(predictions.predicted == predictions.truth) - run.accuracy) < SAME:
            said.setdefault((run.panel, run.series), []).append(predictions.take(np.argsort(cells, kind="stable")))
    return said


def reliability(said: Said):
    """Return one diagram per panel and model: confidence of the predicted type against the share that is right.

    Dots are the bins of the calibration error, larger where a bin has more cells, with 95 % Wilson intervals; below the
    diagonal a model is overconfident, above it underconfident.  Thin lines are single runs where there are several.

    Raises
    ------
    BenchError
        If there is nothing to draw.
    """
    _demand(said)
    style()
    places = _places(said)
    n_rows, columns = (1 + max(place[i] for place in places.values()) for i in (0, 1))
    size = (1.95 * columns + 0.7, 2.5 * n_rows + 0.4)
    figure, axes = plt.subplots(n_rows, columns, figsize=size, squeeze=False, layout="constrained", sharey=True)
    for axis in axes.flat:
        axis.set_visible(False)
    titled = set()
    for (panel, series), place in places.items():
        axis, several = axes[place], said[panel, series]
        axis.set_visible(True)
        _diagram(axis, several, series)
        title = "" if panel in titled else fill(panel, 34) + "\n"
        titled.add(panel)
        found = f"ECE {np.mean([error(run) for run in several]):.3f}"
        axis.set_title(f"{title}{fill(series, 34)}\n{found}", fontsize=9, loc="left")
    _explain(axes[0, 0])
    figure.get_layout_engine().set(h_pad=0.1)
    figure.supxlabel("Confidence: probability of the predicted type", fontsize="medium")
    figure.supylabel("Share of the cells that is right", fontsize="medium")
    return figure


def abstention(said: Said):
    """Return one panel per tier, data set and split: accuracy of the cells kept, the most confident ones first.

    A line is the mean over runs; at its right end every cell has a type, and the accuracy is the usual one.

    Raises
    ------
    BenchError
        If there is nothing to draw.
    """
    _demand(said)
    style()
    panels = list(dict.fromkeys(panel for panel, _ in said))
    columns = 2 if len(panels) == 4 else min(3, len(panels))
    n_rows = -(-len(panels) // columns)
    size = (max(2.75 * columns + 0.5, 4.5), 2.5 * n_rows + 0.9)
    figure, axes = plt.subplots(n_rows, columns, figsize=size, squeeze=False, layout="constrained")
    for axis in axes.flat[len(panels) :]:
        axis.set_visible(False)
    handles = {}
    for axis, panel in zip(axes.flat, panels, strict=False):
        axis.set_title(fill(panel, 42), fontsize=9.5, loc="left")
        for series in sorted((s for p, s in said if p == panel), key=natural):
            handles[series] = _curve(axis, said[panel, series], series)
        axis.set(xlim=(-2, 102), xticks=[0, 25, 50, 75, 100])
        axis.set_ylim(top=1 + 0.03 * (1 - axis.get_ylim()[0]))
        axis.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10], prune="upper"))
        axis.grid(axis="y", color="0.9", lw=0.8)
        axis.set_xlabel("Cells kept (%)")
        axis.yaxis.set_major_formatter("{x:g}")
    figure.supylabel("Accuracy of the cells kept", fontsize="medium")
    names = sorted(handles, key=natural)
    figure.legend([handles[n] for n in names], names, loc="outside lower center", ncols=min(3, len(names)))
    return figure


def _demand(said: Said) -> None:
    if not said:
        raise BenchError(
            "No predictions are kept for these runs; run their chapter with `bench run`, which keeps all of its own."
        )


def _places(said: Said) -> dict[tuple[str, str], tuple[int, int]]:
    """Return row and column of every diagram: models in the order of legends, panels side by side where they fit."""
    places, row, column = {}, 0, 0
    for panel in dict.fromkeys(panel for panel, _ in said):
        names = sorted((series for p, series in said if p == panel), key=natural)
        if column and column + len(names) > COLUMNS:
            row, column = row + 1, 0
        places |= {(panel, name): divmod(row * COLUMNS + column + i, COLUMNS) for i, name in enumerate(names)}
        row, column = divmod(row * COLUMNS + column + len(names), COLUMNS)
    return places


def _diagram(axis, several: list[Predictions], series: str) -> None:
    colour = look_of(series).colour
    bins = per_bin(several)
    axis.plot([0, 1], [0, 1], color="0.6", lw=1, ls="--", zorder=1)
    for run in several if len(several) > 1 else ():
        own = per_bin([run])
        axis.plot(own["confidence"], own["right"], color=colour, lw=0.7, alpha=0.5, zorder=2)
    axis.vlines(bins["confidence"], bins["low"], bins["high"], color=colour, lw=1.2, alpha=0.55, zorder=3)
    area = 12 + 90 * bins["cells"] / bins["cells"].sum()
    axis.scatter(bins["confidence"], bins["right"], area, color=colour, lw=0, zorder=4, clip_on=False)
    axis.set(xlim=(0, 1.03), ylim=(0, 1.03), aspect="equal", xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
    axis.tick_params(labelleft=True)


def _explain(axis) -> None:
    axis.text(0.97, 0.05, "overconfident", ha="right", fontsize=8, color="0.35", style="italic")
    axis.text(0.03, 0.97, "underconfident", va="top", fontsize=8, color="0.35", style="italic")


def _curve(axis, several: list[Predictions], series: str):
    """Draw the mean over runs at the shares of all curves, with the series' marker where every cell is kept."""
    colour, marker, dashes = look_of(series)
    curves = [kept(run) for run in several]
    shares = np.unique(np.concatenate([curve["share"] for curve in curves]))
    shares = shares[shares >= max(curve["share"].iloc[0] for curve in curves)]
    mean = np.mean([np.interp(shares, curve["share"], curve["accuracy"]) for curve in curves], axis=0)
    table = pd.Series(mean, 100 * shares)
    line = axis.plot(table.index, table, color=colour, lw=1.5, ls=dashes, marker=marker, ms=6, markevery=[-1])[0]
    for curve in curves if len(curves) > 1 else ():
        axis.plot(100 * curve["share"], curve["accuracy"], color=colour, lw=0.6, alpha=0.4)
    return line
