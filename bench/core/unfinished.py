"""Where work that takes long keeps its state, so that it goes on from there after its process was killed."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Place:
    """A file for the state of some work, and how long the work has taken."""

    path: Path
    earlier_s: float = 0.0  # in processes before this one, set by what reads the state
    _begun: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """Seconds since the work began, those in which no process was at it left out."""
        return self.earlier_s + time.monotonic() - self._begun


_PLACE: ContextVar[Place | None] = ContextVar("place", default=None)


@contextmanager
def kept_in(path: Path) -> Iterator[Place]:
    """Let what runs meanwhile keep its state in this file; it goes when the work has come to its end, good or bad."""
    place = Place(path)
    token = _PLACE.set(place)
    try:
        yield place
    except Exception:
        path.unlink(missing_ok=True)  # the same error would come again
        raise
    else:
        path.unlink(missing_ok=True)
    finally:
        _PLACE.reset(token)


def place() -> Place | None:
    """Return the place for the state of what runs now, or None where nothing is to be kept."""
    return _PLACE.get()
