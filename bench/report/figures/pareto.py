"""Accuracy against what it costs, seconds and memory, with the models that no other one beats in both."""

from math import ceil
from textwrap import fill

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

from bench.core.errors import BenchError
from bench.report.figures.direct import name_points
from bench.report.figures.style import look_of, natural, style

LOWEST_IN, PER_MODEL_IN = 1.8, 0.24  # inches of a row
FRONT, OTHERS = "0.1", "0.35"  # colours of names
LEGEND_IN = 0.2  # of a line of the legend
COSTS = {"seconds": "Seconds, fit and prediction", "peak_memory_mb": "Peak memory (MB)"}


def front(cost: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Return which points lie on the Pareto front, shape (n,): none is as cheap and as good and better in one.

    Parameters
    ----------
    cost
        Lower is better, shape (n,).
    score
        Higher is better, shape (n,).
    """
    cost, score = np.asarray(cost, dtype=float), np.asarray(score, dtype=float)
    no_worse = (cost[None] <= cost[:, None]) & (score[None] >= score[:, None])
    better = (cost[None] < cost[:, None]) | (score[None] > score[:, None])
    return ~(no_worse & better).any(axis=1)


def of_models(runs: pd.DataFrame) -> pd.DataFrame:
    """Return per panel and series the median accuracy over seeds and the least seconds and memory, without controls.

    A run whose cost or accuracy is not known is left out.  The least, because what else a shared machine does only adds
    to a cost.
    """
    least = {name: (name, "min") for name in COSTS}
    known = (runs[list(COSTS)] > 0).all(axis=1) & runs["accuracy"].notna()
    groups = runs[known & ~runs["control"]].groupby(["panel", "series"], sort=False)
    return groups.agg(accuracy=("accuracy", "median"), **least, runs=("key", "nunique")).reset_index()


def pareto(runs: pd.DataFrame):
    """Return a row per panel: accuracy on all training cells against seconds and peak memory, on logarithmic axes.

    A point is a row of `of_models`, pale where another model is as cheap and as good or better.  The step joins the
    front.  The dotted line of memory is the majority control: Python and the data without a model.  Names stand at the
    points of seconds, of memory at those of the front; where there is no room a legend has them.  A row is the higher
    the more models it has.

    Parameters
    ----------
    runs
        Of `bench.report.figures.complete_runs`, of one tier.

    Raises
    ------
    BenchError
        If there is no run of a model.
    """
    models = of_models(runs)
    if models.empty:
        raise BenchError("No run of a model other than the controls on all training cells; there is no cost to draw.")
    style()
    panels = dict(list(models.groupby("panel", sort=False)))
    heights = [max(LOWEST_IN, PER_MODEL_IN * len(own)) for own in panels.values()]
    figure, axes = plt.subplots(
        *(len(panels), 2),
        figsize=(8.3, sum(heights) + 0.4 * len(panels) + 0.9),
        gridspec_kw={"height_ratios": heights, "width_ratios": (1.75, 1)},
        squeeze=False,
        layout="constrained",
        sharex="col",
        sharey="row",
    )
    handles = {}
    for pair, (panel, own) in zip(axes, panels.items(), strict=True):
        floor = runs[(runs["panel"] == panel) & (runs["model"] == "majority")]["peak_memory_mb"].min()
        for axis, cost in zip(pair, COSTS, strict=True):
            handles |= _points(axis, own, cost)
            axis.set_xlabel(COSTS[cost] if pair[0] is axes[-1, 0] else "")
        if floor > 0:
            pair[1].axvline(floor, color="0.5", lw=1, ls=":")
        pair[0].set_ylabel("Accuracy")
        pair[0].yaxis.set_major_locator(MaxNLocator(4))
        pair[0].set_title(fill(panel, 60), fontsize=10, loc="left")
    for axis in axes[-1]:
        _ticks(axis)
    _name(figure, axes, panels, handles)
    return figure


def _name(figure, axes, panels: dict[str, pd.DataFrame], handles: dict) -> None:
    """Write names at the points of seconds; those for which there is no room stand in a legend, with their markers."""
    left_out = _named(figure, axes, panels)
    if not left_out:
        return
    for text in [text for axis in axes.flat for text in axis.texts]:
        text.remove()
    names = sorted(left_out, key=natural)
    figure.legend([handles[name] for name in names], names, loc="outside lower center", ncols=3)
    figure.set_figheight(figure.get_figheight() + LEGEND_IN * (1 + ceil(len(names) / 3)))
    _named(figure, axes, panels)


def _named(figure, axes, panels: dict[str, pd.DataFrame]) -> set[str]:
    """Write the names of models, those of the front in black and first, for memory these alone; return the others."""
    figure.draw_without_rendering()  # names are measured where they will stand
    left_out = set()
    for pair, own in zip(axes, panels.values(), strict=True):
        for axis, cost in zip(pair, COSTS, strict=True):
            best = front(own[cost], own["accuracy"])
            points = own.assign(colour=np.where(best, FRONT, OTHERS), last=~best)
            points = points.sort_values(["last", "accuracy"], ascending=[True, False])
            if axis is pair[1]:  # a mark is the same one as on the left
                points.loc[points["last"], "series"] = ""
            named = points[[cost, "accuracy", "series", "colour"]].itertuples(index=False, name=None)
            found = name_points(axis, named)
            left_out |= set(found) if axis is pair[0] else set()
    return left_out


def _points(axis, models: pd.DataFrame, cost: str) -> dict:
    on_front = front(models[cost], models["accuracy"])
    steps = models[on_front].sort_values([cost, "accuracy"])
    axis.step(steps[cost], steps["accuracy"], where="post", color="0.65", lw=1.2, zorder=1)
    handles = {}
    for model, best in zip(models.itertuples(), on_front, strict=True):
        colour, marker, _ = look_of(model.series)
        point = axis.plot(getattr(model, cost), model.accuracy, marker, color=colour, ms=8, alpha=1 if best else 0.35)
        handles[model.series] = plt.Line2D([], [], color=colour, marker=marker, ms=7, ls="none")
        point[0].set_zorder(3 if best else 2)
    axis.set_xscale("log")
    axis.margins(x=0.2, y=0.2)
    return handles


def _ticks(axis) -> None:
    """Put round numbers under a logarithmic axis, also where it spans less than a decade."""
    low, high = axis.get_xlim()
    decades = 10.0 ** np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)))
    for digits in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 8)):
        ticks = [tick for tick in np.outer(decades, digits).ravel() if low <= tick <= high]
        if len(ticks) >= 3:
            break
    axis.xaxis.set_major_locator(FixedLocator(ticks))
    axis.xaxis.set_major_formatter("{x:g}")
    axis.xaxis.set_minor_locator(NullLocator())
