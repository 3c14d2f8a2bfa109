"""From tasks to records: what is not recorded yet is run in processes of its own and written here, as it ends."""

import logging
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from typing import Any

from joblib import cpu_count
from tqdm import tqdm

from bench.core.errors import BenchError
from bench.core.interrupts import interrupts_delivered
from bench.core.memory import free
from bench.core.workers import Ended, Lost, answers
from bench.protocol import beside, cluster, gpus, records
from bench.protocol.attempt import Result, Task, failed
from bench.protocol.columns import called
from bench.protocol.planning import is_planning, listed
from bench.protocol.room import fitting
from bench.protocol.share import chosen

log = logging.getLogger("bench")
WARM = ("bench.protocol.runner", "torch._dynamo")  # the latter is imported by an optimiser's first step


def complete(tasks: Iterable[Task], run: Callable[[Task], Result], label: str, jobs: int) -> None:
    """Run and record the tasks that the user's own results do not hold yet; while a plan is made, list all of them.

    Where a share is chosen (`bench.protocol.share`), the others are left to whoever takes their shares.

    Parameters
    ----------
    tasks, run
        The trials, and the function that runs one of them; both are sent to other processes.
    label
        What to call them beside the progress bar.
    jobs
        Trials at a time, each in a process of its own; -1 for one per core.

    Raises
    ------
    BenchError
        If results cannot be written.  A trial that fails is a record, not an error.
    """
    tasks = list(tasks)
    if is_planning():
        return listed(tasks, run)
    if share := chosen():
        tasks = [task for task in tasks if share.holds(task.trial.key)]
        label = f"{label}, share {share}"
    missing = [task for task in tasks if not _is_recorded(task)]
    recorded = len(tasks) - len(missing)
    print(f"{label}: {recorded} of {len(tasks)} trials recorded, {len(missing)} to run", file=sys.stderr)
    record(missing, run, label, jobs)


def record(missing: list[Task], run: Callable[[Task], Result], label: str, jobs: int) -> None:
    """Run tasks and record each as it ends; see `complete`.

    Those that do not fit into the memory are left out, and what somebody has ended is not recorded.

    Raises
    ------
    DoesNotFit
        If none fits.
    """
    failures = []
    if missing and not cluster.chosen():
        missing, jobs, sentence = fitting(missing, cpu_count() if jobs == -1 else jobs, free())
        if sentence:
            print(f"{label}, {sentence}", file=sys.stderr)
    with interrupts_delivered(), closing(_answers(missing, run, jobs)) as ended:
        for task, answer in tqdm(ended, total=len(missing), desc=label, unit="trial", disable=not missing):
            if isinstance(answer, Ended):  # by somebody, as a Ctrl-C would: no failure of the model
                print(f"{label}: {called(task.trial)} was not finished: {answer}", file=sys.stderr)
                continue
            result = failed(task, str(answer)) if isinstance(answer, Lost) else answer
            result.write()
            for note in result.notes:
                log.warning(f"{called(task.trial)}: {note}")
            if result.failure:
                failures.append(f"{called(task.trial)}, {result.failure}")
                log.warning("\n".join(filter(None, (failures[-1], result.traceback))))
    if failures:
        print(f"{label}: {len(failures)} of {len(missing)} trials failed, e.g. {failures[0]}", file=sys.stderr)


def _answers(missing: list[Task], run: Callable[[Task], Result], jobs: int) -> Iterator[tuple[Task, Any]]:
    """Return a generator of tasks and their answers, of this machine's processes or of a cluster's."""
    if missing and (address := cluster.chosen()):
        return cluster.answers(address, run, _in_order(missing, n_workers=len(missing)), gpus.is_needed)
    n_workers = min(cpu_count() if jobs == -1 else jobs, len(missing))
    dealt = gpus.to_deal(missing) if n_workers > 1 else []
    if dealt and all(map(gpus.is_needed, missing)):
        n_workers = min(n_workers, len(dealt))  # no process without anything to do takes a share of the cores
    return answers(run, _in_order(missing, n_workers), n_workers, WARM, dealt, gpus.is_needed)


def check_jobs(jobs: int) -> None:
    """Raise a BenchError unless that is a number of processes."""
    if not isinstance(jobs, int) or jobs == 0 or jobs < -1:
        raise BenchError(f"jobs={jobs!r} should be a whole number of processes, or -1 for one per core.")


def _in_order(missing: list[Task], n_workers: int) -> list[Task]:
    """Return tasks as they are begun: what failed before comes last, and may fail again after all else is recorded."""

    def rank(task: Task) -> tuple[bool, float]:
        longest_first = -task.trial.fraction if n_workers > 1 else 0  # no core waits at the end
        return records.path_of(*_place(task)).exists(), longest_first

    return sorted(missing, key=rank)


def _place(task: Task) -> tuple[str, str, str]:
    """Return where the record of a task belongs."""
    return task.experiment, task.tier, task.trial.key


def _is_recorded(task: Task) -> bool:
    """Say whether an experiment of the user's own results holds a trial, be it because another one has run it."""
    trial = _place(task)
    if not (records.is_done(*trial) or records.adopt(*trial)):
        return False
    return not getattr(task, "mapped", False) or beside.has_own_map(*trial)
