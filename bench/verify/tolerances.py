"""How far results may be from golden ones where a case has no tolerance of its own; others stand with their case.

Absolute tolerances are those of numbers of size one; `Case.compare` multiplies them by a largest value above one.
"""

from bench.verify.verdict import Backend

ROUNDING = 1e-6  # relative, of numbers that a rounded sum decides: totals of cells, their edges, losses of about 1,000
BF16 = 3e-2  # of logits and encodings: eight bits of mantissa over a few layers
# What a few steps of Adam give in bf16, as shares of the largest value: it moves a weight as far for a small gradient
# as for a large one, so that rounding decides directions.  Losses and weights show a tenth; logits and the norms of
# gradients are off by up to 0.11 in the open cases, so that only more than a tenth can be told from rounding.
BF16_LOSS = 5e-2
BF16_WEIGHTS = 3e-2
BF16_TRAINED = 0.2


def or_bf16(backend: Backend, usual: float, rounded: float = BF16) -> float:
    """Return the tolerance of a backend: the usual one, or that of rounded products."""
    return rounded if backend.precision == "bf16" else usual


def after_training(backend: Backend, usual: float, rounded: float = BF16_TRAINED) -> dict[str, float | bool]:
    """Return the tolerance of what a training gives, for `Case.compare`; a GPU keeps the one that it has met so far."""
    return {"tolerance": rounded, "of_largest": True} if str(backend) == "cpu bf16" else {"tolerance": usual}
