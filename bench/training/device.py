"""Where and in which precision a network runs."""

import torch
from torch import nn

from bench.core.errors import BenchError

PRECISIONS = {"float32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


def device_of(name: str) -> torch.device:
    """Return the device of a name such as ``cpu``, ``cuda`` or ``cuda:1``, or say why there is none.

    Raises
    ------
    BenchError
        If it is no name of a device, or this machine has no such GPU.
    """
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise BenchError(f"device={name!r} is not a device; expected cpu, cuda or cuda:1.")
    if device.type == "cpu":
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise BenchError(f"device={name!r} was asked for, but torch finds no GPU; use device='cpu'.")
    if (device.index or 0) >= torch.cuda.device_count():
        raise BenchError(
            f"device={name!r} was asked for, but this machine has {torch.cuda.device_count()} GPU; count from cuda:0, "
            "and start no more processes than there are GPUs."
        )
    return device


def device_of_module(module: nn.Module) -> torch.device:
    """Return the device where a network's parameters are."""
    return next(module.parameters()).device


def autocast(device: torch.device, precision: str):
    """Return a context in which matrix products run in the precision asked for, a key of `PRECISIONS`."""
    return torch.autocast(device.type, PRECISIONS[precision] or torch.bfloat16, enabled=precision != "float32")
