"""A table that another tool has written, as text: any separator and encoding, compressed or not, with R's row names.

Nothing is taken for a number here: names of cells and types may be ``007`` or ``1e5``.
"""

import csv
import gzip
import io
import sys
import zlib
from collections.abc import Collection
from pathlib import Path

import pandas as pd

from bench.core.errors import BenchError, listed, unknown

SEPARATORS = ("\t", ",", ";", "|", " ")  # the last only where no other one gives columns
SAVE = "save the table as CSV"
BEGINNINGS = {  # of files that hold no text
    b"PK\x03\x04": f"it is an Excel file or a zip archive: {SAVE} (in Excel: CSV UTF-8), or unzip it",
    b"\xd0\xcf\x11\xe0": f"it is an Excel file: {SAVE} (in Excel: CSV UTF-8)",
    b"\x89HDF": f"it is HDF5: {SAVE}, such as adata.obs.to_csv('predictions.csv') of an .h5ad file",
    b"RDX": f"it is R's: {SAVE} with write.csv(as.data.frame(x), 'predictions.csv')",
    b"X\n\0": f"it is R's: {SAVE} with write.csv(as.data.frame(x), 'predictions.csv')",
    b"\x93NUMPY": f"it is an array without names of cells: {SAVE}, with them",
    b"BZh": "it is compressed: run bunzip2 -k on it and give what that writes",
    b"\xfd7zXZ": "it is compressed: run unxz -k on it and give what that writes",
    b"(\xb5/\xfd": "it is compressed: run unzstd on it and give what that writes",
    b"<": "it looks like a web page: download the file itself",
}


def read(path: Path, cells: Collection[str] = ()) -> pd.DataFrame:
    """Return a table with all of its values as text, blanks around them taken off.

    Parameters
    ----------
    path
        CSV, TSV or another separator; also gzipped, and ``.parquet`` where pandas can read it.
    cells
        Names of cells, by which a first line that is no header is known.

    Returns
    -------
    Columns by name; the column of R's or pandas' row names is called ``""``.  Without a header: ``column 1`` ...

    Raises
    ------
    BenchError
        If it is no table of at least two columns and one row, or a column stands twice.
    """
    content = _content(path)
    if content.startswith(b"PAR1"):
        return _parquet(path)
    if hint := next((hint for begin, hint in BEGINNINGS.items() if content.startswith(begin)), ""):
        raise BenchError(f"{path} is no table as text; {hint}.")
    rows = _rows(_text(path, content), path)
    header, rows = _header(rows, path, cells)
    twice = sorted({name for name in header if name and header.count(name) > 1})
    if twice:
        raise BenchError(f"{path}: column {twice[0]!r} stands twice; rename or leave out one of them.")
    return pd.DataFrame(rows, columns=header, dtype=object)


def _content(path: Path) -> bytes:
    if "://" in str(path):
        raise BenchError(f"{path} is an address; download the file and give its path.")
    if path.is_dir():
        tables = sorted(file.name for file in path.glob("*.csv*"))
        raise BenchError(
            f"{path} is a folder, expected a table; {f'it holds {listed(tables, 5)}' if tables else SAVE}."
        )
    if not path.exists():
        there = path.parent if path.parent.is_dir() else Path()
        raise unknown(
            f"file in {path.parent}", path.name, [file.name for file in there.glob("*.[ctp][sxa][vtr]*")][:20]
        )
    try:
        content = path.read_bytes()
        content = gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise BenchError(f"{path} is compressed and cut short or damaged ({error}); copy it again.") from error
    except OSError as error:
        raise BenchError(f"{path} cannot be read: {error.strerror}.") from error
    if not content.strip():
        raise BenchError(f"{path} is empty; expected a table with a name and a label for each cell.")
    return content


def _text(path: Path, content: bytes) -> str:
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):  # what Excel calls Unicode text
        return content.decode("utf-16", errors="replace")
    if b"\0" in content:
        raise BenchError(f"{path} is no text: it begins with {content[:16]!r}; {SAVE}.")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("cp1252", errors="replace")


def _rows(text: str, path: Path) -> list[list[str]]:
    """Return the fields of every line that has some, by the separator that gives most columns."""
    lines = [line for line in text.splitlines()[:200] if line.strip()][:2]
    if len(lines) < 2:
        raise BenchError(f"{path} has one line; expected a header and a row for each cell.")
    counts = {separator: [len(_split(line, separator)) for line in lines] for separator in SEPARATORS}
    fitting = {s: k for s, (n, k) in counts.items() if k > 1 and n in (k, k - 1)}
    plain = {s: k for s, k in fitting.items() if s != " "}
    if not fitting:
        raise BenchError(
            f"{path} has one column, or lines of different length: it begins with {lines[0][:60]!r}; expected names of "
            "cells and labels, separated by commas or tabs."
        )
    separator = max(plain or fitting, key=(plain or fitting).get)
    try:
        found = _reader(io.StringIO(text, newline=""), separator)
        rows = [[sys.intern(field.strip()) for field in row] for row in found]  # a million rows repeat their values
    except csv.Error as error:
        raise BenchError(f"{path} cannot be read as a table ({error}); is a quotation mark left open?") from error
    return [row for row in rows if any(row)]


def _header(rows: list[list[str]], path: Path, cells: Collection[str]) -> tuple[list[str], list[list[str]]]:
    """Return names of columns and rows of equal length."""
    header, rows = rows[0], rows[1:]
    if not rows:
        raise BenchError(f"{path} has a header and no row; expected one for each cell.")
    if not set(header).isdisjoint(cells):  # it is a row itself
        rows, header = [header, *rows], [f"column {number}" for number in range(1, len(header) + 1)]
    if all(len(row) == len(header) + 1 for row in rows):
        if all(not row[-1] for row in rows):  # a separator at the end of each line
            rows = [row[:-1] for row in rows]
        else:
            header = ["", *header]  # R's row names have none
    odd = next((number for number, row in enumerate(rows, start=2) if len(row) != len(header)), None)
    if odd:
        raise BenchError(
            f"{path}: row {odd} has {len(rows[odd - 2])} fields and the header {len(header)}; "
            "put names that hold a separator in quotes."
        )
    header = ["" if name.startswith("Unnamed: ") else name for name in header]
    if header.count("") > 1:
        header = [name or f"column {number}" * (number > 1) for number, name in enumerate(header, start=1)]
    return header, rows


def _split(line: str, separator: str) -> list[str]:
    return next(_reader([line], separator), [])


def _reader(lines, separator: str):
    return csv.reader(lines, delimiter=separator, skipinitialspace=True)


def _parquet(path: Path) -> pd.DataFrame:
    try:
        table = pd.read_parquet(path)
    except ImportError as error:
        raise BenchError(f"{path} needs a package to be read: pip install pyarrow, or {SAVE}.") from error
    except Exception as error:  # whatever the reader raises of a damaged file
        raise BenchError(f"{path} cannot be read as parquet ({error}); write it again, or {SAVE}.") from error
    if not isinstance(table.index, pd.RangeIndex):
        table = table.reset_index(names=table.index.name or "")
    table.columns = [str(name) for name in table.columns]
    return table.astype(object).where(table.notna(), "").map(str)
