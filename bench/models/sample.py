"""A few cells of a data set, to try a model on: real ones, or drawn ones where nothing may be fetched."""

import numpy as np
import pandas as pd
from anndata import AnnData

from bench.datasets.contract import Dataset, check
from bench.datasets.names import cell_ids, hidden_names
from bench.preprocess import features
from bench.weights.seen import seen_by

N_TYPES, N_CELLS, N_GENES = 8, 30, 500  # types, cells of each type, genes


def sides(adata: AnnData, *, seed: int = 0) -> tuple[AnnData, AnnData]:
    """Return training cells and scored cells, two to one: at most 30 of each of the eight most frequent types.

    Parameters
    ----------
    adata
        Cells that keep the contract, shape (n_cells, n_genes).
    seed
        Of the draw of cells; genes are the 500 of largest variance among them.
    """
    rng, labels = np.random.default_rng(seed), adata.obs["cell_type"].astype(str)
    frequent = labels.value_counts().index[:N_TYPES]
    places = [np.flatnonzero(labels == label) for label in frequent]
    drawn = [rng.permutation(cells)[:N_CELLS] for cells in places]
    scored = np.concatenate([cells[::3] for cells in drawn if len(cells) > 1])
    train = np.concatenate([np.delete(cells, slice(None, None, 3)) for cells in drawn if len(cells) > 1])
    variance = features(adata[np.concatenate([train, scored])].copy()).toarray().var(axis=0)
    genes = np.sort(np.argsort(-variance, kind="stable")[:N_GENES])
    return tuple(adata[rng.permutation(rows)][:, genes].copy() for rows in (train, scored))


def unseen(adata: AnnData, weights: str) -> AnnData:
    """Return the cells that weights were not pretrained on, as in-project ones can tell; all if none would be left."""
    seen = seen_by(weights)
    if seen is None:
        return adata
    new = ~np.isin(cell_ids(adata.uns["bench"]["name"], hidden_names(adata.obs_names)), seen)
    return adata[new].copy() if new.any() else adata


def drawn(*, seed: int = 0) -> AnnData:
    """Return 120 cells of four types that never lived: Poisson counts of 60 genes around a mean profile per type.

    The profiles vary around a common one, so that models are not sure of every cell: two fits show where they differ.
    """
    rng = np.random.default_rng(seed)
    means = rng.gamma(0.5, 4.0, 60) * rng.gamma(2.0, 0.5, (4, 60))
    types = np.repeat(np.arange(4), 30)
    obs = pd.DataFrame({"cell_type": [f"type {'ABCD'[i]}" for i in types]}, index=[f"cell {i}" for i in range(120)])
    cells = AnnData(rng.poisson(means[types]), obs=obs, var=pd.DataFrame(index=[f"GENE{i}" for i in range(60)]))
    return check(cells, Dataset("drawn", "Drawn cells", read=None))
