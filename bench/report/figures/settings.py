"""Runs of a model under one setting of its recipe and hyper-parameters, among records that hold several."""

import json

import pandas as pd

from bench.core.errors import unknown


def keep(records: pd.DataFrame, model: str, **settings) -> pd.DataFrame:
    """Return the records without the runs of a model that were made under other settings; other models stay.

    Parameters
    ----------
    records
        Of one experiment or several.
    model
        Name, for all of its variants.
    settings
        ``recipe``, or hyper-parameters by name.

    Raises
    ------
    BenchError
        If the model has no such setting.
    """
    return records[(records["model"] != model) | under(records, model, **settings)].reset_index(drop=True)


def under(records: pd.DataFrame, model: str, **settings) -> pd.Series:
    """Return which records are runs of a model under these settings, as booleans."""
    found = records["model"] == model
    parsed = {text: json.loads(text) for text in set(records.loc[found, "hyperparameters"])}
    known = {"recipe"}.union(*parsed.values())
    for name, value in settings.items():
        if parsed and name not in known:
            raise unknown(f"setting of {model}", name, known)
        if name == "recipe":
            found &= records["recipe"] == value
        else:
            right = {text for text, chosen in parsed.items() if chosen.get(name) == value}
            found &= records["hyperparameters"].isin(right)
    return found


def settings_of(records: pd.DataFrame, name: str) -> pd.Series:
    """Return one hyper-parameter of every row as a number, nan where its model has none of this name."""
    texts = records["hyperparameters"].fillna("{}")
    values = {text: json.loads(text).get(name) for text in set(texts)}
    return pd.to_numeric(texts.map(values), errors="coerce")
