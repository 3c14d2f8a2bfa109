"""How fast weights are pretrained on this machine."""

import json
import time
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
    """Seconds of a step, cells of a step, and steps that are left."""

    step_s: float
    n_cells: int
    n_left: int

    @property
    def left_s(self) -> float:
        """Seconds until the weights are there."""
        return self.step_s * self.n_left

    @property
    def cell_s(self) -> float:
        """Seconds of a cell going through the network once, with its gradient."""
        return self.step_s / self.n_cells


def pace_of(name: str) -> Pace:
    """Return the pace of a named recipe: of its finished or begun pretraining, else measured on a micro-batch.

    The preparation of a network, such as vectors of genes, is not counted.
    """
    recipe = named()[name]
    cells = recipe.cells()
    unfinished = Unfinished(target_of(name, recipe, cells), recipe.identity(cells))
    if unfinished.target.is_file():
        card = json.loads(unfinished.target.with_suffix(".json").read_text(encoding="utf-8"))
        return Pace(card["seconds"] / len(card["losses"]), recipe.batch_size, 0)
    told = json.loads(state["told"]) if (state := unfinished.read()) else {"step": 0}
    step_s = told["seconds"] / told["step"] if told["step"] else _measured(recipe, cells)
    return Pace(step_s, recipe.batch_size, recipe.steps - told["step"])


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
