"""The processes that share a training: one, or as many as torchrun has started."""

import atexit
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from bench.training.device import device_of

PATIENCE = timedelta(days=1)  # the others wait while the first one downloads, or trains gene vectors


class World:
    """All processes of a run, seen from one of them; a network is the same in each after every step.

    Parameters
    ----------
    device
        ``cpu``, ``cuda`` or ``cuda:1``; under torchrun ``cuda`` is the GPU of the process's local rank.

    Raises
    ------
    BenchError
        If the device is not there.
    """

    def __init__(self, device: str):
        self.rank, self.size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
        if device == "cuda" and self.size > 1:
            device = f"cuda:{os.environ['LOCAL_RANK']}"
        self.device = device_of(device)
        if self.device.index is not None:
            torch.cuda.set_device(self.device)  # NCCL and Triton use the current one
        if self.size > 1 and not dist.is_initialized():
            dist.init_process_group("nccl" if self.device.type == "cuda" else "gloo", timeout=PATIENCE)
            atexit.register(dist.destroy_process_group)

    @property
    def leads(self) -> bool:
        """Whether this process writes files and shows progress."""
        return self.rank == 0

    def add_up(self, tensors: list[Tensor]) -> None:
        """Replace tensors, of the same shapes in all processes, by their sums over processes."""
        if self.size > 1:
            flat = torch.cat([tensor.flatten() for tensor in tensors])
            dist.all_reduce(flat)
            for tensor, part in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
                tensor.copy_(part.view_as(tensor))

    def share(self, value: Any) -> Any:
        """Return what the leading process has, in all of them."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def wait(self) -> None:
        """Wait for the other processes."""
        if self.size > 1:
            dist.barrier()

    @contextmanager
    def leader_first(self) -> Iterator[None]:
        """Let the leading process do what follows before the others, who find what it has written."""
        if not self.leads:
            self.wait()
        try:
            yield
        finally:
            if self.leads:
                self.wait()

    def hardware(self) -> str:
        """Return what the run is on."""
        if self.device.type == "cuda":
            return torch.cuda.get_device_name(self.device)
        return f"{os.cpu_count()} CPU cores, {torch.get_num_threads()} threads"
