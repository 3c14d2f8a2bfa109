"""Controls that know nothing: the floor that every model has to clear."""

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from anndata import AnnData
from sklearn.dummy import DummyClassifier

from bench.models.baselines.l1_logistic import L1Logistic, L1LogisticConfig
from bench.models.contract import Annotator, labels_of


class Majority(Annotator):
    """The most frequent training label for every cell; accuracy = its share among the scored cells."""

    stochastic = False
    takes: ClassVar[dict[str, float]] = {"published": 0.0}

    def fit(self, train: AnnData, *, seed: int, validation: AnnData | None = None) -> Self:
        """Count the labels."""
        labels = labels_of(train)
        self._dummy = DummyClassifier(strategy="prior").fit(np.zeros((len(labels), 1)), labels)
        self.classes_ = self._dummy.classes_
        return self

    def predict_proba(self, cells: AnnData) -> np.ndarray:
        """Return the training frequencies for every cell."""
        return self._dummy.predict_proba(np.zeros((cells.n_obs, 1)))


class Random(Majority):
    """A label drawn for each cell with the training frequencies; expected accuracy = sum of p_train * p_test.

    The draw depends on the seed and the cell's name, not on the order of the cells.
    """

    stochastic = True
    protocol = 2

    def fit(self, train: AnnData, *, seed: int, validation: AnnData | None = None) -> Self:
        """Count the labels."""
        self._seed = seed
        return super().fit(train, seed=seed)

    def predict_proba(self, cells: AnnData) -> np.ndarray:
        """Return 1 for the drawn label and 0 elsewhere."""
        edges = np.cumsum(self._dummy.class_prior_)
        draws = [np.random.default_rng([self._seed, *name.encode()]).random() for name in cells.obs_names.astype(str)]
        drawn = np.minimum(np.searchsorted(edges, draws, side="right"), len(edges) - 1)
        return np.eye(len(edges))[drawn]


@dataclass(frozen=True)
class ShuffledLabelsConfig(L1LogisticConfig):
    """As for L1 logistic regression, but with one C: no search is wasted on noise."""

    Cs: tuple[float, ...] = (0.1,)  # inverse penalty


class ShuffledLabels(L1Logistic):
    """L1 logistic regression fitted on permuted training labels: what the pipeline finds where there is nothing.

    Anything clearly above `Majority` would mean that test labels leak.
    """

    Config = ShuffledLabelsConfig
    stochastic = True

    def fit(self, train: AnnData, *, seed: int, validation: AnnData | None = None) -> Self:
        """Permute the labels under the seed, then fit."""
        shuffled = train.copy()
        labels = labels_of(train)
        shuffled.obs["cell_type"] = labels[np.random.default_rng(seed).permutation(len(labels))]
        return super().fit(shuffled, seed=seed)
