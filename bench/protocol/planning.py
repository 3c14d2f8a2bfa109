"""While a plan is made, the trials that chapters ask for are listed in the place of being run."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

LEFT_OUT = ", left out: "  # between the name of a grid and what of it cannot be run
_LISTED: ContextVar[list[tuple[Any, Callable]] | None] = ContextVar("listed", default=None)


@contextmanager
def planning() -> Iterator[list[tuple[Any, Callable]]]:
    """Give a list that fills with tasks, and the function that runs each; no weights are made for a plan."""
    token = _LISTED.set([])
    try:
        yield _LISTED.get()
    finally:
        _LISTED.reset(token)


def is_planning() -> bool:
    """Say whether trials are only listed now."""
    return _LISTED.get() is not None


def listed(tasks: Iterable[Any], run: Callable) -> None:
    """Add tasks to the plan that is being made."""
    _LISTED.get().extend((task, run) for task in tasks)
