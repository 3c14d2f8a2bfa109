"""How the cost of a model grows with the number of cells, and how the two recipes of the linear model differ."""

import pandas as pd

from bench.report.figures.growth import called
from bench.report.figures.style import TIERS, natural
from bench.report.growth import slopes
from bench.report.recipes import published


def growth(table: pd.DataFrame) -> pd.DataFrame:
    """Return a row per model: exponents of seconds and memory, and what its largest fit took.

    Parameters
    ----------
    table
        Of `bench.report.growth.kept`.
    """
    fitted = slopes(table)
    last = table.groupby(["model", "setting"], sort=False).last()
    found = pd.DataFrame(
        {
            "exponent of seconds": fitted["seconds"],
            "exponent of memory": fitted["memory_mb"],
            "most training cells": last["n_train"].map("{:,}".format),
            "seconds there": last["seconds"],
            "memory there (MB)": last["memory_mb"].map("{:,.0f}".format),
            "in matrices": last["memory_mb"] / last["matrix_mb"],
        }
    )
    found.index = pd.Index([called(*name) for name in found.index], name="model")
    return found.loc[sorted(found.index, key=natural)]


def recipes(records: pd.DataFrame, optimum: pd.DataFrame) -> pd.DataFrame:
    """Return a row per trial of the linear model that both recipes ran: what each chose, reached and took.

    Parameters
    ----------
    records
        Of the experiments that the published recipe is recorded in.
    optimum
        Of `bench.report.recipes.kept`; trials that it does not hold are left out.
    """
    both = published(records).merge(optimum, on="key", suffixes=(" published", " optimum"))
    both["tier"] = both["tier"].map(TIERS)
    by = ["tier", "dataset", "split"]
    both = both.sort_values(by, kind="stable").set_index(by)
    both["accuracy, optimum - published"] = both["accuracy optimum"] - both["accuracy published"]
    both["macro F1, optimum - published"] = both["macro_f1 optimum"] - both["macro_f1 published"]
    names = {f"chosen_C {recipe}": f"C, {recipe}" for recipe in ("published", "optimum")}
    names |= {f"accuracy {recipe}": f"accuracy, {recipe}" for recipe in ("published", "optimum")}
    names |= {"macro_f1 published": "macro F1, published", "macro_f1 optimum": "macro F1, optimum"}
    both = both.rename(columns=names)
    differences = [column for column in both if " - " in column]
    return both[[*names.values(), *differences]]
