"""Rows of a file brought to the cells of a data set: by name, or in the order of the file where there are no names."""

import re
from collections.abc import Callable

import numpy as np
import pandas as pd

from bench.core.errors import BenchError, listed
from bench.datasets.vector_tables import TO_CSV, Table, numbers_of

MOST = 5000  # names that are looked through for one that is spelt alike
SPELLINGS: dict[str, Callable[[str], str]] = {
    "in what stands behind the last -": lambda name: re.sub(r"-\w{1,12}$", "", name),
    "in case or blanks": lambda name: name.strip().lower(),
    "in - or . or _": lambda name: re.sub(r"[-._]", ".", name),
    "in what stands before the barcode": lambda name: re.split(r"[_:#|/]", name)[-1],
    "in what stands around the barcode": lambda name: (re.findall(r"[ACGT]{10,}", name) or [name])[-1],
}


def joined(
    table: Table, names: pd.Index, kept: np.ndarray, spare: np.ndarray, file: str, where: str
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Return the vectors in the order of the cells, which cells have none, and what a user should know.

    Parameters
    ----------
    table
        The content of a file.
    names
        Of the cells of a data set as its file has them, (n_cells,).
    kept
        Which cells of its file are in the data set, (n_all,).
    spare
        Cells that may lack a vector, (n_cells,), because they are neither trained on nor scored; it is NaN then.
    file, where
        What both are called.

    Raises
    ------
    BenchError
        If a cell has no vector or several, or the rows cannot be told apart.
    """
    if table.names is None or (numbers_of(table.names) is not None and not table.names.isin(names).any()):
        return _in_order(table, kept, file, where), np.zeros(len(names), bool), [_said(where)]
    if names.has_duplicates:
        twice = names[names.duplicated()].unique()
        raise BenchError(
            f"{len(twice):,} names of cells stand in {where} more than once, e.g. {listed(map(repr, twice[:3]))}: a "
            f"table of names such as {file} cannot tell them apart. Make them unique in the file "
            "(adata.obs_names_make_unique()) before the vectors are computed, or give the vectors in obsm."
        )
    table, notes = _once(table, file)
    rows = table.names.get_indexer(names)
    missing = rows < 0
    if (missing & ~spare).any():
        raise _incomplete(table.names, names, names[missing & ~spare], file, where)
    values = table.values[rows]
    values[missing] = np.nan
    if missing.any():
        notes.append(f"{missing.sum():,} cells that are in neither part (val) have no vector")
    if n := len(table.names) - int((~missing).sum()):
        notes.append(f"{n:,} of its {len(table.names):,} cells are not among the {len(names):,} used of {where}")
    return values, missing, notes


def _in_order(table: Table, kept: np.ndarray, file: str, where: str) -> np.ndarray:
    if len(table.values) != len(kept):
        left = f" ({(~kept).sum():,} of them left out)" if not kept.all() else ""
        turned = " It may be transposed." if table.values.shape[1] == len(kept) else ""
        raise BenchError(
            f"{file} names no cells and has {len(table.values):,} rows; {where} has {len(kept):,} cells{left}.{turned} "
            f"Give a row for each, in the order of the file, or names: {TO_CSV}."
        )
    rows = np.arange(len(kept)) if table.names is None else np.argsort(numbers_of(table.names))
    return table.values[rows][kept]


def _said(where: str) -> str:
    return (
        f"IT NAMES NO CELLS. Its rows are taken in the order of {where}; in another order every number of it would be "
        "wrong, and nothing could tell"
    )


def _once(table: Table, file: str) -> tuple[Table, list[str]]:
    """Return the table with each name once, or refuse names that have several vectors."""
    if not table.names.has_duplicates:
        return table, []
    twice = table.names.duplicated()
    first = table.names[~twice].get_indexer(table.names)
    own = table.values[~twice]
    differ = table.names[
        ~(np.isclose(table.values, own[first], rtol=1e-6, atol=0, equal_nan=True).all(axis=1))
    ].unique()
    if len(differ):
        raise BenchError(
            f"{file} has several different vectors for {len(differ):,} names of cells, e.g. "
            f"{listed(map(repr, differ[:3]))}; leave one of each."
        )
    return Table(own, table.names[~twice]), [f"{int(twice.sum()):,} of its rows repeat a cell, with equal vectors"]


def _incomplete(theirs: pd.Index, names: pd.Index, missing: pd.Index, file: str, where: str) -> BenchError:
    return BenchError(
        f"{file} has no vector for {len(missing):,} of the {len(names):,} cells of {where}, e.g. "
        f"{listed(map(repr, missing[:3]))}. {_spelling(theirs, missing, len(names))}"
    )


def _spelling(theirs: pd.Index, missing: pd.Index, n_all: int) -> str:
    """Return what may be behind names that are not found, and what to do; nothing is guessed."""
    for what, plain in SPELLINGS.items():
        known = {plain(name): name for name in theirs}
        alike = [name for name in missing[:MOST] if plain(name) in known]
        if len(alike) > len(missing[:MOST]) / 2:
            return (
                f"Names differ {what}: {alike[0]!r} may be {known[plain(alike[0])]!r} of the file. Which is which is "
                f"not guessed: write the data set's names, as in {TO_CSV}."
            )
    if len(missing) == n_all:
        return f"None of its names is one of theirs; they look like {theirs[0]!r}. Write theirs, as in {TO_CSV}."
    return (
        "Compute the vectors of all cells, or leave these out of the data set: "
        'adata[adata.obs_names.isin(names)].write_h5ad("fewer.h5ad"), with the names that have vectors.'
    )
