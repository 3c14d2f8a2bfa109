"""Scores of the probabilities that a model gives its predicted types.

Sources: Guo et al. 2017 (arXiv:1706.04599) for the expected calibration error, bins closed on the right; Brier 1950
(multiclass, range 0-2).
"""

import numpy as np

from bench.core.errors import BenchError
from bench.statistics.predictions import Predictions

N_BINS = 15  # of the calibration error, equal width on [0, 1]
TIE = 1e-6  # probabilities nearer to each other than that are equal


def confidence(predictions: Predictions) -> tuple[np.ndarray, np.ndarray]:
    """Return the probability of the predicted type, 0-1, and whether it is right, both of shape (n_cells,).

    A cell without a predicted type has 0 and is not right: it claims nothing, and adds nothing to a calibration error.

    Raises
    ------
    BenchError
        If labels alone are known.
    """
    _demand_probabilities(predictions)
    sure = predictions.probabilities[np.arange(len(predictions.truth)), predictions.columns]
    return np.where(predictions.abstained, 0.0, sure), predictions.predicted == predictions.truth


def ece(predictions: Predictions) -> float:
    """Return the expected calibration error of the predicted type, 0-1, over 15 equal-width bins (low, high]."""
    sure, right = confidence(predictions)
    bins = np.digitize(sure, np.linspace(0, 1, N_BINS + 1)[1:-1], right=True)
    gap = np.bincount(bins, weights=right - sure, minlength=N_BINS)
    return float(np.abs(gap).sum() / len(sure))


def brier(predictions: Predictions) -> float:
    """Return the mean squared error summed over classes, 0-2; a true type the model lacks has probability 0."""
    _demand_probabilities(predictions)
    hit = predictions.truth[:, None] == predictions.classes  # (n_cells, n_classes)
    squares = ((predictions.probabilities - hit) ** 2).sum(axis=1)
    return float(np.mean(squares + ~hit.any(axis=1)))


def contradicted(predictions: Predictions) -> float:
    """Return the share of cells whose predicted type is not the most probable one, 0-1; abstentions are none of them.

    Accuracy and F1 then judge other answers than the calibration error and the Brier score do.
    """
    sure, _ = confidence(predictions)
    lower = sure < predictions.probabilities.max(axis=1) - TIE
    return float((lower & ~predictions.abstained).mean())


def _demand_probabilities(predictions: Predictions) -> None:
    if predictions.probabilities is None:
        raise BenchError("Labels alone are known here; confidence and calibration need the probability of each type.")
