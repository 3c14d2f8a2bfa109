"""Records: tidy rows with value, cost and provenance; one atomic file per trial, concatenated on read.

Own results lie where `bench.protocol.place` says.  Committed records, one CSV per experiment, lie in
``chapters/results`` and serve the book alone.  A record is never overwritten by a second run of its trial, except that
a failure gives way to a later attempt, and what was made with another file of the same weights to this machine's: one
mean never mixes two files.  A file that is no record is as good as none: it is set aside when its trial is run.
"""

import os
from pathlib import Path

import numpy as np
import pandas as pd

from bench.core import atomic
from bench.core.errors import BenchError
from bench.core.places import is_checkout, needs_a_clone, to_run
from bench.protocol import maps, place, predicted
from bench.protocol.beside import LOG, MAP, PREDICTIONS
from bench.protocol.beside import read_predictions as read_predictions  # for those who know it by this module
from bench.protocol.columns import COLUMNS, joined, read_csv
from bench.protocol.maps import Map
from bench.protocol.place import committed_folder as committed_folder
from bench.protocol.place import own_file, own_files, own_folder
from bench.protocol.reading import own_table, read, without_superseded
from bench.statistics.predictions import Predictions

COMMITTED_PREDICTIONS = 200_000  # bytes; larger files of predictions are not committed


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
        take_over(table[list(COLUMNS)], place.committed_folder() / name, experiment)
    return len(ours) > 0


def take_over(table: pd.DataFrame, beside: Path, experiment: str) -> None:
    """Write the record of a trial from elsewhere among the user's own, what lies beside it first.

    Parameters
    ----------
    table
        As `bench.protocol.columns.read_csv` returns it.
    beside
        The folder that holds its predictions, its map and its log, where there are any.
    experiment
        Under which it is recorded here.
    """
    target = path_of(experiment, table["tier"].iloc[0], table["key"].iloc[0])
    _set_aside(target)
    for suffix in (PREDICTIONS, MAP, LOG):
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
    log: str = "",
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
    log
        What the trial has printed, and where it ran.

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
    if log:
        atomic.write(path.with_suffix(LOG), lambda file: file.write(f"{log}\n".encode()), replace=True)
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    text = table.to_csv(index=False).encode()
    atomic.write(path, lambda file: file.write(text), replace=there is not None)


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
    table = without_superseded(joined(mine, read(experiment, own=False)))
    table = table[~(table["status"].ne("ok") & table["key"].isin(table.loc[table["status"] == "ok", "key"]))]
    table = table[(table["class"] == "") | ~(table["fraction"] < 1)]
    order = ["tier", "dataset", "model", "variant", "fraction", "seed", "key"]
    table = table.sort_values(order, kind="stable")[list(COLUMNS)]
    for trial in table[table["fraction"] == 1].drop_duplicates("key").itertuples():
        for suffix in (PREDICTIONS, MAP):
            kept = own_file(f"{experiment}/{trial.tier}/{trial.key}{suffix}")
            if kept is not None and kept.is_file() and kept.stat().st_size <= COMMITTED_PREDICTIONS:
                atomic.copy(kept, place.committed_folder() / experiment / kept.name)
    path = place.committed_folder() / f"{experiment}.csv"
    atomic.write(path, lambda file: file.write(table.to_csv(index=False, float_format="%.6g").encode()), replace=True)
    return path


def check_writable(experiment: str = "", tier: str = "") -> None:
    """Raise a BenchError now if the user's own results could not be written later."""
    atomic.check_writable(own_folder())
    if experiment:
        atomic.check_writable(own_folder() / experiment / tier)


def _is_good(path: Path) -> bool:
    """Return whether a file is a record of a trial that did not fail."""
    table = own_table(path)
    return table is not None and (table["status"] == "ok").all()


def _is_of_other_weights(path: Path, row: dict) -> bool:
    """Return whether a record was made with another file of weights than a new one of the same trial."""
    return not (read_csv(path)["weights_sha256"] == row.get("weights_sha256", "")).all()


def _set_aside(path: Path) -> None:
    """Make room for a record where something lies that is none; it is kept beside, under another name."""
    if os.path.lexists(path) and own_table(path) is None:
        atomic.set_aside(path)
