"""What pretrainings were given, kept in a file, so that the book needs neither weights nor cells to say it.

The file is part of the project; ``chapters/pretraining.py`` makes it.  It lies among the committed records, of which it
is none; by the identities of weights its rows belong to the records.
"""

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from bench.report import kept_tables

FILE = "five_models/pretraining.csv"
COLUMNS = ["weights", "identity", "model", "genes", "parameters", "cells", "cell_passes", "tokens"]


def budgets(names: Iterable[str]) -> pd.DataFrame:
    """Return a row per named recipe, see `bench.training.budget.Budget`; data are loaded, nothing is trained."""
    from bench.training.budget import budget  # here, as it brings torch, which the book does without

    return pd.DataFrame([asdict(budget(name)) for name in names], columns=COLUMNS)


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
    return kept_tables.kept(FILE, path, COLUMNS, ["commit"], holds="what pretrainings were given")[0]
