"""The stand-in tier in order of worth: what is still to do, how long that takes here, and doing it.

The order stands in ``chapters/standin.yml``.  A trial counts as done where it is recorded, in the user's own results or
in the committed ones; but one mean never mixes two files of weights: where some seeds of a setting are missing, those
that other weights were used for are run again with the weights of this machine.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from bench.core.errors import BenchError
from bench.core.places import ROOT, is_checkout, needs_a_clone
from bench.core.settings import parse
from bench.datasets.sources import cache_folder
from bench.protocol import notebooks, place, records
from bench.protocol.columns import called, joined
from bench.protocol.conditions import hash_of
from bench.protocol.durations import Durations, in_words
from bench.protocol.engine import record
from bench.protocol.room import DoesNotFit
from bench.protocol.trial import Trial
from bench.weights import pretrained_names

TIER = "standin"


@dataclass(frozen=True)
class Step:
    """Some trials of a chapter."""

    title: str
    chapter: str
    parameters: dict[str, Any] = field(default_factory=dict)

    def trials(self) -> list[tuple[Any, Callable]]:
        """Return its tasks, each with the function that runs it."""
        return notebooks.trials_of(self.chapter, {"tier": TIER} | self.parameters)


def steps() -> list[Step]:
    """Return the steps in order of worth.

    Raises
    ------
    BenchError
        If the file is not there, or is no list of steps.
    """
    path = ROOT / "chapters" / "standin.yml"
    if not is_checkout():
        raise needs_a_clone("The chapters of the stand-in tier need")
    if not path.is_file():
        raise BenchError(f"{path} is not there, which says what runs in what order; get it back from git.")
    try:
        return [Step(**entry) for entry in parse(path.name, path.read_text(encoding="utf-8"))]
    except TypeError as error:
        raise BenchError(f"{path} should be a list of entries with title, chapter and parameters: {error}.") from error


@dataclass(frozen=True)
class ToDo:
    """What is left of a step."""

    step: Step
    n_trials: int
    missing: list[tuple[Any, Callable]]
    reason: str = ""  # why it cannot be planned here

    @property
    def weights(self) -> list[str]:
        """Names of the weights that they need."""
        given = (getattr(getattr(task, "spec", task), "weights", None) for task, _ in self.missing)
        return list(dict.fromkeys(name for name in given if isinstance(name, str) and name in pretrained_names()))


def plan() -> list[ToDo]:
    """Return the steps in order of worth with what is not recorded yet; nothing is run, no weights are made."""
    known = recorded()
    return [left(step, known) for step in steps()]


def left(step: Step, known: pd.DataFrame) -> ToDo:
    """Return what is left of a step, given the trials that are recorded."""
    try:
        trials = step.trials()
    except BenchError as error:  # data that cannot be had here: other steps can still be run
        return ToDo(step, 0, [], str(error))
    done = _done([task for task, _ in trials], known)
    return ToDo(step, len(trials), [(task, run) for task, run in trials if task.trial.key not in done])


def run(say: Callable[[str], None]) -> None:
    """Run what is left, one trial after the other; weights are pretrained when the first trial needs them.

    Parameters
    ----------
    say
        Is handed a sentence before each step.

    Raises
    ------
    BenchError
        If results cannot be written, or weights or data cannot be had.  A trial that fails is a record.
    """
    records.check_writable()
    for number, step in enumerate(steps(), start=1):
        to_do = left(step, recorded())
        if _taken_over(to_do):
            to_do = left(step, recorded())
        if to_do.reason:
            say(f"{number}. {step.title}: left out. {to_do.reason}")
            continue
        say(f"{number}. {step.title}: {len(to_do.missing)} of {to_do.n_trials} trials to run")
        for n_done, (task, work) in enumerate(to_do.missing):
            durations = Durations(recorded())
            seconds = [durations.of(task) for task, _ in to_do.missing[n_done:]]
            label = f"{called(task.trial)}, {n_done + 1} of {len(to_do.missing)}"
            say(f"{label}; to the end of this step: {in_words(seconds)}")
            try:
                record([task.here()], work, label, jobs=1)
            except DoesNotFit as error:  # others can still be run
                say(str(error))


def _taken_over(to_do: ToDo) -> int:
    """Take over trials that are recorded by other experiments alone; return how many there were."""
    known = set(recorded()["key"])
    keys = [(task.experiment, TIER, task.trial.key) for task, _ in to_do.missing if task.trial.key in known]
    return sum(records.adopt(*key, committed=True) for key in keys)


@contextmanager
def ending_in(hours: float | None, say: Callable[[str], None]) -> Iterator[None]:
    """Interrupt what runs after so many hours as a Ctrl-C would, and say so: it keeps its state."""
    ended = threading.Event()

    def end() -> None:
        ended.set()
        os.kill(os.getpid(), signal.SIGINT)

    timer = threading.Timer(3600 * (hours or 0), end)
    timer.daemon = True
    if hours is not None:
        timer.start()
    try:
        yield
    except KeyboardInterrupt:
        if not ended.is_set():
            raise
        say("The time is up. Finished trials are recorded; the same command goes on from the last epoch.")
    finally:
        timer.cancel()


def recorded() -> pd.DataFrame:
    """Return the trials of the tier that did not fail, one row each, the user's own before committed ones."""
    both = joined(_good(records.read(committed=False)), _committed(place.committed_folder()))
    return both.drop_duplicates(["experiment", "key"], ignore_index=True)


@cache
def _committed(_folder: Path) -> pd.DataFrame:
    return _good(records.read(own=False))


def _good(table: pd.DataFrame) -> pd.DataFrame:
    table = table[(table["tier"] == TIER) & (table["status"] == "ok")]
    return table.drop_duplicates(["experiment", "key"])


def _done(tasks: list[Any], known: pd.DataFrame) -> set[str]:
    """Return the keys of the trials that need not be run again."""
    files = dict(zip(zip(known["experiment"], known["key"], strict=True), known["weights_sha256"], strict=True))
    groups: dict[tuple, dict[str, str | None]] = {}
    for task in tasks:
        made_with = files.get((task.experiment, task.trial.key))
        groups.setdefault(_setting(task.trial), {})[task.trial.key] = made_with
    done = set()
    for group in groups.values():
        used = set(group.values()) - {None}
        complete = None not in group.values() and len(used) == 1
        here = used if complete or not any(used) else used & _here()
        done |= {key for key, file in group.items() if file in here}
    return done


def _setting(trial: Trial) -> tuple:
    """Return all that runs of one mean have in common."""
    return tuple(value for name, value in vars(trial).items() if name != "seed")


def _here() -> set[str]:
    """Return the SHA-256 of the pretrained weights in the cache."""
    return {hash_of(path) for path in (cache_folder() / "weights").glob("*.safetensors")}
