"""Models as rows, best first, and a column per score: a mark per run or group, a large one for their mean."""

from collections.abc import Mapping
from textwrap import fill

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator

from bench.report.figures.dots import LINE_IN, draw_row, label_rows, places_of
from bench.report.figures.style import METRICS, is_control, look_of, natural, nothing_to_draw, style

Scores = Mapping[str, Mapping[str, pd.DataFrame]]  # by score and source: a row per model, a column per run or group
REFERENCE = "L1 logistic regression"


def ranking(scores: Scores, *, lowest_first: bool = False):
    """Return a block per source, in it a row per model in the order of the first score, and a column per score.

    The large marker is the mean, the bar its 95 % t interval from three runs or groups on, the small markers below it
    are these; the dotted line continues the mean of L1 logistic regression.  Names stand at the rows, so that however
    many models there are, none is looked up in a legend.  Controls are left out.

    Parameters
    ----------
    scores
        By score and source, what `tables.common_groups`, `tables.run_by_run` and `tables.calibration_by_run` return.
        The sources and models are those of the first score.
    lowest_first
        Whether the lowest value of the first score is the best one.
    """
    style()
    order = {title: _order(table, lowest_first) for title, table in next(iter(scores.values())).items()}
    order = {title: names for title, names in order.items() if names}
    if not order:
        return nothing_to_draw()
    labels = {title: [fill(name, 34) for name in names] for title, names in order.items()}
    lines = {title: 1.2 + sum(text.count("\n") + 1.45 for text in texts) for title, texts in labels.items()}
    figure, axes = plt.subplots(
        *(len(order), len(scores)),
        figsize=(8.3, sum(lines.values()) * LINE_IN * 1.12 + 0.4 * len(order) + 0.35),
        gridspec_kw={"height_ratios": list(lines.values())},
        sharey="row",
        sharex="col",
        squeeze=False,
        layout="constrained",
    )
    for column, (score, of) in zip(axes.T, scores.items(), strict=True):
        column[0].set_title(fill(METRICS.get(score, score), 52 // len(scores)))
        column[0].set_xlim(_limits([of[title].reindex(names) for title, names in order.items() if title in of]))
    for row, (title, names) in zip(axes, order.items(), strict=True):
        heights = places_of(labels[title])
        label_rows(row[0], title, labels[title], heights)
        for axis, of in zip(row, scores.values(), strict=True):
            _draw(axis, of.get(title, pd.DataFrame()), dict(zip(names, heights, strict=True)))
    return figure


def _order(table: pd.DataFrame, lowest_first: bool) -> list[str]:
    """Return the models of a table, the best first, those that are equal as legends have them."""
    means = table.mean(axis=1).dropna()
    means = means[sorted((name for name in means.index if not is_control(name)), key=natural)]
    return means.sort_values(ascending=lowest_first, kind="stable").index.tolist()


def _limits(tables: list[pd.DataFrame]) -> tuple[float, float]:
    """Return a range that holds every run and group, with room for half a marker."""
    values = np.concatenate([table.to_numpy(float).ravel() for table in tables] or [np.zeros(1)])
    values = values[np.isfinite(values)] if np.isfinite(values).any() else np.zeros(1)
    room = 0.05 * (values.max() - values.min()) or 0.05
    return values.min() - room, values.max() + room


def _draw(axis, table: pd.DataFrame, places: dict[str, float]) -> None:
    axis.spines["left"].set_visible(False)
    axis.tick_params(axis="y", length=0)
    axis.tick_params(axis="x", labelbottom=True)
    axis.grid(axis="x", color="0.9", lw=0.8)
    axis.set_axisbelow(True)
    axis.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    low, high = axis.get_xlim()
    if low < 0 < high:
        axis.axvline(0, color="0.5", lw=0.8, zorder=0.5)
    if REFERENCE in table.index:
        axis.axvline(table.loc[REFERENCE].mean(), color=look_of(REFERENCE).colour, lw=1, ls=":", zorder=0.5)
    for series, place in places.items():
        values = table.loc[series].dropna().to_numpy(float) if series in table.index else np.array([])
        if len(values):
            draw_row(axis, series, values, np.zeros(len(values), dtype=bool), place)
