"""What annotators by a network share: which cells choose the epoch, class weights, training, prediction and probes.

Recipe ``published`` does what the paper's scripts do, which look at scored cells: they choose the epoch on them and
count them in the class weights.  Given no scored cells it keeps the last epoch.  Recipe ``clean`` splits validation
cells off the training cells, and counts training cells alone.  Probes (`bench.models.probe`) have neither.
"""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch
from anndata import AnnData
from sklearn.model_selection import train_test_split
from torch import nn

from bench.core.errors import unknown
from bench.models import probe
from bench.models.classifiers import fitted
from bench.models.contract import Annotator, labels_of, without_labels
from bench.models.spec import declared
from bench.training.device import device_of
from bench.training.finetune import finetune, over_cells, predict
from bench.training.labelled import Cells
from bench.training.schedule import History, Schedule
from bench.weights import Checkpoint
from bench.weights.said import refuse_pretrained_cells
from bench.weights.said import told as told  # for packages that know it by this module

CLASS_WEIGHTS = ("inverse", "none")


class FineTuned(Annotator):
    """Annotator that fine-tunes a network; a model gives tokens, a network with a fresh head, and a schedule.

    For probes it lists ``probe.PROBES`` among its variants, derives its ``Config`` from `ClassifierConfig`, and gives
    `begin`, `untrained` and an ``embed`` that returns `vectors`.
    """

    recipes = ("published", "clean")
    leaking_recipes = ("published",)
    variant_declares = probe.DECLARES
    on_device = True
    inputs = Cells  # how `tokens` of cells go into the network
    alone: ClassVar[dict[str, Any]] = {}  # settings by which what a network gives for a cell depends on no other one
    _checkpoint: Checkpoint | None = None  # the weights that `begin` has read, where a variant takes tensors of them

    @property
    def batch_dependent(self) -> bool:
        """Whether a prediction depends on the other cells of its batch."""
        return any(getattr(self.config, name) != value for name, value in self.alone.items())

    def begin(self, cells: AnnData, seed: int) -> None:
        """Read the weights, and look for their genes among those of cells, before anything is built."""

    def tokens(self, cells: AnnData) -> sp.csr_matrix:
        """Return (n_cells, n_genes) token ids."""
        raise NotImplementedError

    def cells(self, cells: AnnData, labels: np.ndarray | None = None) -> Cells:
        """Return cells as the network takes them, with class indices where these are known."""
        return self.inputs(self.tokens(cells), np.zeros(cells.n_obs, dtype=int) if labels is None else labels)

    def seen(self, cells: AnnData) -> pd.DataFrame:
        """Return what the network is given of cells: columns ``cell``, ``gene`` and ``value``, see `per_gene`.

        `begin` comes before.  A family overrides it where columns of tokens are not ``genes_.wanted``, or where the
        number that stands for a gene is not its token.
        """
        return per_gene(self.cells(cells).tokens, self.genes_.wanted)

    def prepared(self, cells: Cells) -> Cells:
        """Return cells as the network that was built takes them: what is the same in every epoch may be done once."""
        return cells

    def untrained(self, seed: int) -> nn.Module:
        """Return the network with the weights that the variant begins with, and no head."""
        raise NotImplementedError

    def build(self, n_classes: int, seed: int) -> nn.Module:
        """Return the network with a fresh head; what shall be trained requires a gradient."""
        raise NotImplementedError

    def schedule(self) -> Schedule:
        """Return how the network is trained."""
        raise NotImplementedError

    def fit(self, train: AnnData, *, seed: int, validation: AnnData | None = None) -> Self:
        """Fine-tune, or fit a probe; after a Ctrl-C the model predicts with its best epoch so far.

        Raises
        ------
        BenchError
            If the weights do not fit, the device is not there, or the loss is not finite.
        """
        if self.variant in probe.PROBES:
            return self._fit_probe(train, seed)
        device = device_of(self.device)
        self.begin(train, seed)
        self.classes_, labels = np.unique(labels_of(train), return_inverse=True)
        cells, scored = self.cells(train, labels), None
        if self.recipe not in self.leaking_recipes:
            cells, scored = self.split(cells, seed)
        elif validation is not None:
            scored = self._known(validation)
        self.network_ = self.build(len(self.classes_), seed).to(device)
        leaked = scored is not None and self.recipe in self.leaking_recipes
        weights = self._class_weights([labels, scored.labels] if leaked else [labels])
        cells, scored = self.prepared(cells), None if scored is None else self.prepared(scored)
        history = History()
        try:
            finetune(self.network_, cells, scored, self.schedule(), history, class_weights=weights, seed=seed)
        finally:
            self.diagnostics_ = history.diagnostics()
        return self

    def predict_proba(self, cells: AnnData) -> np.ndarray:
        """Return (n_cells, n_classes) probabilities.

        Raises
        ------
        BenchError
            If the variant is declared pretrained (scBERT's without pretraining is: gene2vec has seen cells), and some
            of the cells were pretrained on.
        """
        if self._checkpoint is not None and declared(self, self.variant, "is_pretrained", True):
            refuse_pretrained_cells(self._checkpoint, cells)
        if self.variant in probe.PROBES:
            return self.classifier_.predict_proba(self.embed(cells))
        return self.logits(cells).double().softmax(1).numpy()

    def logits(self, cells: AnnData) -> torch.Tensor:
        """Return (n_cells, n_classes) logits; cells are taken in their order, a batch at a time."""
        return predict(self.network_, self.prepared(self.cells(cells)), self.schedule())

    def with_network(self, cells: AnnData, seed: int) -> Self:
        """Put the network in place as a probe reads it, for data sets with the genes of these cells."""
        probe.check_alone(self, self.alone)
        self.begin(cells, seed)
        self.network_ = self.untrained(seed).to(device_of(self.device))
        return self

    def _fit_probe(self, train: AnnData, seed: int) -> Self:
        found = self.with_network(train, seed).embed(without_labels(train))  # as it is embedded where it is scored
        self.classifier_ = fitted(found, labels_of(train), self.config, probe.SEED)
        self.classes_ = self.classifier_.classes_
        return self

    def vectors(
        self, cells: AnnData, embed: Callable, n_dimensions: int, *, read_as: str = "", company: str = "alone"
    ) -> np.ndarray:
        """Return what a function of the network's inputs gives for cells, (n_cells, n_dimensions); a probe's is kept.

        What depends on more than the cell, and the ``company`` that is the same for all, is refused before, see
        `alone`; ``read_as`` tells functions of one network apart where there is a choice.
        """
        given, schedule = self.cells(cells), self.schedule()
        if self.variant not in probe.PROBES:
            return over_cells(self.network_, embed, given, schedule).numpy()
        told = {"version": probe.version_of(self) + read_as, "company": company}
        return probe.embeddings(self.network_, embed, n_dimensions, given, schedule, **told)

    def split(self, cells: Cells, seed: int) -> tuple[Cells, Cells | None]:
        """Return the cells to train on and those to choose the epoch on."""
        return stratified(cells, self.config.validation_share, seed)

    def _known(self, validation: AnnData) -> Cells | None:
        """Return the validation cells whose type the network can say."""
        known = np.isin(labels_of(validation), self.classes_)
        if not known.any():
            return None
        kept = validation[known].copy()
        return self.cells(kept, np.searchsorted(self.classes_, labels_of(kept)))

    def _class_weights(self, labels: list[np.ndarray]) -> torch.Tensor | None:
        """Return one divided by the number of cells of each class."""
        if self.config.class_weights not in CLASS_WEIGHTS:
            raise unknown("class_weights", self.config.class_weights, CLASS_WEIGHTS)
        if self.config.class_weights == "none":
            return None
        counts = np.bincount(np.concatenate(labels))
        return torch.tensor(1 / counts, dtype=torch.float32, device=device_of(self.device))


def per_gene(tokens: sp.csr_matrix | np.ndarray, names: Sequence[str]) -> pd.DataFrame:
    """Return a row per cell and gene that is given: ``cell`` from 0, ``gene``, and ``value``.

    Parameters
    ----------
    tokens
        Of shape (n_cells, n_genes); what a sparse matrix does not store was not given.
    names
        Of the columns: of genes as the data set has them, of other tokens such as <cls>.
    """
    if sp.issparse(tokens):
        found = tokens.tocoo()
        rows, columns, values = found.row, found.col, found.data
    else:
        (rows, columns), values = np.indices(tokens.shape).reshape(2, -1), tokens.ravel()
    return pd.DataFrame({"cell": rows, "gene": np.asarray(names, dtype=object)[columns], "value": values})


def stratified(cells: Cells, share: float, seed: int) -> tuple[Cells, Cells | None]:
    """Return training cells and a share of validation cells of each class; a class with a single cell trains."""
    counts = np.bincount(cells.labels)
    several = np.flatnonzero(counts[cells.labels] > 1)
    classes = (counts > 1).sum()
    n_validation = round(share * len(cells))
    if n_validation < max(classes, 1) or len(several) - n_validation < classes:
        return cells, None  # too few cells to give any away: the last epoch is kept
    chosen = train_test_split(several, test_size=n_validation, stratify=cells.labels[several], random_state=seed)[1]
    return cells.take(np.setdiff1d(np.arange(len(cells)), chosen)), cells.take(np.sort(chosen))
