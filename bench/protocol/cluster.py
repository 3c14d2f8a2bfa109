"""Trials on a cluster: the workers of a dask.distributed scheduler that runs already, or of one started here.

Each trial is a future of its own and not one call of many in joblib's dask backend, which ends as a whole when one of
them is lost; what the workers run is the same function as on one machine.  A worker that dies has its trials done by
others.  Workers read data and weights where the client does: their cache is on a disk of both, or the same in content.
"""

import os
import re
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from typing import Any

from joblib import parallel_config

from bench.core.errors import BenchError, reason_of
from bench.core.provenance import commit, versions
from bench.core.workers import Lost

VARIABLE = "BENCH_CLUSTER"  # the address, for the processes of chapters
CONNECT_S = 10  # until a scheduler has answered
NEEDS = "--cluster needs dask.distributed: pip install 'scfm-bench[cluster]', on the workers too."


def chosen() -> str | None:
    """Return the address of the scheduler that trials are handed to; None where they run on this machine."""
    return os.environ.get(VARIABLE)


@contextmanager
def started(where: str | None) -> Iterator[str | None]:
    """Give the address of a scheduler, and end those of its processes that were started here.

    Parameters
    ----------
    where
        The address of one that runs, or ``local:N`` for N processes of this machine; None gives None.

    Raises
    ------
    BenchError
        If it is neither, or dask.distributed is not installed.
    """
    if where is not None:
        _check_installed()
    if where is None or not (local := re.fullmatch(r"local:(\d+)", where)):
        if where is not None and ":" not in where:
            raise BenchError(f"cluster {where!r} should be an address such as tcp://10.0.0.1:8786, or local:2.")
        yield where
        return
    if (n_workers := int(local[1])) < 1:
        raise BenchError(f"cluster {where!r} should have a worker at least, such as local:2.")
    from distributed import LocalCluster

    with LocalCluster(n_workers, threads_per_worker=1, dashboard_address=None, silence_logs=50) as cluster:
        yield cluster.scheduler_address


def answers(address: str, run: Callable[[Any], Any], tasks: list[Any]) -> Iterator[tuple[Any, Any]]:
    """Yield each task with its answer, or with an instance of `Lost`, as they end.

    What workers have installed otherwise than this process is said before anything runs.

    Parameters
    ----------
    address
        Of the scheduler.
    run, tasks
        A function and what it is called with on the workers; picklable.

    Raises
    ------
    BenchError
        If there is no scheduler, or it goes away.
    """
    from distributed import as_completed

    client = _client(address)
    try:
        for sentence in differences(client):
            print(sentence, file=sys.stderr)
        futures = {client.submit(_work, run, task, pure=False): task for task in tasks}
        for future in as_completed(futures):
            yield futures.pop(future), _answer(future, address)
            future.release()
    finally:
        with suppress(Exception):  # of a scheduler that has gone
            client.close(timeout=1)


def differences(client) -> list[str]:
    """Return a sentence for each worker whose packages or commit are not those of this process."""
    ours = _installed()
    try:
        theirs = client.run(_installed)
    except Exception as error:  # whatever importing this package raises there
        return [f"Workers cannot say what they have installed ({reason_of(error)}); is this package there?"]
    return [
        f"Worker {name} has {other}, this process {own}: their records may differ."
        for name, found in theirs.items()
        for own, other in zip(ours, found, strict=True)
        if own != other
    ]


def _installed() -> tuple[str, str]:
    return versions(), f"commit {commit()}"


def _work(run: Callable[[Any], Any], task: Any) -> Any:
    with parallel_config(n_jobs=1):  # a worker has one core of its own
        return run(task)


def _answer(future, address: str) -> Any:
    from distributed import KilledWorker

    try:
        return future.result()
    except KilledWorker:
        return Lost("every worker that tried it died (the system kills so where memory runs out)")
    except (CancelledError, OSError) as error:
        raise BenchError(
            f"The scheduler at {address} has gone away; finished trials are recorded, the same command goes on."
        ) from error
    except Exception as error:  # what a worker cannot import, or cannot send back
        return Lost(reason_of(error))


def _client(address: str):
    _check_installed()
    from distributed import Client

    try:
        return Client(address, timeout=CONNECT_S)
    except (OSError, ValueError) as error:
        raise BenchError(f"No scheduler answers at {address} ({error}); start one with: dask scheduler.") from error


def _check_installed() -> None:
    try:
        import distributed  # noqa: F401
    except ImportError as error:
        raise BenchError(NEEDS) from error
