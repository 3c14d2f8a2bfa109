"""Which records a page's sentences speak of: those of the chapter's own request, whatever else has been run.

Own results may hold other settings, other data and other models.  They are shown in figures and tables, each under a
name of its own, and change no number that a sentence says.
"""

from collections.abc import Mapping

import pandas as pd

from bench.protocol import records as recorded
from bench.report.figures.settings import parsed
from bench.report.figures.sources import DATA, SETTINGS

ARM = ["experiment", "tier", "dataset", "model", "variant"]
WHOLE = [*ARM, *(column for column in DATA if column != "dataset"), *SETTINGS]
OPTIONS = ("weights", "device")  # of overrides, which are no hyper-parameters


def usual(records: pd.DataFrame, others: bool = False) -> pd.DataFrame:
    """Return the records of settings and data that the project's committed records hold.

    Parameters
    ----------
    records
        Of one experiment or of all.
    others
        Whether models on data of which nothing is committed stay.
    """
    names = set(records["experiment"])
    ours = pd.concat([recorded.read(name, own=False) for name in sorted(names)] or [recorded.read(own=False)[:0]])
    known = _tuples(records, WHOLE).isin(set(_tuples(ours, WHOLE)))
    if others:
        known |= ~_tuples(records, ARM).isin(set(_tuples(ours, ARM)))
    return records[known].reset_index(drop=True)


def asked(records: pd.DataFrame, *requests: Mapping[str, dict]) -> pd.DataFrame:
    """Return the records that a chapter asks for by itself.

    Parameters
    ----------
    records
        Of one experiment.
    requests
        What the chapter gives to `bench.protocol.experiments.run_grid` for each tier; what any of them asks for stays.
    """
    found = pd.Series(False, records.index)
    for request in requests:
        for tier, grid in request.items():
            found |= (records["tier"] == tier) & of_grid(records, grid)
    return usual(records[found])


def of_grid(records: pd.DataFrame, grid: dict) -> pd.Series:
    """Return which records a request for one tier asks for, whatever their tier."""
    found = records["dataset"].isin(listed(grid["dataset"])) & records["subset"].eq(grid.get("subset", "paired"))
    models = pd.Series(False, records.index)
    for model in listed(grid["models"]):
        name, _, variant = model.partition("@")
        overrides = grid.get("overrides", {})
        chosen = overrides.get(name, {}) | overrides.get(model, {})
        models |= _is_arm(records, name, variant) & _has(records, chosen)
    return found & models


def _is_arm(records: pd.DataFrame, name: str, variant: str) -> pd.Series:
    """Return which records are of a model in one of its variants; without one named, in its first."""
    first = records["variant"].isin(["default", "pretrained"])
    return records["model"].eq(name) & (records["variant"].eq(variant) if variant else first)


def _has(records: pd.DataFrame, chosen: dict) -> pd.Series:
    """Return which records have these settings; what a record does not name it has at its neutral value."""
    settings = {name: value for name, value in chosen.items() if name not in OPTIONS}
    fit = pd.Series(True, records.index)
    if "recipe" in settings:
        fit &= records["recipe"].eq(settings.pop("recipe"))
    texts = {text: parsed(text) for text in set(records["hyperparameters"])}
    right = {text for text, of in texts.items() if all(of.get(k, v) == v for k, v in settings.items())}
    return fit & records["hyperparameters"].isin(right)


def listed(value) -> list:
    """Return what a request names as a list, be it one or several."""
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _tuples(table: pd.DataFrame, columns: list[str]) -> pd.Series:
    rows = table[columns].fillna("").astype(str).itertuples(index=False, name=None)
    return pd.Series(list(rows), table.index, dtype=object)
