"""State of a fine-tuning on disk after its epochs, where a place for it has been named (`bench.core.unfinished`).

An epoch's draws depend on the seed and its number alone: what goes on from here gives what an uninterrupted one gives.
"""

import sys
import time
from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from tqdm import tqdm

from bench.core import atomic
from bench.core.errors import BenchError
from bench.core.shared import cannot_keep
from bench.core.unfinished import Place

EVERY_S = 60.0  # least time between two states: what is trained in less keeps none


class Stateful(Protocol):
    """What PyTorch's optimisers, schedules and scalers have in common."""

    def state_dict(self) -> dict[str, Any]:
        """Return all that it needs to go on."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put such a state in place."""


class Kept:
    """What a fine-tuning needs to go on after its last epoch.

    Parameters
    ----------
    place
        Where, or None to keep nothing.
    network
        What is trained.
    steps
        By name, what makes its steps and changes with them, such as the optimiser.
    history, best
        What happened, with a ``train_loss`` for each epoch, and the best epoch so far: objects with plain attributes.
    """

    def __init__(self, place: Place | None, network: nn.Module, steps: Mapping[str, Stateful], history: Any, best: Any):
        self.place, self.network, self.steps, self.history, self.best = place, network, steps, history, best
        self._last = time.monotonic()

    def resume(self) -> int:
        """Put the state on disk in place, if there is one, and return how many epochs are done.

        Raises
        ------
        BenchError
            If the file is damaged or of another network.
        """
        if self.place is None or not self.place.path.is_file():
            return 0
        try:
            state = torch.load(self.place.path, map_location="cpu", weights_only=True)
            _put(self.network, state["network"])
            for name, part in self.steps.items():
                part.load_state_dict(state[name])
            vars(self.history).update(state["history"])
            vars(self.best).update(state["best"])
            self.place.earlier_s = state["seconds"]
        except Exception as error:  # torch raises many kinds for a damaged file
            raise BenchError(
                f"{self.place.path} is not the state of this fine-tuning ({type(error).__name__}: {error}). Delete it "
                "if it is still there; the same command then begins anew."
            ) from error
        n_epochs = len(self.history.train_loss)
        tqdm.write(f"fine-tuning goes on after epoch {n_epochs}", file=sys.stderr)
        return n_epochs

    def keep(self) -> None:
        """Write the state after an epoch, unless what would be lost took less than a minute."""
        if self.place is None or time.monotonic() - self._last < EVERY_S:
            return
        state = {name: part.state_dict() for name, part in self.steps.items()}
        state |= {"network": trained(self.network), "history": vars(self.history), "best": vars(self.best)}
        state["seconds"] = self.place.seconds
        try:
            atomic.write(self.place.path, lambda file: torch.save(state, file), replace=True)
        except (BenchError, RuntimeError) as error:  # of torch where the disk is full; training itself needs no disk
            reason = cannot_keep(self.place.path.parent, error.__cause__ or error)
            tqdm.write(f"The state after this epoch was not kept. {reason}", file=sys.stderr)
        self._last = time.monotonic()


def trained(network: nn.Module) -> dict[str, Tensor]:
    """Return the tensors that change in training: parameters with a gradient, and buffers."""
    names = {name for name, p in network.named_parameters() if p.requires_grad}
    names |= {name for name, _ in network.named_buffers()}
    return {name: tensor for name, tensor in network.state_dict().items() if name in names}


def _put(network: nn.Module, tensors: dict[str, Tensor]) -> None:
    if set(tensors) != set(trained(network)):
        raise KeyError("other tensors are trained")
    network.load_state_dict(tensors, strict=False)
