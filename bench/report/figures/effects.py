"""Differences between models with their intervals: a row or a curve each, the margin of "the same" shaded.

Filled markers are differences whose corrected test is below 0.05, hollow ones are open or within the margin.
"""

from textwrap import fill

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from bench.report.figures.dots import LINE_IN, label_rows, places_of
from bench.report.figures.learning_curves import grid
from bench.report.figures.style import METRICS, look_of, natural, style
from bench.statistics.intervals import ALPHA, MARGIN

FILLED, HOLLOW = f"differs: p < {ALPHA:g} (Holm)", "not shown to differ"


def effects(table: pd.DataFrame, label: str):
    """Return a row per comparison and a column per metric, in blocks by source: point, 95 % interval, margin.

    Parameters
    ----------
    table
        Of `bench.report.tables.effects`, at one share of the training cells.
    label
        Of the axis: what minus what.
    """
    style()
    metrics = list(table.index.unique("metric"))
    blocks = {title: group.droplevel([0, 2]) for title, group in table.groupby(level=0, sort=False)}
    names = {title: list(group.index.unique("compared")) for title, group in blocks.items()}
    labels = {title: [fill(name, 40) for name in rows] for title, rows in names.items()}
    heights = {title: 1.2 + sum(text.count("\n") + 1.45 for text in texts) for title, texts in labels.items()}
    figure, axes = plt.subplots(
        *(len(blocks), len(metrics)),
        figsize=(8.3, sum(heights.values()) * LINE_IN * 1.12 + 0.3 * len(blocks) + 1.0),
        gridspec_kw={"height_ratios": list(heights.values())},
        sharex=True,
        sharey="row",
        squeeze=False,
        layout="constrained",
    )
    for row, (title, group) in zip(axes, blocks.items(), strict=True):
        places = places_of(labels[title])
        label_rows(row[0], title, labels[title], places)
        for axis, metric in zip(row, metrics, strict=True):
            axis.spines["left"].set_visible(False)
            axis.tick_params(axis="y", length=0)
            here = group[group.index.get_level_values("metric") == metric].droplevel("metric")
            _rows(axis, here, dict(zip(names[title], places, strict=True)))
    for axis, metric in zip(axes[0], metrics, strict=True):
        axis.set_title(fill(METRICS.get(metric, metric), 52 // len(metrics)))
    for axis in axes[-1]:
        axis.set_xlabel(label if len(metrics) < 3 else fill(label, 60 // len(metrics)))
    figure.legend(handles=_legend(), loc="outside lower center", ncols=3)
    return figure


def effect_curves(table: pd.DataFrame):
    """Return differences against the share of the training cells: a panel per source, a row of panels per metric.

    Parameters
    ----------
    table
        Of `bench.report.tables.effects`.
    """
    style()
    panels = {title: group.droplevel(0).reset_index() for title, group in table.groupby(level=0, sort=False)}
    ends = table[["difference", "low", "high"]].to_numpy()
    bottom, top = (np.nanmin(ends), np.nanmax(ends)) if np.isfinite(ends).any() else (0.0, 0.0)
    limits = max(bottom, -0.6) - 0.04, min(top, 0.6) + 0.04  # a wider interval runs out of the panel

    def draw(axis, rows: pd.DataFrame) -> dict:
        handles = {}
        _margin(axis, axis.axhspan, axis.axhline)
        series = sorted(rows["compared"].unique(), key=natural)
        for offset, name in enumerate(series):
            colour, marker, dashes = look_of(name)
            of = rows[rows["compared"] == name]
            x = 100 * of["training cells"].to_numpy() + 1.6 * (offset - (len(series) - 1) / 2)
            axis.vlines(x, of["low"], of["high"], color=colour, lw=1.5, alpha=0.8)
            handles[name] = axis.plot(x, of["difference"], color=colour, lw=1.2, ls=dashes, marker=marker, ms=5)[0]
            inside = [colour if p < ALPHA else "white" for p in of["p, Holm"]]
            axis.scatter(x, of["difference"], marker=marker, s=26, c=inside, edgecolors=colour, zorder=3)
        axis.set(ylim=limits, xticks=[10, 25, 50, 75, 100])
        return handles

    metrics = list(table.index.unique("metric"))
    return grid(panels, metrics, draw, _difference_in, _legend(), height=2.1)


def _difference_in(metric: str) -> str:
    name = METRICS.get(metric, metric).removesuffix(" (as published)")
    return "Difference in\n" + (name if name.startswith("F1") else name[0].lower() + name[1:])


def _rows(axis, rows: pd.DataFrame, places: dict[str, float]) -> None:
    if rows.empty:
        axis.text(0.5, 0.5, "not defined here", transform=axis.transAxes, ha="center", va="center", color="0.4")
        return
    _margin(axis, axis.axvspan, axis.axvline)
    axis.grid(axis="x", color="0.9", lw=0.8)
    axis.set_axisbelow(True)
    axis.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    axis.tick_params(axis="x", labelbottom=True)
    for name, row in rows.iterrows():
        colour, marker, _ = look_of(name)
        axis.hlines(places[name], row["low"], row["high"], color=colour, lw=1.6)
        inside = colour if row["p, Holm"] < ALPHA else "white"
        axis.plot(row["difference"], places[name], marker, color=colour, mfc=inside, ms=6.5, mew=1.3, zorder=3)


def _margin(axis, span, line) -> None:
    span(-MARGIN, MARGIN, color="0.88", lw=0, zorder=0)
    line(0, color="0.5", lw=0.8, zorder=1)


def _legend() -> list:
    look = {"ls": "none", "marker": "o", "color": "0.3", "ms": 6}
    band = plt.Rectangle((0, 0), 1, 1, color="0.88", lw=0, label=f"margin ± {MARGIN:g}")
    return [Line2D([], [], label=FILLED, **look), Line2D([], [], label=HOLLOW, mfc="white", **look), band]
