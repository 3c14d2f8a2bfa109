"""What the tuned baselines share: the genes that they see, the search within the budget, one type alone.

A baseline says which settings it tries, how it makes features and how it fits; see `bench.models.baselines.tuning`.
"""

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import scipy.sparse as sp
from anndata import AnnData

from bench.core.checked import Checked
from bench.models.baselines.tuning import Classifier, Setting, Transformer, as_given, chosen, classifier, ready
from bench.models.contract import Annotator, labels_of
from bench.preprocess import GENES, LEAST_GENES, features, listed_genes, looked_for


@dataclass(frozen=True)
class TunedConfig(Checked):
    """Hyper-parameters that all tuned baselines have."""

    above: ClassVar = {"log_base": 1}
    fractions: ClassVar = ("least_genes",)
    choices: ClassVar = {"genes": GENES}

    tuned: bool = True  # False: the first setting, without a search
    genes: str = "all"  # or "panglao"
    log_base: float = 2.0  # of log(1 + CP10K); data declared as log1p are used as given
    least_genes: float = LEAST_GENES  # share of genes that must be found by name; see bench.preprocess


class Tuned(Annotator):
    """Annotator whose setting is chosen within the budget: 8 settings x 3 folds on 3,000 training cells."""

    Config: ClassVar[type] = TunedConfig
    recipes = ("clean",)
    stochastic = False  # the draw of cells and folds has the fixed seed 0 then, so that a trial of all cells is one

    def settings(self) -> list[Setting]:
        """Return what is tried; the first is the default."""
        raise NotImplementedError

    def prepared(self, X: sp.csr_matrix, y: np.ndarray) -> Transformer:
        """Return features that do not depend on the setting, fitted on training cells; by default X itself."""
        return as_given(X, y)

    def fitted(self, X, y: np.ndarray, setting: Setting) -> Classifier:
        """Return a classifier of features; there are two types at least."""
        raise NotImplementedError

    def final(self, X, y: np.ndarray, setting: Setting) -> Classifier:
        """Return the classifier of all training cells, with what the search did not need, such as a calibration."""
        return self.fitted(X, y, setting)

    def fit(self, train: AnnData, *, seed: int, validation: AnnData | None = None) -> Self:
        """Choose a setting on the training cells, then fit on all of them."""
        self.genes_ = looked_for(train, listed_genes(train, self.config.genes), self.config.least_genes)
        self.seed_ = seed if self.stochastic else 0
        X, y = self._features(train), labels_of(train)
        options = {"seed": self.seed_, "tuned": self.config.tuned, "prepare": self.prepared}
        choice = chosen(self.settings(), self.fitted, X, y, **options)
        self._ready = ready(self.prepared, X, y)
        self._classifier = classifier(self.final, self._ready.transform(X), y, choice.setting)
        self.classes_ = self._classifier.classes_
        self.diagnostics_ = choice.diagnostics()
        return self

    def predict_proba(self, cells: AnnData) -> np.ndarray:
        """Return (n_cells, n_classes) probabilities."""
        return self._classifier.predict_proba(self._ready.transform(self._features(cells)))

    def _features(self, cells: AnnData) -> sp.csr_matrix:
        return features(cells, genes=self.config.genes, base=self.config.log_base)
