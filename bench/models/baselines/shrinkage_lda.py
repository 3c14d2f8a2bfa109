"""Linear discriminant analysis with a shrunk covariance, on principal components of normalised expression.

Source: scikit-learn's `LinearDiscriminantAnalysis` (least squares, covariance shrunk towards a multiple of the
identity) on components of log2(1 + CP10K); as in PCLDA (Bai et al. 2025, doi:10.1016/j.csbj.2025.07.019).
Deviation from PCLDA: no screening of genes, components by variance, and a shrinkage.
"""

import warnings
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import scipy.sparse as sp
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from bench.models.baselines.nearest_centroid import Centroids
from bench.models.baselines.pca_logistic import FirstColumns, components
from bench.models.baselines.tuned import Tuned, TunedConfig
from bench.models.baselines.tuning import Classifier, Setting, Transformer


@dataclass(frozen=True)
class ShrinkageLDAConfig(TunedConfig):
    """Hyper-parameters."""

    sizes: ClassVar = ("n_components",)
    fractions: ClassVar = ("shrinkages",)

    n_components: tuple[int, ...] = (50, 100)  # principal components tried; fewer where there are fewer cells
    shrinkages: tuple[float, ...] = (0.1, 0.01, 0.3, 0.6)  # 0 to 1, tried; the first of each is the default


class ShrinkageLDA(Tuned):
    """Annotator by one covariance for all types; 8 settings x 3 folds on at most 3,000 training cells."""

    Config = ShrinkageLDAConfig
    takes: ClassVar[dict[str, float]] = {"clean": 1.3}

    def settings(self) -> list[Setting]:
        """Return numbers of components with shrinkages."""
        return [{"n_components": n, "shrinkage": s} for n in self.config.n_components for s in self.config.shrinkages]

    def prepared(self, X: sp.csr_matrix, y: np.ndarray) -> Transformer:
        """Return the components, as many as the largest setting takes."""
        return components(X, max(self.config.n_components), self.seed_)

    def fitted(self, X: np.ndarray, y: np.ndarray, setting: Setting) -> Classifier:
        """Return the discriminants on the first components; nearest centroids where no type has two cells."""
        n, lda = setting["n_components"], LinearDiscriminantAnalysis(solver="lsqr", shrinkage=setting["shrinkage"])
        if len(np.unique(y)) == len(y):  # nothing tells how cells of a type differ
            return FirstColumns(n, Centroids().fit(X[:, :n], y))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Only one sample available")  # of a type, which adds no variance
            return FirstColumns(n, lda.fit(X[:, :n], y))
