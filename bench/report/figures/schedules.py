"""A score against one hyper-parameter under several schedules side by side: what depends on how one trains."""

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.lines import Line2D

from bench.core.errors import BenchError
from bench.report.figures.epochs import by_setting, scores_of
from bench.report.figures.runs import by_source
from bench.report.figures.settings import under
from bench.report.figures.style import METRICS, look_of, natural, style
from bench.report.figures.training import NAMES, against_setting

CROSS = {"marker": "x", "ms": 8, "ls": "none", "mew": 1.6}


def schedules(records: pd.DataFrame, model: str, setting: str, columns: dict[str, dict], metric: str = "accuracy"):
    """Return a score on the scored cells against one hyper-parameter: a row per source, a column per schedule.

    A dot is one seed, a line joins the means, a bar is the 95 % t interval from three seeds on; a cross is a run that
    says one type for every cell.

    Parameters
    ----------
    records
        Records of one experiment.
    model
        Name, for all of its variants; other models are left out.
    setting
        The hyper-parameter of the abscissa.
    columns
        Hyper-parameters by the title of the column, such as ``{"warm-up": {"warmup_steps": 100}}``.
    metric
        One that is recorded once per run.

    Raises
    ------
    BenchError
        If no schedule has runs, or a setting or the metric is unknown.
    """
    style()
    parts = schedules_of(records, model, setting, columns, metric)
    titles = list(by_source(pd.concat(parts.values())))
    figure, axes = plt.subplots(
        *(len(titles), len(parts)),
        figsize=(8.3, 2.7 * len(titles) + 0.8),
        sharex=True,
        sharey="row",
        squeeze=False,
        layout="constrained",
    )
    handles, marked = {}, False
    for column, (name, part) in zip(axes.T, parts.items(), strict=True):
        panels = by_source(part)
        column[0].set_title(name)
        column[-1].set_xlabel(NAMES.get(setting, setting))
        for axis, title in zip(column, titles, strict=True):
            if title in panels:
                handles |= against_setting(axis, panels[title], "value")
                marked |= _cross(axis, panels[title])
            else:
                axis.text(0.5, 0.5, "not recorded here", transform=axis.transAxes, ha="center", color="0.4")
    for axis, title in zip(axes[:, 0], titles, strict=True):
        axis.set_ylabel(f"{title}\n{METRICS.get(metric, metric)}")
    names = sorted(handles, key=natural)
    lines = [handles[name] for name in names]
    if marked:
        names, lines = [*names, "the same type for every cell"], [*lines, Line2D([], [], **CROSS, color="0.3")]
    figure.legend(lines, names, loc="outside lower center", ncols=3)
    return figure


def schedules_of(records: pd.DataFrame, model: str, setting: str, columns: dict[str, dict], metric: str) -> dict:
    """Return the runs under each schedule that differ in the hyper-parameter alone; schedules without any are left out.

    Raises
    ------
    BenchError
        If none has runs.
    """
    ours = records[records["model"] == model]
    found = {name: ours[under(ours, model, **settings)] for name, settings in columns.items()}
    if not any(len(rows) for rows in found.values()):
        raise BenchError(f"No run of {model} was made under {', '.join(columns)}; run the chapter to make them.")
    return {name: scores_of(by_setting(rows, setting), metric) for name, rows in found.items() if len(rows)}


def _cross(axis, runs: pd.DataFrame) -> bool:
    """Mark the runs that predict one type for every cell; return whether there are any."""
    for series, group in runs[runs["constant"] == 1].groupby("series"):
        axis.plot(group["setting"], group["value"], **CROSS, color=look_of(series).colour)
    return bool((runs["constant"] == 1).any())
