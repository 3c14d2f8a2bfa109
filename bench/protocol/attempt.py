"""One trial from its beginning to its result, wherever it runs: nothing that a model does ends more than the trial."""

import os
import platform
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

import numpy as np

from bench.core.errors import BenchError, reason_of
from bench.core.overheard import overheard
from bench.core.provenance import Cost, processor
from bench.protocol import records
from bench.protocol.columns import called
from bench.protocol.maps import Map
from bench.protocol.trial import Trial
from bench.statistics.predictions import Predictions


class Task(Protocol):
    """A trial and what it needs to be run, of whatever kind; picklable."""

    trial: Trial
    experiment: str
    tier: str

    @property
    def known(self) -> dict[str, Any]:
        """Columns of the record that are known before anything runs."""


@dataclass(frozen=True)
class Result:
    """What became of a trial: the rows of its record, and what was predicted for which cells; picklable."""

    rows: list[dict[str, Any]]
    cells: np.ndarray | None = None
    predictions: Predictions | None = None
    names: np.ndarray | None = None  # of the cells as their file has them, where some of them repeat
    map: Map | None = None  # of the embedding, where one was asked for
    traceback: str = ""  # of a failure
    log: str = ""  # where and when it ran, and what it printed
    notes: tuple[str, ...] = ()  # what a reader of the values should know

    @property
    def failure(self) -> str:
        """Why the trial failed, or an empty string."""
        status = self.rows[0]["status"]
        return "" if status == "ok" else status

    def write(self) -> None:
        """Record it."""
        log = "\n\n".join(filter(None, (self.log or self.failure, self.traceback)))
        records.write(self.rows, self.cells, self.predictions, self.names, self.map, log)


def attempt(task: Task, work: Callable[[Task, Cost], Result]) -> Result:
    """Return the result of a trial; whatever a model raises is one.

    Parameters
    ----------
    task
        What to run.
    work
        Runs it, measures its cost, and returns rows without the columns that all rows share.
    """
    begun = time.time()
    with overheard() as said:
        result = _attempt(task, work)
    log = "\n\n".join(filter(None, (_log(task, result, begun), str(said))))
    return replace(result, log=log)


def _attempt(task: Task, work: Callable[[Task, Cost], Result]) -> Result:
    cost = Cost()
    try:
        found = work(task, cost)
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:  # SystemExit, and what libraries derive for themselves
        trace = "" if isinstance(error, BenchError) else traceback.format_exc()  # ours say what to do
        return failed(task, reason_of(error), cost, trace)
    shared = _shared(task, cost, "ok")
    return replace(found, rows=[shared | row for row in found.rows])


def _log(task: Task, result: Result, begun: float) -> str:
    """Return what a log begins with: which trial it is, where and when it ran, and how it ended."""
    when = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(begun))
    where = f"{when}, on {platform.node()}, process {os.getpid()}, {time.time() - begun:.1f} s in all"
    return f"{called(task.trial)}\n{where}\n{result.failure or 'ok'}"


def failed(task: Task, reason: str, cost: Cost | None = None, trace: str = "") -> Result:
    """Return the result of a trial that came to no end."""
    status = f"failed: {' '.join(reason.split()).rstrip(': ')}"[:500]
    row = _shared(task, cost or Cost(), status) | {"metric": "", "class": "", "value": np.nan}
    return Result([row], traceback=trace)


def _shared(task: Task, cost: Cost, status: str) -> dict[str, Any]:
    """Return the columns that all rows of a trial share."""
    columns = asdict(task.trial) | task.known | cost.provenance()
    columns |= {"experiment": task.experiment, "tier": task.tier, "key": task.trial.key, "status": status}
    where = {"device": f"{columns['device']} ({os.cpu_count()} cores)", "processor": processor(columns["device"])}
    return columns | where
