"""Maps of embeddings: where scored cells lie beside each other, kept beside the records so that a page needs no data.

UMAP as scanpy makes it (McInnes et al. 2018, Wolf et al. 2018), with its defaults and a fixed seed.  What is measured
is measured among the same nearest cells in the embedding itself, not in the plane: a map shows, it proves nothing.
"""

from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any

import numpy as np
from anndata import AnnData
from sklearn.neighbors import NearestNeighbors

from bench.core.errors import BenchError
from bench.core.keys import digest
from bench.core.provenance import commit
from bench.statistics.predictions import UNLABELLED

MOST_CELLS = 500  # of a map: more can hardly be told apart in its panel, and a tier has two dozen maps to commit
NEIGHBOURS = 15  # scanpy's default
LEAST_CELLS = NEIGHBOURS + 1
SEED = 0  # of the draw of cells and of UMAP


@dataclass(frozen=True)
class Map:
    """Scored cells of one trial, at most `MOST_CELLS` drawn of them, the same for all trials that score the same."""

    types: np.ndarray  # (n_cells,) true ones
    places: np.ndarray  # (n_cells, 2) without unit
    own: np.ndarray  # (n_cells,) share of the nearest cells in the embedding that are of the cell's type
    cells: str  # 16 hex digits over their names: maps with the same show the same cells
    made_with: str  # versions, seed and commit


def map_of(model: Any, cells: AnnData, truth: np.ndarray) -> Map:
    """Return the map of what a fitted model's ``embed`` gives for scored cells.

    Parameters
    ----------
    model, cells
        The model, and cells as it may see them.
    truth
        Their (n_cells,) types.

    Raises
    ------
    BenchError
        If there are too few cells, or nobody knows their types.
    """
    if cells.n_obs < LEAST_CELLS or (truth == UNLABELLED).all():
        raise BenchError(f"it needs {LEAST_CELLS} scored cells of known type, there are {cells.n_obs} cells")
    drawn = np.arange(cells.n_obs)
    if cells.n_obs > MOST_CELLS:
        drawn = np.sort(np.random.default_rng(SEED).choice(cells.n_obs, MOST_CELLS, replace=False))
    shown, types = cells[drawn].copy(), truth[drawn]
    vectors = np.asarray(model.embed(shown), dtype=np.float32)
    made_with = f"scanpy {version('scanpy')}; umap-learn {version('umap-learn')}; seed {SEED}; commit {commit()}"
    names = digest(shown.obs_names.tolist())
    return Map(types, _places(vectors), own_neighbours(vectors, types), names, made_with)


def own_neighbours(vectors: np.ndarray, types: np.ndarray) -> np.ndarray:
    """Return the share of each cell's nearest other cells that are of its type, (n_cells,), 0 to 1, higher is better.

    Parameters
    ----------
    vectors, types
        (n_cells, n_dimensions), compared by Euclidean distance, and (n_cells,).
    """
    nearest = NearestNeighbors(n_neighbors=NEIGHBOURS).fit(vectors).kneighbors(return_distance=False)
    return (types[nearest] == types[:, None]).mean(axis=1)


def save(file: IO[bytes], drawn: Map) -> None:
    """Write a map into an open file."""
    names, types = np.unique(drawn.types.astype(str), return_inverse=True)
    np.savez_compressed(
        file,
        names=names,
        types=types.astype(np.uint16),
        places=drawn.places.astype(np.float16),
        own=np.rint(drawn.own * NEIGHBOURS).astype(np.uint8),
        cells=drawn.cells,
        made_with=drawn.made_with,
    )


def load(path: Path) -> Map:
    """Return the map in a file."""
    with np.load(path, allow_pickle=False) as kept:
        types, places = kept["names"][kept["types"]], kept["places"].astype(np.float64)
        if places.shape != (len(types), 2) or not np.isfinite(places).all():
            raise ValueError("places are not two finite numbers a cell")
        return Map(types, places, kept["own"] / NEIGHBOURS, str(kept["cells"]), str(kept["made_with"]))


def _places(vectors: np.ndarray) -> np.ndarray:
    import scanpy  # here: it takes seconds

    graph = AnnData(obsm={"vectors": vectors}, shape=(len(vectors), 0))
    scanpy.pp.neighbors(graph, n_neighbors=NEIGHBOURS, use_rep="vectors", random_state=SEED)
    scanpy.tl.umap(graph, random_state=SEED)
    places = graph.obsm["X_umap"]
    return places - places.mean(axis=0)
