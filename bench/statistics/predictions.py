"""What a model said of the scored cells, checked once: truth, probabilities, and the label it means."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from bench.core.errors import BenchError

SUM_TOLERANCE = 1e-3  # probabilities may have been stored as float16
UNLABELLED = ""  # in the place of the true type where nobody knows it: such cells are predicted and not scored
ABSTAINED = "(abstained)"  # in the place of a type where a model rejects a cell


@dataclass(frozen=True, eq=False)
class Predictions:
    """True types of the test cells and the probabilities a model gave them.

    Parameters
    ----------
    truth
        True cell type of every cell, shape (n_cells,).
    probabilities
        One row per cell, one column per class, shape (n_cells, n_classes); rows sum to 1.  None where labels alone are
        known, ``predicted``: nothing can be said of confidence then.
    classes
        Types the model knows, shape (n_classes,); columns are put into alphabetical order.
    predicted
        Type the model gives each cell, shape (n_cells,). By default the most probable one, the alphabetically first
        on a tie; a model whose probabilities saturate at 1 says here which one it means. `ABSTAINED` where it rejects
        the cell: that is wrong, and no type of its own.
    batch
        Donor, study or condition of every cell, shape (n_cells,), where the data set has one.

    Raises
    ------
    BenchError
        If shapes disagree, a label is missing or twice, or a row is no probability distribution.
    """

    truth: np.ndarray
    probabilities: np.ndarray | None
    classes: np.ndarray
    predicted: np.ndarray | None = None
    batch: np.ndarray | None = None

    def __post_init__(self):
        truth, classes = _labels("truth", self.truth), _labels("classes", self.classes)
        _check_classes(classes)
        order = np.argsort(classes, kind="stable")
        object.__setattr__(self, "truth", truth)
        if self.probabilities is not None:
            probabilities = np.asarray(self.probabilities, dtype=np.float64)
            _check(truth, probabilities, classes)
            object.__setattr__(self, "probabilities", probabilities[:, order])
        object.__setattr__(self, "classes", classes[order])
        object.__setattr__(self, "predicted", self._predicted())
        if self.batch is not None:
            object.__setattr__(self, "batch", _labels("batch", self.batch))
            if self.batch.shape != truth.shape:
                raise BenchError(f"batch has {len(self.batch)} names for {len(truth)} cells; expected one each.")

    def _predicted(self) -> np.ndarray:
        if self.predicted is None and self.probabilities is None:
            raise BenchError("Neither probabilities nor predicted labels are given; expected one of them.")
        if self.predicted is None:
            return self.classes[self.probabilities.argmax(axis=1)]
        predicted = _labels("predicted", self.predicted)
        if predicted.shape != self.truth.shape:
            raise BenchError(f"predicted has {len(predicted)} labels for {len(self.truth)} cells; expected one each.")
        if strange := sorted(set(predicted.tolist()) - {*self.classes, ABSTAINED}):
            raise BenchError(
                f"predicted holds {strange[:3]}, which are not in classes; expected only those. "
                "A label that rejects a cell is declared on the model's class, such as rejects = 'none of these'."
            )
        return predicted

    @cached_property
    def labels(self) -> np.ndarray:
        """Types that occur in the truth: the fixed label set, independent of what a model emits."""
        return np.unique(self.truth[self.truth != UNLABELLED])

    @cached_property
    def abstained(self) -> np.ndarray:
        """Which cells the model gives no type, shape (n_cells,)."""
        return self.predicted == ABSTAINED

    @cached_property
    def columns(self) -> np.ndarray:
        """Column of the predicted type, shape (n_cells,); -1 where the model abstains."""
        return np.where(self.abstained, -1, np.searchsorted(self.classes, self.predicted))

    def take(self, cells: np.ndarray) -> "Predictions":
        """Return the predictions of some cells (indices or mask; an index may repeat)."""
        batch = None if self.batch is None else self.batch[cells]
        probabilities = None if self.probabilities is None else self.probabilities[cells]
        return Predictions(self.truth[cells], probabilities, self.classes, self.predicted[cells], batch)


def _labels(name: str, values: Sequence[str]) -> np.ndarray:
    values = np.asarray(values)
    if values.ndim != 1 or not len(values):
        raise BenchError(f"{name} has shape {values.shape}; expected a flat list of at least one label.")
    if missing := int(pd.isna(values).sum()):
        raise BenchError(f"{name} has {missing} missing labels; drop those cells or name their type before scoring.")
    return values.astype(str)


def _check_classes(classes: np.ndarray) -> None:
    if len(set(classes)) < len(classes):
        twice = sorted({str(label) for label in classes if (classes == label).sum() > 1})
        raise BenchError(f"classes has {twice} more than once; expected each type once. Merge their columns.")


def _check(truth: np.ndarray, probabilities: np.ndarray, classes: np.ndarray) -> None:
    expected = (len(truth), len(classes))
    if probabilities.shape != expected:
        raise BenchError(
            f"probabilities have shape {probabilities.shape}; expected {expected} = (cells in truth, classes). "
            "Return one row per test cell and one column per entry of classes_."
        )
    if bad := int((~np.isfinite(probabilities)).any(axis=1).sum()):
        raise BenchError(f"{bad} cells have NaN or infinite probabilities; expected finite ones. Did training diverge?")
    if probabilities.min() < 0:
        raise BenchError(
            f"The lowest probability is {probabilities.min():.3g}; expected >= 0. Apply softmax to logits."
        )
    worst = np.abs(probabilities.sum(axis=1) - 1).argmax()
    if abs(total := probabilities[worst].sum() - 1) > SUM_TOLERANCE:
        raise BenchError(
            f"The probabilities of cell {worst} sum to {total + 1:.4g}; expected 1 within {SUM_TOLERANCE}. "
            "Divide each row by its sum, or apply softmax to logits."
        )
