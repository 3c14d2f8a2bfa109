"""Logistic regression by stochastic gradients on blocks of cells, for more cells than fit in memory.

Source: averaged stochastic gradient descent (Polyak & Juditsky 1992, https://doi.org/10.1137/0330046) as scikit-learn
has it: one binary problem per type, L2 penalty.  Genes are divided by their standard deviation, found in a pass of its
own, and not centred, so that zeros stay zeros.

Beyond the cells that are handed over it holds one block of features, and coefficients of each type; `streamed` takes
blocks from anywhere, such as ``anndata.read_h5ad(file, backed="r")``.  The protocol itself still holds all: `bench run`
reads a data set into memory and gives a model a copy of its training cells.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import scipy.sparse as sp
from anndata import AnnData
from sklearn.linear_model import SGDClassifier

from bench.models.baselines.tuned import Tuned, TunedConfig
from bench.models.baselines.tuning import Setting, chosen, classifier, drawn
from bench.models.contract import labels_of
from bench.preprocess import listed_genes, looked_for

Blocks = Callable[[int], Iterator[tuple[sp.csr_matrix, np.ndarray]]]  # of a pass by its number: values, types


@dataclass(frozen=True)
class StreamingLogisticConfig(TunedConfig):
    """Hyper-parameters."""

    sizes: ClassVar = ("passes", "block")
    above: ClassVar = {"alphas": 0}

    alphas: tuple[float, ...] = (1e-5, 1e-7, 1e-6, 1e-4)  # penalties tried; the first is the default
    passes: int = 5  # over all cells
    block: int = 2048  # cells in memory at a time


class StreamingLogistic(Tuned):
    """Annotator that sees a block of cells at a time; 4 settings x 3 folds on at most 3,000 training cells."""

    Config = StreamingLogisticConfig
    takes: ClassVar[dict[str, float]] = {"clean": 0.2}
    stochastic = True  # the order of the cells

    def settings(self) -> list[Setting]:
        """Return the penalties."""
        return [{"alpha": alpha} for alpha in self.config.alphas]

    def fit(self, train: AnnData, *, seed: int, validation: AnnData | None = None) -> Self:
        """Choose a penalty on few cells, then pass over all of them; their features are made block by block."""
        self.genes_ = looked_for(train, listed_genes(train, self.config.genes), self.config.least_genes)
        self.seed_, y = seed, labels_of(train)
        few = drawn(y, seed)
        X = self._features(train[few]) if self.config.tuned else None
        choice = chosen(self.settings(), self.fitted, X, y[few], seed=seed, tuned=self.config.tuned)

        def fitted(cells: AnnData, y: np.ndarray, setting: Setting) -> SGDClassifier:
            return self._streamed(lambda rows: self._features(cells[rows]), y, setting)

        self._classifier = classifier(fitted, train, y, choice.setting)
        self.classes_ = self._classifier.classes_
        self.diagnostics_ = choice.diagnostics()
        return self

    def fitted(self, X: sp.csr_matrix, y: np.ndarray, setting: Setting) -> SGDClassifier:
        """Return the regression of cells whose features are there."""
        return self._streamed(lambda rows: X[rows], y, setting)

    def predict_proba(self, cells: AnnData) -> np.ndarray:
        """Return (n_cells, n_classes) probabilities, block by block."""
        starts = range(0, max(cells.n_obs, 1), self.config.block)
        blocks = (self._features(cells[start : start + self.config.block]) for start in starts)
        return np.vstack([self._classifier.predict_proba(block) for block in blocks])

    def _streamed(self, values: Callable[[np.ndarray], sp.csr_matrix], y, setting: Setting) -> SGDClassifier:
        """Return the regression of cells in blocks of a new order in each pass."""

        def blocks(number: int) -> Iterator[tuple[sp.csr_matrix, np.ndarray]]:
            order = np.random.default_rng([self.seed_, number]).permutation(len(y))
            for start in range(0, len(y), self.config.block):
                rows = order[start : start + self.config.block]
                yield values(rows), y[rows]

        return streamed(blocks, np.unique(y), alpha=setting["alpha"], passes=self.config.passes, seed=self.seed_)


def streamed(blocks: Blocks, classes: np.ndarray, *, alpha: float, passes: int, seed: int) -> SGDClassifier:
    """Return logistic regression fitted on blocks of cells, each seen ``passes`` times and once before.

    Parameters
    ----------
    blocks
        Return the blocks of a pass by its number: log values (n_block, n_genes) and types (n_block,).  Types should
        be mixed within a block.
    classes
        All types, sorted; two at least.
    alpha
        L2 penalty.
    seed
        Of the order of cells within a block.
    """
    scale = sp.diags(1 / spread(blocks(0)), dtype=np.float32)
    model = SGDClassifier(loss="log_loss", alpha=alpha, average=True, random_state=seed)
    for number in range(passes):
        for X, y in blocks(number):
            model.partial_fit(sp.csr_matrix(X @ scale), y, classes)
    model.coef_ = model.coef_ @ scale  # of values as they are
    return model


def spread(blocks: Iterator[tuple[sp.csr_matrix, np.ndarray]]) -> np.ndarray:
    """Return what genes are divided by, shape (n_genes,): their standard deviation, times a constant.

    Nine tenths of the genes count as the most variable of them, for a gene that is seen in few cells would otherwise
    weigh as much as a marker.  The constant gives cells a mean squared norm of one, which the size of steps supposes.
    """
    n_cells = sums = squares = 0
    for X, _ in blocks:
        n_cells += X.shape[0]
        sums = sums + X.sum(axis=0, dtype=np.float64).A1
        squares = squares + X.power(2).sum(axis=0, dtype=np.float64).A1
    deviation = np.sqrt(np.maximum(squares / n_cells - (sums / n_cells) ** 2, 0))
    deviation = np.maximum(deviation, np.quantile(deviation, 0.9))
    deviation[deviation == 0] = 1  # of genes that are the same in all cells
    return deviation * (np.sqrt((squares / n_cells / deviation**2).sum()) or 1)
