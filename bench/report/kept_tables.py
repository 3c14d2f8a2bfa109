"""Small tables that the project keeps among its records, which are none: what they are of stands above the columns."""

from io import StringIO
from pathlib import Path

import pandas as pd

from bench.core import atomic

HEAD = "# "  # of the lines above the columns
TEXT = {"gene": str, "identity": str}  # columns that may look like numbers


def write(table: pd.DataFrame, about: dict[str, str], path: Path) -> Path:
    """Write what `read` reads, in the place of an earlier file, and return the file."""
    head = "".join(f"{HEAD}{name}: {value}\n" for name, value in about.items())
    text = head + table.to_csv(index=False, float_format="%.6g")
    atomic.write(path, lambda file: file.write(text.encode()), replace=True)
    return path


def read(path: Path) -> tuple[pd.DataFrame, dict[str, str]]:
    """Return a table, and what is said above its columns; empty fields are nan.

    Raises
    ------
    OSError, ValueError
        If there is no such file, or it is another one.
    """
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    head = [line for line in lines if line.startswith(HEAD)]
    about = dict(line.removeprefix(HEAD).strip().split(": ", 1) for line in head)
    rest = StringIO("".join(lines[len(head) :]))
    return pd.read_csv(rest, dtype=TEXT, keep_default_na=False, na_values=[""]), about
