"""Small tables that the project keeps among its records, which are none: what they are of stands above the columns.

Each is made by a script of its name in ``chapters``.
"""

from collections.abc import Sequence
from io import StringIO
from pathlib import Path

import pandas as pd

from bench.core import atomic
from bench.core.errors import BenchError
from bench.core.provenance import commit, processor, versions
from bench.protocol import place

HEAD = "# "  # of the lines above the columns
TEXT = {"gene": str, "identity": str, "key": str}  # columns that may look like numbers


def write(table: pd.DataFrame, about: dict[str, str], file: str, path: Path | None = None) -> Path:
    """Write what `kept` reads, in the place of an earlier file, and return the path.

    Parameters
    ----------
    table, about
        The rows, and what to say above them besides processor, commit and versions.
    file
        Name in the folder of committed records.
    path
        Another place.
    """
    path = path or place.committed_folder() / file
    about = about | {"processor": processor(), "commit": commit(), "versions": versions()}
    head = "".join(f"{HEAD}{name}: {value}\n" for name, value in about.items())
    text = head + table.to_csv(index=False, float_format="%.6g")
    atomic.write(path, lambda handle: handle.write(text.encode()), replace=True)
    return path


def kept(
    file: str, path: Path | None, columns: Sequence[str], about: Sequence[str], *, holds: str
) -> tuple[pd.DataFrame, dict[str, str]]:
    """Return a table, and what is said above its columns; empty fields are nan.

    Parameters
    ----------
    file, path
        As `write` takes them.
    columns, about
        The first columns that it should have, and names that should stand above them.
    holds
        What is in it, in words, for the error.

    Raises
    ------
    BenchError
        If there is no such file, or it is another one.
    """
    path = path or place.committed_folder() / file
    try:
        table, said = _read(path)
        is_whole = list(table)[: len(columns)] == list(columns) and set(about) <= set(said)
    except (OSError, ValueError):
        is_whole = False
    if not is_whole:
        raise BenchError(f"{path} does not hold {holds}; make it with: python chapters/{Path(file).stem}.py")
    return table, said


def _read(path: Path) -> tuple[pd.DataFrame, dict[str, str]]:
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    head = [line for line in lines if line.startswith(HEAD)]
    said = dict(line.removeprefix(HEAD).strip().split(": ", 1) for line in head)
    rest = StringIO("".join(lines[len(head) :]))
    return pd.read_csv(rest, dtype=TEXT, keep_default_na=False, na_values=[""]), said
