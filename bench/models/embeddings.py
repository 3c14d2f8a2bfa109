"""Embeddings of a data set's cells by a foundation model of which nothing is fine-tuned: for pages and notebooks."""

from typing import Any

import numpy as np
from anndata import AnnData

from bench.core.errors import BenchError, listed
from bench.models.contract import without_labels
from bench.models.probe import PROBES
from bench.models.spec import create, describe


def embeddings_of(model: str, cells: AnnData, *, seed: int = 0, overrides: dict[str, Any] | None = None) -> np.ndarray:
    """Return what a probe's classifier is given, from the cache as far as it has been computed before.

    Nothing is refused here, not even cells that the weights were pretrained on: who shows them says so.

    Parameters
    ----------
    model
        A probe, such as ``scgpt@probe`` or ``scgpt@random_probe``.
    cells
        As `bench.datasets.load` returns them; their labels are not looked at.
    seed
        Of random weights.
    overrides
        Settings by name, ``weights`` among them, as a trial is given them.

    Returns
    -------
    (n_cells, n_dimensions) float32, in the order of the cells.

    Raises
    ------
    BenchError
        If the model has no such variant, is no probe, or its weights cannot be had.
    """
    spec = describe(model, overrides)
    if spec.variant not in PROBES:
        probes = [f"{spec.name}@{variant}" for variant in getattr(spec.cls, "variants", ()) if variant in PROBES]
        remedy = f"name one of its probes: {listed(probes)}" if probes else "name a probe of a foundation model"
        raise BenchError(f"What {model} makes of cells depends on training; {remedy}.")
    return create(spec).with_network(cells, seed).embed(without_labels(cells))
