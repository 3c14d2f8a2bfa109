"""Models as rows, metrics as columns, a dot per run: Table 1, Table 2 and Table 3 as figures."""

from textwrap import fill

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.ticker import AutoMinorLocator, MaxNLocator

from bench.report.figures.runs import complete, own_panels, published_panels, with_metrics
from bench.report.figures.style import METRICS, is_control, look_of, natural, nothing_to_draw, style
from bench.statistics.intervals import t_interval

ANNOTATION = ("accuracy", "macro_f1_seen", "hard_accuracy", "hard_f1")
MASKED = ("masked_accuracy", "predictions_equal_most_common_bin")
ABOVE, BELOW = 0.12, 0.42  # lines of text between a row's label and its mean, and its runs
LINE_IN = 0.17  # inches of one line of text
ROWS = {"_": "|"}  # a horizontal marker would read as an interval here
CONSTANT = "×: runs that say the same type for every cell, counted on the right"


def ablation(records: pd.DataFrame, published: dict[str, pd.DataFrame], metrics=ANNOTATION):
    """Return models and variants side by side: a block per source, a row per model, a column per metric.

    The large marker is the mean, the bar its 95 % t interval from three runs on, the small markers below it are the
    runs; a single run is drawn large.  Runs that say one type for every cell are crosses, counted on the right.  The
    dotted line continues the mean of L1 logistic regression.  All panels span an equally wide range of values, each
    around its own models; a control outside of it is written at the edge.  Only runs on all training cells are drawn.

    Parameters
    ----------
    records
        Records of one experiment.
    published
        Tables of `bench.published.scbert` by panel title, such as ``{"Zheng68K, Table 2": table2()}``.
    metrics
        Columns.  A source without one of them, such as a data set without a hard pair, says so in its panel.

    Raises
    ------
    BenchError
        If no source has a metric.
    """
    return _dot_rows(_panels(records, published, metrics), metrics, reference="L1 logistic regression")


def masked(records: pd.DataFrame, published: dict[str, pd.DataFrame], metrics=MASKED):
    """Return masked accuracy per variant with its baselines (Table 3): a block per source, a row per model.

    Markers, bars and ranges as in `ablation`; the dotted line continues the most common bin of the cell, the paper's
    baseline.

    Parameters
    ----------
    records
        Records of ``masked_pretraining``; ``dataset`` is the one evaluated.
    published
        ``{"Panglao": table3("panglao"), ...}`` of `bench.published.scbert`.
    metrics
        Columns.

    Raises
    ------
    BenchError
        If no source has a metric.
    """
    return _dot_rows(_panels(records, published, metrics), metrics, reference="most common bin of the cell")


def _panels(records, published, metrics) -> dict[str, pd.DataFrame]:
    panels = published_panels(published) | own_panels(records)
    return with_metrics({title: complete(runs) for title, runs in panels.items()}, metrics)


def _dot_rows(panels: dict[str, pd.DataFrame], metrics, reference: str):
    style()
    if not panels:
        return nothing_to_draw()
    series = {title: sorted(set(runs["series"]), key=natural) for title, runs in panels.items()}
    labels = {title: [fill(name, 34) for name in names] for title, names in series.items()}
    lines = {title: 1.2 + sum(text.count("\n") + 1.45 for text in texts) for title, texts in labels.items()}
    figure, axes = plt.subplots(
        *(len(panels), len(metrics)),
        figsize=(8.3, sum(lines.values()) * LINE_IN * 1.12 + 0.4 * len(panels) + 0.35),
        gridspec_kw={"height_ratios": list(lines.values())},
        sharey="row",
        squeeze=False,
        layout="constrained",
    )
    limits = _limits(panels)
    for row, (title, runs) in zip(axes, panels.items(), strict=True):
        heights = places_of(labels[title])
        label_rows(row[0], title, labels[title], heights)
        places = dict(zip(series[title], heights, strict=True))
        for axis, metric in zip(row, metrics, strict=True):
            _draw(axis, runs[runs["metric"] == metric], places, limits.get((title, metric)), reference)
        _count_constant(row[-1], runs[runs["metric"] == runs["metric"].iloc[0]], places)
    for axis, metric in zip(axes[0], metrics, strict=True):
        axis.set_title(fill(METRICS.get(metric, metric), 52 // len(metrics)))
    if any(_marked(runs).any() for runs in panels.values()):
        figure.supxlabel(CONSTANT, fontsize="medium")
    return figure


def _count_constant(axis, shown: pd.DataFrame, places: dict[str, float]) -> None:
    """Write right of the last panel how many runs of a row say one type for every cell: their crosses coincide."""
    for series, marks in _marked(shown).groupby(shown["series"]):
        if marks.any():
            say = {"transform": axis.get_yaxis_transform(), "color": look_of(series).colour, "va": "center"}
            axis.text(1.02, places[series], f"× {marks.sum()} of {len(marks)}", **say)


def _marked(runs: pd.DataFrame) -> pd.Series:
    """Return which runs are drawn as constant predictions; a control is constant by design."""
    return runs["constant"].eq(1) & ~runs["series"].map(is_control)


def places_of(labels: list[str]) -> np.ndarray:
    """Return the heights of rows whose labels may take several lines, the first one 1.2 lines below the title."""
    heights = np.array([text.count("\n") + 1.45 for text in labels])
    return 0.75 + np.cumsum(heights) - heights / 2


def label_rows(axis, title: str, labels: list[str], places: np.ndarray) -> None:
    """Write a block's title and the names of its rows at the left of its first panel."""
    axis.set_yticks([0, *places], [title, *labels])
    axis.set_ylim(places[-1] + 0.9, -0.5)
    axis.yaxis.get_ticklabels()[0].set_fontweight("bold")
    axis.yaxis.get_ticklines()[0].set_visible(False)
    axis.tick_params(axis="y", length=0)


def _limits(panels: dict[str, pd.DataFrame]) -> dict[tuple[str, str], tuple[float, float]]:
    """Return a range per source and metric, all equally wide, that holds every run and interval but the controls'."""
    ends = {}
    for title, runs in panels.items():
        for metric, group in runs[~runs["series"].map(is_control)].groupby("metric"):
            kept = group.groupby("series")["value"].agg(list)
            bars = [e for v in kept if len(v) >= 3 for e in (t_interval(v).low, t_interval(v).high)]
            values = np.clip([*group["value"], *bars], 0, 1)
            ends[title, metric] = values.min(), values.max()
    width = min(1.04, 1.2 * max([high - low for low, high in ends.values()], default=1.0) + 0.02)
    starts = {k: np.clip((low + high - width) / 2, -0.02, 1.02 - width) for k, (low, high) in ends.items()}
    return {key: (float(start), float(start + width)) for key, start in starts.items()}


def _draw(axis, shown: pd.DataFrame, places: dict[str, float], limits, reference: str) -> None:
    axis.spines["left"].set_visible(False)
    axis.tick_params(axis="y", length=0)
    if shown.empty:
        axis.text(0.5, 0.5, "not defined here", transform=axis.transAxes, ha="center", va="center", color="0.4")
        axis.spines["bottom"].set_visible(False)
        axis.set_xticks([])
        return
    axis.grid(axis="x", which="both", color="0.9", lw=0.8)
    axis.set_axisbelow(True)
    axis.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    axis.xaxis.set_minor_locator(AutoMinorLocator(2))
    axis.set_xlim(limits or (-0.02, 1.02))
    groups = shown.assign(constant=_marked(shown)).groupby("series")
    if reference in groups.groups:
        mean = groups.get_group(reference)["value"].mean()
        axis.axvline(mean, color=look_of(reference).colour, lw=1, ls=":", zorder=0.5)
    for series, runs in groups:
        draw_row(axis, series, runs["value"].to_numpy(), runs["constant"].to_numpy(), places[series])


def draw_row(axis, series: str, runs: np.ndarray, constant: np.ndarray, y: float) -> None:
    """Draw the mean of a model large, its interval, and its runs below it; a cross where ``constant``."""
    colour, marker, _ = look_of(series)
    marker, mean = ROWS.get(marker, marker), float(np.mean(runs))
    low, high = axis.get_xlim()
    if not low <= mean <= high:
        text, x, side = (f"← {mean:.2f}", 0.03, "left") if mean < low else (f"{mean:.2f} →", 0.97, "right")
        axis.text(x, y, text, transform=axis.get_yaxis_transform(), color=colour, ha=side, va="center")
        return
    axis.plot(mean, y - ABOVE, marker, color=colour, ms=6.5, ls="none", zorder=3)
    others = runs[~constant]
    if len(runs) > 1:
        axis.plot(others, [y + BELOW] * len(others), marker, color=colour, alpha=0.5, ms=3.2, ls="none", mew=0.8)
    if constant.any():
        same = runs[constant]
        axis.plot(same, [y + BELOW] * len(same), "x", color=colour, ms=4.5, ls="none", mew=1.2)
    if len(runs) >= 3:
        bar = t_interval(runs)
        axis.hlines(y - ABOVE, bar.low, bar.high, color=colour, lw=1.5, zorder=2)
