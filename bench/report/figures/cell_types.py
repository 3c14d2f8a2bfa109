"""Scores per cell type: models side by side, the most frequent types first."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from bench.core.errors import BenchError, unknown
from bench.report.figures.dots import ROWS
from bench.report.figures.names import one_line, told_apart
from bench.report.figures.runs import in_one_panel, named, published_panels
from bench.report.figures.style import METRICS, TIERS, look_of, natural, style
from bench.statistics.intervals import t_interval


def per_class(
    records: pd.DataFrame,
    tier: str,
    dataset: str,
    metric: str = "recall",
    published: dict[str, pd.DataFrame] | None = None,
    fraction: float = 1.0,
):
    """Return a score per cell type (rows, with their scored cells) and model, a dot per run with its mean.

    A bar is the 95 % t interval from three runs on.  The control that always says the most frequent type is left
    out: it has 1 for one type and 0 for the others.

    Parameters
    ----------
    records
        Records of one experiment.
    tier, dataset
        Which of them.
    metric
        ``recall`` or ``f1``.
    published
        ``{"Zheng68K": class_recall()}`` of `bench.published.scbert`, drawn hollow for the types that go by the same
        name; only with ``recall``.
    fraction
        Share of the training cells.

    Raises
    ------
    BenchError
        If there is no such run, the metric is not one per cell type, or no published type has a name of these.
    """
    style()
    runs, support = of_types(records, tier, dataset, metric, fraction)
    places = {name: i for i, name in enumerate(support.index)}
    theirs = _published(published or {}, metric, places)
    runs = runs[runs["model"] != "majority"]
    names = sorted(set(runs["series"]), key=natural)
    n_rows = len(names) + bool(len(theirs))
    figure, axis = plt.subplots(figsize=(8.3, len(places) * (0.135 * n_rows + 0.1) + 0.9), layout="constrained")
    offsets = 0.86 * ((np.arange(n_rows) + 0.5) / n_rows - 0.5)
    for series, offset in zip(names, offsets, strict=False):
        _draw_series(axis, series, runs[runs["series"] == series], places, offset)
    for series, group in theirs.groupby("series", sort=False):
        colour, marker, _ = look_of(series)
        y = group["class"].map(places) + offsets[-1]
        label = f"{group['panel'].iloc[0]}, {series}"
        axis.plot(group["value"], y, marker, color=colour, mfc="white", ms=6, mew=1.3, ls="none", label=label)
    _dress(axis, support, METRICS.get(metric, metric))
    axis.set_title(f"{TIERS.get(tier, tier)}: {one_line(dataset, 40)}", loc="left")
    figure.legend(loc="outside lower center", ncols=3)
    return figure


def of_types(records, tier, dataset, metric, fraction) -> tuple[pd.DataFrame, pd.Series]:
    """Return the scores per cell type of one data set and their scored cells, the most frequent types first.

    Where the data were read in several ways, or split in several, each is a series of its own.

    Raises
    ------
    BenchError
        If there is no such run, or the metric is not one per cell type.
    """
    rows = records[(records["tier"] == tier) & (records["dataset"] == dataset) & (records["status"] == "ok")]
    rows = rows[(rows["fraction"] == fraction) & (rows["class"] != "") & rows["epoch"].isna()]
    rows = in_one_panel(named(rows[np.isfinite(rows["value"])]))
    if rows.empty:
        raise BenchError(f"No scores per cell type of {dataset} ({tier}) at {100 * fraction:g} %; see: bench records")
    known = sorted(set(rows["metric"]) - {"support"})
    if metric not in known:
        raise unknown("metric per cell type", metric, known)
    shown = rows[rows["metric"] == metric]
    cells = rows[rows["metric"] == "support"].groupby("class", sort=False)["value"].agg(["min", "max"])
    cells = cells.reindex(dict.fromkeys([*cells.index, *shown["class"]])).sort_values("max", ascending=False)
    return shown, cells.apply(lambda ends: _cells(*ends), axis=1)


def _cells(low: float, high: float) -> str:
    """Return a number of cells as text; two where data that are told apart differ, a dash where none is recorded."""
    return "–".join(dict.fromkeys(f"{end:,.0f}" for end in (low, high) if np.isfinite(end))) or "–"


def _published(published: dict[str, pd.DataFrame], metric: str, places: dict[str, int]) -> pd.DataFrame:
    if published and metric != "recall":
        raise BenchError(f"Published per cell type is the recall alone, not {metric!r}; pass published=None.")
    panels = [runs.assign(panel=title) for title, runs in published_panels(published).items()]
    runs = pd.concat(panels) if panels else pd.DataFrame(columns=["series", "class", "value", "metric"])
    kept = runs[(runs["metric"] == metric) & runs["class"].isin(list(places))]
    if published and kept.empty:
        raise BenchError(f"No published cell type has a name of these: {', '.join(places)}; pass published=None.")
    return kept


def _draw_series(axis, series: str, runs: pd.DataFrame, places: dict[str, int], offset: float) -> None:
    colour, marker, _ = look_of(series)
    marker = ROWS.get(marker, marker)
    axis.plot(runs["value"], runs["class"].map(places) + offset, marker, color=colour, alpha=0.4, ms=3, ls="none")
    values = runs.groupby("class")["value"].agg(list)
    y = values.index.map(places).to_numpy(dtype=float) + offset
    axis.plot(values.map(np.mean), y, marker, color=colour, ms=5.5, ls="none", label=series)
    for height, several in zip(y, values, strict=True):
        if len(several) >= 3:
            bar = t_interval(several)
            axis.hlines(height, max(bar.low, 0), min(bar.high, 1), color=colour, lw=1.3)


def _dress(axis, support: pd.Series, label: str) -> None:
    for i in range(0, len(support), 2):
        axis.axhspan(i - 0.5, i + 0.5, color="0.95", zorder=0, lw=0)
    names = told_apart({name: [one_line(name)] for name in support.index})
    axis.set_yticks(range(len(support)), [f"{names[name]}  ({cells})" for name, cells in support.items()])
    axis.set(ylim=(len(support) - 0.5, -0.5), xlim=(-0.02, 1.02), xlabel=label)
    axis.grid(axis="x", color="0.85", lw=0.8)
    axis.set_axisbelow(True)
    axis.tick_params(axis="y", length=0)
