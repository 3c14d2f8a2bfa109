"""One of several shares of a grid, such as the third of sixteen: for array jobs and other schedulers.

A trial belongs to a share by its key alone: shares are disjoint and complete, and whoever works on one needs to know
nothing of the others.  What has been chosen reaches the processes of chapters in ``BENCH_SHARE``.
"""

import os
import re
from dataclasses import dataclass

from bench.core.errors import BenchError

VARIABLE = "BENCH_SHARE"


@dataclass(frozen=True)
class Share:
    """The ``number``-th of ``n_shares``, from 1 on."""

    number: int
    n_shares: int

    def __str__(self) -> str:
        return f"{self.number}/{self.n_shares}"

    @property
    def as_suffix(self) -> str:
        """What tells files of several shares apart, such as ``-3-of-16``."""
        return f"-{self.number}-of-{self.n_shares}"

    def holds(self, key: str) -> bool:
        """Return whether the trial of a key, hex digits, belongs to this share."""
        return int(key, 16) % self.n_shares == self.number - 1


def share_of(text: str) -> Share:
    """Return the share that a text such as ``3/16`` names.

    Raises
    ------
    BenchError
        If it names none.
    """
    found = re.fullmatch(r"(\d+)/(\d+)", text.strip())
    share = Share(*map(int, found.groups())) if found else None
    if share is None or not 1 <= share.number <= share.n_shares:
        raise BenchError(f"share {text!r} should be such as 3/16, the third of sixteen; the last one is 16/16.")
    return share


def chosen() -> Share | None:
    """Return the share that this process works on; None where it takes the whole of a grid."""
    text = os.environ.get(VARIABLE)
    return share_of(text) if text else None
