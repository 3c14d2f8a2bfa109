"""The process that kernels of the book's build are forked from: ``python -m bench.report.book.kernel_nursery ADDRESS``.

It has imported what pages import, runs no thread, and ends with its standard input or at the first line there.
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
from importlib import import_module

# without torch, which few pages need and which starts threads
# and without the inline backend, which looks for its shell when it is imported
WARM = ("ipykernel.kernelapp", "myst_nb", "bench.report.figures", "bench.report.tables")
WARM += ("bench.report.findings", "bench.report.overview", "bench.report.masked", "bench.protocol.experiments")


def main(address: str) -> None:
    """Import, then fork a kernel for each request that comes to a socket at an address."""
    os.environ.setdefault("MPLBACKEND", "module://matplotlib_inline.backend_inline")  # as ipykernel does
    os.environ["JPY_PARENT_PID"] = str(os.getpid())  # as Jupyter does; read at import
    for name in WARM:
        import_module(name)
    gc.collect()
    gc.freeze()  # what is there now stays shared between the processes
    if asked := serve(address):
        become(*asked)


def serve(address: str) -> tuple | None:
    """Fork at each request; return what is asked for in the new process, and None when no more can come."""
    with socket.create_server(address, family=socket.AF_UNIX) as server:
        print(flush=True)  # whoever started this may ask now
        while server in select.select([server, sys.stdin], [], [])[0]:
            held = server.accept()[0]
            if os.fork() == 0:
                return held, *json.loads(held.makefile().readline())
            held.close()
    while _one_has_ended():
        pass
    return None


def _one_has_ended() -> bool:
    """Wait for a kernel, so that what it has used is counted; say whether there was one."""
    try:
        return os.wait()[0] > 0
    except ChildProcessError:
        return False


def become(held: socket.socket, command: list[str], folder: str, environment: dict[str, str]) -> None:
    """Turn this process into ``python -m COMMAND``, in a session of its own, for as long as the connection holds."""
    os.setsid()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)  # the nursery's own output only says that it listens
    held.sendall(f"{os.getpid()}\n".encode())
    threading.Thread(target=_end_with, args=[held], daemon=True).start()
    sys.argv = command
    runpy.run_module(command[0], run_name="__main__", alter_sys=True)


def _end_with(held: socket.socket) -> None:
    held.recv(1)  # nothing is ever sent: the other side has gone
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main(sys.argv[1])
