"""Numbers that a chapter says in a sentence: one call each, from tidy runs to the text.

A chapter says a number with one line, and its text shows it where the name stands, with as many digits as it asks for::

    say("ablation-full", mean_of(theirs, variant="pretrained"))

    With all labels scBERT reaches {glue:text}`ablation-full:.3f`.

Records and published runs are tidy alike (see `bench.protocol.records` and `bench.published`), so every function here
takes either. ``where`` are columns and the value that each must have, or a list of values.
"""

from typing import Any

import numpy as np
import pandas as pd

from bench.report.figures.runs import runs_of
from bench.report.figures.sources import DATA, SETTINGS
from bench.report.figures.style import PLAIN, is_control

DASH = "–"
ONE_MEAN = ["tier", *DATA, "model", "variant", *SETTINGS, "fraction"]  # runs of one mean differ in none of them


def say(name: str, value: Any) -> None:
    """Give a number or a text the name by which a chapter's text shows it: ``{glue:text}`NAME:.3f```.

    A number that is not known is shown as a dash, see `bench.report.book.dashes`.
    """
    from myst_nb import glue

    plain = value.item() if isinstance(value, np.generic) else value  # NumPy's numbers print their type
    unknown = plain is None or (isinstance(plain, float) and np.isnan(plain))
    glue(name, DASH if unknown else plain, display=False)


def rows_of(table: pd.DataFrame, **where) -> pd.DataFrame:
    """Return the rows for which each given column has the given value, or one of the given list."""
    for column, value in where.items():
        table = table[table[column].isin(value if isinstance(value, list) else [value])]
    return table


def values_of(runs: pd.DataFrame, metric: str = "accuracy", **where) -> pd.Series:
    """Return a metric of the runs for which each given column has the given value, a number per run.

    Numbers per cell type, which records hold as well, are left out; so are a model's variants, unless one is named,
    and values that are no numbers.
    """
    found = _found(runs, metric, where)["value"]
    return found[np.isfinite(found.astype(float))]


def mean_of(runs: pd.DataFrame, metric: str = "accuracy", **where) -> float:
    """Return the mean of a metric over the runs for which each given column has the given value.

    It is nan, which `say` shows as a dash, where there is no such run, and where the runs of one model differ in a
    setting, in the data or in how these were read: nothing is ever averaged over that.
    """
    found = _found(runs, metric, where)
    told = found[[column for column in ONE_MEAN if column in found]]
    return float(values_of(found, metric).mean()) if len(told.drop_duplicates()) == 1 else float("nan")


def lowest_of(runs: pd.DataFrame, metric: str = "accuracy", **where) -> float:
    """Return the lowest value of a metric among the runs for which each given column has the given value."""
    return float(values_of(runs, metric, **where).min())


def highest_of(runs: pd.DataFrame, metric: str = "accuracy", **where) -> float:
    """Return the highest value of a metric among the runs for which each given column has the given value."""
    return float(values_of(runs, metric, **where).max())


def ranked(runs: pd.DataFrame) -> pd.Series:
    """Return the mean of one metric by the name that readers see a model called, best first, controls left out.

    Parameters
    ----------
    runs
        Records of one tier, data set, split, share of the training cells and metric; higher is better.
    """
    if runs.empty:
        return pd.Series(dtype=float)
    rows = runs_of(runs)
    means = rows[~rows["series"].map(is_control)].groupby("series")["value"].mean()
    return means.sort_values(ascending=False, kind="stable")


def _found(runs: pd.DataFrame, metric: str, where: dict) -> pd.DataFrame:
    found = rows_of(runs, **{"metric": metric, "class": ""}, **where)
    if "model" in where and "variant" not in where:
        plain = found["variant"].isin(PLAIN)
        found = found[plain] if plain.any() else found
    return found
