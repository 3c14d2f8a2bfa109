"""An embedding of cells that another tool has made, judged by a classifier of its vectors and nothing else.

The variant names it: a key of ``obsm``, as in ``embedding@X_pca``, or a file, as in ``embedding@vectors.csv``.
Known deviation from all other models: the vectors of scored cells were made by whoever made them, perhaps together with
those of training cells, and perhaps after training on scored cells; ``seen`` says what is known of the latter.
"""

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from anndata import AnnData

from bench.core.keys import added
from bench.models.classifiers import ClassifierConfig, OfVectors, fitted
from bench.models.contract import labels_of

SEEN = ("yes", "no", "unknown")


@dataclass(frozen=True)
class EmbeddingConfig(ClassifierConfig):
    """Hyper-parameters."""

    choices: ClassVar = {"seen": SEEN}

    seen: str = added("unknown")  # whether what made the vectors was trained on scored cells: yes, no or unknown


class Embedding(OfVectors):
    """Classifier of vectors that another tool has made; the variant names them."""

    Config = EmbeddingConfig
    variants = ()
    needs_vectors = True

    def fit(self, train: AnnData, *, seed: int, validation: AnnData | None = None) -> Self:
        """Fit the classifier on the vectors of training cells."""
        self.classifier_ = fitted(self.embed(train), labels_of(train), self.config, seed)
        self.classes_ = self.classifier_.classes_
        return self

    def embed(self, cells: AnnData) -> np.ndarray:
        """Return (n_cells, n_dimensions) vectors as they are."""
        return cells.obsm[self.variant]
