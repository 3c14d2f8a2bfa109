"""Sphinx extension: kernels of the book are forked from one process that has imported what pages need.

A page is executed by the same ``ipykernel``, in a process and a session of its own, as ever; only the seconds in which
each of them would import pandas, SciPy and matplotlib are spent once.  ``bench run`` of several chapters does likewise.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.metadata import EntryPoint
from pathlib import Path

from jupyter_client.provisioning import KernelProvisionerFactory, LocalProvisioner

NAME = "bench-warm"
ADDRESS = "BENCH_KERNEL_NURSERY"  # the processes that read pages inherit where to ask for kernels


class ForkedKernel:
    """A kernel from the nursery, as far as Jupyter needs a `subprocess.Popen`.

    The connection through which it was asked for holds it: each side ends when the other does.
    """

    stdin = stdout = stderr = None

    def __init__(self, address: str, command: list[str], folder: str, environment: dict[str, str]):
        self._held = socket.socket(socket.AF_UNIX)
        self._held.connect(address)
        with self._held.makefile("rw") as stream:
            stream.write(json.dumps([command, folder, environment]) + "\n")
            stream.flush()
            self.pid = int(stream.readline())  # empty, a ValueError, where the nursery has died

    def poll(self) -> int | None:
        """Return None while the kernel lives, then 0; its exit status is not known here."""
        try:
            return None if self._held.recv(1, socket.MSG_DONTWAIT) else 0
        except BlockingIOError:
            return None
        except OSError:
            return 0

    def wait(self) -> int:
        """Wait for the end of the kernel."""
        self._held.recv(1)
        self._held.close()
        return 0

    def send_signal(self, number: int) -> None:
        """Send a signal to the kernel and all that it has started."""
        if self.poll() is None:
            os.killpg(self.pid, number)

    def terminate(self) -> None:
        """Ask the kernel to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End the kernel."""
        self.send_signal(signal.SIGKILL)


class WarmProvisioner(LocalProvisioner):
    """Start this Python's kernels in the nursery, any other as Jupyter does."""

    async def launch_kernel(self, cmd: list[str], **kwargs):
        """Start a kernel and return how to reach it."""
        if ADDRESS not in os.environ or cmd[:2] != [sys.executable, "-m"]:
            return await super().launch_kernel(cmd, **kwargs)
        self.cwd, environment = os.path.abspath(kwargs.get("cwd") or os.curdir), kwargs.get("env") or dict(os.environ)
        try:
            self.process = ForkedKernel(os.environ[ADDRESS], cmd[2:], self.cwd, environment)
        except (OSError, ValueError):  # the nursery has died and said why
            return await super().launch_kernel(cmd, **kwargs)
        self.pid = self.pgid = self.process.pid
        return self.connection_info


@contextmanager
def nursery() -> Iterator[None]:
    """Let kernels that this process and its children start be forked from a warm one; they end with it at the latest.

    Only on Linux: elsewhere a system's libraries may not survive a fork.
    """
    if not sys.platform.startswith("linux"):
        yield
        return
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        address = str(Path(folder, "kernels"))
        with socket.create_server(address, family=socket.AF_UNIX) as server:
            command = [sys.executable, "-P", "-m", "bench.report.book.kernel_nursery", str(server.fileno())]
            given = {"stdin": subprocess.PIPE, "pass_fds": [server.fileno()], "start_new_session": True}
            process = subprocess.Popen(command, **given)
        os.environ[ADDRESS] = address
        use()
        try:
            yield
        finally:
            del os.environ[ADDRESS]
            process.communicate(b"\n")  # children of this process hold its input too: its end alone would not do


def use() -> None:
    """Ask for kernels where the environment says that there is a nursery."""
    factory = KernelProvisionerFactory.instance()
    factory.provisioners[NAME] = EntryPoint(NAME, f"{__name__}:{WarmProvisioner.__name__}", factory.GROUP_NAME)
    factory.default_provisioner_name = NAME


def _open(app, env, names: list[str]) -> None:
    app.kernels = ExitStack()
    if names:
        app.kernels.enter_context(nursery())


def _close(app, *_) -> None:
    if hasattr(app, "kernels"):
        app.kernels.close()


def setup(app) -> dict:
    """Register with Sphinx."""
    app.connect("env-before-read-docs", _open)
    app.connect("env-updated", _close)
    app.connect("build-finished", _close)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
