"""A dask cluster of Slurm jobs, each with a worker that runs one trial at a time.

The jobs and their scripts are dask-jobqueue's.  One that ends, as at its time limit, is submitted again for as long as
the run lasts.
"""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from bench.core.errors import BenchError
from bench.protocol.cluster.asked import Asked, read
from bench.protocol.place import own_folder

NAME = "bench"  # of the jobs
LOOK_S = 2.0  # between two looks at jobs of which none runs yet
LISTED_S = 10.0  # until a job that was submitted is listed for certain
AGAIN_S = 5.0  # between two looks for jobs that have ended
N_LINES = 5  # of what a job has written that ended at once
WITHOUT = (  # of dask's own, as `bench.protocol.cluster.starting.WITHOUT`; glibc's defaults stand in its place
    "export MALLOC_TRIM_THRESHOLD_=67108864 MALLOC_MMAP_THRESHOLD_=33554432",
    "export DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED=False",
)
THREADS = "export OMP_NUM_THREADS={0} OPENBLAS_NUM_THREADS={0} MKL_NUM_THREADS={0}"  # dask's own is one


@contextmanager
def started(path: Path) -> Iterator[str]:
    """Give the address of a scheduler whose workers are Slurm jobs, once one of them runs; cancel them at the end.

    Parameters
    ----------
    path
        Of the file that `read` understands.

    Raises
    ------
    BenchError
        If the file is wrong, Slurm refuses such jobs, or all of them end before a worker has started.
    """
    from dask_jobqueue import SLURMCluster

    asked, logs = read(path), own_folder() / "slurm"
    with SLURMCluster(**_options(asked, logs), silence_logs=50) as cluster:
        _check_accepted(cluster.job_script(), path)
        cluster.scale(jobs=asked.jobs)
        _wait_for_a_worker(cluster, logs)
        with _kept_at(asked.jobs, cluster):
            yield cluster.scheduler_address


def _options(asked: Asked, logs: Path) -> dict[str, Any]:
    """Return what dask-jobqueue is asked for."""
    gpus = [f"--gres=gpu:{asked.gpus}"] if asked.gpus else []
    announced = ["--resources", f"GPU={asked.gpus}"] if asked.gpus else []
    return {
        "job_name": NAME,
        "queue": asked.partition or None,
        "account": asked.account or None,
        "walltime": asked.time,
        "memory": asked.memory,
        "job_cpu": asked.cpus,
        "cores": 1,  # of a worker: one trial at a time, which may use all of the job's
        "processes": 1,
        "interface": asked.interface or None,
        "worker_extra_args": [*announced, "--memory-limit", "0"],  # Slurm sees to it
        "job_extra_directives": [*gpus, *asked.options],
        "job_script_prologue": [THREADS.format(asked.cpus), *WITHOUT, *asked.before],
        "log_directory": str(logs),
        "scheduler_options": {"dashboard_address": ":0"},  # any free port
    }


def _check_accepted(script: str, path: Path) -> None:
    """Raise a BenchError if Slurm would not take a job."""
    try:
        subprocess.run(["sbatch", "--test-only"], input=script, capture_output=True, text=True, check=True)
    except FileNotFoundError as error:
        raise BenchError("sbatch is not here; run this where jobs are submitted, such as a login node.") from error
    except subprocess.CalledProcessError as error:
        why = "; ".join(line.removeprefix("sbatch: error: ") for line in error.stderr.strip().splitlines())
        raise BenchError(f"Slurm takes no such job as {path} asks for: {why}.") from error


def _wait_for_a_worker(cluster, logs: Path) -> None:
    """Return once a worker is there; raise a BenchError if all jobs end before."""
    print("Jobs are submitted to Slurm; waiting for the first of them to start.", file=sys.stderr)
    since = time.monotonic()
    while not cluster.scheduler_info["workers"]:
        time.sleep(LOOK_S)
        jobs = [job.job_id for job in cluster.workers.values() if job.job_id]
        if time.monotonic() - since > LISTED_S and not _any_left(jobs):
            raise BenchError(f"All Slurm jobs have ended before a worker has started. {_last_words(logs, jobs)}")


def _any_left(jobs: list[str]) -> bool:
    """Return whether Slurm still has one of these jobs; where it does not answer just now, it may."""
    asked = ["squeue", "--noheader", "--format=%i", f"--jobs={','.join(jobs)}"]
    found = subprocess.run(asked, capture_output=True, text=True, check=False)
    unanswered = found.returncode != 0 and "Invalid job id" not in found.stderr
    return bool(jobs) and (bool(found.stdout.strip()) or unanswered)


def _last_words(logs: Path, jobs: list[str]) -> str:
    """Return the end of what the last of some jobs has written."""
    said = [file for job in jobs if (file := logs / f"{NAME}-{job}.err").is_file()]
    if not said:
        return f"They have written nothing into {logs}."
    lines = said[-1].read_text(encoding="utf-8", errors="replace").strip().splitlines()[-N_LINES:]
    return "\n".join([f"{said[-1]} ends so:", *lines])


@contextmanager
def _kept_at(jobs: int, cluster) -> Iterator[None]:
    """Have so many jobs for a while: what has ended is submitted again."""
    over = threading.Event()

    def keep() -> None:
        while not over.wait(AGAIN_S):
            with suppress(RuntimeError):  # Slurm does not answer just now
                cluster.scale(jobs=jobs)

    watch = threading.Thread(target=keep, daemon=True)
    watch.start()
    try:
        yield
    finally:
        over.set()
        watch.join()
