"""Sphinx extension: kernels of the book are forked from one process that has imported what pages need.

A page is executed by the same ``ipykernel``, in a process and a session of its own, as ever (`bench.core.forked`).
``bench run`` of several chapters does likewise.
"""

import os
import random
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from jupyter_client.connect import LocalPortCache

from bench.core import forked
from bench.core.home import settle
from bench.protocol import kernel, kernels, place

# without torch, which few pages need, and without the backend that shows figures, which looks for a shell at import
WARM = ("ipykernel.kernelapp", "myst_nb.ext.glue", "altair", "bench.report.figures", "bench.report.tables")
WARM += ("bench.report.findings", "bench.report.overview", "bench.report.masked", "bench.protocol.experiments")


PORTS = ("shell_port", "iopub_port", "stdin_port", "hb_port", "control_port")
RESERVED = range(10_000, 32_000)  # below what systems give, unless told otherwise, to who asks for any port


class WarmProvisioner(kernels.OwnProvisioner):
    """Start this Python's kernels in the nursery, any other as Jupyter does."""

    async def pre_launch(self, **kwargs):
        """Choose ports that stay free until the kernel binds them: those of Jupyter's choice may go to a connection."""
        if self.parent and self.parent.cache_ports and not self.ports_cached:
            for name in PORTS:
                setattr(self.parent, name, free_port(self.parent.ip))
            self.ports_cached = True
        return await super().pre_launch(**kwargs)

    async def launch_kernel(self, cmd: list[str], **kwargs):
        """Start a kernel and return how to reach it."""
        if forked.ADDRESS not in os.environ or cmd[:2] != kernels.COMMAND:
            return await super().launch_kernel(cmd, **kwargs)
        self.cwd, environment = os.path.abspath(kwargs.get("cwd") or os.curdir), kwargs.get("env") or dict(os.environ)
        try:
            self.process = forked.Forked([kernel.__name__, *cmd[2:]], self.cwd, environment)
        except (OSError, ValueError):  # the nursery has died and said why
            return await super().launch_kernel(cmd, **kwargs)
        self.pid = self.pgid = self.process.pid
        return self.connection_info


def free_port(ip: str) -> int:
    """Return a port that nothing listens on and that this process has not chosen before."""
    chosen = LocalPortCache.instance().currently_used_ports
    while True:
        port = random.SystemRandom().choice(RESERVED)
        with socket.socket() as probe, suppress(OSError):
            probe.bind((ip, port))
            if port not in chosen:
                chosen.add(port)
                return port


@contextmanager
def nursery() -> Iterator[None]:
    """Let kernels that this process and its children start, and their trials' processes, be forked from a warm one."""
    with forked.nursery(WARM, MPLBACKEND="module://matplotlib_inline.backend_inline"):  # as ipykernel does
        kernels.use(WarmProvisioner)
        yield


def _open(app, env, names: list[str]) -> None:
    place.tell()
    app.kernels = ExitStack()
    if names:
        app.kernels.enter_context(nursery())


def _close(app, *_) -> None:
    if hasattr(app, "kernels"):
        app.kernels.close()


def setup(app) -> dict:
    """Register with Sphinx."""
    settle()
    app.connect("env-before-read-docs", _open)
    app.connect("env-updated", _close)
    app.connect("build-finished", _close)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
