"""Gradient-boosted trees on the genes that differ most between types: what splits and their interactions add.

Source: scikit-learn's HistGradientBoostingClassifier (after LightGBM, Ke et al. 2017), one tree per type and round.
Chosen among three, all at 100 rounds on 1,000 training cells of `hao` (268 scored), `baron` (a donor held out) and
`pbmc_facs`, on one core; scores and times are close, and LightGBM (10 MB) and XGBoost (228 MB) would be dependencies,
so that scikit-learn's are taken, which are here already.

================================  =============  =============  ==============
accuracy, CPU seconds             hao            baron          pbmc_facs
================================  =============  =============  ==============
scikit-learn, 7 leaves            0.877,  4.7    0.957,  3.6    0.865,  5.5
scikit-learn, 31 leaves           0.881, 11.4    0.958,  8.4    0.865, 12.1
LightGBM 4.7, 31 leaves           0.873,  5.3    0.957,  2.6    0.863,  6.5
XGBoost 3.2, depth 6              0.869,  6.5    0.954,  2.3    0.861,  7.6
scikit-learn, 50 components       0.825,  5.2    0.893,  4.5    0.834,  4.5
================================  =============  =============  ==============

It takes no sparse matrix and its time grows with genes times types, 62 s for 1,000 genes of `hao`: it sees the 200
genes of which most variance lies between the types of the training cells, which do better than 50 principal components.
"""

from dataclasses import dataclass
from typing import ClassVar

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

    sizes: ClassVar = ("n_genes", "rounds", "min_cells")
    least: ClassVar = {"leaves": 2, "l2": 0.0}
    above: ClassVar = {"lr": 0}

    n_genes: int = 200  # those that differ most between types
    leaves: tuple[int, ...] = (7, 3, 15)  # of a tree, tried; the first is the default
    rounds: int = 50  # trees per type
    lr: float = 0.1  # weight of each tree
    l2: float = 1.0  # penalty of a leaf's value, without which leaves of few cells have diverged
    min_cells: int = 1  # in a leaf; with more, a type of fewer cells would never be told apart


class BoostedTrees(Tuned):
    """Annotator by boosted trees; 3 settings x 3 folds on at most 3,000 training cells."""

    Config = BoostedTreesConfig
    takes: ClassVar[dict[str, float]] = {"clean": 2.0}

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
            l2_regularization=self.config.l2,
            min_samples_leaf=self.config.min_cells,
            early_stopping=False,
            random_state=self.seed_,  # of the draw of cells, above 200,000, that bins are made of
        ).fit(X, y)
