"""Pretraining: three genes in ten are hidden, and their levels predicted from the others."""

import json
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from bench.training.blocks import Selection
from bench.training.recipes import Pretraining
from bench.training.store import Cells
from pocket.network import PocketNetwork

HIDDEN = 0.3  # share of the genes


@dataclass(frozen=True)
class PocketPretraining(Pretraining):
    """Settings; what is not here is the same for all models."""

    model: ClassVar[str] = "pocket"
    protocol: ClassVar[int] = 1
    sizes: ClassVar = ("dim",)  # at least 1, like those of `Pretraining`; see `bench.core.checked`

    dim: int = 32
    clip: float = 1.0  # largest norm of the gradient

    def tokens(self) -> str:
        """Return that tokens are levels of expression, of which all genes of a data set count the library size."""
        return "all"


TRAINED_ON = (Selection("hao", ("random",)),)  # the cells that the random split scores are left out
RECIPES = {"pocket_quick": PocketPretraining(TRAINED_ON, steps=300, n_genes=200, micro_batch=32, lr=3e-3)}


class PocketObjective:
    """See `bench.training.objective.Objective`."""

    seeded = ("weights", "cells of a step", "hidden genes", "validation cells")

    def __init__(self, recipe: PocketPretraining, cells: Cells, device: torch.device):
        self.recipe, self.cells, self.device = recipe, cells, device

    def network(self) -> PocketNetwork:
        """Return the network with random weights."""
        return PocketNetwork(self.cells.n_genes, self.recipe.dim, seed=self.recipe.seed)

    def prepare(self, network: PocketNetwork, rows: np.ndarray) -> dict[str, dict]:
        """Do nothing."""
        return {}

    def parts(self, network: PocketNetwork, rows: np.ndarray, number: int) -> list[tuple[Tensor, Tensor]]:
        """Return true and visible levels of each micro-batch of a step."""
        rng = np.random.default_rng([self.recipe.seed, number])
        levels, visible = self._hidden(rng.choice(rows, self.recipe.batch_size), rng)
        size = self.recipe.micro_batch
        return list(zip(levels.split(size), visible.split(size), strict=True))

    def loss(self, network: PocketNetwork, part: tuple[Tensor, Tensor]) -> Tensor:
        """Return what a micro-batch adds to the mean squared error of its step."""
        levels, visible = part
        return (network(visible) - levels).square().sum() / (self.recipe.batch_size * self.cells.n_genes)

    def read(self, part: tuple[Tensor, Tensor]) -> tuple[int, int]:
        """Return cells and tokens of a micro-batch: of each cell one per gene."""
        return len(part[0]), part[0].numel()

    def evaluate(self, network: PocketNetwork, rows: np.ndarray) -> dict[str, float]:
        """Return the mean squared error on cells not trained on, with the same genes hidden each time."""
        levels, visible = self._hidden(rows, np.random.default_rng(self.recipe.seed))
        return {"loss": (network(visible) - levels).square().mean().item()}

    def metadata(self) -> dict[str, str]:
        """Return the genes, in the order of the columns."""
        return {"genes": json.dumps(self.cells.genes), "library": "all"}

    @staticmethod
    def told(point: dict[str, float]) -> str:
        """Return in words what `evaluate` found."""
        return f"squared error {point['loss']:.3f}"

    def _hidden(self, rows: np.ndarray, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        levels = self.cells.tokens(rows).astype(np.float32)
        visible = np.where(rng.random(levels.shape) < HIDDEN, 0, levels)
        return torch.from_numpy(levels).to(self.device), torch.from_numpy(visible).to(self.device)
