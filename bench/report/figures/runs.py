"""From records and published tables to runs with a name each: what differs never shares a name, so never a mean."""

import json

import numpy as np
import pandas as pd

from bench.core.errors import BenchError
from bench.protocol.records import GROUP
from bench.report.figures.style import METRICS, TIERS, series_of

NAMES = ["experiment", "tier", "dataset", "model", "variant"]  # what tells runs apart without looking at settings
SETTINGS = [*GROUP, "dataset_hash", "weights_hash"]  # two runs that differ in one of them are never averaged


def runs_of(records: pd.DataFrame) -> pd.DataFrame:
    """Return one row per run and metric without class or epoch, with a column ``series`` that tells models apart.

    Two settings of one model on the same data are two series, named by the hyper-parameters in which they differ:
    they never mix in one mean.
    """
    return with_series(records[(records["status"] == "ok") & (records["class"] == "") & records["epoch"].isna()])


def with_series(rows: pd.DataFrame) -> pd.DataFrame:
    """Return records with the column ``series``: model, variant, and the settings that differ on the same data."""
    rows = rows.copy()
    names = rows[["model", "variant"]].drop_duplicates()
    series = {pair: series_of(*pair) for pair in names.itertuples(index=False, name=None)}
    pairs = zip(rows["model"], rows["variant"], strict=True)
    rows["series"] = np.array([series[pair] for pair in pairs], dtype=object)
    distinct = rows[["experiment", *SETTINGS]].drop_duplicates()
    ambiguous = pd.MultiIndex.from_frame(distinct.loc[distinct.duplicated(NAMES), NAMES])
    for _, group in rows[pd.MultiIndex.from_frame(rows[NAMES]).isin(ambiguous)].groupby(NAMES):
        rows.loc[group.index, "series"] += " (" + _difference(group) + ")"
    return rows


def complete(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the runs on all training cells, and those that train on none."""
    return runs[~(runs["fraction"] < 1)]


def own_panels(records: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return runs by panel title, best tier first; tiers and data sets never share a panel."""
    runs = with_constant(runs_of(records))
    more = {"source": "this project, " + runs["commit"], "chosen_C": _of_run(runs, "chosen_C")}
    return by_source(runs.assign(**more))


def with_constant(runs: pd.DataFrame) -> pd.DataFrame:
    """Return runs with ``constant``: 1.0 where one type was predicted for every cell, nan where that is not known."""
    types = _of_run(runs, "predicted_types")
    return runs.assign(constant=np.where(np.isnan(types), np.nan, types == 1))


def by_source(runs: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return rows of records by tier and data set, best tier first, under the title that readers see."""
    panels = {}
    for tier in [t for t in TIERS if t in set(runs["tier"])]:
        for dataset, group in runs[runs["tier"] == tier].groupby("dataset"):
            panels[f"{TIERS[tier]}: {dataset}"] = group
    return panels


def published_panels(published: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """Return published runs by panel title, with the columns that the project's own runs have in `runs_of`."""
    from bench.published import COUNTERPART

    return {
        f"Published: {title}": runs.assign(
            series=[series_of(*pair) for pair in zip(runs["model"], runs["variant"], strict=True)],
            metric=runs["metric"].replace(COUNTERPART),
            source="published, " + runs["origin"],
            constant=runs["constant"].astype(float) if "constant" in runs else np.nan,
        )
        for title, runs in published.items()
    }


def with_metrics(panels: dict[str, pd.DataFrame], metrics) -> dict[str, pd.DataFrame]:
    """Return the panels reduced to the metrics asked for, without those that have none.

    Raises
    ------
    BenchError
        If a metric is in no panel: nothing was recorded under its name, or no data set defines it.
    """
    there = sorted({metric for runs in panels.values() for metric in set(runs["metric"])})
    if missing := [metric for metric in metrics if metric not in there]:
        raise BenchError(
            f"None of {', '.join(panels) or 'the records'} has {', '.join(missing)}; leave it out of `metrics`, or run "
            "the chapter on a data set that defines it (the hard metrics need a pair of hard types). "
            f"Known here: {', '.join(m for m in METRICS if m in there) or 'none'}."
        )
    panels = {title: runs[runs["metric"].isin(list(metrics))] for title, runs in panels.items()}
    return {title: runs for title, runs in panels.items() if len(runs)}


def _of_run(runs: pd.DataFrame, metric: str) -> np.ndarray:
    """Return, for each row, a metric of the run that it belongs to."""
    values = runs[runs["metric"] == metric].set_index(["tier", "key"])["value"]
    values = values[~values.index.duplicated()]  # several experiments may hold the same trial
    return values.reindex(runs.set_index(["tier", "key"]).index).to_numpy(dtype=float)


def _difference(group: pd.DataFrame) -> pd.Series:
    """Return, for each row, the settings in which it differs from the other rows of the same model."""
    plain = [c for c in ("split", "subset", "recipe", "protocol") if group[c].nunique() > 1]
    hashes = [c for c in ("dataset_hash", "weights_hash") if group[c].nunique() > 1]
    parts = [c + "=" + group[c].astype(str) for c in plain]
    parts += [c.removesuffix("_hash") + "=" + group[c].str[:6].replace("", "none") for c in hashes]
    settings = group["hyperparameters"].map(json.loads)
    names = dict.fromkeys(name for setting in settings for name in setting)
    values = {name: settings.map(lambda s, name=name: str(s.get(name))) for name in names}
    parts += [f"{name}=" + value for name, value in values.items() if value.nunique() > 1]
    return parts[0].str.cat(parts[1:], sep=", ") if parts else pd.Series("", group.index)
