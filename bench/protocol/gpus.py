"""Each GPU has one trial at a time, on this machine and among the workers of a cluster.

What is dealt out is ``cuda``, whichever that is; who names one, such as ``cuda:1``, has dealt them out already.
"""

import os
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from bench.core.errors import BenchError
from bench.models.spec import Spec
from bench.protocol import cluster

ANY = "cuda"
VARIABLE = "BENCH_DEVICE"  # what a command says of all networks
REMEDY = "start them with: dask worker ADDRESS --nthreads 1 --resources GPU=1, or say gpus: 1 in the file for Slurm."


def asked(device: str) -> str:
    """Return the device that the command names, whatever settings say, or this one where it names none."""
    return os.environ.get(VARIABLE, device)


def placed(spec: Spec) -> Spec:
    """Return a model on the device that is asked for, if it is computed on one."""
    return replace(spec, device=asked(spec.device)) if getattr(spec.cls, "on_device", False) else spec


def is_needed(task: Any) -> bool:
    """Return whether a trial is computed on a GPU, whichever."""
    return task.known.get("device") == ANY


def to_deal(tasks: Iterable[Any]) -> list[str]:
    """Return the GPUs of this machine that trials can have one of, as ``CUDA_VISIBLE_DEVICES`` names them.

    None where no trial needs one, or where one names its own.
    """
    devices = {str(task.known.get("device", "")) for task in tasks}
    if ANY not in devices or any(device.startswith(f"{ANY}:") for device in devices):
        return []
    if named := os.environ.get("CUDA_VISIBLE_DEVICES"):
        return [name.strip() for name in named.split(",") if name.strip()]
    import torch  # only now: few machines have one

    return [str(number) for number in range(torch.cuda.device_count())]


def check(device: str) -> None:
    """Raise a BenchError if there is no such device where trials run: here, or among the workers of a cluster."""
    from bench.training.device import device_of  # torch only now

    address = cluster.chosen()
    if address is None or not device.startswith(ANY):
        device_of(device)
    elif not cluster.has_gpus(address):
        raise BenchError(f"device={device!r} was asked for, but no worker at {address} announces a GPU; {REMEDY}")


def best() -> str:
    """Return what the device ``auto`` stands for where trials run."""
    from bench.training.device import best as of_this_machine  # torch only now

    address = cluster.chosen()
    if address is None:
        return of_this_machine()
    return ANY if cluster.has_gpus(address) else "cpu"
