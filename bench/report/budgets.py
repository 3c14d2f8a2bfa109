"""What pretrainings were given and what they learned, kept in a file: the book needs no weights and no cells to say it.

The file is part of the project; ``chapters/pretraining.py`` makes it.  It lies among the committed records, of which it
is none; by the identities of weights its rows belong to the records.
"""

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from bench.report import kept_tables

FILE = "five_models/pretraining.csv"
COLUMNS = ["weights", "identity", "model", "genes", "parameters", "cells", "cell_passes", "tokens", "explained"]


def budgets(names: Iterable[str]) -> pd.DataFrame:
    """Return a row per named recipe; data are loaded, nothing is trained.

    See `bench.training.budget.Budget`, and `bench.training.learned.explained` of weights that are in the cache.
    """
    from bench.training.budget import budget  # here, as they bring torch, which the book does without
    from bench.training.learned import explained

    return pd.DataFrame([asdict(budget(name)) | {"explained": explained(name)} for name in names], columns=COLUMNS)


def write(table: pd.DataFrame, path: Path | None = None) -> Path:
    """Write what `kept` reads, and return the file."""
    return kept_tables.write(table, {}, FILE, path)


def kept(path: Path | None = None) -> pd.DataFrame:
    """Return what the project keeps, or another file that `write` wrote.

    Raises
    ------
    BenchError
        If there is no such file, or it is another one.
    """
    return kept_tables.kept(FILE, path, COLUMNS, ["commit"], holds="what pretrainings were given and learned")[0]
