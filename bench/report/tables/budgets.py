"""What the pretrainings were given whose weights the records begin with, and what they learned, side by side."""

import pandas as pd

from bench.report.figures.style import TIERS, label_of, rank

BEGIN = ("pretrained", "probe")  # variants that begin with pretrained weights
COUNTS = {"genes": "genes", "parameters": "parameters", "cells": "different cells"}
COUNTS |= {"cell_passes": "cell passes", "tokens": "tokens"}
NAMED = 8  # hexadecimal digits of weights that have no name here


def pretraining(records: pd.DataFrame, budgets: pd.DataFrame) -> pd.DataFrame:
    """Return a row per tier, model and weights: what is known of their pretraining.

    Parameters
    ----------
    records
        Of one experiment, or of several.
    budgets
        Of `bench.report.budgets.kept`; weights that it does not hold, such as published ones, have dashes.
    """
    begun = records[records["variant"].isin(BEGIN) & records["weights_hash"].fillna("").ne("")]
    begun = begun[["tier", "model", "weights_hash"]].drop_duplicates()
    keys = {"left_on": ["model", "weights_hash"], "right_on": ["model", "identity"]}
    rows = begun.merge(budgets, how="left", **keys)
    rows["weights"] = rows["weights"].fillna(rows["weights_hash"].str[:NAMED])
    rows["model"] = rows["model"].map(label_of)
    order = {"tier": list(TIERS).index, "model": rank}
    rows = rows.sort_values(list(order), key=lambda column: column.map(order[column.name]), kind="stable")
    table = rows[list(COUNTS)].map(_whole).rename(columns=COUNTS)
    table["explained beyond genes"] = rows["explained"].map("{:.3f}".format).replace("nan", "–")
    index = [rows["tier"].map(TIERS), rows["model"], rows["weights"]]
    return table.set_index(pd.MultiIndex.from_arrays(index, names=["", "model", "weights"]))


def _whole(number: float) -> str:
    return "–" if pd.isna(number) else f"{number:,.0f}"
