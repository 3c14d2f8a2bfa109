"""A model about to be checked, with cells to try it on; whatever it raises becomes a sentence that names the verb."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from anndata import AnnData

from bench.core.errors import BenchError
from bench.models.contract import Annotator, labels_of, without_labels
from bench.statistics.predictions import Predictions


@dataclass(frozen=True)
class Candidate:
    """A model to be checked, and cells with labels to train on and to score; fitted once for most checks."""

    make: Callable[[], Any]  # returns an unfitted model
    train: AnnData
    scored: AnnData
    tolerance: float = 1e-4  # of probabilities that should be equal; sums of float32 in another order differ by less

    @cached_property
    def fitted(self):
        """The model, fitted on all training cells with seed 0."""
        return self.fit(self.train.copy())

    @cached_property
    def cells(self) -> AnnData:
        """The scored cells as the runner shows them: without labels."""
        return without_labels(self.scored)

    def fit(self, train: AnnData, seed: int = 0):
        """Return a new model fitted on some cells."""
        model = self.make()
        self.call("fit", model.fit, train, seed=seed)
        if not hasattr(model, "classes_"):
            raise BenchError("fit sets no classes_; expected the sorted cell types, one per column of predict_proba.")
        return model

    def predictions(self, model) -> Predictions:
        """Return what a fitted model says of the scored cells, checked as for a record."""
        own = getattr(type(model), "predict", Annotator.predict)
        said = None if own is Annotator.predict else np.asarray(self.call("predict", model.predict, self.cells.copy()))
        found = np.asarray(self.call("predict_proba", model.predict_proba, self.cells.copy()))
        return Predictions(labels_of(self.scored), found, np.asarray(model.classes_), said)

    def probabilities(self, model, cells: AnnData | None = None) -> np.ndarray:
        """Return what a fitted model says of cells, by default of all scored ones, (n_cells, n_classes)."""
        cells = (self.cells if cells is None else cells).copy()
        found = np.asarray(self.call("predict_proba", model.predict_proba, cells))
        classes = np.asarray(model.classes_)
        Predictions(np.repeat(classes[:1], cells.n_obs), found, classes)  # raises if they are none
        return found

    @staticmethod
    def call(verb: str, function: Callable, *given, **more):
        """Return what a method of the model returns; an error of its own becomes a finding."""
        try:
            return function(*given, **more)
        except BenchError:
            raise
        except Exception as error:
            raise BenchError(f"{verb} raised {type(error).__name__}: {' '.join(str(error).split())}") from error
