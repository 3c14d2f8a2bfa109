"""Which cells weights were pretrained on, as those that were made in this project can tell."""

from pathlib import Path

import numpy as np

CELLS, CARD = ".cells.npy", ".json"  # suffixes of what lies beside weights that were made here
BESIDE = (CELLS, CARD)


def seen_by(weights: Path | str) -> np.ndarray | None:
    """Return the identifiers (`bench.datasets.names.cell_ids`) of the cells that weights have seen; None if unknown."""
    file = Path(weights).with_suffix(CELLS)
    return np.load(file, mmap_mode="r", allow_pickle=False) if file.is_file() else None
