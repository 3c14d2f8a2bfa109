"""Seconds of several runs side by side, and what the machine could do at most."""

import statistics
import time
from collections.abc import Callable

import torch


def alternating(runs: dict[str, Callable], rounds: int) -> dict[str, float]:
    """Return the median seconds of each, taken in turns."""
    seconds = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def matrix_rate(size: int = 2048, device: str = "cpu", dtype: torch.dtype = torch.float32) -> float:
    """Return operations per second of one large product."""
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    if device == "cuda":
        a @ b
        torch.cuda.synchronize()
    start = time.perf_counter()
    a @ b
    if device == "cuda":
        torch.cuda.synchronize()
    return 2 * size**3 / (time.perf_counter() - start)


def ceiling_of_the_gpu() -> float:
    """Return bf16 operations per second of the matrix units, the best of ten products."""
    return max(matrix_rate(8192, "cuda", torch.bfloat16) for _ in range(10))
