"""While a plan is made, the trials that chapters ask for are listed in the place of being run."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from bench.core.errors import Faults

LEFT_OUT = ", left out: "  # between the name of a grid and what of it cannot be run


@dataclass
class _Plan:
    tasks: list[tuple[Any, Callable]] = field(default_factory=list)
    left_out: Faults | None = None


_PLAN: ContextVar[_Plan | None] = ContextVar("plan", default=None)


@contextmanager
def planning(left_out: Faults | None = None) -> Iterator[list[tuple[Any, Callable]]]:
    """Give a list that fills with tasks, and the function that runs each; no weights are made for a plan.

    Parameters
    ----------
    left_out
        Takes what of the grids cannot be run; without it that is an error.
    """
    plan = _Plan(left_out=left_out)
    token = _PLAN.set(plan)
    try:
        yield plan.tasks
    finally:
        _PLAN.reset(token)


def is_planning() -> bool:
    """Say whether trials are only listed now."""
    return _PLAN.get() is not None


def is_excused(faults: Faults) -> bool:
    """Return whether the plan that is being made goes on without what cannot be run, and take note of it."""
    plan = _PLAN.get()
    if plan is None or plan.left_out is None:
        return False
    for sentence in faults.said:
        plan.left_out.add(sentence)
    return True


def listed(tasks: Iterable[Any], run: Callable) -> None:
    """Add tasks to the plan that is being made."""
    _PLAN.get().tasks.extend((task, run) for task in tasks)
