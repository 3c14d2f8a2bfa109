"""How much of what a chapter asks for at a tier is recorded, so that a page says what is missing."""

from collections.abc import Mapping, Sequence
from itertools import product

import pandas as pd

from bench.report.plain import asked, listed, of_grid


def seeds_of(records: pd.DataFrame, requests: Mapping[str, dict], tier: str, models: Sequence[str]) -> pd.DataFrame:
    """Return how many seeds of a tier's request are recorded on all training cells, a row per data set and model.

    Parameters
    ----------
    records
        Of one experiment.
    requests
        What the chapter gives to `bench.protocol.experiments.run_grid` for each tier.
    tier
        The one that is looked at.
    models
        Those of its models that are asked about, such as ``scgpt`` or ``scgpt@probe``.

    Returns
    -------
    Columns ``dataset``, ``model``, ``variant`` (empty for the first one), ``seeds`` that did not fail, ``asked`` for.
    """
    grid = requests[tier]
    there = asked(records, {tier: grid})
    there = there[there["status"].eq("ok") & there["fraction"].eq(1)]
    rows = []
    for dataset, model in product(listed(grid["dataset"]), models):
        runs = there[of_grid(there, grid | {"dataset": dataset, "models": [model]})]
        name, _, variant = model.partition("@")
        rows.append((dataset, name, variant, runs["seed"].nunique(), len(listed(grid.get("seeds", 0)))))
    return pd.DataFrame(rows, columns=["dataset", "model", "variant", "seeds", "asked"])
