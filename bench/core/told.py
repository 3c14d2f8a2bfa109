"""Environment variables that a command sets for the processes that it starts."""

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def told(variable: str, value: str | None) -> Iterator[None]:
    """Have this process and those that it starts read a value for a while; with None nothing changes."""
    before = os.environ.get(variable)
    if value is not None:
        os.environ[variable] = value
    try:
        yield
    finally:
        os.environ.pop(variable, None)
        if before is not None:
            os.environ[variable] = before
