"""Widths that CellPLM's layers can have; known to recipes, too, which import no torch."""

from bench.core.errors import BenchError

GROUPS = 4  # of channels that are normalised together


def check_width(dim: int, heads: int) -> None:
    """Raise a BenchError unless a width divides among the heads of attention and the groups of a norm."""
    if dim % heads or dim % GROUPS:
        raise BenchError(f"dim={dim} should be a multiple of heads={heads}, and of {GROUPS}; set both.")
