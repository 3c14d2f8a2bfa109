"""How a network is fine-tuned, what happened, and the learning rate of the published schedule with warm restarts."""

from collections.abc import Callable
from dataclasses import dataclass, field
from math import cos, pi
from typing import ClassVar

from bench.core.checked import Checked
from bench.core.errors import BenchError, unknown

SHAPES = ("linear", "cosine", "polynomial")  # of `warmed_up`


@dataclass(frozen=True)
class Schedule(Checked):
    """How a network is fine-tuned."""

    sizes: ClassVar = ("epochs", "batch_size", "evaluation_batch", "accumulate")
    least: ClassVar = {"warmup_steps": 0, "weight_decay": 0.0}

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
    weight_decay: float = 0.0  # apart from the gradient, of all but biases and norms
    of_step: Callable[[int, int], float] | None = None  # rate of a step, from 0, of so many: not by epoch and warm-up
    accumulate: int = 1  # batches whose gradients a step adds up, each with a loss of its own

    def __post_init__(self):
        super().__post_init__()
        if (lowest := min(map(self.rate, range(self.epochs)))) < 0:
            raise BenchError(f"The learning rate falls to {lowest:g}; it should be 0 or more: check lr and its decay.")

    def rate_at(self, epoch: int, step: int, n_steps: int) -> float:
        """Return the learning rate of a step, from 0, of all steps of the training."""
        if self.of_step:
            return self.of_step(step, n_steps)
        return self.rate(epoch) * min((step + 1) / max(self.warmup_steps, 1), 1)


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


def warmed_up(step: int, n_steps: int, *, peak: float, warmup: int, shape: str = "linear") -> float:
    """Return the learning rate of a step, from 0, that rises for some steps, the first at 0, and falls until the last.

    Source: what Hugging Face's trainer calls its linear, cosine and polynomial schedules.

    Parameters
    ----------
    step, n_steps
        Steps done and steps in all.
    peak, warmup
        Largest rate, and the number of steps after which it is reached.
    shape
        ``linear`` to 0, ``cosine`` to 0, or ``polynomial``: linear to 1e-7.

    Raises
    ------
    BenchError
        If the shape is another one.
    """
    if shape not in SHAPES:
        raise unknown("shape of the schedule", shape, SHAPES)
    if step < warmup:
        return peak * step / warmup
    done = (step - warmup) / max(1, n_steps - warmup)
    if shape == "cosine":
        return peak * (1 + cos(pi * done)) / 2
    floor = 1e-7 if shape == "polynomial" else 0.0
    return (peak - floor) * (1 - min(done, 1)) + floor
