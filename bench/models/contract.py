"""What a model promises: scikit-learn's verbs on AnnData, and nothing seen but the training cells.

A class of your own needs only ``fit`` and ``predict_proba``; deriving from `Annotator` adds the rest.
"""

from dataclasses import dataclass
from importlib import metadata
from typing import Any, ClassVar, Protocol, Self, runtime_checkable

import numpy as np
from anndata import AnnData

from bench.core.errors import BenchError, unknown
from bench.datasets.names import hidden_names
from bench.preprocess import Genes


@runtime_checkable
class Model(Protocol):
    """A cell-type annotator."""

    classes_: np.ndarray  # (n_classes,) sorted labels, set by fit

    def fit(self, train: AnnData, *, seed: int, validation: AnnData | None = None) -> Self:
        """Learn from cells with ``obs["cell_type"]``; genes, scaling and class weights are fitted on these alone."""

    def predict_proba(self, cells: AnnData) -> np.ndarray:
        """Return (n_cells, n_classes) probabilities for cells that carry no label."""


@dataclass(frozen=True)
class NoConfig:
    """Configuration of a model without hyper-parameters."""


class Annotator:
    """Declarations and defaults shared by the models of this project.

    Parameters
    ----------
    config
        Frozen dataclass of hyper-parameters; its class is ``Config``.
    weights
        Path of pretrained weights, for models that start from some.
    variant, recipe
        One of ``variants`` and ``recipes``; the first is the default.
    device
        ``cpu``, ``cuda`` or ``cuda:1``; models without torch ignore it.
    """

    Config = NoConfig
    variants: tuple[str, ...] = ("default",)
    needs_vectors = False  # True where the variant names vectors of cells, which are in obsm of what it is given
    needs_counts = False  # True where logarithms are of use only if they say how they were made of counts
    recipes: tuple[str, ...] = ("published",)
    variant_settings: ClassVar[dict[str, dict[str, Any]]] = {}  # hyper-parameters that a variant changes by default
    variant_declares: ClassVar[dict[str, dict[str, Any]]] = {}  # what of the below is another one for a variant
    diagnostics_: dict[str, float | list[float]]  # optional, set by fit: figures worth recording, a list per epoch
    genes_: Genes  # optional, set by fit: the genes that it looks for, and those of them that the data set has
    protocol = 1  # raise when results change for the same configuration
    leaking_recipes: tuple[str, ...] = ()  # recipes that look at scored cells, as some published ones do
    stochastic = True  # False where the seed matters for nothing but the draw of a few-shot subset
    is_pretrained = True  # False where weights give genes and sizes alone, so that they can have seen no scored cell
    is_embedding = False  # True where a classifier judges what `embed` gives, in which no label has a part
    on_device = False  # True where fit and prediction run on `device`
    batch_dependent = False  # True where a prediction depends on the other cells of its batch
    packages: tuple[tuple[str, str], ...] = ()  # optional ones by the package index's name, with what installs each
    takes: ClassVar[dict[str, float]] = {}  # by recipe: memory of fit and prediction, in matrices of its training cells
    rejects: str | tuple[str, ...] = ()  # labels of its own `predict` that give a cell no type, beside the usual ones

    def __init__(self, config=None, *, weights=None, variant=None, recipe=None, device="cpu"):
        self.config = config or self.Config()
        self.weights, self.device = weights, device
        self.variant = variant or next(iter(self.variants), "")
        self.recipe = recipe or self.recipes[0]
        if self.variant not in self.variants and not self.needs_vectors:
            raise unknown(f"variant of {type(self).__name__}", self.variant, self.variants)
        if self.recipe not in self.recipes:
            raise unknown(f"recipe of {type(self).__name__}", self.recipe, self.recipes)

    @classmethod
    def check_installed(cls) -> None:
        """Raise a BenchError if an optional package that the model imports is not installed."""
        for package, command in cls.packages:
            if not next(metadata.distributions(name=package), None):
                raise BenchError(f"{cls.__name__} needs {package}, which is not installed: {command}")

    def predict(self, cells: AnnData) -> np.ndarray:
        """Return (n_cells,) labels; of equally probable ones the first in ``classes_``."""
        return self.classes_[self.predict_proba(cells).argmax(axis=1)]


def labels_of(train: AnnData) -> np.ndarray:
    """Return the (n_cells,) cell types of training cells as strings."""
    return train.obs["cell_type"].astype(str).to_numpy()


def without_labels(cells: AnnData) -> AnnData:
    """Return the cells as a model may see them at prediction: expression, genes, batch and vectors it has asked for.

    Cells are renamed, because some sets write the cell type into the name; a cell always gets the same new name.
    """
    obs = cells.obs[[column for column in ("batch",) if column in cells.obs]].copy()
    obs.index = hidden_names(cells.obs_names)
    vectors = {name: cells.obsm[name] for name in cells.uns["bench"].get("obsm", {}) if name in cells.obsm}
    return AnnData(cells.X, obs=obs, var=cells.var, uns=dict(cells.uns), obsm=vectors)
