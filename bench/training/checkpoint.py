"""State of a pretraining on disk while it runs, and the finished files: weights, card, identifiers of cells.

Unfinished work has a folder of its own beside the weights, so that a killed process leaves nothing anywhere else.
"""

import json
import os
import shutil
import sys
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from filelock import Timeout
from torch import Tensor, nn
from tqdm import tqdm

from bench.core import atomic
from bench.core.errors import BenchError
from bench.core.shared import lock_of
from bench.weights import save
from bench.weights.seen import BESIDE

FILES = (*BESIDE, ".safetensors")  # in the order they appear in: there are no weights without the others


@dataclass
class Run:
    """All that a pretraining needs to go on."""

    network: nn.Module
    optimizer: torch.optim.Adam
    step: int = 0
    seconds: float = 0.0
    losses: list[float] = field(default_factory=list)  # per step
    curve: list[dict[str, float]] = field(default_factory=list)  # step, loss and more on validation cells
    prepared: dict[str, dict] = field(default_factory=dict)  # what the card says of what came before the first step

    def state(self, identity: str) -> dict:
        """Return it as what ``torch.save`` writes and ``weights_only`` reads."""
        told = {name: getattr(self, name) for name in ("step", "seconds", "losses", "curve", "prepared")}
        networks = {"network": self.network.state_dict(), "optimizer": self.optimizer.state_dict()}
        return {"identity": identity, "told": json.dumps(told)} | networks

    def restore(self, state: dict) -> None:
        """Undo `state`."""
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        for name, value in json.loads(state["told"]).items():
            setattr(self, name, value)


class Unfinished:
    """The folder of a pretraining that is not finished."""

    def __init__(self, target: Path, identity: str):
        self.target, self.identity = target, identity
        self.folder = target.with_suffix(".training")
        self.checkpoint = self.folder / "checkpoint.pt"

    @contextmanager
    def locked(self):
        """Keep other runs of the same pretraining waiting.

        Raises
        ------
        BenchError
            If the folder cannot be written.
        """
        try:
            self.target.parent.mkdir(parents=True, exist_ok=True)
            lock = lock_of(self.target.with_name(f".{self.target.stem}.lock"))
            try:
                lock.acquire(timeout=0)
            except Timeout:
                said = f"Another process is training {self.target.stem}; waiting until it is done."
                tqdm.write(said, file=sys.stderr)
                lock.acquire()
        except OSError as error:
            raise self._cannot_write(error) from error
        with lock:
            yield
            if self.target.is_file():
                shutil.rmtree(self.folder, ignore_errors=True)

    def read(self) -> dict | None:
        """Return the last checkpoint, or None where there is none.

        Raises
        ------
        BenchError
            If there is one that is not of this pretraining.
        """
        if not self.checkpoint.exists():
            return None
        try:
            state = torch.load(self.checkpoint, map_location="cpu", weights_only=True)
            fits = state["identity"] == self.identity and isinstance(json.loads(state["told"]), dict)
        except Exception as error:  # torch raises many kinds for a damaged file, or one that asks to run code
            raise self._does_not_fit(f"{type(error).__name__}") from error
        if not fits:
            raise self._does_not_fit(f"it says identity {state['identity']}, expected {self.identity}")
        return state

    def resume(self, run: Run, state: dict) -> None:
        """Put a checkpoint into a run."""
        try:
            run.restore(state)
        except (KeyError, RuntimeError, ValueError) as error:
            raise self._does_not_fit(str(error).splitlines()[0]) from error

    def keep(self, run: Run) -> None:
        """Write a checkpoint in the place of the last one."""
        state = run.state(self.identity)
        try:
            atomic.write(self.checkpoint, lambda file: torch.save(state, file), replace=True)
        except (BenchError, RuntimeError) as error:  # of torch where the disk is full
            raise self._cannot_write(error) from error

    def finish(self, tensors: Mapping[str, Tensor], told: dict[str, str], card: dict, ids: np.ndarray) -> None:
        """Write the three files and move them where they belong, weights last."""
        cells, text, weights = (self.folder / f"{self.target.stem}{suffix}" for suffix in FILES)
        try:
            atomic.write(cells, lambda file: np.save(file, ids), replace=True)
            atomic.write(text, lambda file: file.write(json.dumps(card, indent=1).encode()), replace=True)
            save(weights, tensors, told)
            for path in (cells, text, weights):
                os.replace(path, self.target.with_name(path.name))
        except (BenchError, OSError) as error:
            raise self._cannot_write(error) from error

    def _does_not_fit(self, why: str) -> BenchError:
        return BenchError(
            f"{self.checkpoint} is not a checkpoint of this pretraining ({why}); delete it to begin anew, or put the "
            "right one there."
        )

    def _cannot_write(self, error: Exception) -> BenchError:
        cause = error.__cause__ or error
        reason = getattr(cause, "strerror", None) or cause
        kept = " The last checkpoint is kept: the same command goes on from it." if self.checkpoint.is_file() else ""
        return BenchError(
            f"Weights cannot be written to {self.target.parent}: {reason}. Free some space, make it writable, or name "
            f"another folder in BENCH_CACHE.{kept}"
        )
