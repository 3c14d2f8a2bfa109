"""Runs of a model under one setting of its recipe and hyper-parameters, among records that hold several."""

import json

import pandas as pd

from bench.core.errors import unknown


def parsed(text: str) -> dict:
    """Return the hyper-parameters that a record holds as text; a text that is no such thing is one setting of its own.

    An own record may hold anything, and must not break a page.
    """
    try:
        found = json.loads(text or "{}")
    except (TypeError, ValueError):
        found = None
    return found if isinstance(found, dict) else {"settings": text}


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
    chosen = {text: parsed(text) for text in set(records.loc[found, "hyperparameters"])}
    known = {"recipe"}.union(*chosen.values())
    for name, value in settings.items():
        if chosen and name not in known:
            raise unknown(f"setting of {model}", name, known)
        if name == "recipe":
            found &= records["recipe"] == value
        else:
            right = {text for text, of in chosen.items() if of.get(name) == value}
            found &= records["hyperparameters"].isin(right)
    return found


def settings_of(records: pd.DataFrame, name: str) -> pd.Series:
    """Return one hyper-parameter of every row as a number, nan where its model has none of this name."""
    texts = records["hyperparameters"].fillna("{}")
    values = {text: parsed(text).get(name) for text in set(texts)}
    return texts.map(values).map(as_number).astype(float)


def as_number(value: object) -> float:
    """Return a setting as a number, nan where it is none."""
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else float("nan")
