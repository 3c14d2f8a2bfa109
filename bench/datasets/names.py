"""Names of cells: hidden from models at prediction, and identifiers that stay the same wherever a file lies.

Identifiers can be computed again at prediction, so that a model sees whether a cell that it is to score was trained on
(`overlap`).  Known limit: the same cell in two data sets of different names has two identifiers.
"""

from collections.abc import Iterable, Sequence
from hashlib import sha256
from pathlib import Path

import numpy as np


def hidden_names(names: Iterable[str]) -> list[str]:
    """Return the names that cells have when a model predicts: 16 hex digits each, the same for the same name."""
    return [sha256(str(name).encode()).hexdigest()[:16] for name in names]


def cell_ids(dataset_name: str, names: Sequence[str]) -> np.ndarray:
    """Return identifiers of cells, (n_cells,) uint64, from what a model sees at prediction.

    Parameters
    ----------
    dataset_name
        ``uns["bench"]["name"]``; of a path only the file name counts, so that a file may be moved.
    names
        Names of the cells as a model sees them, see `hidden_names`.
    """
    prefix = Path(dataset_name).name if dataset_name.lower().endswith(".h5ad") else dataset_name
    digests = (sha256(f"{prefix}/{name}".encode()).digest()[:8] for name in names)
    return np.frombuffer(b"".join(digests), "<u8").astype(np.uint64)


def overlap(ids: np.ndarray, dataset_name: str, names: Sequence[str]) -> int:
    """Return how many of the cells, named as in `cell_ids`, are among the identifiers."""
    return int(np.isin(cell_ids(dataset_name, names), ids).sum())
