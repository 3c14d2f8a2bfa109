"""Predictions that another tool has made of cells: labels alone or probabilities, wide or long, by the names in a file.

Recognised without a word: a label per cell; a column per type, also as CellTypist's ``probability_matrix.csv`` and
Seurat's ``prediction.score.TYPE`` have them; a row per cell and type; what ``bench predictions`` writes.  Which column
holds what is found by its values: names of cells, and names of types.  What could be meant in two ways is refused.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from bench.core.errors import BenchError, listed, unknown
from bench.datasets.labels import MISSING, key_of
from bench.datasets.spelling import named_alike
from bench.models.answers import REJECTIONS
from bench.models.elsewhere.text_table import read as read_table
from bench.statistics.predictions import SUM_TOLERANCE

MODEL = "elsewhere"  # what records call the model; its variant is the name of the tool
USUAL = ("predicted_labels", "predicted.id", "predicted")  # of CellTypist, of Seurat, of `bench predictions`
PREFIX = re.compile(r"^(probability of |prediction[._]score[._]|prob(ability)?[._ ]|scores?[._ ])", re.IGNORECASE)
NO_TYPES = {"max", "confidence", "score", "conf_score", "delta.next", "probability", "prob"}  # numbers of other kinds
MOST = 0.5  # share of values that are types, from which on a column is one of labels


@dataclass(frozen=True)
class Answers:
    """What a file says of cells, a row for each of its rows."""

    cells: np.ndarray  # names as the file has them, (n_rows,)
    labels: np.ndarray | None  # text, empty where no type is given, (n_rows,); None where probabilities alone are given
    probabilities: pd.DataFrame | None  # (n_rows, n_types); rows sum to 1, those without any are not numbers
    notes: tuple[str, ...] = ()  # what was recognised, chosen or changed


def read(
    path: Path, cells: Collection[str], types: Sequence[str], cell_column: str | None, label_column: str | None
) -> Answers:
    """Return what a file says.

    Parameters
    ----------
    path
        See `bench.models.elsewhere.text_table`.
    cells, types
        Names of the cells and types that there are, by which columns are recognised.
    cell_column, label_column
        Columns that the user names; None to recognise them.

    Raises
    ------
    BenchError
        If it is no such table, or it cannot be told which column holds what.
    """
    table = read_table(path, cells)
    for name in filter(None, (cell_column, label_column)):
        if name not in table:
            raise unknown(f"column of {path}", name, table.columns)
    cell = _cell_column(table, cells, cell_column)
    found = _long(table, cell, types) if label_column is None else None
    if found is None:
        found = _wide(table, cell, types, label_column, path)
    return found


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
    if n := int((places < 0).sum()):
        raise BenchError(
            f"{path} lacks {n:,} of {len(places):,} cells that have a label, such as {labels.cells[places < 0][0]!r}; "
            "give the two files that one run has written."
        )
    found = matrix.probabilities.iloc[places].reset_index(drop=True)
    return Answers(labels.cells, labels.labels, found, (*labels.notes, *matrix.notes))


def _cell_column(table: pd.DataFrame, cells: Collection[str], named: str | None) -> str:
    """Return the column with most names of cells, the first of equal ones."""
    if named is not None:
        return named
    known = pd.Index(cells)
    hits = [pd.Index(table[name]).isin(known).sum() for name in table]
    return table.columns[int(np.argmax(hits))]


def _long(table: pd.DataFrame, cell: str, types: Sequence[str]) -> Answers | None:
    """Return a table with a row per cell and type as one with a row per cell, or nothing where it is none."""
    per_cell = table[cell].value_counts()
    numbers = {name: values for name in table if name != cell and (values := _numbers(table[name])) is not None}
    texts = [name for name in table if name != cell and name not in numbers and _share_of(table[name], types) >= MOST]
    usual = [name for name in numbers if name.casefold() in ("probability", "prob", "p", "score", "value")]
    numbers = {name: numbers[name] for name in usual or numbers}
    if per_cell.median() < 2 or len(texts) != 1 or len(numbers) != 1 or table.duplicated([cell, texts[0]]).any():
        return None
    (number,) = numbers
    rows = table[[cell]].assign(type=_known_as(table[texts[0]], types), number=numbers[number])
    wide = rows.pivot_table(index=cell, columns="type", values="number", sort=False, dropna=False).fillna(0.0)
    found, notes = _normalised(wide.reset_index(drop=True))
    told = f"a row per cell and type: {texts[0]!r} and {number!r} are read as probabilities"
    return Answers(wide.index.to_numpy(str), None, found, (told, *notes))


def _wide(table: pd.DataFrame, cell: str, types: Sequence[str], named: str | None, path: Path) -> Answers:
    columns, notes = _probability_columns(table.drop(columns=[cell, *filter(None, [named])]), types)
    rest = [name for name in table if name not in (cell, *columns)]
    label = named or _label_column(table, rest, types, bool(columns), path)
    if label is None and not columns:
        raise BenchError(_no_labels(path, table, cell, types))
    found, more = _normalised(pd.DataFrame({to: _numbers(table[name]) for name, to in columns.items()}))
    others = [name for name in rest if name != label and _share_of(table[name], types) >= MOST]
    if label and others:
        more.append(f"labels are those of {label!r}; {listed(map(repr, others))} hold types as well: --label-column")
    labels = None if label is None else table[label].to_numpy(str)
    return Answers(table[cell].to_numpy(str), labels, found if columns else None, (*notes, *(more if columns else [])))


def _probability_columns(table: pd.DataFrame, types: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Return the columns that hold probabilities with the types that they are of, and what is said of others."""
    numbers = {name: values for name in table if (values := _numbers(table[name])) is not None}
    named = _types_of(numbers, types)
    others = {name: PREFIX.sub("", name) for name in numbers if name not in named}
    others = {name: to for name, to in others.items() if to.casefold() not in NO_TYPES}
    if len(named) < 2:
        return {}, []
    everything, pure = named | others, len(numbers) == table.shape[1]
    if others and not _sums_to_one(numbers, named) and (pure or _sums_to_one(numbers, everything)):
        return everything, [f"{len(others)} columns are of types that no cell here has: {listed(others.values(), 5)}"]
    return named, [f"columns that are not used: {listed(others, 5)}"] if others else []


def _types_of(names: Collection[str], types: Sequence[str]) -> dict[str, str]:
    """Return the columns that are named after a type, as R may have changed the name."""
    bare = {name: PREFIX.sub("", name) if name not in types else name for name in names}
    alike, mangled = named_alike(bare.values(), types), {_mangled(name): name for name in types}
    if len(mangled) < len(types):  # two types that R spells alike
        mangled = {}
    found = {name: to if to in types else alike.get(to) or mangled.get(_mangled(to)) for name, to in bare.items()}
    found = {name: to for name, to in found.items() if to}
    if len(set(found.values())) < len(found):
        twice = sorted({to for to in found.values() if list(found.values()).count(to) > 1})
        raise BenchError(f"Several columns are of type {twice[0]!r}; leave out all but one.")
    return found


def _mangled(name: str) -> str:
    """Return a name without what R's make.names and spreadsheets change."""
    return re.sub(r"[^0-9a-z]+", ".", name.casefold()).strip(".").removeprefix("x")


def _label_column(table: pd.DataFrame, rest: list[str], types: Sequence[str], has_numbers: bool, path: Path):
    """Return the one column that holds labels, or None where the most probable type is meant."""
    usual = [name for name in rest if name in USUAL]
    holding = usual[:1] if len(usual) == 1 else [name for name in rest if _share_of(table[name], types) >= MOST]
    if len(holding) > 1:
        raise BenchError(
            f"{path}: columns {listed(map(repr, holding))} hold types; say which with --label-column {holding[0]!r}."
        )
    if holding or has_numbers or len(rest) != 1:
        return holding[0] if holding else None
    return rest[0]


def _share_of(column: pd.Series, types: Sequence[str]) -> float:
    """Return the share of a column's values that are types or say that there is none; 0 without any type."""
    counts = column.map(key_of).value_counts()
    known = {key_of(name) for name in types}
    if not known & set(counts.index):
        return 0.0
    return float(counts[counts.index.isin(known | MISSING | REJECTIONS)].sum() / counts.sum())


def _no_labels(path: Path, table: pd.DataFrame, cell: str, types: Sequence[str]) -> str:
    names = [name or "(row names)" for name in table if name != cell]
    return (
        f"{path}: no column holds types such as {listed(map(repr, types), 3)}, nor is there a column of numbers for "
        f"each of them; it has {listed(names, 12)}. Name the column of labels with --label-column."
    )


def _known_as(labels: pd.Series, types: Sequence[str]) -> pd.Series:
    """Return labels as the data spell them, where case or blanks alone differ."""
    return labels.replace(named_alike(set(labels) - set(types), types))


def _numbers(column: pd.Series) -> np.ndarray | None:
    """Return a column of numbers, also with a decimal comma; nan where it says so.  None of text."""
    text = column.mask(column.str.casefold().isin(MISSING))
    if text.isna().all():
        return None
    for form in (text, text.str.replace(",", ".", regex=False)):
        values = pd.to_numeric(form, errors="coerce")
        if values.notna().equals(text.notna()):
            return values.to_numpy(float)
    return None


def _sums_to_one(numbers: dict[str, np.ndarray], names: Collection[str]) -> bool:
    totals = np.sum([numbers[name] for name in names], axis=0)
    return bool((np.abs(totals[np.isfinite(totals)] - 1) <= SUM_TOLERANCE).all())


def _normalised(table: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Return probabilities that sum to one; rows without any become nan.  What was done is said."""
    values = table.to_numpy(float)
    if not values.size:
        return table, []
    empty = np.isnan(values).all(axis=1)
    if (bad := ~np.isfinite(values[~empty])).any():
        raise BenchError(f"{int(bad.any(axis=1).sum())} cells have probabilities of which some are missing or infinite.")
    if values[~empty].size and values[~empty].min() < 0:
        raise BenchError(
            f"The lowest probability is {values[~empty].min():.3g}; expected numbers from 0 on: apply softmax to scores "
            "of a decision, or give labels alone."
        )
    totals = values.sum(axis=1, keepdims=True)
    empty |= totals[:, 0] == 0
    with np.errstate(invalid="ignore", divide="ignore"):
        scaled = np.where(empty[:, None], np.nan, values / totals)
    notes = []
    if n := int((np.abs(totals[~empty, 0] - 1) > SUM_TOLERANCE).sum()):
        notes.append(f"probabilities of {n:,} of {len(values):,} rows do not sum to one and are divided by their sum")
    return pd.DataFrame(scaled, columns=table.columns), notes
