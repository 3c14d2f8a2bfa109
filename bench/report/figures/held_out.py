"""Scores on donors, studies or conditions held out in turn, beside a random split of the same data."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from bench.report.figures.dots import LINE_IN, label_rows, places_of
from bench.report.figures.style import METRICS, is_control, look_of, natural, style


def held_out(tables: dict[str, dict[str, pd.DataFrame]]):
    """Return a block per source, in it a row per held-out group below the random split, and a column per metric.

    Parameters
    ----------
    tables
        By metric, what `tables.held_out.groups_of` returns.  The dotted line of a model continues its random
        split, so that what it loses on a group is the way from the line to its mark.  Controls are left out.
    """
    style()
    blocks = next(iter(tables.values()))
    labels = {
        title: ["random split", *(f"{g} held out" for g in table if g != "random")] for title, table in blocks.items()
    }
    heights = {title: 1.2 + 1.45 * len(rows) for title, rows in labels.items()}
    figure, axes = plt.subplots(
        *(len(blocks), len(tables)),
        figsize=(8.3, sum(heights.values()) * LINE_IN * 1.3 + 0.4 * len(blocks) + 0.6),
        gridspec_kw={"height_ratios": list(heights.values())},
        sharey="row",
        squeeze=False,
        layout="constrained",
    )
    lowest = min(of.loc[_models_of(of)].min(axis=None) for of_metric in tables.values() for of in of_metric.values())
    lowest = lowest if np.isfinite(lowest) else 0.0
    handles = {}
    for row, title in zip(axes, blocks, strict=True):
        places = places_of(labels[title])
        label_rows(row[0], title, labels[title], places)
        for axis, (metric, of) in zip(row, tables.items(), strict=True):
            axis.set_title(METRICS.get(metric, metric) if title == next(iter(blocks)) else "")
            found = of.get(title, blocks[title][:0]).reindex(columns=blocks[title].columns)
            handles |= _draw(axis, found.loc[_models_of(found)], places)
            axis.set_xlim(np.floor(10 * lowest - 0.1) / 10, 1.005)
    names = sorted(handles, key=natural)
    figure.legend([handles[n] for n in names], names, loc="outside lower center", ncols=4)
    return figure


def _models_of(table: pd.DataFrame) -> list[str]:
    return [name for name in table.index if not is_control(name)]


def _draw(axis, table: pd.DataFrame, places: np.ndarray) -> dict:
    axis.spines["left"].set_visible(False)
    axis.tick_params(axis="y", length=0)
    axis.grid(axis="x", color="0.9", lw=0.8)
    axis.set_axisbelow(True)
    handles = {}
    for series, values in table.iterrows():
        colour, marker, _ = look_of(series)
        if "random" in values:
            axis.plot([values["random"]] * 2, [places[0], places[-1]], color=colour, lw=1, ls=":", zorder=1)
        y = places[-len(values) :]
        handles[series] = axis.plot(values, y, marker, color=colour, ms=6, ls="none", zorder=3)[0]
    return handles
