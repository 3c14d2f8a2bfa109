"""Processes that do one task after another; one that dies takes nothing with it but its task, and is replaced.

They are started as joblib starts its own, so that scripts need no ``__main__`` guard and classes of a notebook can be
sent.  Its executor is not used: that one restarts a worker which has grown by 300 MB, as one that has read a data set
has, does not say which task a death belongs to, and leaves its workers behind when its own process is killed.
"""

import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from typing import Any

from joblib import cpu_count, parallel_config
from joblib.externals.loky.backend import get_context
from joblib.externals.loky.backend.reduction import dumps

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
GRACE_S = 5.0  # for a process to end by itself
WATCH_S = 0.5  # between two looks at whether the other process is still there


class Lost(Exception):
    """What came in the place of an answer: how a process ended, or why nothing could be sent."""


def answers(run: Callable[[Any], Any], tasks: Iterable, n_workers: int) -> Iterator[tuple[Any, Any]]:
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
    """
    workers, tasks, busy = [Worker(n_workers) for _ in range(n_workers)], iter(tasks), {}

    def begin(worker: Worker) -> None:
        if (task := next(tasks, None)) is not None:
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
    """

    def __init__(self, n_workers: int) -> None:
        self._process = self.connection = self._unsent = None
        self._n_jobs = -1 if n_workers == 1 else 1  # of joblib within a task
        share = str(max(1, cpu_count() // n_workers))
        self._environment = {name: os.environ.get(name, share) for name in THREADS} if n_workers > 1 else {}

    def ask(self, run: Callable[[Any], Any], task: Any) -> None:
        """Hand over a task."""
        self._unsent = None
        try:
            request = dumps((run, task))
        except Exception as error:  # whatever an object of the user's raises when it is pickled
            self._unsent = Lost(f"cannot be sent to another process: {error}")
            return
        try:
            if not (self._process and self._process.is_alive()):
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
            return pickle.loads(self.connection.recv_bytes())
        except (EOFError, OSError):
            self._process.join(GRACE_S)
        except Exception as error:  # whatever an object of the user's raises when it is unpickled
            return Lost(f"cannot be read from another process: {error}")
        lost = Lost(_how(self._process.exitcode))
        self.end(at_once=True)
        return lost

    def end(self, at_once: bool) -> None:
        """End the process and all that it has started, at once or, if it is idle, in its own time."""
        if not self._process:
            return
        self.connection.close()
        if not at_once:
            self._process.join(GRACE_S)
        for kill in (os.killpg, os.kill):  # the group is its own, but for the first moments of its life
            with suppress(ProcessLookupError):
                kill(self._process.pid, signal.SIGKILL)
        self._process.join()
        self._process = None

    @property
    def has_news(self) -> bool:
        """Whether `answer` would return at once."""
        return bool(self._unsent) or self.connection.poll() or not self._process.is_alive()

    def _start(self) -> None:
        self.end(at_once=True)
        self.connection, theirs = _LOKY.Pipe()
        given = (theirs, os.getpid(), self._n_jobs)
        with _interrupts_kept_from_children():
            process = _LOKY.Process(target=_serve, args=given, env=self._environment)
            process.start()
        self._process = process
        theirs.close()


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


# In the process


def _serve(connection: Connection, parent: int, n_jobs: int) -> None:
    """Answer until the other side hangs up."""
    os.setpgid(0, 0)  # Ctrl-C is for the process that asks; it ends this one and all that models start with one signal
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    with parallel_config(n_jobs=n_jobs), suppress(EOFError):
        while True:
            connection.send_bytes(_answer(connection.recv_bytes()))


def _answer(request: bytes) -> bytes:
    try:
        run, task = pickle.loads(request)
        return dumps(run(task))
    except BaseException as error:  # a KeyboardInterrupt that a model raises too: nothing may end this process
        return pickle.dumps(Lost(f"{type(error).__name__}: {' '.join(str(error).split())}"))
    finally:
        sys.stdout.flush()


def _end_with(parent: int) -> None:
    """End this process and all that it has started when the one that asks has been killed."""
    while os.getppid() == parent:
        time.sleep(WATCH_S)
    os.killpg(0, signal.SIGKILL)
