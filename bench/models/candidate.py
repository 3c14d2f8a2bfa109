"""A model about to be checked, with cells to try it on; whatever it raises becomes a sentence that names the verb."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from anndata import AnnData

from bench.core.errors import BenchError, reason_of
from bench.models.answers import classes_of, predictions_of, probabilities
from bench.models.contract import labels_of, without_labels
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
        model = self.call("the constructor", self.make)
        self.call("fit", model.fit, train, seed=seed)
        classes_of(model)  # raises if it has none
        return model

    def predictions(self, model, cells: AnnData | None = None) -> Predictions:
        """Return what a fitted model says of cells with labels, by default of the scored ones, as for a record."""
        cells = self.scored if cells is None else cells
        types = np.unique(labels_of(self.train))
        return predictions_of(model, without_labels(cells), labels_of(cells), types, ask=self.ask)

    def probabilities(self, model, cells: AnnData | None = None) -> np.ndarray:
        """Return what a fitted model says of cells, by default of all scored ones, (n_cells, n_classes)."""
        cells = self.cells if cells is None else cells
        found = self.ask("predict_proba", model.predict_proba, cells)
        classes = classes_of(model)
        found = probabilities(found, classes, cells.obs_names)
        Predictions(np.repeat(classes[:1], cells.n_obs), found, classes)  # raises if they are none
        return found

    def ask(self, verb: str, method: Callable, cells: AnnData):
        """Return what a method of the model answers when it is given cells of its own."""
        return self.call(verb, method, cells.copy())

    @staticmethod
    def call(verb: str, function: Callable, *given, **more):
        """Return what a method of the model returns; an error of its own becomes a finding."""
        try:
            return function(*given, **more)
        except BenchError:
            raise
        except (Exception, SystemExit) as error:
            raise BenchError(f"{verb} raised {reason_of(error)}") from error
