"""Gradient-boosted trees on the genes that differ most between types: what splits and their interactions add.

Source: scikit-learn's HistGradientBoostingClassifier (after LightGBM, Ke et al. 2017), one tree per type and round.
COMPARISON
It takes no sparse matrix, and its time grows with genes times types: it sees the 200 genes of which the most variance
lies between the types of the training cells.
"""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from sklearn.ensemble import HistGradientBoostingClassifier

from bench.models.baselines.columns import Columns
from bench.models.baselines.rank_linear import explained
from bench.models.baselines.tuned import Tuned, TunedConfig
from bench.models.baselines.tuning import Setting


@dataclass(frozen=True)
class BoostedTreesConfig(TunedConfig):
    """Hyper-parameters."""

    n_genes: int = 200  # those that differ most between types
    leaves: tuple[int, ...] = (7, 3, 15)  # of a tree, tried; the first is the default
    rounds: int = 100  # trees per type
    lr: float = 0.1  # weight of each tree
    min_cells: int = 5  # in a leaf


class BoostedTrees(Tuned):
    """Annotator by boosted trees; 3 settings x 3 folds on at most 3,000 training cells."""

    Config = BoostedTreesConfig

    def settings(self) -> list[Setting]:
        """Return the sizes of trees."""
        return [{"leaves": leaves} for leaves in self.config.leaves]

    def prepared(self, X: sp.csr_matrix, y: np.ndarray) -> Columns:
        """Return the genes."""
        return Columns(np.sort(np.argsort(-explained(X, y), kind="stable")[: self.config.n_genes]))

    def fitted(self, X: np.ndarray, y: np.ndarray, setting: Setting) -> HistGradientBoostingClassifier:
        """Return the trees; no cell is held out, for a type may have one."""
        return HistGradientBoostingClassifier(
            learning_rate=self.config.lr,
            max_iter=self.config.rounds,
            max_leaf_nodes=setting["leaves"],
            min_samples_leaf=self.config.min_cells,
            early_stopping=False,
            random_state=self.seed_,  # of the draw of cells, above 200,000, that bins are made of
        ).fit(X, y)
