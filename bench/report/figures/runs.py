"""From records and published tables to runs with a name each: what differs never shares a name, so never a mean."""

import numpy as np
import pandas as pd

from bench.core.errors import BenchError
from bench.report.figures.names import names_of, one_line, told_apart
from bench.report.figures.settings import parsed
from bench.report.figures.shares import with_true_shares
from bench.report.figures.sources import DATA, SETTINGS, sources, with_titles
from bench.report.figures.style import METRICS, series_of

NAMES = ["tier", *DATA, "model", "variant"]  # what tells runs apart without looking at settings


def runs_of(records: pd.DataFrame) -> pd.DataFrame:
    """Return one row per run and metric without class or epoch, with ``series`` and ``title`` that tell runs apart.

    Two settings of one model on the same data are two series, named by the hyper-parameters in which they differ, and
    data that were read in two ways are two titles: they never mix in one mean.  A value that is no number is left out.
    """
    rows = named(records)
    kept = (rows["status"] == "ok") & (rows["class"] == "") & rows["epoch"].isna() & np.isfinite(rows["value"])
    return rows[kept]


def named(records: pd.DataFrame) -> pd.DataFrame:
    """Return records with the names that readers see: ``series`` of `with_series` and ``title`` of the data."""
    return with_titles(with_series(records))


def with_series(rows: pd.DataFrame) -> pd.DataFrame:
    """Return records with the column ``series``: model, variant, and the settings that differ on the same data."""
    told = [*NAMES, *SETTINGS]
    rows = rows.assign(**{column: rows[column].fillna("").astype(str) for column in told})
    pairs = list(zip(rows["model"], rows["variant"], strict=True))
    shown = names_of(pairs)
    rows["series"] = np.array([shown[pair] for pair in pairs], dtype=object)
    distinct = rows[told].drop_duplicates()
    several = distinct[distinct.duplicated(NAMES, keep=False)]
    added = {}
    for _, group in several.groupby(NAMES):
        added |= _differences(group)
    if added:
        keys = rows[told].itertuples(index=False, name=None)
        rows["series"] += np.array([added.get(key, "") for key in keys], dtype=object)
    return rows


def complete(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the runs on all training cells, and those that train on none."""
    return runs[~(runs["fraction"] < 1)]


def own_panels(records: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return runs by panel title, best tier first; tiers, data sets and ways to read one never share a panel.

    ``fraction`` is the true share of the training cells, ``asked`` the one asked for; see `shares`.
    """
    runs = with_true_shares(with_constant(runs_of(records)))
    more = {"source": "this project, " + runs["commit"].fillna("").astype(str), "chosen_C": _of_run(runs, "chosen_C")}
    return by_source(runs.assign(**more))


def in_one_panel(rows: pd.DataFrame) -> pd.DataFrame:
    """Return rows whose ``series`` also says which data it is of, where they are of several."""
    several = rows["title"].nunique() > 1
    return rows.assign(series=rows["series"] + ", " + rows["title"]) if several else rows


def with_constant(runs: pd.DataFrame) -> pd.DataFrame:
    """Return runs with ``constant``: 1.0 where one type was predicted for every cell, nan where that is not known."""
    types = _of_run(runs, "predicted_types")
    return runs.assign(constant=np.where(np.isnan(types), np.nan, types == 1))


def by_source(rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return rows of records by tier and data, best tier first, under the title that readers see."""
    return sources(rows if "title" in rows else with_titles(rows))


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


def _differences(group: pd.DataFrame) -> dict[tuple, str]:
    """Return what tells the settings of one model apart, by their values in ``NAMES`` and ``SETTINGS``."""
    parts = [c + "=" + group[c].map(one_line) for c in ("subset", "recipe", "protocol") if group[c].nunique() > 1]
    if group["weights_hash"].nunique() > 1:
        parts.append("weights=" + group["weights_hash"].str[:6].replace("", "none"))
    settings = group["hyperparameters"].map(parsed)
    for name in dict.fromkeys(name for setting in settings for name in setting):
        values = settings.map(lambda setting, name=name: str(setting.get(name)))
        if values.nunique() > 1:
            parts.append(one_line(name) + "=" + values.map(one_line))
    texts = parts[0].str.cat(parts[1:], sep=", ") if parts else pd.Series("", group.index)
    keys = list(group.itertuples(index=False, name=None))
    forms = {key: [text or "one of several settings"] for key, text in zip(keys, texts, strict=True)}
    return {key: f" ({text})" for key, text in told_apart(forms).items()}
