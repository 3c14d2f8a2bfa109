"""The process that others are forked from: ``python -m bench.core.nursery SOCKET MODULE...``.

SOCKET is the number of an open socket that listens; who asks there while this process still imports the modules simply
waits.  It runs no thread, and ends with its standard input or at the first line there.
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
from typing import NamedTuple

from bench.core.leaving import leave


class Request(NamedTuple):
    """What to become: ``python -m COMMAND``, or a function ``MODULE:NAME`` and its arguments.

    Open files come with it; their numbers are its last arguments.
    """

    held: socket.socket  # it lives as long as this connection does
    command: list[str]
    folder: str
    environment: dict[str, str]
    modules: list[str]  # to be imported here, once, before
    files: list[int]


def main(listening: int, modules: list[str]) -> None:
    """Import, then fork a process for each request that comes to a listening socket."""
    os.environ["JPY_PARENT_PID"] = str(os.getpid())  # as Jupyter does; read at import
    _import(modules)
    with socket.socket(fileno=listening) as server:
        asked = _serve(server)
    if asked:
        _become(asked)


def _serve(server: socket.socket) -> Request | None:
    """Fork at each request; return what is asked for in the new process, and None when no more can come."""
    ended, wake = socket.socketpair()
    wake.setblocking(False)
    signal.set_wakeup_fd(wake.fileno())
    signal.signal(signal.SIGCHLD, lambda *_: None)
    children = {}
    while sys.stdin not in (ready := select.select([server, sys.stdin, ended], [], [])[0]):
        if ended in ready:
            ended.recv(4096)
            _tell_of_ended(children)
        if server in ready and (asked := _request(server.accept()[0])):
            pid = os.fork()
            if pid == 0:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                for held in children.values():
                    held.close()  # or it would hide the end of its process
                return asked
            children[pid] = asked.held
            for number in asked.files:
                os.close(number)
    for pid in children:  # none is left, unless this was interrupted
        end_group(pid)
        os.waitpid(pid, 0)
    return None


def _request(held: socket.socket) -> Request | None:
    """Return what comes through a connection, and nothing if who asked has gone."""
    text, files = b"", []
    while not text.endswith(b"\n"):
        part, sent, *_ = socket.recv_fds(held, 1 << 16, 4)
        text, files = text + part, files + sent
        if not part:
            return None
    asked = Request(held, *json.loads(text), files)
    _import(asked.modules)
    return asked


def _import(modules: list[str]) -> None:
    new = [name for name in modules if name not in sys.modules]
    for name in new:
        with suppress(Exception):  # who needs it says so better
            import_module(name)
    if new:
        gc.collect()
        gc.freeze()  # what is there now stays shared between the processes


def _tell_of_ended(children: dict[int, socket.socket]) -> None:
    """Say how processes have ended to those who asked for them."""
    for pid in list(children):
        if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            with children.pop(pid) as held, suppress(OSError):  # perhaps nobody waits any more
                held.sendall(f"{code}\n".encode())


def end_group(pid: int) -> None:
    """End a process and all that it has started; in its first moments it has no group yet."""
    for kill in (os.killpg, os.kill):
        with suppress(ProcessLookupError):
            kill(pid, signal.SIGKILL)


def _become(asked: Request) -> None:
    """Turn this process into another one, in a session of its own."""
    os.setsid()
    os.chdir(asked.folder)
    os.environ.clear()
    os.environ.update(asked.environment)
    mine = [p for p in asked.environment.get("PYTHONPATH", "").split(os.pathsep) if p not in ("", *sys.path)]
    sys.path[:0] = mine  # where modules of the user's own are, if the nursery did not know
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    asked.held.sendall(f"{os.getpid()}\n".encode())
    threading.Thread(target=_end_with, args=[asked.held], daemon=True).start()
    sys.argv = [*asked.command, *map(str, asked.files)]
    module, _, function = sys.argv[0].partition(":")
    if function:
        getattr(import_module(module), function)(*sys.argv[1:])
    else:
        runpy.run_module(module, run_name="__main__", alter_sys=True)


def _end_with(held: socket.socket) -> None:
    with suppress(ConnectionError):
        held.recv(1)  # nothing is ever sent: the other side has gone
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
    leave()
