"""Processes forked from one that has imported what they need, where there is such a nursery.

They are like any other, in a session of their own; only the seconds in which each would import pandas, SciPy and torch
are spent once.
"""

import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench.core.nursery import end_group

ADDRESS = "BENCH_NURSERY"  # child processes inherit where to ask
LONGEST = 100  # bytes of the path of a socket, which systems limit; TMPDIR may be long


class Forked:
    """A process from the nursery, much like a `subprocess.Popen`.

    The connection through which it was asked for holds it: each side ends when the other does.

    Parameters
    ----------
    command
        As in `bench.core.nursery.Request`.
    folder, environment
        Where it runs, and with which variables.
    modules
        What the nursery imports first, if it has not.
    files
        Open files to hand over.

    Raises
    ------
    OSError, ValueError
        If the nursery has died.
    """

    stdin = stdout = stderr = None

    def __init__(
        self,
        command: Sequence[str],
        folder: str,
        environment: dict[str, str],
        modules: Sequence[str] = (),
        files: Sequence[int] = (),
    ):
        self.returncode = None
        self._held = socket.socket(socket.AF_UNIX)
        self._held.connect(os.environ[ADDRESS])
        request = json.dumps([list(command), folder, environment, list(modules)]) + "\n"
        rest = request.encode()[socket.send_fds(self._held, [request.encode()], list(files)) :]
        self._held.sendall(rest)
        self._told = self._held.makefile("r")
        self.pid = int(self._told.readline())  # empty, a ValueError, where the nursery has died

    def poll(self) -> int | None:
        """Return None while the process lives, then its exit code as `subprocess` has it."""
        return self.wait(0)

    def wait(self, seconds: float | None = None) -> int | None:
        """Wait for the end of the process, and return as `poll` does."""
        if self.returncode is None and select.select([self._held], [], [], seconds)[0]:
            line = self._told.readline()
            self.returncode = int(line) if line.strip() else -signal.SIGKILL  # the nursery has died as well
            self._held.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal to the process and all that it has started."""
        if self.poll() is None:
            os.killpg(self.pid, number)

    def terminate(self) -> None:
        """Ask the process to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End the process and all that it has started."""
        if self.poll() is None:
            end_group(self.pid)


@contextmanager
def nursery(modules: Sequence[str], **defaults: str) -> Iterator[None]:
    """Let processes that this one and its children start be forked from a warm one; they end with it at the latest.

    Only on Linux: elsewhere a system's libraries may not survive a fork.

    Parameters
    ----------
    modules
        What it imports at once.
    defaults
        Environment variables, where they are not set, to import them with.
    """
    if not sys.platform.startswith("linux"):
        yield
        return
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        address = str(Path(folder, "nursery"))
        if len(os.fsencode(address)) > LONGEST:
            yield
            return
        with socket.create_server(address, family=socket.AF_UNIX) as server:
            command = [sys.executable, "-P", "-m", "bench.core.nursery", str(server.fileno()), *modules]
            given = {"stdin": subprocess.PIPE, "pass_fds": [server.fileno()], "start_new_session": True}
            given["env"] = defaults | os.environ
            process = subprocess.Popen(command, **given)
        outer = os.environ.get(ADDRESS)
        os.environ[ADDRESS] = address
        try:
            yield
        finally:
            os.environ.pop(ADDRESS, None)
            if outer is not None:
                os.environ[ADDRESS] = outer
            process.communicate(b"\n")  # children of this process hold its input too: its end alone would not do
