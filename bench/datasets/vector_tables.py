"""Tables of vectors of cells: text with or without a heading, and Parquet; any column may hold the names of cells.

A first column of numbers names cells where the data set has such names, where it has no heading, or where it counts the
rows.
"""

import csv
import gzip
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse as sp

from bench.core.errors import BenchError

TO_CSV = 'pd.DataFrame(vectors, index=adata.obs_names).to_csv("vectors.csv")'


@dataclass(frozen=True)
class Table:
    """What a file of vectors holds."""

    values: np.ndarray  # (n_rows, n_dimensions) float32
    names: pd.Index | None  # of the cells, as text; None where the file names none


def matrix(values, what: str) -> np.ndarray:
    """Return cells x dimensions as float32, whatever anndata, pandas, SciPy or NumPy hold them in.

    Raises
    ------
    BenchError
        If they are not numbers, or have another shape.
    """
    if isinstance(values, pd.DataFrame):
        return _numbers(values, what)
    values = _dense(values, what) if sp.issparse(values) else values
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "fiub":
        kind = getattr(values, "dtype", type(values).__name__)
        raise BenchError(f"{what} holds {kind}, expected numbers, cells x dimensions.")
    if values.ndim != 2:
        raise BenchError(f"{what} is of shape {values.shape}, expected cells x dimensions; reshape it.")
    with np.errstate(over="ignore"):  # infinite, which is refused
        return values.astype(np.float32)


def _dense(values, what: str) -> np.ndarray:
    values = values.tocsr() if values.format not in ("csr", "csc") else values
    try:
        values.check_format(full_check=True)  # SciPy would read any address
    except ValueError as error:
        raise BenchError(f"{what} is damaged: {error}; write it again.") from error
    return values.toarray()


def _numbers(frame: pd.DataFrame, what: str) -> np.ndarray:
    for name, column in frame.items():
        if column.dtype.kind not in "fiu":
            some = next((value for value in column.dropna() if not _is_number(value)), column.iloc[0])
            raise BenchError(
                f"{what}: column {str(name)!r} holds {some!r}, expected a number; leave the column out "
                "(names of cells come first, in a column or an index)."
            )
    return matrix(frame.to_numpy(np.float64, na_value=np.nan), what)


def delimited(path: Path, known: pd.Index) -> Table:
    """Read text with or without a heading, R's too, which has no heading above names."""
    opener = gzip.open if path.open("rb").read(2) == b"\x1f\x8b" else open
    with opener(path, "rt", encoding="utf-8-sig", newline="") as file:
        lines = list(islice((line for line in file if line.strip()), 2))
    if not lines:
        raise BenchError(f"{path.name} is empty.")
    separator = max("\t;,", key=lines[0].count)
    separator = separator if separator in lines[0] else " "
    heading, *below = csv.reader(lines, delimiter=separator, skipinitialspace=True)
    if below and len(below[0]) == len(heading) + 1:
        heading = ["", *heading]
    elif not _is_heading(heading[1:] or heading):
        heading = []
    if heading and (n := sum(name in known for name in heading)):
        raise BenchError(f"{path.name} has cells as columns ({n:,} of its headings are cells); write it transposed.")
    frame = pd.read_csv(
        path,
        sep=separator if separator != " " else r"\s+",
        header=None,
        skiprows=int(bool(heading)),
        index_col=False,
        converters={0: str},  # a cell may be called NA
        decimal="," if separator == ";" and "," in lines[-1] else ".",  # as R's write.csv2 has it
        float_precision="round_trip",
        low_memory=False,
        encoding="utf-8-sig",
        compression="gzip" if opener is gzip.open else None,
        skipinitialspace=True,
    )
    if heading:
        if len(heading) != frame.shape[1]:
            raise BenchError(f"{path.name} has {len(heading)} headings and {frame.shape[1]} columns; write it again.")
        frame.columns = heading
    return _table(frame, known, path.name)


def _is_heading(fields: list[str]) -> bool:
    """Return whether a row of text is one of names, or of the numbers of columns, and not of values."""
    return not _all_numbers(fields) or _count(fields)


def parquet(path: Path, known: pd.Index) -> Table:
    """Read Parquet, whose index or a column of which may hold names; pyarrow is needed, and its absence said."""
    try:
        frame = pd.read_parquet(path)
    except ImportError as error:
        raise BenchError(
            f"{path.name}: this Python cannot read Parquet; pip install pyarrow, then run the same command again "
            "(or write the vectors as .csv)."
        ) from error
    if not isinstance(frame.index, pd.RangeIndex):
        return Table(matrix(frame, path.name), frame.index.astype(str))
    return _table(frame, known, path.name)


def _table(frame: pd.DataFrame, known: pd.Index, what: str) -> Table:
    """Return vectors of a table in which a column may name cells: the first, or one that holds the data set's names."""
    texts = [i for i in range(1, frame.shape[1]) if not pd.api.types.is_numeric_dtype(frame.dtypes.iloc[i])]
    column = max([0, *texts], key=lambda i: _text_of(frame, i).isin(known).sum())
    names, first = _text_of(frame, column), _text_of(frame, 0)
    unnamed, are_numbers = str(frame.columns[0]).startswith("Unnamed") or frame.columns[0] == "", _all_numbers(first)
    if are_numbers:  # it was read as text, for a cell may be called NA
        frame.isetitem(0, first.astype(float))
    others = [i for i in range(frame.shape[1]) if i != column]
    if column and unnamed and _count(first):  # the rows are counted before they are named
        others.remove(0)
    elif not column and are_numbers and not (unnamed or _count(first) or first.isin(known).any()):
        return Table(matrix(frame, what), None)
    return Table(matrix(frame.iloc[:, others], what), names)


def _text_of(frame: pd.DataFrame, i: int) -> pd.Index:
    return pd.Index(frame.iloc[:, i].astype(str).str.strip())


def _all_numbers(names: Iterable[str]) -> bool:
    return all(map(_is_number, names))


def _is_number(text) -> bool:
    try:
        float(text)
    except (TypeError, ValueError):
        return False
    return True


def _count(names) -> bool:
    """Return whether these are all numbers from 0 or 1 on, in whatever order."""
    return numbers_of(pd.Index(names)) is not None


def numbers_of(names: pd.Index) -> np.ndarray | None:
    """Return the rows that names mean, (n,), where they are all numbers from 0 or from 1 on; None if they are not."""
    if not names.str.fullmatch(r"\d{1,12}").all():
        return None
    rows = names.astype(np.int64).to_numpy()
    start = rows.min(initial=1)
    return rows - start if start < 2 and np.array_equal(np.sort(rows), np.arange(start, start + len(rows))) else None
