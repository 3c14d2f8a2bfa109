"""Records as tables: many small files of the user's own and the committed ones, concatenated on read."""

import logging
from collections.abc import Callable
from difflib import get_close_matches
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
import pandas as pd

from bench.core.errors import BenchError
from bench.protocol import place
from bench.protocol.columns import COLUMNS, read_csv
from bench.protocol.place import own_files

log = logging.getLogger("bench")


def read(experiment: str | None = None, *, own: bool = True, committed: bool = True) -> pd.DataFrame:
    """Return the records of an experiment, or of all; a user's own trial takes the place of the committed one.

    A file of the user's own that is no record is left out with a warning: it must not break a page.

    Raises
    ------
    BenchError
        If a committed file is not a record.
    """
    pattern = experiment or "*"
    mine = own_files(f"{pattern}/*/*.csv") if own else []
    ours = sorted(place.committed_folder().glob(f"{pattern}.csv")) if committed else []
    tables = [table.assign(origin="own") for table in map(own_table, mine) if table is not None]
    tables += [_table(path).assign(origin="committed") for path in ours]
    if not tables:
        return pd.DataFrame(columns=[*COLUMNS, "origin"])
    return without_superseded(pd.concat(tables, ignore_index=True))


def without_superseded(table: pd.DataFrame) -> pd.DataFrame:
    """Return records without committed ones of trials that the user has run.

    What failed, or lacks a number that is committed, takes the place of nothing.
    """
    told = ["experiment", "tier", "key", "metric"]
    plain = table[(table["status"] == "ok") & (table["class"] == "") & np.isfinite(table["value"].astype(float))]
    own = plain["origin"] == "own"
    mine = set(plain.loc[own, told].itertuples(index=False, name=None))
    lacking = {key[:3] for key in plain.loc[~own, told].itertuples(index=False, name=None) if key not in mine}
    known = {key[:3] for key in mine} - lacking
    keys = table[["experiment", "tier", "key"]].itertuples(index=False, name=None)
    superseded = np.array([key in known for key in keys], dtype=bool) & (table["origin"] == "committed")
    return table[~superseded].reset_index(drop=True)


def read_one(path: Path, *, own: bool) -> pd.DataFrame | None:
    """Return one file of records; of the user's own nothing where it is no record, which is said once.

    Raises
    ------
    BenchError
        If a committed file is not a record.
    """
    return own_table(path) if own else _table(path)


def own_table(path: Path) -> pd.DataFrame | None:
    """Return one of many files, or nothing where it is no record; that is said once."""
    try:
        table = _table(path)
    except OSError as error:
        warn_once(f"Left out: {path} cannot be read ({error.strerror}).")
        return None
    except BenchError as error:
        warn_once(f"Left out: {error}")
        return None
    if (table["key"] != path.stem).any():
        warn_once(f"Left out: {path} is a copy of the record {table['key'].iloc[0]}.csv; delete it.")
        return None
    return table


def _table(path: Path) -> pd.DataFrame:
    about = path.stat()
    return _parsed(path, about.st_mtime_ns, about.st_size)


def of_key(known: pd.DataFrame, key: str, kind: str, otherwise: Callable[[], str]) -> pd.DataFrame:
    """Return the rows of a key, or of the only key that begins so: of the user's own, then of the committed ones.

    Parameters
    ----------
    known
        Rows with columns key, origin, model and dataset, the user's own first.
    key
        Or its first digits.
    kind, otherwise
        What trials these are, and what returns what else to say where no key begins so.

    Raises
    ------
    BenchError
        If there is none, or several begin so.
    """
    begins = known[known["key"].str.startswith(key.lower())] if key else known[:0]
    if begins.empty:
        starts = {full[: len(key)]: full for full in known["key"]}
        near = [starts[start] for start in get_close_matches(key.lower(), starts, n=3)]
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        raise BenchError(f"No {kind} has a key that begins with {key!r}.{hint} {otherwise()}")
    begins = begins[begins["origin"] == begins["origin"].iloc[0]]
    if begins["key"].nunique() > 1:
        several = [f"{row.key} ({row.model} on {row.dataset})" for row in begins.drop_duplicates("key").itertuples()]
        more = f" and {len(several) - 5} more" if len(several) > 5 else ""
        raise BenchError(f"{len(several)} trials begin with {key!r}: {', '.join(several[:5])}{more}; give more digits.")
    return begins


@lru_cache(maxsize=2048)  # a page asks for the same records several times
def _parsed(path: Path, _modified: int, _size: int) -> pd.DataFrame:
    return read_csv(path)


@cache
def warn_once(sentence: str) -> None:
    """Say something of a file, the first time in this process alone."""
    log.warning(sentence)
