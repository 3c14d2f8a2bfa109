"""What a number cost and what made it: wall time, memory, commit, versions."""

import platform
import subprocess
import threading
import time
from contextlib import suppress
from functools import lru_cache
from importlib.metadata import distributions, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from bench.core.places import ROOT, is_checkout


class Cost:
    """Wall time and peak resident memory of a ``with`` block, of this process and its workers."""

    n_train = n_test = seconds = peak = threads = np.nan

    def __enter__(self):
        self._done, self.peak = threading.Event(), 0
        self._watch = threading.Thread(target=self._sample, daemon=True)
        self._start = time.perf_counter()
        self._watch.start()
        return self

    def __exit__(self, *_):
        self.seconds = time.perf_counter() - self._start
        self._done.set()
        self._watch.join()
        self.threads = threads()

    def _sample(self):
        import psutil  # here: a machine that only pretrains needs none

        me = psutil.Process()
        while True:
            total = 0
            for process in (me, *me.children(recursive=True)):
                try:
                    total += process.memory_info().rss
                except psutil.NoSuchProcess:
                    continue
            self.peak = max(self.peak, total)
            if self._done.wait(0.05):
                return

    def provenance(self) -> dict[str, Any]:
        """Return the columns of cost and provenance."""
        return {
            "n_train": self.n_train,
            "n_test": self.n_test,
            "seconds": round(self.seconds, 3),
            "peak_memory_mb": np.nan if np.isnan(self.peak) else round(self.peak / 1e6),  # unknown before it runs
            "threads": self.threads,
            "commit": commit(),
            "versions": versions(),
        }


def threads() -> int:
    """Return how many threads the numerical libraries of this process may use."""
    from threadpoolctl import threadpool_info  # comes with scikit-learn

    return max((pool["num_threads"] for pool in threadpool_info()), default=1)


@lru_cache
def processor(device: str = "cpu") -> str:
    """Return the name of this machine's processor, or of the GPU that a device names."""
    if device.startswith("cuda"):
        import torch

        try:
            return torch.cuda.get_device_name(device)
        except (AssertionError, RuntimeError):  # there is none of that name: the trial has failed
            return ""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


@lru_cache
def commit() -> str:
    """Return the commit of this project, with ``-dirty`` where the package has uncommitted changes.

    An installed package or an archive of the project has none: the package's version stands in its place.  Where git is
    missing, or does not trust a checkout of another user's, it is ``unknown``.
    """

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", "--no-optional-locks", "-C", ROOT, *words], capture_output=True, text=True, check=True
        ).stdout

    from bench import __version__

    if not (is_checkout() and (ROOT / ".git").exists()):  # git itself would look in the folders above
        return f"v{__version__}"
    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", "bench")
        return git("rev-parse", "--short=12", "HEAD").strip() + ("-dirty" if changed.strip() else "")
    except (OSError, ValueError, subprocess.CalledProcessError):
        return "unknown"


@lru_cache
def versions() -> str:
    """Return the versions of Python and of the packages that decide numbers."""
    packages = ["numpy", "scipy", "scikit-learn", "anndata"]
    if find_spec("torch"):  # found without importing it
        packages.append("torch")
    packages += [found.name for found in distributions(name="scvi-tools")]  # optional
    return "; ".join([f"python {platform.python_version()}", *(f"{name} {version(name)}" for name in packages)])
