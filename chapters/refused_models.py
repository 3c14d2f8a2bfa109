"""Models that break a promise each, as real ones have.  Used by `audit.md` to show what is refused, and how."""

import numpy as np
from nearest_centroid import NearestCentroid
from scipy.special import softmax

from bench.preprocess import features


class NoProbabilities:
    """Only says labels; the missing method is noticed before anything runs."""

    def fit(self, train, *, seed, validation=None):
        """Keep the types."""
        self.classes_ = np.unique(train.obs["cell_type"].astype(str))
        return self


class Logits(NearestCentroid):
    """Forgets the softmax."""

    def predict_proba(self, cells):
        """Return logarithms."""
        return np.log(super().predict_proba(cells))


class OneForEachType(NearestCentroid):
    """Gives a probability per type, one against the rest, and does not divide by their sum."""

    def predict_proba(self, cells):
        """Return rows that do not sum to 1."""
        return np.sqrt(super().predict_proba(cells))


class NoColumnForTheLast(NearestCentroid):
    """Returns a column less than there are types."""

    def predict_proba(self, cells):
        """Return too few columns."""
        return softmax(super().predict_proba(cells)[:, :-1], axis=1)


class Diverged(NearestCentroid):
    """Training ended in NaN."""

    def predict_proba(self, cells):
        """Return NaN."""
        return super().predict_proba(cells) * np.nan


class MostFrequentFirst(NearestCentroid):
    """Keeps the types in the order of their frequency."""

    def fit(self, train, *, seed, validation=None):
        """Rename the columns, so that every prediction would be read as another type."""
        super().fit(train, seed=seed)
        self.classes_ = train.obs["cell_type"].astype(str).value_counts().index.to_numpy()
        return self


class LooksForLabels(NearestCentroid):
    """Reads the answer where it is given cells to predict."""

    def predict_proba(self, cells):
        """Ask for a column that is taken away."""
        return (cells.obs["cell_type"].to_numpy()[:, None] == self.classes_).astype(float)


class OwnSeed(NearestCentroid):
    """Draws from a generator that the seed does not reach."""

    _rng = np.random.default_rng(0)

    def fit(self, train, *, seed, validation=None):
        """Disturb the profiles."""
        super().fit(train, seed=seed)
        self._profiles = self._profiles + self._rng.normal(0, 0.1, self._profiles.shape)
        return self


class ScaledByTheBatch(NearestCentroid):
    """Centres the cells that it predicts on their own mean."""

    def predict_proba(self, cells):
        """Use a statistic of the scored cells."""
        X = features(cells).toarray()
        return softmax((X - X.mean(axis=0)) @ self._profiles.T / self.temperature, axis=1)


class SmoothedAlongTheFile(NearestCentroid):
    """Averages each cell with the one before it: files are often sorted by type."""

    def predict_proba(self, cells):
        """Use the order of the rows."""
        found = super().predict_proba(cells)
        return (found + np.roll(found, 1, axis=0)) / 2


class NormalisesInPlace(NearestCentroid):
    """Takes logarithms in the AnnData that it was given."""

    def fit(self, train, *, seed, validation=None):
        """Change the data of every model that runs after this one."""
        super().fit(train, seed=seed)
        np.log1p(train.X.data, out=train.X.data)
        return self


class NeedsTwoCells(NearestCentroid):
    """Refuses a type with a single training cell, as few-shot draws leave it."""

    def fit(self, train, *, seed, validation=None):
        """Count."""
        if train.obs["cell_type"].astype(str).value_counts().min() < 2:
            raise ValueError("every type needs two cells")
        return super().fit(train, seed=seed)


class DividesByTheSum(NearestCentroid):
    """Has its own normalisation, which a cell without counts turns into 0 / 0."""

    def predict_proba(self, cells):
        """Divide by the library size."""
        counts = cells.X.toarray()
        with np.errstate(invalid="ignore"):
            shares = counts / counts.sum(axis=1, keepdims=True)
        return softmax(np.log2(1 + 1e4 * shares) @ self._profiles.T / 100, axis=1)
