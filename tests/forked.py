"""Scripts that need not import torch again: forked from the nursery that the fixture `warm` opens.

Importing torch, what training needs and what the first step of an optimiser imports takes some seconds of a core.
A test of what is imported, or of how processes start, does without.
"""

import os
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from bench.core.forked import Forked

NEEDED = ("torch._dynamo", "gensim.models", "bench.cli", "bench.training.pretrain", "bench.protocol.runner")


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
        path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
        command = ["forked:run", code, *map(str, self._paths), *map(str, arguments)]
        self._process = Forked(command, os.getcwd(), os.environ | environment | {"PYTHONPATH": path}, NEEDED)

    def wait(self, seconds: float = 300) -> Done:
        """Wait for the end; a script that takes longer is killed."""
        if self._process.wait(seconds) is None:
            self._process.kill()
        done = Done(self._process.wait(), *(path.read_text() if path.exists() else "" for path in self._paths))
        self._folder.cleanup()
        return done


def run(code: str, stdout: str, stderr: str, *arguments: str) -> None:
    """Run a script in the process that has been forked."""
    import torch

    for number, path in enumerate((stdout, stderr), start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), number)
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count()))
    sys.argv = ["-c", *arguments]
    exec(compile(code, "<script>", "exec"), {"__name__": "__main__"})
