"""What a choice is worth: runs under another setting minus the runs that differ in nothing else, seed by seed."""

import json

import numpy as np
import pandas as pd

from bench.core.errors import BenchError
from bench.report.figures.runs import by_source, complete, runs_of, with_series
from bench.report.figures.settings import parsed, under
from bench.report.figures.sources import DATA
from bench.report.figures.style import METRICS
from bench.report.tables.scores import summary_of

SAME = ["tier", *DATA, "subset", "variant", "weights_hash", "fraction", "seed", "protocol", "rest"]


def changes(
    records: pd.DataFrame, model: str, base: dict, settings: dict[str, dict], metrics=("accuracy", "macro_f1_seen")
) -> pd.DataFrame:
    """Return how much a model's scores move under other settings, on all training cells.

    Parameters
    ----------
    records
        Records of one experiment.
    model
        Name, such as ``scbert``.
    base
        Settings compared with, for example ``{"recipe": "published", "stabiliser": "batch"}``.
    settings
        What each comparison changes, by the name that readers see.
    metrics
        Columns; those that a source lacks are missing there.

    Returns
    -------
    Rows source x change (and what else tells pairs apart, if anything does): the mean over seeds of changed minus base,
    from three seeds on with half of its 95 % t interval; the share of scored cells that get another label, where
    predictions are at hand; the number of pairs.

    Raises
    ------
    BenchError
        If no run under another setting has its counterpart.
    """
    runs = complete(runs_of(records[records["model"] == model]))
    rows = {}
    for source, group in by_source(runs).items():
        for name, changed in settings.items():
            pairs = _pairs(group, model, base, base | changed)
            for series, of in pairs.groupby("rest_series"):
                several = pairs["rest_series"].nunique() > 1
                rows[source, f"{name}: {series}" if several else name] = _row(of, metrics)
    if not rows:
        raise BenchError(f"No run of {model} under {base} has a counterpart; run the chapter to make them.")
    index = pd.MultiIndex.from_tuples(rows, names=["", "change"])
    names = {metric: f"{METRICS.get(metric, metric)}, change" for metric in metrics}
    return pd.DataFrame(list(rows.values()), index).rename(columns=names)


def _pairs(runs: pd.DataFrame, model: str, base: dict, changed: dict) -> pd.DataFrame:
    columns = [*SAME, "metric", "experiment", "key", "value", "rest_series"]
    runs = _without(runs, base | changed)
    sides = [runs.loc[under(runs, model, **settings), columns] for settings in (changed, base)]
    pairs = sides[0].merge(sides[1], on=[*SAME, "metric", "experiment", "rest_series"], suffixes=("", "_base"))
    return pairs.assign(difference=pairs["value"] - pairs["value_base"])


def _without(runs: pd.DataFrame, compared: dict) -> pd.DataFrame:
    """Return runs with their other settings, ``rest``, and the ``rest_series`` that is named after these alone."""
    rest = runs["hyperparameters"].map(
        lambda text: json.dumps({k: v for k, v in parsed(text).items() if k not in compared}, sort_keys=True)
    )
    recipe = "" if "recipe" in compared else runs["recipe"]
    others = with_series(runs.assign(hyperparameters=rest, recipe=recipe))
    return runs.assign(rest=rest + others["recipe"], rest_series=others["series"])


def _row(pairs: pd.DataFrame, metrics) -> dict:
    values = {metric: pairs.loc[pairs["metric"] == metric, "difference"] for metric in metrics}
    row = {metric: summary_of(found) if len(found) else "–" for metric, found in values.items()}
    runs = pairs.drop_duplicates("key")
    relabelled = [_relabelled(run) for run in runs.itertuples()]
    return row | {"cells that get another label": pd.Series(relabelled).mean(), "pairs of runs": len(runs)}


def _relabelled(run) -> float:
    """Return the share of scored cells on which two runs disagree; nan where predictions were not kept."""
    from bench.protocol.beside import read_predictions

    try:
        sides = [read_predictions(run.experiment, run.tier, key) for key in (run.key, run.key_base)]
    except BenchError:
        return float("nan")
    if not np.array_equal(sides[0][0], sides[1][0]):  # scored on other cells
        return float("nan")
    return float((sides[0][1].predicted != sides[1][1].predicted).mean())
