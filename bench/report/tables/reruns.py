"""What became of committed trials that were run again."""

import pandas as pd

from bench.report.figures.style import TIERS, series_of
from bench.report.reruns import by_trial


def reruns(table: pd.DataFrame) -> pd.DataFrame:
    """Return a row per trial: how many of its values came out again, accuracy then and now, and what was not the same.

    Parameters
    ----------
    table
        Of `bench.report.reruns.kept`.
    """
    trials = by_trial(table).sort_values(
        ["is_equal", "tier", "dataset", "model", "variant"], ascending=[False] + [True] * 4
    )
    counts = [f"{equal:g} of {values:g}" for equal, values in zip(trials["equal"], trials["values"], strict=True)]
    ran = trials["failure"] == ""
    shown = pd.DataFrame(
        {
            "tier": trials["tier"].map(TIERS),
            "data": trials["dataset"],
            "model": [series_of(*name) for name in zip(trials["model"], trials["variant"], strict=True)],
            "training cells": trials["fraction"].map("{:.0%}".format),
            "seed": trials["seed"],
            "values that are equal": pd.Series(counts, trials.index).where(ran, "not run"),
            "accuracy, recorded": trials["accuracy_recorded"],
            "accuracy, again": trials["accuracy_again"],
            "cells with another type": trials["labels_differ"].map("{:.2%}".format, na_action="ignore"),
        }
    )
    return shown.set_index(["tier", "data", "model"])
