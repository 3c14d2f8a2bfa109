"""How far results may be from golden ones where a case has no tolerance of its own; others stand with their case.

Absolute tolerances are those of numbers of size one; `Case.compare` multiplies them by a largest value above one.
"""

from bench.verify.case import Backend

ROUNDING = 1e-6  # relative, of numbers that a rounded sum decides: totals of cells, their edges, losses of about 1,000
BF16 = 3e-2  # of logits and encodings: eight bits of mantissa over a few layers
BF16_TRAINED = 0.15  # likewise after steps of Adam, which moves a weight as far for a small gradient as for a large one


def or_bf16(backend: Backend, usual: float, rounded: float = BF16) -> float:
    """Return the tolerance of a backend: the usual one, or that of rounded products."""
    return rounded if backend.precision == "bf16" else usual


def after_training(backend: Backend, usual: float) -> float:
    """Return the tolerance of what a training gives on a backend; a GPU keeps the one that it has met so far."""
    return BF16_TRAINED if str(backend) == "cpu bf16" else usual
