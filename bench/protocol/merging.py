"""Results of another machine become part of the user's own: whole trials, none twice, contradictions named."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from bench.core.errors import BenchError
from bench.protocol import records
from bench.protocol.columns import called, read_csv
from bench.protocol.place import own_file, own_folder
from bench.protocol.rerun.comparing import compared, reasons


@dataclass
class Merged:
    """What became of the trials of another folder."""

    n_taken: int = 0
    n_known: int = 0  # here already, those that contradict included
    contradictions: list[str] = field(default_factory=list)  # a sentence each
    odd: list[str] = field(default_factory=list)  # files that are no records
    mixed: list[str] = field(default_factory=list)  # experiments with several files of the same weights


def merge(folder: Path) -> Merged:
    """Take over the trials of another results folder that the user's own results lack.

    A failure here gives way to a trial that came to an end there.  Killed at any moment, the same call goes on.

    Parameters
    ----------
    folder
        ``EXPERIMENT/TIER/KEY.csv``, as `bench.protocol.place` has it.

    Raises
    ------
    BenchError
        If there is nothing to take there, or results cannot be written here.
    """
    folder = folder.expanduser()
    if folder.resolve() == own_folder().resolve():
        raise BenchError(f"{folder} is where your own results lie; name the folder of another machine's.")
    paths = sorted(folder.glob("*/*/*.csv"))
    if not paths:
        raise BenchError(
            f"{folder} holds no records; expected EXPERIMENT/TIER/KEY.csv, as results and BENCH_RESULTS do."
        )
    records.check_writable()
    merged = Merged()
    for path in paths:
        try:
            _merge(path, _read(path), merged)
        except _Odd as error:
            merged.odd.append(str(error))
    merged.mixed = mixed_weights(sorted({path.parts[-3] for path in paths}))
    return merged


def mixed_weights(experiments: Iterable[str]) -> list[str]:
    """Return a sentence for each model of an experiment whose own trials used several files of the same weights.

    Weights that two machines have pretrained by one recipe are called the same and are not: a mean is of two models.
    """
    tables = [records.read(experiment, committed=False) for experiment in experiments]
    trials = pd.concat(tables).drop_duplicates(["experiment", "tier", "key"])
    trials = trials[(trials["status"] == "ok") & (trials["weights_sha256"].fillna("") != "")]
    said = []
    for (experiment, tier, model, _), group in trials.groupby(["experiment", "tier", "model", "weights_hash"]):
        counts = group["weights_sha256"].value_counts()
        if len(counts) > 1:
            files = ", ".join(f"{count} with {sha256[:8]}" for sha256, count in counts.items())
            said.append(f"{experiment} ({tier}), {model}: trials with different files of the same weights, {files}.")
    return said


class _Odd(Exception):
    """A file that is no record."""


def _read(path: Path) -> pd.DataFrame:
    try:
        table = read_csv(path)
    except BenchError as error:
        raise _Odd(str(error)) from error
    place = {"experiment": path.parts[-3], "tier": path.parts[-2], "key": path.stem}
    for column, expected in place.items():
        if (table[column] != expected).any():
            raise _Odd(f"{path} says {column} {table[column].iloc[0]!r}, and its place {expected!r}; move it there.")
    return table


def _merge(path: Path, theirs: pd.DataFrame, merged: Merged) -> None:
    """Take over a trial, or set it beside the one that is here."""
    place = path.parts[-3], path.parts[-2], path.stem
    here, has_ended = records.is_done(*place), (theirs["status"] == "ok").all()
    if not here and (has_ended or own_file(Path(*place).with_suffix(".csv")) is None):
        records.take_over(theirs, path.parent, place[0])
        merged.n_taken += 1
        return
    merged.n_known += 1
    if here and has_ended:
        ours = read_csv(own_file(Path(*place).with_suffix(".csv")))
        merged.contradictions += _contradiction(ours, theirs)


def _contradiction(ours: pd.DataFrame, theirs: pd.DataFrame) -> list[str]:
    """Return a sentence if two records of a trial differ by more than the digits of committed ones."""
    metrics = compared(ours, theirs)
    if (odd := metrics[metrics["equal"] < metrics["values"]]).empty:
        return []
    trial, other = ours.iloc[0], theirs.iloc[0]
    values = "; ".join(f"{row.metric} {row.recorded:.6g} here, {row.again:.6g} there" for row in odd.itertuples())
    why = ", ".join(reasons(trial, other)) or "nothing that is recorded"
    return [f"{trial['key']}, {trial['experiment']} {called(trial)}: {values}. Not the same: {why}."]
