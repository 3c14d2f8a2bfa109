"""Processes that need not import torch again: forked from one that has imported what scripts and trials need.

Importing torch, what training needs and what the first step of an optimiser imports takes six seconds of a core.
A test of what is imported, or of how processes start, does without.
"""

import multiprocessing
import os
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

NEEDED = ["torch", "torch._dynamo", "gensim.models", "bench.cli", "bench.training.pretrain"]
NEEDED += ["bench.protocol.experiments", "bench.report.masked"]
_server = multiprocessing.get_context("forkserver")
_server.set_forkserver_preload(NEEDED)


class Done(NamedTuple):
    """How a script ended."""

    returncode: int
    stdout: str
    stderr: str


class Script:
    """Python code that runs in a process of its own as ``python -c CODE ARGUMENTS`` would."""

    def __init__(self, code: str, *arguments, **environment: str):
        self._folder = tempfile.TemporaryDirectory()
        self._paths = [Path(self._folder.name, name) for name in ("stdout", "stderr")]
        given = (code, list(map(str, arguments)), dict(os.environ) | environment, os.getcwd(), self._paths)
        self._process = _server.Process(target=_run, args=given)
        self._process.start()

    def wait(self, seconds: float = 300) -> Done:
        """Wait for the end; a script that takes longer is killed."""
        self._process.join(seconds)
        self._process.kill()
        self._process.join()
        done = Done(self._process.exitcode, *(path.read_text() if path.exists() else "" for path in self._paths))
        self._folder.cleanup()
        return done


class WarmContext:
    """What processes of trials are started with, in the place of joblib's context."""

    Pipe = staticmethod(multiprocessing.Pipe)

    @staticmethod
    def Process(target, args: tuple, env: dict[str, str]):
        """Return a process that is not started yet."""
        return _server.Process(target=_serve, args=(target, args, dict(os.environ) | env))


class OwnContext:
    """What a script that was forked starts processes of trials with: its own children, as joblib's would be."""

    Pipe = staticmethod(multiprocessing.Pipe)

    @staticmethod
    def Process(target, args: tuple, env: dict[str, str]):
        """Return a process that is not started yet."""
        given = (target, args, dict(os.environ) | env)
        return multiprocessing.get_context("fork").Process(target=_serve_parent, args=given)


def _serve_parent(target, arguments: tuple, environment: dict[str, str]) -> None:
    own = arguments[0].fileno()
    os.closerange(3, own)  # of the other ends of pipes no copy may be left, or nobody could hang up
    os.closerange(own + 1, os.sysconf("SC_OPEN_MAX"))
    _settle(environment)
    target(*arguments)


def _serve(target, arguments: tuple, environment: dict[str, str]) -> None:
    connection, _, *more = arguments
    _settle(environment)
    target(connection, os.getppid(), *more)  # the process to outlive by no means is the one it was forked from


def _run(code: str, arguments: list[str], environment: dict[str, str], folder: str, paths: list[Path]) -> None:
    os.chdir(folder)
    for number, path in enumerate(paths, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), number)
    _settle(environment)
    sys.argv = ["-c", *arguments]
    exec(compile(code, "<script>", "exec"), {"__name__": "__main__"})


def _settle(environment: dict[str, str]) -> None:
    """Do what a fresh interpreter would do with its environment."""
    import torch

    os.environ.clear()
    os.environ.update(environment)
    sys.path[:0] = [path for path in environment.get("PYTHONPATH", "").split(os.pathsep) if path]
    torch.set_num_threads(int(environment.get("OMP_NUM_THREADS") or os.cpu_count()))
