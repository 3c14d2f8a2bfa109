"""The compact file of what was predicted for which cells, ``.npz``, beside the record of a trial."""

import zipfile
import zlib
from pathlib import Path
from typing import IO

import numpy as np

from bench.statistics.predictions import ABSTAINED, Predictions

DAMAGED = (OSError, ValueError, LookupError, EOFError, zipfile.BadZipFile, zlib.error)  # what a damaged file raises


def save(file: IO[bytes], cells: np.ndarray, predictions: Predictions, names: np.ndarray | None) -> None:
    """Write predictions into an open file.

    Parameters
    ----------
    file
        Where to.
    cells, predictions
        Names of the scored cells, shape (n_cells,), and what was predicted for them.
    names
        Of the cells as their data has them, where those repeat.
    """
    labels, truth = np.unique(predictions.truth, return_inverse=True)
    more = {} if names is None or (names == cells).all() else {"names": names}
    if predictions.probabilities is not None:  # labels alone come from some tools
        more["probabilities"] = predictions.probabilities.astype(np.float16)
    if predictions.batch is not None:
        more["batches"], codes = np.unique(predictions.batch, return_inverse=True)
        more["batch"] = codes.astype(np.int16)
    np.savez_compressed(
        file,
        cells=cells.astype(str),
        labels=labels,
        classes=predictions.classes,
        truth=truth.astype(np.int16),
        predicted=predictions.columns.astype(np.int16),
        **more,
    )


def load_names(path: Path) -> np.ndarray:
    """Return the names of the cells as their data has them, where those repeat; else as `load` does."""
    with np.load(path, allow_pickle=False) as kept:
        return kept["names"] if "names" in kept else kept["cells"]


def load(path: Path) -> tuple[np.ndarray, Predictions]:
    """Return the names of the scored cells and what was predicted for them."""
    with np.load(path, allow_pickle=False) as kept:
        classes, probabilities = kept["classes"], None
        if "probabilities" in kept:
            probabilities = kept["probabilities"].astype(np.float64)
            probabilities /= probabilities.sum(axis=1, keepdims=True)
        truth, predicted = kept["labels"][kept["truth"]], np.append(classes, ABSTAINED)[kept["predicted"]]
        batch = kept["batches"][kept["batch"]] if "batch" in kept else None
        return kept["cells"], Predictions(truth, probabilities, classes, predicted, batch)
