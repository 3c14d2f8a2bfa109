"""Two made-up models that predict the same cells, for tests of paired bootstraps."""

import numpy as np

from bench.statistics.predictions import Predictions

TYPES = np.array([f"type {i:02d}" for i in range(11)])
HARD = ("type 00", "type 01")


def two_models(seed: int, n_cells: int = 400, n_types: int = 4, skill: tuple = (2.0, 1.5)) -> list[Predictions]:
    """Two models of unlike skill on the same cells of unlike frequent types; their errors are correlated."""
    rng = np.random.default_rng(seed)
    types = TYPES[:n_types]
    truth = rng.choice(types, size=n_cells, p=np.arange(1, n_types + 1)[::-1] / sum(range(1, n_types + 1)))
    shared = rng.normal(size=(n_cells, n_types))
    models = []
    for strength in skill:
        weights = np.exp(shared + rng.normal(size=shared.shape) + strength * (truth[:, None] == types))
        models.append(Predictions(truth, weights / weights.sum(axis=1, keepdims=True), types))
    return models
