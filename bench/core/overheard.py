"""What a piece of work prints and warns, kept while it is shown as ever.

It is what Python code writes to ``sys.stdout`` and ``sys.stderr``; what compiled code writes past them is not kept.
"""

import sys
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any, TextIO

MOST = 20_000  # characters that are kept, the last ones


class Overheard:
    """What has been written so far."""

    def __init__(self):
        self._parts: deque[str] = deque()
        self._length = 0

    def add(self, text: str) -> None:
        """Take what was written; what came long before goes."""
        self._parts.append(text)
        self._length += len(text)
        while self._length - len(self._parts[0]) > MOST:
            self._length -= len(self._parts.popleft())

    def __str__(self) -> str:
        """Return it as a terminal shows it: of a line that was written over, as progress bars are, the last state."""
        lines = "".join(self._parts)[-MOST:].split("\n")
        return "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in lines).strip()


class _Shown:
    """A stream that hands on what is written and keeps it; closing it leaves the stream behind it open."""

    def __init__(self, stream: TextIO, kept: Overheard):
        self._stream, self._kept, self.closed = stream, kept, False

    def write(self, text: str) -> int:
        self._kept.add(text)
        return self._stream.write(text)

    def close(self) -> None:
        self.closed = True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def overheard() -> Iterator[Overheard]:
    """Keep what this process writes meanwhile."""
    kept = Overheard()
    with redirect_stdout(_Shown(sys.stdout, kept)), redirect_stderr(_Shown(sys.stderr, kept)):
        yield kept
