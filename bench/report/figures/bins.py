"""Recall per expression bin of masked positions: what a masked accuracy hides."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from bench.core.errors import BenchError
from bench.core.places import to_run
from bench.report.figures.runs import by_source, complete, named
from bench.report.figures.style import look_of, natural, style
from bench.statistics.intervals import t_interval

SAME_POSITIONS = 0.02  # shares that seeds of the masks alone tell apart


def recall_per_bin(records: pd.DataFrame):
    """Return recall against the true bin (1-5) of the masked positions: a panel per tier and data set.

    A line joins the means of a model, a dot is one run, a bar the 95 % t interval from three runs on; below each bin
    stands its share of the positions, where ``support_bin`` was recorded.

    Raises
    ------
    BenchError
        If the records hold no ``recall_bin``.
    """
    style()
    rows = complete(records[(records["status"] == "ok") & records["metric"].isin(["recall_bin", "support_bin"])])
    rows = rows[rows["class"].str.fullmatch("[0-9]+") & np.isfinite(rows["value"])]
    if not (rows["metric"] == "recall_bin").any():
        raise BenchError(f"The records hold no recall per bin; make them: {to_run('masked_pretraining')}")
    panels = by_source(named(rows))
    n_columns = min(2, len(panels))
    n_rows = -(-len(panels) // n_columns)
    figure, axes = plt.subplots(
        *(n_rows, n_columns),
        figsize=(max(4.8, 4.15 * n_columns), 3.0 * n_rows + 0.7),
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    handles = {}
    for axis in axes.flat[len(panels) :]:
        axis.set_visible(False)
    for axis, (title, runs) in zip(axes.flat, panels.items(), strict=False):
        handles |= _bins(axis, runs)
        axis.set_title(title)
    for axis in axes[:, 0]:
        axis.set_ylabel("Recall")
    names = sorted(handles, key=natural)
    figure.legend([handles[n] for n in names], names, loc="outside lower center", ncols=n_columns)
    return figure


def _bins(axis, rows: pd.DataFrame) -> dict:
    handles, recall = {}, rows[rows["metric"] == "recall_bin"]
    names = sorted(set(recall["series"]), key=natural)
    for series, nudge in zip(names, np.linspace(-0.16, 0.16, len(names)) if len(names) > 1 else [0], strict=True):
        runs, (colour, marker, dashes) = recall[recall["series"] == series], look_of(series)
        x = runs["class"].astype(float) + nudge
        axis.plot(x, runs["value"], marker, color=colour, alpha=0.4, ms=3.5, ls="none")
        kept = runs.assign(x=x).groupby("x")["value"].agg(list)
        handles[series] = axis.plot(
            kept.index, kept.map(np.mean), color=colour, lw=1.4, ls=dashes, marker=marker, ms=6, alpha=0.9
        )[0]
        for place, several in kept[kept.map(len) >= 3].items():
            bar = t_interval(several)
            axis.vlines(place, max(bar.low, 0), min(bar.high, 1), color=colour, lw=1.3)
    bins = sorted(set(recall["class"]), key=int)
    shares = _shares(rows[rows["metric"] == "support_bin"], bins)
    axis.set_xticks([int(b) for b in bins], [_tick(b, shares[b]) for b in bins])
    axis.set(ylim=(-0.03, 1.03), xlabel="Bin of expression" + (" (share of positions)" if shares.notna().any() else ""))
    axis.grid(axis="y", color="0.9", lw=0.8)
    axis.set_axisbelow(True)
    return handles


def _shares(support: pd.DataFrame, bins: list[str]) -> pd.Series:
    """Return the share of the positions in each bin; nan where series were scored on other positions."""
    counts = support.pivot_table(index="class", columns="series", values="value", aggfunc="mean").reindex(bins)
    shares = counts / counts.sum()
    return shares.mean(axis=1).where(shares.max(axis=1) - shares.min(axis=1) < SAME_POSITIONS)


def _tick(name: str, share: float) -> str:
    return f"{name}\n{100 * share:.0f} %" if np.isfinite(share) else name
