"""Learning rate of scBERT: linear warm-up and half a cosine per cycle, with restarts at a lower peak.

Source: PROTOCOL 1.1 of the paper; stepped once per epoch, so that the first epoch runs at the smallest rate.
"""

from math import cos, pi


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
    """Return the learning rate in force after a number of steps.

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
