"""What fine-tuned networks share: which cells choose the epoch, class weights, training and prediction.

Recipe ``published`` does what the paper's scripts do, which look at scored cells: they choose the epoch on them and
count them in the class weights.  Given no scored cells it keeps the last epoch.  Recipe ``clean`` splits validation
cells off the training cells, and counts training cells alone.
"""

from typing import Self

import numpy as np
import scipy.sparse as sp
import torch
from anndata import AnnData
from sklearn.model_selection import train_test_split
from torch import nn

from bench.errors import BenchError, unknown
from bench.models.contract import Annotator, labels_of
from bench.training.device import device_of
from bench.training.finetune import Cells, History, Schedule, finetune, predict
from bench.weights import Checkpoint

CLASS_WEIGHTS = ("inverse", "none")


class FineTuned(Annotator):
    """Annotator that fine-tunes a network; a model gives tokens, a network with a fresh head, and a schedule."""

    recipes = ("published", "clean")
    leaking_recipes = ("published",)

    def tokens(self, cells: AnnData) -> sp.csr_matrix:
        """Return (n_cells, n_genes) token ids."""
        raise NotImplementedError

    def build(self, n_classes: int, seed: int) -> nn.Module:
        """Return the network with a fresh head; what shall be trained requires a gradient."""
        raise NotImplementedError

    def schedule(self) -> Schedule:
        """Return how the network is trained."""
        raise NotImplementedError

    def fit(self, train: AnnData, *, seed: int, validation: AnnData | None = None) -> Self:
        """Fine-tune; after a Ctrl-C the model predicts with its best epoch so far.

        Raises
        ------
        BenchError
            If the weights do not fit, the device is not there, or the loss is not finite.
        """
        device = device_of(self.device)
        self.classes_, labels = np.unique(labels_of(train), return_inverse=True)
        cells, scored = Cells(self.tokens(train), labels), None
        if self.recipe == "clean":
            cells, scored = _split(cells, self.config.validation_share, seed)
        elif validation is not None:
            scored = self._known(validation)
        self.network_ = self.build(len(self.classes_), seed).to(device)
        weights = self._class_weights(labels if scored is None or self.recipe == "clean" else [labels, scored.labels])
        history = History()
        try:
            finetune(self.network_, cells, scored, self.schedule(), history, class_weights=weights, seed=seed)
        finally:
            self.diagnostics_ = history.diagnostics()
        return self

    def predict_proba(self, cells: AnnData) -> np.ndarray:
        """Return (n_cells, n_classes) probabilities; cells are taken in their order, a batch at a time."""
        nobody = np.zeros(cells.n_obs, dtype=int)
        return predict(self.network_, Cells(self.tokens(cells), nobody), self.schedule()).double().softmax(1).numpy()

    def _known(self, validation: AnnData) -> Cells | None:
        """Return the validation cells whose type the network can say."""
        known = np.isin(labels_of(validation), self.classes_)
        if not known.any():
            return None
        kept = validation[known].copy()
        return Cells(self.tokens(kept), np.searchsorted(self.classes_, labels_of(kept)))

    def _class_weights(self, labels) -> torch.Tensor | None:
        """Return one divided by the number of cells of each class."""
        if self.config.class_weights not in CLASS_WEIGHTS:
            raise unknown("class_weights", self.config.class_weights, CLASS_WEIGHTS)
        if self.config.class_weights == "none":
            return None
        counts = np.bincount(np.concatenate(labels) if isinstance(labels, list) else labels)
        return torch.tensor(1 / counts, dtype=torch.float32, device=device_of(self.device))


def told(checkpoint: Checkpoint, key: str) -> str:
    """Return what weights say of themselves: their ``genes`` (JSON) or their ``library``."""
    try:
        return checkpoint.metadata[key]
    except KeyError:
        raise BenchError(
            f"{checkpoint.path} does not say its {key}; convert it with: "
            f"bench weights scbert --path {checkpoint.path} --genes GENES.txt"
        ) from None


def _split(cells: Cells, share: float, seed: int) -> tuple[Cells, Cells | None]:
    """Return training and validation cells, stratified; a class with a single cell trains."""
    if not 0 <= share < 1:
        raise BenchError(f"validation_share={share!r} should be at least 0 and below 1; 0.1 is one cell in ten.")
    counts = np.bincount(cells.labels)
    several = np.flatnonzero(counts[cells.labels] > 1)
    classes = (counts > 1).sum()
    n_validation = round(share * len(cells))
    if n_validation < max(classes, 1) or len(several) - n_validation < classes:
        return cells, None  # too few cells to give any away: the last epoch is kept
    chosen = train_test_split(several, test_size=n_validation, stratify=cells.labels[several], random_state=seed)[1]
    rest = np.setdiff1d(np.arange(len(cells)), chosen)
    return tuple(Cells(cells.tokens[rows], cells.labels[rows]) for rows in (rest, np.sort(chosen)))
