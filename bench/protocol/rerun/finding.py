"""Which committed trials are run once more, and the tasks that they were: as their chapters ask for them today."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd

from bench.core.errors import BenchError, unknown
from bench.protocol import notebooks, place, reading, records, standin

Run = tuple[Any, Callable]  # a task, and the function that runs it
PAGE = {"dataset": "dataset", "fractions": "fraction", "seeds": "seed"}  # parameters of chapters, columns of records


def committed(experiment: str | None = None, tier: str | None = None) -> pd.DataFrame:
    """Return one row for each committed trial that a model here was run for and that did not fail.

    Parameters
    ----------
    experiment, tier
        Only these; None takes all.

    Raises
    ------
    BenchError
        If nothing of that name is committed.
    """
    rows = records.read(own=False)
    trials = rows[(rows["status"] == "ok") & (rows["model"] != "") & (rows["predictions_hash"] == "")]
    for column, wanted in {"experiment": experiment, "tier": tier}.items():
        if wanted and wanted not in set(trials[column]):
            raise unknown(f"{column} with committed trials", wanted, trials[column].unique())
        trials = trials[trials[column] == wanted] if wanted else trials
    return trials.drop_duplicates(["tier", "key"], ignore_index=True)  # some stand in several chapters


def of_key(key: str) -> pd.DataFrame:
    """Return the committed trial of a key, or of the only key that begins so, as one row.

    Raises
    ------
    BenchError
        If there is none, or several begin so.
    """
    listed = f"Keys stand in the column key of {place.committed_folder()}; --sample takes some at random."
    return reading.of_key(committed(), key, "committed trial of a model", lambda: listed)[:1]


def sample(trials: pd.DataFrame, n_trials: int, seed: int, longest_s: float | None = None) -> pd.DataFrame:
    """Return some trials at random, the same ones for the same seed and records.

    Parameters
    ----------
    trials
        As `committed` returns them.
    n_trials
        How many; all where there are fewer.
    seed
        Of the draw.
    longest_s
        Only those that took at most so many seconds when they were recorded; None takes all.

    Raises
    ------
    BenchError
        If none took so little.
    """
    if trials.empty:
        raise BenchError("No trial of a model is committed here; sample from a clone of the project.")
    if longest_s is not None:
        trials = trials[trials["seconds"] <= longest_s]
    if trials.empty:
        raise BenchError(f"No committed trial took {longest_s:g} s or less; allow more with --longest.")
    ordered = trials.sort_values(["tier", "key"], ignore_index=True)
    chosen = np.random.default_rng(seed).permutation(len(ordered))[:n_trials]
    return ordered.iloc[chosen].reset_index(drop=True)


def task_of(trial: pd.Series) -> Run:
    """Return the task of a committed trial with the function that runs it, on this machine's weights and device.

    Raises
    ------
    BenchError
        If its chapter does not ask for it any more, or its data or weights cannot be had here.
    """
    reasons = []
    for parameters in _requests(trial):
        try:
            asked = notebooks.trials_of(trial["experiment"], {"tier": trial["tier"]} | parameters)
        except BenchError as error:
            reasons.append(str(error))
            continue
        for task, run in asked:
            if task.trial.key == trial["key"]:
                return task.here(), run
    why = f" {reasons[0]}" if reasons else " Data, settings or the protocol have changed since it was recorded."
    raise BenchError(f"{trial['experiment']} ({trial['tier']}) does not ask for trial {trial['key']} here.{why}")


def _requests(trial: pd.Series) -> Iterator[dict[str, Any]]:
    """Yield parameters with which a chapter may ask for a trial: for it alone, then all that it asks for by itself."""
    known = notebooks.known_parameters(trial["experiment"])
    model = trial["model"] if trial["variant"] == "default" else f"{trial['model']}@{trial['variant']}"
    alone = {name: [trial[column]] for name, column in PAGE.items()}
    alone |= {"seeds": [int(trial["seed"])], "models": [model]}
    yield {name: value for name, value in alone.items() if name in known}
    yield {}
    if trial["tier"] == standin.TIER:
        yield from (step.parameters for step in standin.steps() if step.chapter == trial["experiment"])
