"""Scores against the share of the training cells: the paper's Figures 2 and 3, published beside reproduced."""

from collections.abc import Callable, Sequence
from itertools import product, zip_longest
from textwrap import fill

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from bench.report.figures.runs import own_panels, published_panels
from bench.report.figures.shares import share_names
from bench.report.figures.style import METRICS, VEGA_SHAPES, colour_of, look_of, natural, nothing_to_draw, style
from bench.statistics.intervals import t_interval


def few_shot(records: pd.DataFrame, published: dict[str, pd.DataFrame], metrics=("accuracy", "macro_f1_seen")):
    """Return the few-shot figure: published panels, then one panel per tier and data set of the records.

    Parameters
    ----------
    records
        Records of one experiment.
    published
        Tables of `bench.published.few_shot` by panel title.
    metrics
        Rows of the figure.  The paper's macro F1 is compared with the project's metric of the same definition.
    """
    style()
    panels = published_panels(published) | own_panels(records)
    return grid(panels, metrics, _curves, lambda metric: METRICS.get(metric, metric))


def grid(
    panels: dict[str, pd.DataFrame],
    metrics,
    draw: Callable[[Axes, pd.DataFrame], dict],
    label: Callable[[str], str],
    more: Sequence = (),
    height: float = 2.5,
):
    """Return panels against the share of the training cells: a block per metric, in it a row per tier if many.

    Parameters
    ----------
    panels
        Rows by panel title, ``Tier: data``, with a column ``metric``.
    metrics
        Blocks of the figure.
    draw
        Draws the rows of a panel and returns its legend's handles by name.
    label
        Of the vertical axis, by metric.
    more
        Further handles of the legend.
    height
        Of a row, in inches.
    """
    if not panels:
        return nothing_to_draw()
    lines = _lines(list(panels))
    n_columns, n_rows = max(map(len, lines)), len(lines) * len(metrics)
    size = (2.9 * n_columns + 0.6, height * n_rows + 0.9)
    figure, axes = plt.subplots(n_rows, n_columns, figsize=size, sharex=True, sharey=True, squeeze=False)
    handles = {}
    for row, (metric, titles) in zip(axes, product(metrics, lines), strict=True):
        row[0].set_ylabel(label(metric))
        for axis, title in zip_longest(row, titles):
            axis.set_visible(title is not None)
            if title is not None:
                axis.set_title(fill(title, 36))
                handles |= draw(axis, panels[title][panels[title]["metric"] == metric])
                axis.tick_params(labelbottom=True, labelleft=True)
    figure.supxlabel("Share of the training cells (%)", fontsize="medium")
    names = sorted(handles, key=natural)
    shown, texts = [*map(handles.get, names), *more], [*names, *(handle.get_label() for handle in more)]
    figure.legend(shown, texts, loc="upper center", bbox_to_anchor=(0.5, 0.0), ncols=3)
    figure.tight_layout()
    return figure


def _lines(titles: list[str], width: int = 3) -> list[list[str]]:
    """Return titles in lines of at most that many; more than one line hold a tier each."""
    if len(titles) <= width:
        return [titles]
    tiers = dict.fromkeys(title.partition(":")[0] for title in titles)
    groups = [[title for title in titles if title.partition(":")[0] == tier] for tier in tiers]
    return [group[start : start + width] for group in groups for start in range(0, len(group), width)]


def few_shot_hover(records: pd.DataFrame, published: dict[str, pd.DataFrame], metric: str = "accuracy"):
    """Return the few-shot runs as an altair chart: every run tells its seed, settings, cost and commit on hover."""
    import altair as alt

    panels = published_panels(published) | own_panels(records)
    tables = [runs.assign(panel=title) for title, runs in panels.items()]
    runs = pd.concat(tables) if tables else pd.DataFrame(columns=COLUMNS)
    runs = runs[runs["metric"] == metric]
    runs = runs.reindex(columns=list(TOLD)).assign(fraction=lambda t: 100 * t["fraction"].astype(float))
    told = {f"{column} said": runs[column].map(_said) for column in TOLD}
    runs = runs[["panel", "series", "fraction", "value"]].assign(**told)
    names = sorted(set(runs["series"]), key=natural)
    colours, shapes = [colour_of(name) for name in names], [VEGA_SHAPES[look_of(name).marker] for name in names]
    chart = alt.Chart(runs).mark_point(filled=True, size=55, opacity=0.75)
    chart = chart.encode(
        x=alt.X("fraction:Q", title="Training cells (%)", scale=alt.Scale(domain=[0, 105])),
        y=alt.Y("value:Q", title=METRICS.get(metric, metric), scale=alt.Scale(zero=False)),
        color=alt.Color("series:N", title=None, scale=alt.Scale(domain=names, range=colours)),
        shape=alt.Shape("series:N", title=None, scale=alt.Scale(domain=names, range=shapes)),
        tooltip=[alt.Tooltip(f"{column} said:N", title=title) for column, title in TOLD.items()],
    )
    legend = alt.Legend(orient="bottom", columns=3)
    chart = chart.encode(color=chart.encoding.color.copy(), shape=chart.encoding.shape.copy())
    chart.encoding.color.legend = chart.encoding.shape.legend = legend
    return chart.properties(width=190, height=220).facet(
        facet=alt.Facet("panel:N", title=None, sort=list(dict.fromkeys(runs["panel"]))), columns=3
    )


TOLD = {"panel": "data", "series": "model", "fraction": "training cells (%)", "value": "score", "seed": "seed"}
COLUMNS = ["panel", "series", "metric", "fraction", "value"]
TOLD |= {"n_train": "training cells", "seconds": "seconds", "chosen_C": "penalty C", "source": "from"}


def _said(value) -> str:
    """Return a value as the pointer shows it; published runs lack some."""
    return value if isinstance(value, str) else "–" if pd.isna(value) else f"{value:.4g}"


def _curves(axes, runs: pd.DataFrame) -> dict:
    """Draw a dot per run, the mean, and its 95 % t interval where there are three runs or more."""
    handles = {}
    for series, group in runs.groupby("series", sort=False):
        colour, marker, dashes = look_of(series)
        means = group.groupby("fraction")["value"].agg(list)
        x = 100 * means.index.to_numpy()
        axes.plot(100 * group["fraction"], group["value"], marker, color=colour, alpha=0.45, ms=4, mew=1.2, ls="none")
        line = axes.plot(x, means.map(np.mean), color=colour, lw=1.5, ls=dashes, marker=marker, ms=5)[0]
        spread = means[means.map(len) >= 3].map(t_interval)
        low, high = spread.map(lambda i: i.low), spread.map(lambda i: i.high)
        axes.vlines(100 * spread.index, low, high, color=colour, lw=1.5, alpha=0.8)
        handles[series] = line
    axes.set(ylim=(0, 1), xticks=[10, 25, 50, 75, 100])
    if other := [name for name in share_names(runs).values() if "(" in name]:
        axes.set_xlabel(fill("; ".join(other), 44), fontsize="small")
    return handles
