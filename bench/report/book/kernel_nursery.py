"""The process that warm kernels are forked from: ``python -m bench.report.book.kernel_nursery SOCKET``.

SOCKET is the number of an open socket that listens; who asks there while this process still imports simply waits.  It
runs no thread, and ends with its standard input or at the first line there.
"""

import gc
import json
import os
import runpy
import select
import signal
import socket
import sys
import threading
from contextlib import suppress
from importlib import import_module

# without torch, which few pages need, and without the backend that shows figures, which looks for a shell at import
WARM = ("ipykernel.kernelapp", "myst_nb.ext.glue", "altair", "bench.report.figures", "bench.report.tables")
WARM += ("bench.report.findings", "bench.report.overview", "bench.report.masked", "bench.protocol.experiments")


def main(listening: int) -> None:
    """Import, then fork a kernel for each request that comes to a listening socket."""
    os.environ.setdefault("MPLBACKEND", "module://matplotlib_inline.backend_inline")  # as ipykernel does
    os.environ["JPY_PARENT_PID"] = str(os.getpid())  # as Jupyter does; read at import
    for name in WARM:
        import_module(name)
    gc.collect()
    gc.freeze()  # what is there now stays shared between the processes
    with socket.socket(fileno=listening) as server:
        asked = serve(server)
    if asked:
        become(*asked)


def serve(server: socket.socket) -> tuple | None:
    """Fork at each request; return what is asked for in the new process, and None when no more can come."""
    kernels = []
    while sys.stdin not in select.select([server, sys.stdin], [], [])[0]:
        held = server.accept()[0]
        kernels.append(os.fork())
        if kernels[-1] == 0:
            return held, *json.loads(held.makefile().readline())
        held.close()
    for kernel in kernels:
        end_group(kernel)  # none is left, unless this was interrupted
        os.waitpid(kernel, 0)
    return None


def end_group(kernel: int) -> None:
    """End a kernel and all that it has started; in its first moments it has no group yet."""
    for kill in (os.killpg, os.kill):
        with suppress(ProcessLookupError):
            kill(kernel, signal.SIGKILL)


def become(held: socket.socket, command: list[str], folder: str, environment: dict[str, str]) -> None:
    """Turn this process into ``python -m COMMAND``, in a session of its own, for as long as the connection holds."""
    os.setsid()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    mine = [path for path in environment.get("PYTHONPATH", "").split(os.pathsep) if path not in ("", *sys.path)]
    sys.path[:0] = mine  # where modules of the user's own are, if the nursery did not know
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    held.sendall(f"{os.getpid()}\n".encode())
    threading.Thread(target=_end_with, args=[held], daemon=True).start()
    sys.argv = command
    runpy.run_module(command[0], run_name="__main__", alter_sys=True)


def _end_with(held: socket.socket) -> None:
    held.recv(1)  # nothing is ever sent: the other side has gone
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main(int(sys.argv[1]))
