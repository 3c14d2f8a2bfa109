"""Processes that do one task after another; one that dies takes nothing with it but its task, and is replaced.

They are forked from a warm process where there is one (`bench.core.forked`), else started as joblib starts its own: so
scripts need no ``__main__`` guard, and classes of a notebook can be sent.  Its executor is not used: that one restarts
a worker which has grown by 300 MB, as one that has read a data set has, does not say which task a death belongs to, and
leaves its workers behind when its own process is killed.
"""

import json
import os
import pickle
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from typing import Any

from joblib import cpu_count
from joblib.externals.loky.backend import get_context
from joblib.externals.loky.backend.reduction import dumps

from bench.core.dealing import Dealing, nobody
from bench.core.forked import ADDRESS, Forked
from bench.core.nursery import end_group
from bench.core.worker import WATCH_S, Ended, Lost, spawned

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
BY_OTHERS = (-signal.SIGTERM, -signal.SIGINT, -signal.SIGHUP)  # how a process ends that is told to
GRACE_S = 5.0  # for a process to end by itself


def answers(
    run: Callable[[Any], Any],
    tasks: Iterable,
    n_workers: int,
    modules: Sequence[str] = (),
    gpus: Sequence[str] = (),
    on_gpu: Callable[[Any], bool] = nobody,
) -> Iterator[tuple[Any, Any]]:
    """Yield each task with its answer, or with an instance of `Lost`, as they end.

    Close the generator (`contextlib.closing`) to end the processes wherever it was left.

    Parameters
    ----------
    run
        Returns the answer to a task; like these it must be picklable.
    tasks
        In the order in which they are begun.
    n_workers
        Processes.  A single one may use all cores; several share them, unless the user's environment says otherwise.
    modules
        What a warm process imports before it forks the first.
    gpus, on_gpu
        Dealt out to the first processes, one to each, and which tasks need one; see `bench.core.dealing`.
    """
    dealing, busy = Dealing(tasks, gpus, on_gpu), {}
    workers = [Worker(n_workers, modules, dealing.gpu_of(number)) for number in range(n_workers)]

    def begin(worker: Worker) -> None:
        if (task := dealing.next(worker.gpu)) is not None:
            busy[worker] = task
            worker.ask(run, task)

    try:
        for worker in workers:
            begin(worker)
        while busy:
            for worker in _ready(busy):
                task, answer = busy.pop(worker), worker.answer()
                begin(worker)  # before this answer is dealt with: no core waits for the disk
                yield task, answer
    finally:
        for worker in workers:
            worker.end(at_once=bool(busy))


class Worker:
    """A process, started when there is something to do, and again where it has died.

    Parameters
    ----------
    n_workers
        How many there are, which share the cores.
    modules
        What a warm process imports first.
    gpu
        The only one that it sees, as ``CUDA_VISIBLE_DEVICES`` names it; empty: what this process sees.
    """

    def __init__(self, n_workers: int, modules: Sequence[str] = (), gpu: str = "") -> None:
        self._modules, self.gpu = modules, gpu
        self._process = self.connection = self._unsent = None
        self._n_jobs = -1 if n_workers == 1 else 1  # of joblib within a task
        share = str(max(1, cpu_count() // n_workers))
        self._environment = {name: os.environ.get(name, share) for name in THREADS} if n_workers > 1 else {}
        self._environment |= {"CUDA_VISIBLE_DEVICES": gpu} if gpu else {}

    def ask(self, run: Callable[[Any], Any], task: Any) -> None:
        """Hand over a task."""
        self._unsent = None
        try:
            request = dumps((run, task))
        except Exception as error:  # whatever an object of the user's raises when it is pickled
            self._unsent = Lost(f"cannot be sent to another process: {error}")
            return
        try:
            if not self._process or self._process.poll() is not None:
                self._start()
        except OSError as error:  # no memory, or too many processes
            self._unsent = Lost(f"no process could be started for it: {error.strerror or error}")
            return
        with suppress(BrokenPipeError, ConnectionResetError):  # it died just now: there will be no answer
            self.connection.send_bytes(request)

    def answer(self) -> Any:
        """Return the answer to the task, or how the process ended instead."""
        if self._unsent:
            return self._unsent
        try:
            if self._process.poll() is None or self.connection.poll():
                return pickle.loads(self.connection.recv_bytes())
            # else it has died, and what it has started may hold its end open for ever
        except (EOFError, OSError):
            self._process.wait(GRACE_S)
        except Exception as error:  # whatever an object of the user's raises when it is unpickled
            return Lost(f"cannot be read from another process: {error}")
        code = self._process.poll()
        lost = (Ended if code in BY_OTHERS else Lost)(_how(code))
        self.end(at_once=True)
        return lost

    def end(self, at_once: bool) -> None:
        """End the process and all that it has started, at once or, if it is idle, in its own time."""
        if not self._process:
            return
        self.connection.close()
        if not at_once:
            self._process.wait(GRACE_S)
        end_group(self._process.pid)
        self._process.wait()
        self._process = None

    @property
    def has_news(self) -> bool:
        """Whether `answer` would return at once."""
        return bool(self._unsent) or self.connection.poll() or self._process.poll() is not None

    def _start(self) -> None:
        self.end(at_once=True)
        self.connection, theirs = _LOKY.Pipe()
        with theirs:
            self._process = self._forked(theirs) or Spawned(theirs, self._n_jobs, self._environment)

    def _forked(self, theirs: Connection) -> Forked | None:
        """Return a process from the nursery, if there is one."""
        if ADDRESS not in os.environ:
            return None
        command = ["bench.core.worker:forked", json.dumps(sys.path), str(self._n_jobs)]
        environment = dict(os.environ) | self._environment
        with suppress(OSError, ValueError):  # the nursery has died
            return Forked(command, os.getcwd(), environment, self._modules, [theirs.fileno()])
        return None


class Spawned:
    """A process that joblib starts, with the methods of `bench.core.forked.Forked`."""

    def __init__(self, theirs: Connection, n_jobs: int, environment: dict[str, str]):
        given = (theirs, os.getpid(), n_jobs)
        with _interrupts_kept_from_children():
            self._process = _LOKY.Process(target=spawned, args=given, env=environment)
            self._process.start()
        self.pid = self._process.pid

    def poll(self) -> int | None:
        """Return None while the process lives, then its exit code."""
        return self._process.exitcode

    def wait(self, seconds: float | None = None) -> int | None:
        """Wait for the end of the process, and return as `poll` does."""
        self._process.join(seconds)
        return self._process.exitcode


_LOKY = get_context("loky")


def _ready(busy: Iterable[Worker]) -> list[Worker]:
    """Wait until some of the workers have an answer or have died."""
    while not (ready := [worker for worker in busy if worker.has_news]):
        wait([worker.connection for worker in busy], WATCH_S)
    return ready


def _how(exitcode: int | None) -> str:
    """Say how a process ended."""
    if exitcode is None:
        return "the process no longer answers"
    if exitcode >= 0:
        return f"the process ended itself with exit code {exitcode}"
    with suppress(ValueError):
        name = signal.Signals(-exitcode).name
        out_of_memory = " (the system kills so where memory runs out)" if name == "SIGKILL" else ""
        return f"the process was killed by {name}{out_of_memory}"
    return f"the process was killed by signal {-exitcode}"


@contextmanager
def _interrupts_kept_from_children():
    """Have a process that is started here deaf to Ctrl-C until it has a group of its own; ours hears it afterwards."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
