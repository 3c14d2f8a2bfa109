"""How fast weights are pretrained on this machine, and what follows for fine-tuning them."""

import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from bench.core.families import families
from bench.training.checkpoint import Unfinished
from bench.training.device import threads_for
from bench.training.objective import Objective
from bench.training.pretrain import target_of
from bench.training.recipes import Pretraining, named
from bench.training.store import Cells


@dataclass(frozen=True)
class Pace:
    """Seconds of a step, cells of a step, steps that are left, and layers of the network."""

    step_s: float
    n_cells: int
    n_left: int
    depth: int

    @property
    def left_s(self) -> float:
        """Seconds until the weights are there."""
        return self.step_s * self.n_left

    @property
    def cell_s(self) -> float:
        """Seconds of a cell going through the network once, with its gradient."""
        return self.step_s / self.n_cells

    def fine_tuning_s(self, settings: Mapping[str, Any]) -> float:
        """Return seconds of a training cell in a fine-tuning with these settings; nan where they do not tell."""
        epochs, trained = settings.get("epochs", math.nan), settings.get("trainable")
        if trained == "all":
            return epochs * self.cell_s
        if trained == "last_layer" and settings.get("redraw") is False:  # what is frozen, once: a pass with no gradient
            return (1 / 3 + epochs / self.depth) * self.cell_s
        return math.nan


def pace_of(name: str) -> Pace:
    """Return the pace of a named recipe: of its finished or begun pretraining, else measured on a micro-batch.

    The preparation of a network, such as vectors of genes, is not counted.
    """
    recipe = named()[name]
    cells = recipe.cells()
    unfinished = Unfinished(target_of(name, recipe, cells), recipe.identity(cells))
    if unfinished.target.is_file():
        card = json.loads(unfinished.target.with_suffix(".json").read_text(encoding="utf-8"))
        return Pace(card["seconds"] / len(card["losses"]), recipe.batch_size, 0, recipe.depth)
    told = json.loads(state["told"]) if (state := unfinished.read()) else {"step": 0}
    step_s = told["seconds"] / told["step"] if told["step"] else _measured(recipe, cells)
    return Pace(step_s, recipe.batch_size, recipe.steps - told["step"], recipe.depth)


def _measured(recipe: Pretraining, cells: Cells) -> float:
    """Return seconds of a step from those of its first micro-batch, the second time: the first time is slower."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    objective = families()[recipe.model].load("objective")(recipe, cells, device)
    network = objective.network().to(device)
    parts = objective.parts(network, cells.split(recipe.validation_share, recipe.seed)[0], 0)
    with threads_for(network):
        _, seconds = [_seconds(objective, network, parts[0]) for _ in range(2)]
    return seconds * len(parts)


def _seconds(objective: Objective, network: nn.Module, part: Any) -> float:
    begun = time.perf_counter()
    loss = objective.loss(network, part)
    loss.backward()
    loss.item()  # a GPU is at work until then
    return time.perf_counter() - begun
