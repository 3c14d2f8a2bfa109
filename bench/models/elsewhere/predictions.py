"""Predictions that another tool has made of cells: labels alone or probabilities, wide or long, by the names in a file.

Recognised without a word: a label per cell; a column per type, also as CellTypist's ``probability_matrix.csv`` and
Seurat's ``prediction.score.TYPE`` have them; a row per cell and type; what ``bench predictions`` writes.  Which column
holds what is found by its values: names of cells, and names of types.  What could be meant in two ways is refused.
"""

import shlex
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from bench.core.errors import BenchError, listed, unknown
from bench.datasets.spelling import named_alike
from bench.models.elsewhere.columns import normalised, numbers_of, of_probabilities, share_of_types
from bench.models.elsewhere.text_table import read as read_table

USUAL = ("predicted_labels", "predicted.id", "predicted")  # of CellTypist, of Seurat, of `bench predictions`
ROW_NAMES = "(row names)"  # what a column without a name is called in sentences
MOST = 0.5  # share of values that are types, from which on a column is one of labels


@dataclass(frozen=True)
class Known:
    """What there is in the data."""

    cells: set[str]  # names
    types: list[str]
    truth: str = ""  # column of obs that holds the types


@dataclass(frozen=True)
class Answers:
    """What a file says of cells, a row for each of its rows."""

    cells: np.ndarray  # names as the file has them, (n_rows,)
    labels: np.ndarray | None  # text, empty where no type is given, (n_rows,); None where probabilities alone are given
    probabilities: pd.DataFrame | None  # (n_rows, n_types); rows sum to 1, those without any are not numbers
    notes: tuple[str, ...] = ()  # what was recognised, chosen or changed


def read(path: Path, known: Known, cell_column: str | None = None, label_column: str | None = None) -> Answers:
    """Return what a file says.

    Parameters
    ----------
    path
        See `bench.models.elsewhere.text_table`.
    known
        What there is in the data, by which columns are recognised.
    cell_column, label_column
        Columns that the user names; None to recognise them.

    Raises
    ------
    BenchError
        If it is no such table, or it cannot be told which column holds what.
    """
    table = read_table(path, known.cells)
    for name in filter(None, (cell_column, label_column)):
        if name not in table:
            raise unknown(f"column of {path}", name, [column or ROW_NAMES for column in table])
    cell = _cell_column(table, known.cells, cell_column)
    long = _long(table, cell, known.types) if label_column is None else None
    return _wide(table, cell, known, label_column, path) if long is None else long


def with_probabilities(labels: Answers, matrix: Answers, path: Path) -> Answers:
    """Return labels of one file with the probabilities that another one, ``path``, has for the same cells.

    Raises
    ------
    BenchError
        If the latter holds none, or some cells twice, or lacks some.
    """
    if labels.labels is None or matrix.probabilities is None:
        raise BenchError(
            f"{path} should have a column of numbers for each type, and the other file a column of labels; give a file "
            "that holds both, or probabilities alone, without --probabilities."
        )
    index = pd.Index(matrix.cells)
    if index.has_duplicates:
        raise BenchError(f"{path}: {index[index.duplicated()][0]!r} stands several times; leave one row of each cell.")
    places = index.get_indexer(labels.cells)
    if lacking := labels.cells[places < 0].tolist():
        raise BenchError(
            f"{path} lacks {len(lacking):,} of {len(places):,} cells that have a label, such as {lacking[0]!r}; give "
            "the two files that one run has written."
        )
    found = matrix.probabilities.iloc[places].reset_index(drop=True)
    notes = [f"{path.name}: {note}" for note in matrix.notes]
    return Answers(labels.cells, labels.labels, found, (*labels.notes, *notes))


def _cell_column(table: pd.DataFrame, cells: Collection[str], named: str | None) -> str:
    """Return the column with most different names of cells, the first of equal ones."""
    if named is not None:
        return named
    return max(table, key=lambda name: len(cells & set(table[name])))


def _long(table: pd.DataFrame, cell: str, types: Sequence[str]) -> Answers | None:
    """Return a table with a row per cell and type as one with a row per cell, or nothing where it is none."""
    per_cell = table[cell].value_counts()
    numbers = {name: values for name in table if name != cell and (values := numbers_of(table[name])) is not None}
    texts = [
        name for name in table if name != cell and name not in numbers and share_of_types(table[name], types) >= MOST
    ]
    usual = [name for name in numbers if name.casefold() in ("probability", "prob", "p", "score", "value")]
    numbers = {name: numbers[name] for name in usual or numbers}
    if per_cell.median() < 2 or len(texts) != 1 or len(numbers) != 1 or table.duplicated([cell, texts[0]]).any():
        return None
    (number,) = numbers
    rows = table[[cell]].assign(type=_known_as(table[texts[0]], types), number=numbers[number])
    wide = rows.pivot_table(index=cell, columns="type", values="number", sort=False, dropna=False).fillna(0.0)
    found, notes = normalised(wide.reset_index(drop=True))
    told = f"a row per cell and type: {texts[0]!r} and {number!r} are read as probabilities"
    return Answers(wide.index.to_numpy(str), None, found, (told, *notes))


def _wide(table: pd.DataFrame, cell: str, known: Known, named: str | None, path: Path) -> Answers:
    """Return a table with a row per cell."""
    columns, notes = of_probabilities(table.drop(columns=[cell, *filter(None, [named])]), known.types)
    rest = [name for name in table if name not in (cell, *columns)]
    label = named or _label_column(table, rest, known, bool(columns), path)
    if label is not None and _is_coded(table[label], known.types):
        raise BenchError(_of_codes(path, label))
    if label is None and not columns:
        raise BenchError(_no_labels(path, table, cell, known.types))
    if label and not named and len(rest) > 1:
        holding = [name for name in rest if name != label and share_of_types(table[name], known.types) >= MOST]
        more = f"; {listed(map(repr, holding))} hold types, too: --label-column takes another one" if holding else ""
        notes.append(f"labels are those of column {label!r}{more}")
    found, divided = normalised(pd.DataFrame({to: numbers_of(table[name]) for name, to in columns.items()}))
    labels = None if label is None else table[label].to_numpy(str)
    return Answers(table[cell].to_numpy(str), labels, found if columns else None, (*notes, *divided))


def _label_column(table: pd.DataFrame, rest: list[str], known: Known, has_numbers: bool, path: Path) -> str | None:
    """Return the one column that holds labels, or None where the most probable type is meant."""
    usual = [name for name in rest if name in USUAL]
    holding = usual if len(usual) == 1 else [name for name in rest if share_of_types(table[name], known.types) >= MOST]
    if len(holding) > 1:
        option = f"--label-column {shlex.quote(holding[-1])}"
        raise BenchError(f"{path}: columns {listed(map(repr, holding))} hold types; say which, such as {option}.")
    if holding == [known.truth] and len(rest) > 1:
        option = f"--label-column {shlex.quote(known.truth)}"
        raise BenchError(
            f"{path}: only column {known.truth!r} holds types, and the true ones of the data have that name; name the "
            f"column of predictions, {option} if it is this one."
        )
    if holding or has_numbers or len(rest) != 1:
        return holding[0] if holding else None
    return rest[0]


def _no_labels(path: Path, table: pd.DataFrame, cell: str, types: Sequence[str]) -> str:
    names = [name or ROW_NAMES for name in table if name != cell]
    if coded := [name for name in table if name != cell and _is_coded(table[name], types)]:
        return _of_codes(path, coded[0])
    return (
        f"{path}: no column holds types such as {listed(map(repr, types), 3)}, nor is there a column of numbers for "
        f"each of them; it has {listed(names, 12)}. Name the column of labels with --label-column."
    )


def _is_coded(column: pd.Series, types: Sequence[str]) -> bool:
    """Return whether a column holds whole numbers where types are words, as a factor's codes do."""
    return bool(column.str.fullmatch(r"\d+").all()) and not share_of_types(column, types)


def _of_codes(path: Path, column: str) -> str:
    return (
        f"{path}: column {column!r} holds whole numbers, such as the codes of a factor, and the types have names; "
        f"write those: in R as.character({column}), in pandas .astype(str)."
    )


def _known_as(labels: pd.Series, types: Sequence[str]) -> pd.Series:
    """Return labels as the data spell them, where case or blanks alone differ."""
    return labels.replace(named_alike(set(labels) - set(types), types))
