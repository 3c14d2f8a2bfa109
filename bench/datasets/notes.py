"""What is said once about a file while it is read: what was recognised in it, and what a number of it rests on."""

import sys
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path


def say(name: str | Path, notes: Iterable[str]) -> None:
    """Print each note to the error stream with the file's name before it; a second time nothing happens."""
    for note in notes:
        _said(Path(name).name, str(note))


@lru_cache(maxsize=1000)
def _said(name: str, note: str) -> None:
    print(f"{name}: {note}", file=sys.stderr)
