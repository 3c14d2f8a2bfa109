"""What a model brings to pretraining; everything else is the same loop for all of them."""

from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from bench.training.recipes import Pretraining
from bench.training.store import Cells


class Objective(Protocol):
    """A network and what it is trained for, made of a recipe, its cells and the device.

    Every random number depends on the recipe's seed and the number of the step alone.
    """

    seeded: tuple[str, ...]  # what is drawn with the recipe's seed, in words
    recipe: Pretraining
    cells: Cells

    def __init__(self, recipe: Pretraining, cells: Cells, device: torch.device): ...

    def network(self) -> nn.Module:
        """Return the network with random weights."""

    def prepare(self, network: nn.Module, rows: np.ndarray) -> dict[str, dict]:
        """Do what comes before the first step, once, on the training cells; return what the card says of it."""

    def parts(self, network: nn.Module, rows: np.ndarray, number: int) -> list[Any]:
        """Return the micro-batches of a step; processes divide them."""

    def loss(self, network: nn.Module, part: Any) -> Tensor:
        """Return what a micro-batch adds to the loss of its step."""

    def read(self, part: Any) -> tuple[int, int]:
        """Return how many cells of a micro-batch the network reads, and how many tokens these are to its encoder."""

    def evaluate(self, network: nn.Module, rows: np.ndarray) -> dict[str, float]:
        """Return the ``loss`` on cells not trained on, and how good that is, with the same masks each time.

        ``explained`` is the share by which an error is below that of a guess which knows the genes alone: each one's
        usual value or frequency, whatever cell it is in.
        """

    def metadata(self) -> dict[str, str]:
        """Return what the weights file says of its tensors."""

    @staticmethod
    def told(point: dict[str, float]) -> str:
        """Return in words what `evaluate` found."""
