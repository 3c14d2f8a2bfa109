"""A stranger's model: annotate a cell by the nearest mean expression profile.  Used by `audit.md`."""

import numpy as np
from scipy.special import softmax
from sklearn.metrics import pairwise_distances

from bench.preprocess import features


class NearestCentroid:
    """One mean profile per cell type; a plain class, derived from nothing of this project."""

    def __init__(self, temperature: float = 1.0):
        self.temperature = temperature

    def fit(self, train, *, seed, validation=None):
        """Average log2(1 + CP10K) over the training cells of each type."""
        X, labels = features(train), train.obs["cell_type"].astype(str).to_numpy()
        self.classes_ = np.unique(labels)
        self._profiles = np.vstack([np.asarray(X[labels == label].mean(axis=0)) for label in self.classes_])
        return self

    def predict_proba(self, cells):
        """Return a softmax over negative distances, (n_cells, n_classes)."""
        return softmax(-pairwise_distances(features(cells), self._profiles) / self.temperature, axis=1)
