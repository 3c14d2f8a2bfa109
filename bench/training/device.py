"""Where and in which precision a network runs."""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import torch
from torch import nn

from bench.core.errors import BenchError

PRECISIONS = {"float32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
WIDE = 200  # encodings from here on are so wide that products take most of the time


def device_of(name: str) -> torch.device:
    """Return the device of a name such as ``cpu``, ``cuda``, ``cuda:1`` or ``auto``, or say why there is none.

    Raises
    ------
    BenchError
        If it is no name of a device, or this machine has no such GPU.
    """
    try:
        device = torch.device(best() if name == "auto" else name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise BenchError(f"device={name!r} is not a device; expected cpu, cuda, cuda:1 or auto.")
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


def best() -> str:
    """Return ``cuda`` where there is a GPU, else ``cpu``: what the device ``auto`` stands for."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def has_bf16() -> bool:
    """Say whether this processor multiplies in bf16 itself: AMX or AVX-512 units, or those of an ARM processor."""
    return _has("amx_bf16|avx512_bf16|bf16")


def has_matrix_units() -> bool:
    """Say whether it has AMX, with which products in bf16 cost little beside all else."""
    return _has("amx_bf16")


@cache
def _has(flags: str) -> bool:
    try:
        told = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False
    return re.search(rf"\b({flags})\b", told) is not None


@cache
def say_what_bf16_does(precision: str, device: str) -> None:
    """Say once what the other precision would do for networks of the published size on this processor."""
    if device == "cpu" and precision == "float32" and has_bf16():
        said = "This processor multiplies in bf16 itself: with precision 'bf16' large networks are about twice as fast."
    elif device == "cpu" and precision == "bf16" and not has_bf16():
        said = "This processor has no bf16 units: precision 'bf16' is slower here than 'float32'."
    else:
        return
    print(f"{said} The precision stands in the trial's key: the results are other ones.", file=sys.stderr)


@contextmanager
def threads_for(network: nn.Module) -> Iterator[None]:
    """Give a narrow network on the CPU one thread of torch, any other network those there are.

    What a narrow one computes at a time is so little that several threads wait for each other most of the time.
    """
    norms = [module for module in network.modules() if isinstance(module, nn.LayerNorm)]
    width = max((norm.normalized_shape[-1] for norm in norms), default=WIDE)
    usual = torch.get_num_threads()
    narrow = width < WIDE and usual > 1 and device_of_module(network).type == "cpu"
    if narrow:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        if narrow:
            torch.set_num_threads(usual)


def device_of_module(module: nn.Module) -> torch.device:
    """Return the device where a network's parameters are."""
    return next(module.parameters()).device


def autocast(device: torch.device, precision: str):
    """Return a context in which matrix products run in the precision asked for, a key of `PRECISIONS`."""
    return torch.autocast(device.type, PRECISIONS[precision] or torch.bfloat16, enabled=precision != "float32")
