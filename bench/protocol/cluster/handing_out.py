"""Tasks handed to the workers of a scheduler as these become free, and their answers."""

import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import suppress
from importlib.util import find_spec
from threading import Lock
from typing import Any

from joblib import parallel_config

from bench.core.dealing import Dealing, nobody
from bench.core.errors import BenchError, reason_of
from bench.core.workers import Lost
from bench.protocol.cluster.workers import GPU, client_of, differences, find_modules, n_gpus

LOOK_S = 5.0  # between two looks for workers that have come
ALONE = Lock()


def answers(
    address: str, run: Callable[[Any], Any], tasks: list[Any], on_gpu: Callable[[Any], bool] = nobody
) -> Iterator[tuple[Any, Any]]:
    """Yield each task with its answer, or with an instance of `Lost`, as they end.

    What workers have installed otherwise than this process is said before anything runs.

    Parameters
    ----------
    address
        Of the scheduler.
    run, tasks
        A function and what it is called with on the workers; picklable.
    on_gpu
        Whether a task takes a GPU, of those that workers announce, for itself.

    Raises
    ------
    BenchError
        If there is no scheduler, or it goes away.
    """
    from bench.protocol.cluster.sending import sent  # only now: it brings what reads data

    client = client_of(address)
    try:
        for sentence in differences(client):
            print(sentence, file=sys.stderr)
        if find_spec("bokeh"):  # without it there is no page
            print(f"The workers at work: {client.dashboard_link}", file=sys.stderr)
        find_modules(client)
        files = sent(client, tasks)
        under_way = UnderWay(client, run, Dealing(tasks, [GPU], on_gpu), files)
        while under_way.begin():
            ended = [(task, _answer(future)) for future, task in under_way.ended()]
            under_way.begin()  # before these answers are dealt with: no worker waits for the disk
            yield from ended
    except (CancelledError, OSError) as error:
        raise _gone(address) from error
    finally:
        with suppress(Exception):  # of a scheduler that has gone
            client.close(timeout=1)


class UnderWay:
    """Tasks that workers have, no more than one for each.

    The scheduler blames every task that a worker has for the death of its process, those that only wait there too, and
    gives up one that was blamed often.
    """

    def __init__(self, client, run: Callable[[Any], Any], dealing: Dealing, files: list[Any]):
        self._client, self._run, self._dealing, self._files = client, run, dealing, files
        self._tasks: dict[Any, Any] = {}  # by future
        self._on_gpu: set[Any] = set()  # futures
        self._workers, self._n_gpus = set(), 0

    def begin(self) -> bool:
        """Hand out as much as there are workers for; return whether anything is under way."""
        self._look()
        while len(self._on_gpu) < max(self._n_gpus, 1) and (task := self._dealing.next_on_gpu()) is not None:
            self._on_gpu.add(self._submit(task, {GPU: 1}))
        n_free = max(len(self._workers), 1) - min(len(self._on_gpu), self._n_gpus)
        while len(self._tasks) - len(self._on_gpu) < n_free and (task := self._dealing.next("")) is not None:
            self._submit(task, None)
        return bool(self._tasks)

    def _look(self) -> None:
        """See which workers there are now."""
        workers = set(self._client.nthreads())
        if workers != self._workers:
            self._workers, self._n_gpus = workers, n_gpus(self._client)

    def ended(self) -> Iterator[tuple[Any, Any]]:
        """Yield the futures that have ended with their tasks; none, where none does so for some seconds."""
        from distributed import wait

        try:
            done = wait(list(self._tasks), timeout=LOOK_S, return_when="FIRST_COMPLETED").done
        except TimeoutError:
            return
        for future in done:
            self._on_gpu.discard(future)
            yield future, self._tasks.pop(future)

    def _submit(self, task: Any, resources: dict[str, int] | None):
        future = self._client.submit(_work, self._run, task, self._files, pure=False, resources=resources)
        self._tasks[future] = task
        return future


def _work(run: Callable[[Any], Any], task: Any, files: list[Any]) -> Any:
    """Run a task in the process of a worker, alone: seeds and threads are those of the whole process."""
    from bench.protocol.cluster.sending import moved

    n_cores = int(os.environ.get("SLURM_CPUS_PER_TASK", 1))  # that the worker has to itself
    with ALONE, parallel_config(n_jobs=n_cores):
        return run(moved(task, files))


def _answer(future) -> Any:
    from distributed import KilledWorker

    try:
        return future.result()
    except KilledWorker:
        return Lost("every worker that tried it died, as where memory or the time of a job runs out")
    except (CancelledError, OSError):
        raise
    except Exception as error:  # what a worker cannot import, or cannot send back
        return Lost(reason_of(error))


def _gone(address: str) -> BenchError:
    return BenchError(
        f"The scheduler at {address} has gone away; finished trials are recorded, the same command goes on."
    )
