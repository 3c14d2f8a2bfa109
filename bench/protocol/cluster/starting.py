"""Which scheduler trials are handed to, and starting one for a run: processes of this machine, or Slurm jobs."""

import os
import signal
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib import import_module
from pathlib import Path

from bench.core.errors import BenchError

VARIABLE = "BENCH_CLUSTER"  # the address, for the processes of chapters
WITHOUT = {  # of dask's own, what costs a trial up to a third of its time
    "distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": None,  # hands all freed memory back at once
    "distributed.worker.profile.enabled": False,  # looks at the stack a hundred times a second
}
NEEDS = "--cluster needs dask: pip install 'scfm-bench[cluster]', on the workers too."


def chosen() -> str | None:
    """Return the address of the scheduler that trials are handed to; None where they run on this machine."""
    return os.environ.get(VARIABLE)


@contextmanager
def started(where: str | None) -> Iterator[str | None]:
    """Give the address of a scheduler, and end what was started for it.

    Parameters
    ----------
    where
        The address of one that runs; ``local:N`` for N processes of this machine; ``slurm:FILE`` for Slurm jobs, see
        `bench.protocol.cluster.asked`.  None gives None.

    Raises
    ------
    BenchError
        If it is none of these, what it needs is not installed, or no job starts.
    """
    with nullcontext() if where is None else _found(where) as address:
        yield address


def _found(where: str) -> AbstractContextManager[str]:
    kind, _, rest = where.partition(":")
    check_installed("distributed")
    if kind == "slurm" and rest:
        check_installed("dask_jobqueue")
        from bench.protocol.cluster import slurm  # only now: few ask for it

        return slurm.started(Path(rest))
    if kind == "local" and rest.isdigit() and int(rest) > 0:
        return _of_this_machine(int(rest))
    if kind in ("slurm", "local") or not rest:
        raise BenchError(
            f"cluster {where!r} should be an address such as tcp://10.0.0.1:8786, local:2 for two processes of this "
            "machine, or slurm:jobs.yml, where the file says what jobs ask for."
        )
    return nullcontext(where)


@contextmanager
def _of_this_machine(n_workers: int) -> Iterator[str]:
    import dask
    from distributed import LocalCluster

    # without a limit of memory: dask would pause a worker for ever that a trial has left large
    options = {"n_workers": n_workers, "threads_per_worker": 1, "memory_limit": 0, "silence_logs": 50}
    with dask.config.set(WITHOUT), LocalCluster(dashboard_address="127.0.0.1:0", **options) as cluster:
        yield cluster.scheduler_address


def check_installed(module: str) -> None:
    """Import a module of the extra; what Ctrl-C does stays as it was, whatever the module wants it to do.

    Raises
    ------
    BenchError
        If it is not there, naming the extra.
    """
    ctrl_c = signal.getsignal(signal.SIGINT)
    try:
        import_module(module)
    except ImportError as error:
        raise BenchError(NEEDS) from error
    if signal.getsignal(signal.SIGINT) is not ctrl_c:  # dask_jobqueue would end the process without a word
        signal.signal(signal.SIGINT, ctrl_c)
