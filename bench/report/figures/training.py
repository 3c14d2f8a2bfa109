"""How training depends on a hyper-parameter and on the seed: the paper's Figures 4 and 5."""

from textwrap import fill

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, NullLocator
from matplotlib.transforms import offset_copy

from bench.report.figures.epochs import SLOW_MARGIN, by_setting, ends_of, epochs_of, slow
from bench.report.figures.runs import by_source
from bench.report.figures.style import METRICS, VARIANTS, look_of, natural, style
from bench.statistics.intervals import t_interval

NAMES = {"batch_size": "Batch size", "lr": "Learning rate", "learning_rate": "Learning rate"}
SLOW_DASHES = (0, (3, 1.5))
ENDS = {"best": "Best epoch", "last": "Last epoch"}


def sensitivity(records: pd.DataFrame, setting: str, metric: str = "validation_accuracy"):
    """Return a metric at the best and at the last epoch against one hyper-parameter (Figure 4): a dot per seed.

    A line joins the means, a bar is the 95 % t interval from three seeds on.  Only runs that are equal in all other
    settings share a line.

    Raises
    ------
    BenchError
        If the hyper-parameter is unknown or never varies, or the metric was not recorded per epoch.
    """
    style()
    panels = by_source(ends_of(by_setting(records, setting), metric))
    figure, axes = plt.subplots(
        *(len(panels), 2),
        figsize=(8.3, 2.7 * len(panels) + 0.7),
        sharey="row",
        sharex="row",
        squeeze=False,
        layout="constrained",
    )
    handles = {}
    for row, (title, runs) in zip(axes, panels.items(), strict=True):
        for axis, (end, name) in zip(row, ENDS.items(), strict=True):
            axis.set_title(f"{title}, {name[0].lower()}{name[1:]}")
            handles |= against_setting(axis, runs, end)
            axis.set_xlabel(NAMES.get(setting, setting))
        row[0].set_ylabel(METRICS.get(metric, metric))
    names = sorted(handles, key=natural)
    figure.legend([handles[n] for n in names], names, loc="outside lower center", ncols=3)
    return figure


def curves(records: pd.DataFrame, metrics=("validation_accuracy", "train_loss"), setting: str | None = None):
    """Return one line per run over the epochs (Figure 5): a row per metric, a column per tier and data set.

    Runs of the slow family (see `bench.report.figures.epochs`) are dashed in every row.

    Parameters
    ----------
    records
        Records with values per epoch.
    metrics
        Rows.
    setting
        A hyper-parameter that tells the lines apart by shade, lighter for more; other runs are then left out.  Without
        it every series of `runs_of` has its colour, a shade where one model has several.

    Raises
    ------
    BenchError
        If no run recorded one of the metrics per epoch, or the hyper-parameter is unknown or never varies.
    """
    style()
    rows = epochs_of(by_setting(records, setting) if setting else records, metrics).sort_values("epoch")
    rows["line"] = rows["series"] + (", " + setting + "=" + rows["setting"].map("{:g}".format) if setting else "")
    slow_keys, panels = _slow_keys(rows), by_source(rows)
    figure, axes = plt.subplots(
        *(len(metrics), len(panels)),
        figsize=(max(4.8, min(8.3, 4.15 * len(panels))), 2.4 * len(metrics) + 1.2),
        sharex="col",
        squeeze=False,
        layout="constrained",
    )
    for column, (title, runs) in zip(axes.T, panels.items(), strict=True):
        colours = _colours(runs)
        for axis, metric in zip(column, metrics, strict=True):
            _over_epochs(axis, runs[runs["metric"] == metric], colours, slow_keys)
        column[0].set_title(title)
        column[-1].set_xlabel("Epoch")
        with_slow = bool(slow_keys & set(zip(runs["tier"], runs["key"], strict=True)))
        _legend(column[-1], colours, with_slow, width=min(42, 72 // len(panels)))
    for axis, metric in zip(axes[:, 0], metrics, strict=True):
        axis.set_ylabel(METRICS.get(metric, metric))
    return figure


def against_setting(axis, runs: pd.DataFrame, end: str) -> dict:
    """Draw one column of runs against ``setting``: dots, a line through the means, intervals; return the lines."""
    handles, values = {}, sorted(set(runs["setting"]))
    names = sorted(set(runs["series"]), key=natural)
    if values[0] > 0:
        axis.set_xscale("log")
        axis.xaxis.set_minor_locator(NullLocator())
    for i, series in enumerate(names):
        at, beside = _shifted(axis, 9 * (i - (len(names) - 1) / 2)), _shifted(axis, 9 * (i - (len(names) - 1) / 2) - 6)
        group, (colour, marker, dashes) = runs[runs["series"] == series], look_of(series)
        axis.plot(group["setting"], group[end], marker, color=colour, alpha=0.45, ms=3.5, ls="none", transform=beside)
        kept = group.groupby("setting")[end].agg(list)
        look = {"color": colour, "lw": 1.5, "ls": dashes, "marker": marker, "ms": 6}
        handles[series] = axis.plot(kept.index, kept.map(np.mean), transform=at, **look)[0]
        for place, several in kept[kept.map(len) >= 3].items():
            bar = t_interval(several)
            axis.vlines(place, bar.low, bar.high, color=colour, lw=1.5, transform=at)
            axis.update_datalim([(place, bar.low), (place, bar.high)])
        axis.update_datalim(group[["setting", end]].to_numpy())  # shifted artists do not count on their own
    axis.margins(x=0.1)
    axis.autoscale_view()
    axis.set_xticks(values, [f"{value:g}" for value in values])
    axis.grid(axis="y", color="0.9", lw=0.8)
    axis.set_axisbelow(True)
    return handles


def _shifted(axis, points: float):
    """Return the axes' transform moved sideways, so that dots and bars of one place lie beside each other."""
    return offset_copy(axis.transData, axis.figure, x=points, units="points")


def _slow_keys(rows: pd.DataFrame) -> set[tuple[str, str]]:
    """Return tier and key of every slow run among rows per epoch; none where accuracy is not one of the metrics."""
    ends = rows[rows["metric"] == "validation_accuracy"].drop_duplicates(["tier", "key"], keep="last")
    marks = ends.groupby(["tier", "dataset", "line"])["value"].transform(slow).astype(bool)
    return set(ends.loc[marks, ["tier", "key"]].itertuples(index=False, name=None))


def _over_epochs(axis, rows: pd.DataFrame, colours: dict[str, str], slow_keys: set[tuple[str, str]]) -> None:
    for (tier, key), run in rows.groupby(["tier", "key"], sort=False):
        dashes = SLOW_DASHES if (tier, key) in slow_keys else "-"
        line = run["line"].iloc[0]
        look = {"color": colours[line], "marker": _marker(line), "ms": 4, "lw": 1.3, "ls": dashes, "alpha": 0.85}
        axis.plot(run["epoch"], run["value"], **look)
    if rows.empty:
        axis.text(0.5, 0.5, "not recorded here", transform=axis.transAxes, ha="center", va="center", color="0.4")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.grid(axis="y", color="0.9", lw=0.8)
    axis.set_axisbelow(True)


def _colours(runs: pd.DataFrame) -> dict[str, str]:
    """Return the model's colour for its only line, shades of it for variants, and of an even map for settings."""
    lines = runs[["line", "model", "variant"]].drop_duplicates()
    names = sorted(lines["line"], key=natural)
    if not lines["model"].duplicated().any():
        return {name: look_of(name).colour for name in names}
    if lines["model"].nunique() == 1 and not lines["variant"].duplicated().any():
        own = np.array(mpl.colors.to_rgb(look_of(names[0]).colour))
        ends = [0.45 * own, own, 0.35 * own + 0.65]  # towards black and white
        shades = LinearSegmentedColormap.from_list("own", ends)(np.linspace(0, 1, len(names)))
    else:
        shades = mpl.colormaps["inferno"](np.linspace(0.1, 0.8, len(names)))
    return {name: mpl.colors.to_hex(shade) for name, shade in zip(names, shades, strict=True)}


def _marker(line: str) -> str:
    """Return the marker of a variant, which tells its shade apart; a point for a model in full."""
    marker = look_of(line).marker
    return marker if marker in {marker for _, marker, _ in VARIANTS.values()} else "."


def _legend(axis, colours: dict[str, str], with_slow: bool, width: int) -> None:
    """Draw a legend below a panel, its text wrapped: one wider than the panel would squeeze all of them."""
    looks = {name: {"color": colour, "lw": 1.6, "marker": _marker(name), "ms": 5} for name, colour in colours.items()}
    handles = [Line2D([], [], label=fill(name, width), **look) for name, look in looks.items()]
    label = fill(f"dashed: ends more than {SLOW_MARGIN:g} below the best", max(width, 24))
    handles += [Line2D([], [], color="0.4", lw=1.6, ls=SLOW_DASHES, label=label)] * with_slow
    axis.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, -0.24), fontsize="small")
