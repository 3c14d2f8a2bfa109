"""Sphinx extension: kernels of the book's own build are forked from one process that has imported what pages need.

A page is executed by the same ``ipykernel``, in a process and a session of its own, as ever; only the seconds in which
each of them would import pandas, SciPy and matplotlib are spent once.  JupyterLab, papermill and ``bench run`` do not
come here, and where processes cannot be forked safely the build does not either.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
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
            self.pid = int(stream.readline())

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
        self.cwd = os.path.abspath(kwargs.get("cwd") or os.curdir)
        self.process = ForkedKernel(os.environ[ADDRESS], cmd[2:], self.cwd, kwargs.get("env") or dict(os.environ))
        self.pid = self.pgid = self.process.pid
        return self.connection_info


@contextmanager
def warm_kernels() -> Iterator[None]:
    """Fork the kernels that Jupyter starts in this process from one that has imported what pages need."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        address = str(Path(folder, "kernels"))
        command = [sys.executable, "-P", "-m", "bench.report.book.kernel_nursery", address]
        nursery = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
        if nursery.stdout.read(1):  # it listens
            os.environ[ADDRESS] = address
            factory = KernelProvisionerFactory.instance()
            factory.provisioners[NAME] = EntryPoint(NAME, f"{__name__}:{WarmProvisioner.__name__}", factory.GROUP_NAME)
            factory.default_provisioner_name = NAME
        try:
            yield
        finally:
            os.environ.pop(ADDRESS, None)
            nursery.communicate()  # it ends with its input


def _open(app, env, names: list[str]) -> None:
    if names and sys.platform.startswith("linux"):  # elsewhere a system's libraries may not survive a fork
        app.warm_kernels = warm_kernels()
        app.warm_kernels.__enter__()


def _close(app, *_) -> None:
    if opened := getattr(app, "warm_kernels", None):
        del app.warm_kernels
        opened.__exit__(None, None, None)


def setup(app) -> dict:
    """Register with Sphinx."""
    app.connect("env-before-read-docs", _open)
    app.connect("env-updated", _close)
    app.connect("build-finished", _close)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
