"""L1-penalised logistic regression on normalised expression: the paper's baseline, to the letter.

Source: the paper's notebooks (section 2 of the protocol page): liblinear, one binary problem per class, the intercept
penalised, all else at scikit-learn's defaults; C by 5-fold stratified cross-validation on accuracy, unshuffled, the
smallest C winning ties.  Where a single C is given there is no search, as for Zheng68K (C = 0.1).
Deviation: scikit-learn 1.8 and later refuse several classes with liblinear, hence `OneVsRestClassifier`: the same
binary problems and the same maximum over decision values; each problem restarts the solver's random order.

liblinear stops long before the optimum where C is large.  Recipe ``optimum`` solves the same problems to it, in less
time and memory; it is no repetition of the paper.  See `bench.models.baselines.l1_optimum`.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Self

import numpy as np
import scipy.sparse as sp
from anndata import AnnData
from joblib import Parallel, delayed
from scipy.special import expit
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.multiclass import OneVsRestClassifier

from bench.core.checked import Checked
from bench.core.errors import BenchError
from bench.core.keys import added
from bench.models.contract import Annotator, labels_of
from bench.preprocess import GENES, LEAST_GENES, align, features, listed_genes, looked_for
from bench.weights import named_genes, resolve

CrossValidate = Callable[[list[float]], np.ndarray]  # from ascending values of C to the accuracy of each on each fold


@dataclass(frozen=True)
class L1LogisticConfig(Checked):
    """Hyper-parameters; the defaults are those of the scGPT comparison."""

    sizes: ClassVar = ("max_iter",)
    least: ClassVar = {"folds": 2}
    above: ClassVar = {"Cs": 0, "tol": 0, "log_base": 1}
    fractions: ClassVar = ("least_genes",)
    choices: ClassVar = {"genes": GENES}

    Cs: tuple[float, ...] = (1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0, 1e3, 1e4)  # inverse penalties tried, ascending
    folds: int = 5  # of the cross-validation that chooses C
    genes: str = "all"  # or "panglao": scBERT's 16,906 genes
    log_base: float = 2.0  # of log(1 + CP10K); data declared as log1p are used as given
    tol: float = 1e-4  # liblinear's stopping tolerance; recipe optimum stops at its own
    max_iter: int = 100  # liblinear's limit; the paper stops there without convergence at large C; not of optimum
    least_genes: float = added(LEAST_GENES)  # share of genes that must be found by name; see bench.preprocess


class L1Logistic(Annotator):
    """Annotator with one L1-penalised binary problem per class."""

    Config = L1LogisticConfig
    recipes = ("published", "optimum")
    takes: ClassVar[dict[str, float]] = {"published": 10.0, "optimum": 3.5}  # with two cores
    variants = ("default", "genes_of_weights")  # the second sees the genes alone that pretrained weights name
    stochastic = False

    def fit(self, train: AnnData, *, seed: int, validation: AnnData | None = None) -> Self:
        """Choose C on the training cells, then fit on all of them.

        Raises
        ------
        BenchError
            If the cells are too few for the cross-validation, or the variant lacks weights that name genes.
        """
        wanted = self._listed(train) if self._named is None else self._named
        self.genes_ = looked_for(train, wanted, self.config.least_genes)
        search = self._published if self.recipe == "published" else self._optimum
        search(self._features(train), labels_of(train), seed)
        self.classes_ = self.classifier_.classes_
        return self

    def _published(self, X: sp.csr_matrix, y: np.ndarray, seed: int) -> None:
        self.C_, self.cv_accuracy_ = choose_C(X, y, self.config, seed)
        self.classifier_ = fitted(X, y, self.C_, self.config, seed, parallel=True)
        self.diagnostics_ = {"chosen_C": self.C_}

    def _optimum(self, X: sp.csr_matrix, y: np.ndarray, seed: int) -> None:
        from bench.models.baselines import l1_optimum  # numba is imported by those who ask for it

        X = l1_optimum.with_constant(X)

        def cross_validate(Cs: list[float]) -> np.ndarray:
            return l1_optimum.cross_validated(X, y, Cs, folds_of(y, self.config.folds))

        self.C_, self.cv_accuracy_ = best_C(self.config, cross_validate)
        self.classifier_ = l1_optimum.fitted(X, y, [C for C in sorted(self.config.Cs) if C <= self.C_])
        self.diagnostics_ = {"chosen_C": self.C_, "duality_gap": self.classifier_.gap_}

    def predict_proba(self, cells: AnnData) -> np.ndarray:
        """Return the logistic function of each class's decision value, scaled to sum to one."""
        return probabilities(self.classifier_, self._features(cells))

    def predict(self, cells: AnnData) -> np.ndarray:
        """Return the class with the largest decision value, the first on ties."""
        return self.classes_[decision_values(self.classifier_, self._features(cells)).argmax(axis=1)]

    def _features(self, cells: AnnData) -> sp.csr_matrix:
        """Return levels of expression; the library size is counted over all genes, also where only some are seen."""
        X = features(cells, genes=self.config.genes, base=self.config.log_base)
        if self._named is not None:
            X = align(X, self._listed(cells), self._named)
            X.sort_indices()
        return X

    def _listed(self, cells: AnnData) -> list[str]:
        return listed_genes(cells, self.config.genes)

    @cached_property
    def _named(self) -> list[str] | None:
        """Genes of the weights, or None for all."""
        if self.variant != "genes_of_weights":
            return None
        if not self.weights:
            raise BenchError("l1_logistic@genes_of_weights needs weights; give the override 'weights' a name or file.")
        return named_genes(resolve(self.weights))


def choose_C(X, y: np.ndarray, config: L1LogisticConfig, seed: int) -> tuple[float, np.ndarray | None]:
    """Return the C of the best mean accuracy, the smallest on ties, and what `cross_validate_C` found."""
    return best_C(config, lambda Cs: cross_validate_C(X, y, Cs, config, seed))


def best_C(config: L1LogisticConfig, cross_validate: CrossValidate) -> tuple[float, np.ndarray | None]:
    """Return the C of the best mean accuracy, the smallest on ties, and the accuracies, (n_Cs, n_folds), of each.

    A single C is returned without a search, and None; ``cross_validate`` is given ascending values.
    """
    Cs = sorted(config.Cs)
    if len(Cs) == 1:
        return Cs[0], None
    accuracy = cross_validate(Cs)
    return Cs[int(accuracy.mean(axis=1).argmax())], accuracy


def cross_validate_C(X, y, Cs: list[float], config: L1LogisticConfig, seed: int) -> np.ndarray:
    """Return the accuracy of each C on each fold, shape (n_Cs, n_folds).

    The fits are independent and run on all cores that joblib is given, largest C (slowest) first.

    Raises
    ------
    BenchError
        If every class has fewer cells than there are folds.
    """
    folds = folds_of(y, config.folds)
    order = [(c, f) for c in reversed(range(len(Cs))) for f in range(len(folds))]
    scores = Parallel()(delayed(_fold_accuracy)(X, y, Cs[c], *folds[f], config, seed) for c, f in order)
    accuracy = np.empty((len(Cs), len(folds)))
    for (c, f), score in zip(order, scores, strict=True):
        accuracy[c, f] = score
    return accuracy


def folds_of(y: np.ndarray, folds: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the places of training and held-out cells of each fold, as published: stratified, not shuffled.

    Raises
    ------
    BenchError
        If every class has fewer cells than there are folds.
    """
    check_folds(y, folds)
    with warnings.catch_warnings():
        # Rare classes miss from some folds, as in the paper, whose smallest class had two training cells.
        warnings.filterwarnings("ignore", message="The least populated class")
        return list(StratifiedKFold(folds).split(np.zeros(len(y)), y))


def check_folds(y: np.ndarray, folds: int) -> None:
    """Raise a BenchError if every class has fewer cells than there are folds."""
    if (largest := np.unique(y, return_counts=True)[1].max()) < folds:
        raise BenchError(
            f"{folds}-fold cross-validation needs a class with {folds} cells; the largest has {largest}. "
            "Train on a larger fraction, lower the model's 'folds', or give a single value in 'Cs'."
        )


def _fold_accuracy(X, y, C, train, test, config, seed) -> float:
    model = fitted(X[train], y[train], C, config, seed)
    return float((model.classes_[decision_values(model, X[test]).argmax(axis=1)] == y[test]).mean())


def fitted(X, y, C, config, seed, parallel: bool = False) -> OneVsRestClassifier:
    """Return the binary problems of one C, fitted on cells X, (n_cells, n_features), of types y, (n_cells,)."""
    binary = LogisticRegression(
        l1_ratio=1.0, C=C, solver="liblinear", tol=config.tol, max_iter=config.max_iter, random_state=seed
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # published behaviour: max_iter is a limit, not an error
        warnings.filterwarnings("ignore", message="Label not .* is present in all")  # of a single class
        return OneVsRestClassifier(binary, n_jobs=None if parallel else 1).fit(X, y)


def decision_values(model: OneVsRestClassifier, X: sp.csr_matrix) -> np.ndarray:
    """Return (n_cells, n_classes) decision values; for two classes the first column is minus the second."""
    if len(model.classes_) == 1:  # nothing to decide
        return np.zeros((X.shape[0], 1))
    values = model.decision_function(X)
    return values if values.ndim == 2 else np.column_stack([-values, values])


def probabilities(model: OneVsRestClassifier, X: sp.csr_matrix) -> np.ndarray:
    """Return the logistic function of each class's decision value, scaled to sum to one, (n_cells, n_classes)."""
    scores = expit(decision_values(model, X))
    return scores / scores.sum(axis=1, keepdims=True)
