"""What the workers of a scheduler are: what they have installed, how many threads, which GPUs they announce."""

import os
import sys
from contextlib import suppress
from functools import cache, partial
from typing import NamedTuple

from bench.core.errors import BenchError, reason_of
from bench.core.provenance import commit, versions
from bench.protocol.cluster.starting import check_installed

CONNECT_S = 10  # until a scheduler has answered
GPU = "GPU"  # the resource that workers announce


class Worker(NamedTuple):
    """What one of them tells."""

    installed: tuple[str, str]
    n_threads: int
    n_gpus: float


def client_of(address: str):
    """Return a connection to a scheduler.

    Raises
    ------
    BenchError
        If dask.distributed is not installed, or nobody answers.
    """
    check_installed("distributed")
    from distributed import Client

    try:
        return Client(address, timeout=CONNECT_S)
    except (OSError, ValueError) as error:
        raise BenchError(f"No scheduler answers at {address} ({error}); start one with: dask scheduler.") from error


@cache
def has_gpus(address: str) -> bool:
    """Return whether a worker announces a GPU; they have some seconds to appear."""
    client = client_of(address)
    try:
        with suppress(TimeoutError):
            client.wait_for_workers(1, timeout=CONNECT_S)
        return n_gpus(client) > 0
    finally:
        client.close()


def differences(client) -> list[str]:
    """Return a sentence for each way in which a worker is not what this process, or a trial, expects."""
    try:
        workers = client.run(_told)
    except Exception as error:  # whatever importing this package raises there
        return [f"Workers cannot say what they have installed ({reason_of(error)}); is this package there?"]
    several = [
        f"Worker {name} has {worker.n_threads} threads and runs one trial at a time all the same; "
        "start it with --nthreads 1."
        for name, worker in workers.items()
        if worker.n_threads > 1
    ]
    return several + [
        f"Worker {name} has {other}, this process {own}: their records may differ."
        for name, worker in workers.items()
        for own, other in zip(_installed(), worker.installed, strict=True)
        if own != other
    ]


def find_modules(client) -> None:
    """Have workers, also those that come later, look for modules where this process does: a user's own may be there."""
    folders = [os.path.abspath(folder) for folder in sys.path]
    with suppress(Exception):  # of workers without this package, of which `differences` tells
        client.register_worker_callbacks(partial(_look_in, folders))


def _look_in(folders: list[str]) -> None:
    sys.path += [folder for folder in folders if folder not in sys.path]


def n_gpus(client) -> int:
    """Return how many GPUs workers announce."""
    return int(sum(worker.n_gpus for worker in client.run(_told, on_error="ignore").values()))


def _told(dask_worker) -> Worker:
    state = dask_worker.state
    return Worker(_installed(), state.nthreads, state.total_resources.get(GPU, 0))


def _installed() -> tuple[str, str]:
    return versions(), f"commit {commit()}"
