"""Tables on how training went: collapsed runs, and gains that depend on the schedule."""

import numpy as np
import pandas as pd

from bench.core.errors import BenchError
from bench.report.figures import published_panels
from bench.report.figures.runs import by_source, complete, own_panels
from bench.report.figures.schedules import schedules_of
from bench.report.figures.settings import settings_of
from bench.report.figures.sources import DATA
from bench.report.tables.scores import in_order, summary_of

PAIRED = [*DATA, "subset", "recipe", "protocol", "hyperparameters", "fraction", "seed", "setting"]  # of both arms


def collapse(records: pd.DataFrame, published: dict[str, pd.DataFrame], metric: str = "accuracy") -> pd.DataFrame:
    """Return how many runs say one type for every cell, and what the others reach: rows source x model.

    Only runs on all training cells count.  ``epochs`` is how long they were trained, ``best epoch`` which one was kept;
    a dash stands for what was not published or recorded.
    """
    panels = published_panels(published) | own_panels(records)
    runs = pd.concat([complete(panel).assign(source=title) for title, panel in panels.items()], ignore_index=True)
    best = runs[runs["metric"] == "best_epoch"].set_index(["tier", "key"])["value"] if "key" in runs else None
    runs = runs[runs["metric"] == metric].reset_index(drop=True)
    epochs = runs.get("epochs", np.nan)
    if best is not None:
        index = pd.MultiIndex.from_frame(runs[["tier", "key"]])
        runs["best"] = best[~best.index.duplicated()].reindex(index).to_numpy()
        epochs = settings_of(runs, "epochs").fillna(epochs)
    groups = runs.assign(epochs=epochs).groupby(["source", "series"])
    return in_order(groups.apply(_collapse, include_groups=False), runs)


def gains(records: pd.DataFrame, model: str, setting: str, columns: dict, metric: str = "accuracy") -> pd.DataFrame:
    """Return what pretraining gains: rows source x hyper-parameter, a column per schedule.

    A cell is the mean over seeds of `gained`, from three seeds on with half of its 95 % t interval.

    Raises
    ------
    BenchError
        If no pair of runs is there.
    """
    pairs = gained(records, model, setting, columns, metric)
    table = pairs.groupby(["source", "setting", "schedule"])["gain"].agg(summary_of).unstack("schedule")
    table = table.reindex(columns=list(columns)).fillna("–")
    sources = list(dict.fromkeys(pairs["source"]))
    table = table.sort_index(level="source", key=lambda names: names.map(sources.index), sort_remaining=False)
    return table.rename_axis(index=["", setting]).rename(index="{:g}".format, level=1)


def gained(records: pd.DataFrame, model: str, setting: str, columns: dict, metric: str = "accuracy") -> pd.DataFrame:
    """Return a score with minus without pretraining, a row per seed, which draws the same training cells for both.

    Parameters
    ----------
    records, model, setting, columns, metric
        As `bench.report.figures.schedules` takes them.

    Returns
    -------
    Columns ``source``, ``schedule``, ``setting``, ``seed``, ``gain`` and more, best tier first.

    Raises
    ------
    BenchError
        If no seed has both.
    """
    rows = []
    for name, runs in schedules_of(records, model, setting, columns, metric).items():
        for source, group in by_source(runs).items():
            both = (group[group["variant"] == variant] for variant in ("pretrained", "no_pretraining"))
            first, second = (arm[[*PAIRED, "series", "value"]] for arm in both)
            pairs = first.merge(second, on=PAIRED, suffixes=("", "_without"))
            further = pairs["series"].str.extract(r" \((.*)\)$")[0].map(", {}".format, na_action="ignore").fillna("")
            rows.append(pairs.assign(source=source + further, schedule=name))
    pairs = pd.concat(rows)
    if pairs.empty:
        raise BenchError(f"No seed of {model} has runs with and without pretraining; run the chapter to make them.")
    return pairs.assign(gain=pairs["value"] - pairs["value_without"])


def _collapse(runs: pd.DataFrame) -> pd.Series:
    known, constant = runs["constant"].notna(), runs["constant"] == 1
    best = runs["best"].dropna() if "best" in runs else pd.Series(dtype=float)
    return pd.Series(
        {
            "one type for every cell": f"{constant.sum()} of {known.sum()}" if known.any() else "–",
            "accuracy of the others": summary_of(runs.loc[~constant, "value"]) if (~constant).any() else "–",
            "epochs": _range(runs["epochs"].dropna()),
            "best epoch": _range(best),
        }
    )


def _range(values: pd.Series) -> str:
    ends = dict.fromkeys(f"{end:g}" for end in (values.min(), values.max())) if len(values) else ["–"]
    return "–".join(ends)
