"""Records: tidy rows with value, cost and provenance; one atomic file per trial, concatenated on read.

Own results lie where `bench.protocol.place` says.  Committed records, one CSV per experiment, lie in
``chapters/results`` and serve the book alone.  A record is never overwritten by a second run of its trial, except that
a failure gives way to a later attempt, and what was made with another file of the same weights to this machine's: one
mean never mixes two files.  A file that is no record is as good as none: it is set aside when its trial is run.
"""

import logging
import os
from collections.abc import Callable
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.core import atomic
from bench.core.errors import BenchError
from bench.core.places import is_checkout, needs_a_clone, to_run
from bench.protocol import maps, predicted
from bench.protocol.columns import COLUMNS, joined, read_csv
from bench.protocol.maps import Map
from bench.protocol.place import committed_folder, own_file, own_files, own_folder
from bench.statistics.predictions import Predictions

log = logging.getLogger("bench")
COMMITTED_PREDICTIONS = 200_000  # bytes; larger files of predictions are not committed
PREDICTIONS, MAP = ".npz", ".map.npz"  # what lies beside a record, by the end of its name


def path_of(experiment: str, tier: str, key: str, suffix: str = ".csv") -> Path:
    """Return where a trial's own record is written."""
    return own_folder() / experiment / tier / f"{key}{suffix}"


def is_done(experiment: str, tier: str, key: str) -> bool:
    """Return whether the user's own results hold a trial that did not fail."""
    path = own_file(f"{experiment}/{tier}/{key}.csv")
    return path is not None and _is_good(path)


def adopt(experiment: str, tier: str, key: str, *, committed: bool = False) -> bool:
    """Take over a trial that another experiment has run at the same tier; return whether there was one.

    Only the user's own results are looked at, or the committed ones too.
    """
    found = [path for path in own_files(f"*/{tier}/{key}.csv") if _is_good(path)]
    for path in found[:1]:
        take_over(read_csv(path), path.parent, experiment)
    if found or not committed:
        return bool(found)
    ours = read(own=False)
    ours = ours[(ours["tier"] == tier) & (ours["key"] == key) & (ours["status"] == "ok")]
    for name, table in list(ours.groupby("experiment"))[:1]:
        take_over(table[list(COLUMNS)], committed_folder() / name, experiment)
    return len(ours) > 0


def take_over(table: pd.DataFrame, beside: Path, experiment: str) -> None:
    """Write the record of a trial from elsewhere among the user's own, what lies beside it first.

    Parameters
    ----------
    table
        As `bench.protocol.columns.read_csv` returns it.
    beside
        The folder that holds its predictions and its map, where there are any.
    experiment
        Under which it is recorded here.
    """
    target = path_of(experiment, table["tier"].iloc[0], table["key"].iloc[0])
    _set_aside(target)
    for suffix in (PREDICTIONS, MAP):
        if (kept := beside / f"{target.stem}{suffix}").exists():
            atomic.copy(kept, target.with_suffix(suffix))
    text = table.assign(experiment=experiment).to_csv(index=False).encode()
    atomic.write(target, lambda file: file.write(text), replace=True)


def write(
    rows: list[dict],
    cells: np.ndarray | None = None,
    predictions: Predictions | None = None,
    names: np.ndarray | None = None,
    drawn: Map | None = None,
) -> None:
    """Write one trial, predictions first, so that a record without its predictions cannot exist.

    Parameters
    ----------
    rows
        As `bench.protocol.columns` has them.
    cells, predictions
        The scored cells and what was said of them.
    names
        Of the cells as their file has them, where it repeats some.
    drawn
        The map of the embedding; it is also added to a record that is there already.

    Raises
    ------
    BenchError
        If the folder cannot be written or is full; what was there before stays as it was.
    """
    first = rows[0]
    path = path_of(first["experiment"], first["tier"], first["key"])
    if drawn is not None:
        atomic.write(path.with_suffix(MAP), lambda file: maps.save(file, drawn), replace=True)
    there = own_file(path.relative_to(own_folder()))
    if there is not None and _is_good(there) and not _is_of_other_weights(there, first):
        return
    _set_aside(path)
    if predictions is not None:
        said = (cells, predictions, names)
        atomic.write(path.with_suffix(PREDICTIONS), lambda file: predicted.save(file, *said), replace=True)
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    text = table.to_csv(index=False).encode()
    atomic.write(path, lambda file: file.write(text), replace=there is not None)


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
    ours = sorted(committed_folder().glob(f"{pattern}.csv")) if committed else []
    tables = [table.assign(origin="own") for table in map(_read_own, mine) if table is not None]
    tables += [_table(path).assign(origin="committed") for path in ours]
    if not tables:
        return pd.DataFrame(columns=[*COLUMNS, "origin"])
    return _without_superseded(pd.concat(tables, ignore_index=True))


def _without_superseded(table: pd.DataFrame) -> pd.DataFrame:
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


def read_predictions(experiment: str, tier: str, key: str) -> tuple[np.ndarray, Predictions]:
    """Return the names of the scored cells and what was predicted for them.

    Raises
    ------
    BenchError
        If there are none; a damaged file of the user's own is as good as none, and is named in a warning.
    """
    return _kept(experiment, tier, key, predicted.load)


def names_of_cells(experiment: str, tier: str, key: str) -> np.ndarray:
    """Return the names of the scored cells as their file has them, where it repeats some; else as predictions do."""
    return _kept(experiment, tier, key, predicted.load_names)


def has_predictions(experiment: str, tier: str, key: str) -> bool:
    """Return whether there is a file with the predictions of a trial."""
    return any(path.exists() for path in _beside(experiment, tier, key, PREDICTIONS))


def read_map(experiment: str, tier: str, key: str) -> Map:
    """Return the map of a trial's embedding.

    Raises
    ------
    BenchError
        If there is none; a damaged file is as good as none, and is named in a warning.
    """
    return _kept(experiment, tier, key, maps.load, MAP, "map")


def has_own_map(experiment: str, tier: str, key: str) -> bool:
    """Return whether the user's own results hold a map of a trial that can be read."""
    own = own_file(f"{experiment}/{tier}/{key}{MAP}")
    try:
        return own is not None and maps.load(own) is not None
    except predicted.DAMAGED:
        return False


def _beside(experiment: str, tier: str, key: str, suffix: str) -> list[Path]:
    """Return where a file beside the record of a trial may be, the user's own before the committed one."""
    own = own_file(f"{experiment}/{tier}/{key}{suffix}")
    return [path for path in (own, committed_folder() / experiment / f"{key}{suffix}") if path]


def _kept(
    experiment: str,
    tier: str,
    key: str,
    load: Callable[[Path], Any],
    suffix: str = PREDICTIONS,
    what: str = "predictions",
) -> Any:
    for path in _beside(experiment, tier, key, suffix):
        try:
            if path.exists():
                return load(path)
        except predicted.DAMAGED as error:
            _warn_once(f"Left out: {path} holds no {what} ({error}); {_remedy(path)}.")
    raise BenchError(f"No {what} for trial {key} of {experiment} ({tier}); run the chapter to make them.")


def _remedy(path: Path) -> str:
    """Return what brings back a file that lies beside a record; a trial whose record is there is not run again."""
    if path.is_relative_to(committed_folder()):
        return "it is part of the project: bring it back with git"
    if path.name.endswith(MAP):
        return "delete it and run the chapter again"
    return f"delete it and {path.stem}.csv beside it, then give the bench run or bench score that made them once more"


def commit(experiment: str, tier: str | None = None) -> Path:
    """Merge the user's own records of an experiment into the committed ones and return the file.

    Values per cell type and predictions stay for complete training sets alone, predictions only in small files: with
    everything the committed records would be ten times as large.
    """
    if not is_checkout():
        raise needs_a_clone("Committed records need")
    mine = read(experiment, committed=False)
    if tier:
        mine = mine[mine["tier"] == tier]
    if mine.empty:
        raise BenchError(f"No own records of {experiment} to commit; make them: {to_run(experiment)}")
    table = _without_superseded(joined(mine, read(experiment, own=False)))
    table = table[~(table["status"].ne("ok") & table["key"].isin(table.loc[table["status"] == "ok", "key"]))]
    table = table[(table["class"] == "") | ~(table["fraction"] < 1)]
    order = ["tier", "dataset", "model", "variant", "fraction", "seed", "key"]
    table = table.sort_values(order, kind="stable")[list(COLUMNS)]
    for trial in table[table["fraction"] == 1].drop_duplicates("key").itertuples():
        for suffix in (PREDICTIONS, MAP):
            kept = own_file(f"{experiment}/{trial.tier}/{trial.key}{suffix}")
            if kept is not None and kept.is_file() and kept.stat().st_size <= COMMITTED_PREDICTIONS:
                atomic.copy(kept, committed_folder() / experiment / kept.name)
    path = committed_folder() / f"{experiment}.csv"
    atomic.write(path, lambda file: file.write(table.to_csv(index=False, float_format="%.6g").encode()), replace=True)
    return path


def check_writable(experiment: str = "", tier: str = "") -> None:
    """Raise a BenchError now if the user's own results could not be written later."""
    atomic.check_writable(own_folder())
    if experiment:
        atomic.check_writable(own_folder() / experiment / tier)


def read_one(path: Path, *, own: bool) -> pd.DataFrame | None:
    """Return one file of records; of the user's own nothing where it is no record, which is said once.

    Raises
    ------
    BenchError
        If a committed file is not a record.
    """
    return _read_own(path) if own else _table(path)


def _read_own(path: Path) -> pd.DataFrame | None:
    """Return one of many files, or nothing where it is no record; that is said once."""
    try:
        table = _table(path)
    except OSError as error:
        _warn_once(f"Left out: {path} cannot be read ({error.strerror}).")
        return None
    except BenchError as error:
        _warn_once(f"Left out: {error}")
        return None
    if (table["key"] != path.stem).any():
        _warn_once(f"Left out: {path} is a copy of the record {table['key'].iloc[0]}.csv; delete it.")
        return None
    return table


def _table(path: Path) -> pd.DataFrame:
    about = path.stat()
    return _parsed(path, about.st_mtime_ns, about.st_size)


@lru_cache(maxsize=2048)  # a page asks for the same records several times
def _parsed(path: Path, _modified: int, _size: int) -> pd.DataFrame:
    return read_csv(path)


@cache
def _warn_once(sentence: str) -> None:
    log.warning(sentence)


def _is_good(path: Path) -> bool:
    """Return whether a file is a record of a trial that did not fail."""
    table = _read_own(path)
    return table is not None and (table["status"] == "ok").all()


def _is_of_other_weights(path: Path, row: dict) -> bool:
    """Return whether a record was made with another file of weights than a new one of the same trial."""
    return not (read_csv(path)["weights_sha256"] == row.get("weights_sha256", "")).all()


def _set_aside(path: Path) -> None:
    """Make room for a record where something lies that is none; it is kept beside, under another name."""
    if os.path.lexists(path) and _read_own(path) is None:
        atomic.set_aside(path)
