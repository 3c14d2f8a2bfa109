"""What pretrainings were given, kept in a file, so that the book needs neither weights nor cells to say it.

The file is part of the project; ``chapters/pretraining.py`` makes it.  It lies among the committed records, of which it
is none; by the identities of weights its rows belong to the records.
"""

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from bench.core.errors import BenchError
from bench.core.provenance import commit, versions
from bench.protocol.records import committed_folder
from bench.report import kept_tables

FILE = "five_models/pretraining.csv"
COLUMNS = ["weights", "identity", "model", "genes", "parameters", "cells", "cell_passes", "tokens"]


def budgets(names: Iterable[str]) -> pd.DataFrame:
    """Return a row per named recipe, see `bench.training.budget.Budget`; data are loaded, nothing is trained."""
    from bench.training.budget import budget  # here, as it brings torch, which the book does without

    return pd.DataFrame([asdict(budget(name)) for name in names], columns=COLUMNS)


def write(table: pd.DataFrame, path: Path | None = None) -> Path:
    """Write what `kept` reads, and return the file."""
    about = {"commit": commit(), "versions": versions()}
    return kept_tables.write(table, about, path or committed_folder() / FILE)


def kept(path: Path | None = None) -> pd.DataFrame:
    """Return what the project keeps, or another file that `write` wrote.

    Raises
    ------
    BenchError
        If there is no such file, or it is another one.
    """
    path = path or committed_folder() / FILE
    try:
        table, _ = kept_tables.read(path)
    except (OSError, ValueError):
        table = pd.DataFrame()
    if list(table) != COLUMNS:
        raise BenchError(
            f"{path} does not hold what pretrainings were given; make it with: python chapters/pretraining.py"
        )
    return table
