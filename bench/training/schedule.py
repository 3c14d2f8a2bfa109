"""How a network is fine-tuned, what happened, and the learning rate of the published schedule with warm restarts."""

from collections.abc import Callable
from dataclasses import dataclass, field
from math import cos, pi

from bench.core.errors import BenchError


@dataclass(frozen=True)
class Schedule:
    """How a network is fine-tuned."""

    epochs: int
    batch_size: int
    rate: Callable[[int], float]  # learning rate of an epoch, from 0
    adam_eps: float = 1e-8
    clip: float = 1e6  # largest norm of the gradient
    warmup_steps: int = 0  # over which the rate rises from 0
    shuffle: bool = True
    choose: str = "accuracy"  # best epoch by validation accuracy, or by "loss" or "macro_f1"
    evaluation_batch: int = 64
    precision: str = "float32"  # or "bf16" or "fp16": matrix products on a GPU
    accumulate: int = 1  # batches whose gradients a step adds up, each with a loss of its own

    def __post_init__(self):
        least = {"epochs": 1, "batch_size": 1, "evaluation_batch": 1, "warmup_steps": 0, "accumulate": 1}
        if wrong := [f"{name}={getattr(self, name)}" for name, low in least.items() if getattr(self, name) < low]:
            raise BenchError(f"{', '.join(wrong)} should be 1 or more; warmup_steps may be 0.")
        if (lowest := min(map(self.rate, range(self.epochs)))) < 0:
            raise BenchError(f"The learning rate falls to {lowest:g}; it should be 0 or more: check lr and its decay.")


@dataclass
class History:
    """What happened, per epoch."""

    train_loss: list[float] = field(default_factory=list)
    validation_loss: list[float] = field(default_factory=list)
    validation_accuracy: list[float] = field(default_factory=list)
    validation_macro_f1: list[float] = field(default_factory=list)  # where it chooses the epoch
    best_epoch: int = 0  # from 1
    micro_batch: int = 0  # cells at a time; smaller than the batch where memory was short

    def diagnostics(self) -> dict[str, float | list[float]]:
        """Return what is worth recording."""
        return {name: value for name, value in vars(self).items() if value != []}


def cosine_warm_restarts(
    step: int,
    *,
    peak: float,
    floor: float = 1e-6,
    first: int = 15,
    warmup: int = 5,
    growth: float = 2,
    gamma: float = 0.9,
) -> float:
    """Return the learning rate after a number of steps: linear warm-up and half a cosine per cycle, at falling peaks.

    Source: PROTOCOL 1.1 of the paper, for scBERT; stepped once per epoch, so that the first one has the smallest rate.

    Parameters
    ----------
    step
        Steps done, from 0.
    peak, floor
        Largest and smallest rate of the first cycle.
    first, warmup
        Length of the first cycle and of the linear warm-up in every cycle, in steps.
    growth
        Factor from one cycle's length without warm-up to the next one's.
    gamma
        Factor from one cycle's peak to the next one's.
    """
    length, cycle = first, 0
    while step >= length:
        step, length, cycle = step - length, int((length - warmup) * growth) + warmup, cycle + 1
    top = peak * gamma**cycle
    if step < warmup:
        return floor + (top - floor) * step / warmup
    return floor + (top - floor) * (1 + cos(pi * (step - warmup) / (length - warmup))) / 2
