"""The labels that a trial gave its cells, found by key and written as a table for other tools."""

import csv
from pathlib import Path

import numpy as np
import pandas as pd

from bench.core import atomic
from bench.core.errors import BenchError
from bench.protocol import beside, reading, records
from bench.statistics.confidence import confidence

SHOWN = ["key", "experiment", "tier", "dataset", "split", "query", "model", "variant", "fraction", "seed", "accuracy"]


def trials() -> pd.DataFrame:
    """Return one row per trial whose predictions are at hand, the user's own before committed ones."""
    rows = records.read()
    accuracy = rows[rows["metric"] == "accuracy"].groupby(["experiment", "tier", "key"])["value"].first()
    found = rows[rows["status"] == "ok"].drop_duplicates(["experiment", "tier", "key"])
    found = found.join(accuracy.rename("accuracy"), on=["experiment", "tier", "key"])
    places = zip(found["experiment"], found["tier"], found["key"], strict=True)
    there = np.array([beside.has_predictions(*place) for place in places], dtype=bool)
    return found[there].sort_values("origin", ascending=False, kind="stable")


def trial_of(key: str) -> pd.Series:
    """Return the trial of a key, or of the only key that begins so: of the user's own, then of the committed ones.

    Raises
    ------
    BenchError
        If there is none, or several begin so.
    """
    return reading.of_key(trials(), key, "trial with predictions", lambda: _why_not(key)).iloc[0]


def labels_of(trial: pd.Series, *, probabilities: bool = False) -> pd.DataFrame:
    """Return one row per cell: its name in the file, the type it was given, how probable that is, the true type.

    Parameters
    ----------
    trial
        As `trial_of` returns it.
    probabilities
        Add a column for each type that the model knows.

    Returns
    -------
    Columns ``cell``, ``predicted``, ``confidence`` (0-1) and ``truth``, the latter two where they are known; where
    names of cells repeat in the file also ``unique_cell``.  Probabilities have three digits: they are kept in half
    precision.
    """
    place = trial["experiment"], trial["tier"], trial["key"]
    (cells, said), names = beside.read_predictions(*place), beside.names_of_cells(*place)
    table = pd.DataFrame({"cell": names, "predicted": said.predicted})
    if said.probabilities is not None:
        table["confidence"] = confidence(said)[0]
    if len(said.labels):
        table["truth"] = said.truth
    if (names != cells).any():
        table["unique_cell"] = cells
    if probabilities and said.probabilities is None:
        raise BenchError(f"Trial {trial['key']} was recorded from labels alone; leave --probabilities out.")
    if probabilities:
        columns = [f"probability of {label}" for label in said.classes]
        table = table.join(pd.DataFrame(said.probabilities, columns=columns))
    numbers = table.select_dtypes("number")
    return table.assign(**numbers.map(lambda value: float(f"{value:.4g}")))


def as_csv(table: pd.DataFrame) -> bytes:
    """Return a table as CSV in UTF-8 with all text in quotes, as pandas and R read it without an option."""
    return table.to_csv(index=False, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n").encode()


def check_free(path: Path, *, overwrite: bool) -> None:
    """Raise a BenchError if a file cannot be there, or is there already and may not be overwritten."""
    if path.is_dir():
        raise BenchError(f"{path} is a folder; name a file in it, such as {path / 'labels.csv'}.")
    if not path.parent.is_dir():
        raise BenchError(f"{path.parent} is no folder; make it first, or name another file with --out.")
    if path.exists() and not overwrite:
        raise BenchError(f"{path} exists and stays as it is; name another file, or add --overwrite.")


def write(content: bytes, path: Path, *, overwrite: bool) -> None:
    """Write a file, whole or not at all.

    Raises
    ------
    BenchError
        If it cannot be written, see `check_free`.
    """
    check_free(path, overwrite=overwrite)
    try:
        atomic.write(path, lambda file: file.write(content), replace=overwrite)
    except BenchError as error:  # its advice is on results
        raise BenchError(f"{path} cannot be written: {error.__cause__}; name another file with --out.") from error


def _why_not(key: str) -> str:
    """Say what is known of a trial without predictions, or where keys are listed."""
    rows = records.read()
    there = rows[rows["key"].str.startswith(key.lower())] if key else rows[:0]
    if there.empty:
        return "bench predictions lists those that have some."
    trial = there.iloc[0]
    if trial["status"] != "ok":
        return f"Trial {trial['key']} ({trial['model']} on {trial['dataset']}) {trial['status']}"
    return (
        f"Trial {trial['key']} ({trial['model']} on {trial['dataset']}) is recorded without them, as large ones are "
        f"not committed: run {trial['experiment']} for this model and data set to make them."
    )
