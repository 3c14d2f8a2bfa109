"""What pretrained weights say of hidden expression in cells that they have not seen, beside what genes alone say."""

import math

import torch

from bench.core.families import families
from bench.training.device import threads_for
from bench.training.masked_steps import N_VALIDATION
from bench.training.pretrain import target_of
from bench.training.recipes import named
from bench.weights import read


def explained(name: str) -> float:
    """Return the share of an error that a pretraining took away: 0 if it learned no more than each gene's usual value.

    The error is that of the pretraining's own objective, see ``evaluate`` in `bench.training.objective.Objective`, on
    up to 256 cells that were not trained on, computed anew from the weights in the cache.

    Parameters
    ----------
    name
        Of the recipe.

    Returns
    -------
    At most 1, below 0 where the genes alone say more; nan where the weights are not in the cache.

    Raises
    ------
    BenchError
        If the data are missing, or the weights are damaged.
    KeyError
        If there is no recipe of this name.
    """
    recipe = named()[name]
    cells = recipe.cells()
    path = target_of(name, recipe, cells)
    if not path.is_file():
        return math.nan
    objective = families()[recipe.model].load("objective")(recipe, cells, torch.device("cpu"))
    network = objective.network()
    network.load_state_dict(read(path).tensors)
    rows = cells.split(recipe.validation_share, recipe.seed)[1][:N_VALIDATION]
    with torch.inference_mode(), threads_for(network):
        return objective.evaluate(network.eval(), rows)["explained"]
