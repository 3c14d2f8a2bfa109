"""The process side of `bench.core.workers`: it answers one task after another."""

import json
import os
import pickle
import signal
import sys
import threading
import time
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import NoReturn

from joblib import parallel_config
from joblib.externals.loky.backend.reduction import dumps

from bench.core.errors import reason_of
from bench.core.leaving import leave

WATCH_S = 0.5  # between two looks at whether the other process is still there


class Lost(Exception):
    """What came in the place of an answer: how a process ended, or why nothing could be sent."""


class Ended(Lost):
    """The process was told to end by somebody else."""


def spawned(connection: Connection, parent: int, n_jobs: int) -> None:
    """Answer as a process that joblib has started."""
    os.setpgid(0, 0)  # Ctrl-C is for the process that asks; it ends this one and all that models start with one signal
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)  # forgets one that came before
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    signal.signal(signal.SIGINT, handler)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    _serve(connection, n_jobs)


def forked(path: str, n_jobs: str, connection: str) -> None:
    """Answer as a process from the nursery (`bench.core.forked`), which has a group of its own and ends with us."""
    import torch
    from threadpoolctl import threadpool_limits

    sys.path[:] = json.loads(path)  # of the process that asks: modules of the user's may be there
    n_threads = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]  # one for each level, perhaps
    if n_threads.isdigit():  # the libraries have read theirs before
        torch.set_num_threads(int(n_threads))
        threadpool_limits(int(n_threads))
    _serve(Connection(int(connection)), int(n_jobs))


def _serve(connection: Connection, n_jobs: int) -> NoReturn:
    """Answer until the other side hangs up, then end this process."""
    folder = os.getcwd()
    with parallel_config(n_jobs=n_jobs), suppress(EOFError, ConnectionError):  # also in the middle of an answer
        while True:
            request = connection.recv_bytes()
            os.chdir(folder)  # relative paths are meant from here, wherever a task has gone
            connection.send_bytes(_answer(request))
    leave()


def _answer(request: bytes) -> bytes:
    try:
        run, task = pickle.loads(request)
        return dumps(run(task))
    except BaseException as error:  # a KeyboardInterrupt that a model raises too: nothing may end this process
        return pickle.dumps(Lost(reason_of(error)))
    finally:
        with suppress(Exception):  # a model may have closed it
            sys.stdout.flush()


def _end_with(parent: int) -> None:
    """End this process and all that it has started when the one that asks has been killed."""
    while os.getppid() == parent:
        time.sleep(WATCH_S)
    os.killpg(0, signal.SIGKILL)
