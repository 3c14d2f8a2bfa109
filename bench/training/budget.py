"""What a pretraining is given: parameters, cells and tokens, counted on the draws that it trains on.

Nothing is trained: the draws of a step depend on the recipe and the number of the step alone, so that counting them
gives what a finished pretraining has read, and what one would read that was never run.
"""

from dataclasses import dataclass

import torch

from bench.core.families import families
from bench.training.recipes import Pretraining, named


@dataclass(frozen=True)
class Budget:
    """Of one recipe on its cells."""

    weights: str  # name of the recipe
    identity: str  # 16 hex digits by which records know weights made so
    model: str
    genes: int  # that the network knows
    parameters: int  # of the network and its heads for pretraining, frozen ones included
    cells: int  # different ones that are trained on
    cell_passes: int  # cells read, each as often as it was
    tokens: int  # read by the encoder, over all cell passes


def budget(name: str, recipe: Pretraining | None = None) -> Budget:
    """Return what a pretraining is given.

    Parameters
    ----------
    name
        Of the recipe.
    recipe
        Another one than that of this name.

    Raises
    ------
    BenchError
        If the data are missing.
    KeyError
        If there is no recipe of this name.
    """
    recipe = recipe or named()[name]
    cells = recipe.cells()
    objective = families()[recipe.model].load("objective")(recipe, cells, torch.device("cpu"))
    network = objective.network()
    rows, _ = cells.split(recipe.validation_share, recipe.seed)
    n_cells = n_tokens = 0
    for number in range(recipe.steps):
        for part in objective.parts(network, rows, number):
            of_part = objective.read(part)
            n_cells, n_tokens = n_cells + of_part[0], n_tokens + of_part[1]
    return Budget(
        weights=name,
        identity=recipe.identity(cells),
        model=recipe.model,
        genes=cells.n_genes,
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        cells=len(rows),
        cell_passes=n_cells,
        tokens=n_tokens,
    )
