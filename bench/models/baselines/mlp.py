"""A small multilayer perceptron on the most variable genes: what a network finds without pretraining.

Source: scikit-learn's MLPClassifier, one hidden layer, Adam.  The number of epochs is that of the smallest log loss on
a tenth of the training cells, which a type of one cell never gives up.
"""

import copy
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import scipy.sparse as sp
from sklearn.neural_network import MLPClassifier

from bench.models.baselines.columns import Columns, most_variable
from bench.models.baselines.tuned import Tuned, TunedConfig
from bench.models.baselines.tuning import Setting

HELD_OUT = 0.1  # share of the training cells that choose the epoch


@dataclass(frozen=True)
class MLPConfig(TunedConfig):
    """Hyper-parameters."""

    sizes: ClassVar = ("n_genes", "hidden", "batch_size", "epochs", "patience")
    least: ClassVar = {"alphas": 0.0}
    above: ClassVar = {"lr": 0}

    n_genes: int = 2000  # most variable among training cells, each with mean 0 and standard deviation 1
    hidden: tuple[int, ...] = (128, 32)  # units of the hidden layer; the first is the default
    alphas: tuple[float, ...] = (1.0, 1e-2, 10.0)  # L2 penalties tried; the first is the default
    lr: float = 1e-3  # of Adam
    batch_size: int = 64  # cells a step
    epochs: int = 50  # at most
    patience: int = 5  # epochs without a smaller loss, after which it stops


class MLP(Tuned):
    """Annotator with one hidden layer; 6 settings x 3 folds on at most 3,000 training cells."""

    Config = MLPConfig
    takes: ClassVar[dict[str, float]] = {"clean": 5.0}
    stochastic = True  # first weights, order of cells, held-out cells

    def settings(self) -> list[Setting]:
        """Return numbers of units with penalties."""
        return [{"hidden": units, "alpha": alpha} for units in self.config.hidden for alpha in self.config.alphas]

    def prepared(self, X: sp.csr_matrix, y: np.ndarray) -> Columns:
        """Return the genes."""
        return most_variable(X, self.config.n_genes).scaled(X)

    def fitted(self, X: np.ndarray, y: np.ndarray, setting: Setting) -> MLPClassifier:
        """Return the network of the epoch that the held-out cells prefer."""
        held_out, classes = held_out_cells(y, self.seed_), np.unique(y)
        seen, types = X[~held_out], y[~held_out]
        network = MLPClassifier(
            (setting["hidden"],),
            alpha=setting["alpha"],
            learning_rate_init=self.config.lr,
            batch_size=min(self.config.batch_size, len(seen)),
            random_state=self.seed_,
        )
        best, least, waited = network, np.inf, 0
        for _ in range(self.config.epochs):
            network.partial_fit(seen, types, classes=classes)
            loss = log_loss(network, X[held_out], y[held_out])
            waited += 1
            if loss < least or not held_out.any():
                best, least, waited = copy.deepcopy(network), loss, 0
            if waited == self.config.patience:
                break
        return best


def held_out_cells(y: np.ndarray, seed: int) -> np.ndarray:
    """Return which cells choose the epoch, (n_cells,) of bool: drawn from all but one cell of each type."""
    order = np.random.default_rng(seed).permutation(len(y))
    first = np.unique(y[order], return_index=True)[1]  # of each type
    spare = np.delete(order, first)
    return np.isin(np.arange(len(y)), spare[: int(HELD_OUT * len(y))])


def log_loss(network: MLPClassifier, X: np.ndarray, y: np.ndarray) -> float:
    """Return the mean negative log probability of the right types; nan without cells."""
    if not len(y):
        return np.nan
    right = network.predict_proba(X)[np.arange(len(y)), np.searchsorted(network.classes_, y)]
    return float(-np.log(np.maximum(right, 1e-12)).mean())
