"""What came of a golden case: on what it was computed, how far its outputs are from the expected, and may be."""

from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True)
class Backend:
    """Where and in which precision a case is computed."""

    device: str = "cpu"
    precision: str = "float32"

    def __str__(self) -> str:
        return f"{self.device} {self.precision}"


class Compared(NamedTuple):
    """How far an output is from what is expected, and how far it may be."""

    error: float
    tolerance: float  # of numbers of size one
    size: float = 1.0  # of the numbers compared, at least 1: what the tolerance is multiplied by

    @property
    def allowed(self) -> float:
        """The largest error that is within the tolerance."""
        return self.tolerance * self.size

    @property
    def share(self) -> float:
        """The error as a share of what is allowed, at most 1 where it is within the tolerance."""
        return self.error / self.allowed if self.allowed else float("inf") if self.error else 0.0

    def __str__(self) -> str:
        if self.size == 1:
            return f"{self.error:.2e} of {self.tolerance:g} allowed"
        return f"{self.error:.2e} of {self.allowed:.1e} allowed ({self.tolerance:g} x largest value {self.size:.3g})"


@dataclass(frozen=True)
class Verdict:
    """What came of a case on one backend: the output nearest to its tolerance, or beyond it."""

    case: str
    backend: str
    output: str = ""
    found: Compared | None = None  # unless there is a reason
    reason: str = ""  # why nothing could be compared

    @property
    def passed(self) -> bool:
        """Whether everything was compared and lies within its tolerance."""
        return not self.reason and self.found.share <= 1
