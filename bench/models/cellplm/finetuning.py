"""Fine-tuning CellPLM as its authors do: a step takes all cells of a batch, and some of them have labels.

Source: CellPLM (Wen et al., ICLR 2024).  As published, every cell of a pass is attended to, those without a label
included; some cells are dropped from it and some counts hidden; the rate of all but the gene vectors warms up, and both
rates fall when the loss of single batches no longer does; the norm after the encoder is not trained, and its gradient,
which is never cleared, counts in the norm by which gradients are cut.
Known deviation: a batch without a labelled cell makes no step, where the authors' code fails.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.models.cellplm.passes import Pass, chosen, hidden, n_kept, without
from bench.training.device import autocast


@dataclass(frozen=True)
class Hiding:
    """What of a pass is left out in training."""

    cells: float = 0.3  # share dropped
    masked_cells: float = 0.75  # share of the others of which counts are hidden
    values: float = 0.25  # share of their counts
    most: int = 70_000  # cells of a pass


@dataclass(frozen=True)
class Rates:
    """How fast both groups of weights are trained."""

    lr: float = 5e-3  # of all but the gene vectors and their layer
    decay: float = 1e-7
    embedder_lr: float = 5e-4
    embedder_decay: float = 1e-10
    warmup: int = 30  # epochs
    patience: int = 25  # batches
    factor: float = 0.95
    clip: float = 2.0  # largest norm of the gradient


class Draws(NamedTuple):
    """Random numbers of a training pass."""

    cells: np.ndarray  # permutation of all cells: the first ones are kept
    masked: np.ndarray  # permutation of those kept: of the first ones counts are hidden
    uniform: Callable[[sp.csr_matrix], np.ndarray]  # a number for every count of the cells that are kept


@dataclass(frozen=True)
class Batch:
    """A pass of cells, and which of them are trained on."""

    cells: Pass
    labels: np.ndarray  # (n_cells,) class indices; of cells without a label any
    trains: np.ndarray  # (n_cells,) bool


class Step(NamedTuple):
    """What came of a step."""

    loss: float
    norm: float  # of the gradient, before it is cut
    lr: list[float]  # of both groups
    logits: Tensor  # (n_cells that are trained on, n_classes)


class Trainer:
    """A network with its optimiser and its rates.

    Parameters
    ----------
    network
        With a head.
    rates, precision
        Of steps.
    norm_is_trained
        Train the norm after the encoder too, which the authors' optimiser has forgotten.
    """

    def __init__(self, network: nn.Module, rates: Rates, precision: str = "float32", *, norm_is_trained: bool = False):
        self.network, self.rates, self.precision = network, rates, precision
        rest = [network.encoder, network.head, network.latent] + [network.pre_latent_norm] * norm_is_trained
        r = rates
        groups = [
            {"params": [*network.embedder.parameters()], "lr": r.embedder_lr, "weight_decay": r.embedder_decay},
            {"params": [p for part in rest for p in part.parameters()], "lr": r.lr, "weight_decay": r.decay},
        ]
        self.optimizer = torch.optim.AdamW(groups, fused=True)
        plateau = torch.optim.lr_scheduler.ReduceLROnPlateau
        self.plateau = plateau(self.optimizer, mode="min", factor=r.factor, patience=r.patience)

    @property
    def lr(self) -> list[float]:
        """The rates of both groups."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """Return what a training needs to go on, weights left out: also the gradients that are never cleared."""
        trained = {id(parameter) for group in self.optimizer.param_groups for parameter in group["params"]}
        standing = {name: p.grad for name, p in self.network.named_parameters() if id(p) not in trained}
        gradients = {name: gradient for name, gradient in standing.items() if gradient is not None}
        parts = {"optimizer": self.optimizer.state_dict(), "plateau": self.plateau.state_dict()}
        return parts | {"gradients": gradients}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Undo `state_dict`."""
        self.optimizer.load_state_dict(state["optimizer"])
        self.plateau.load_state_dict(state["plateau"])
        for name, gradient in state["gradients"].items():
            parameter = self.network.get_parameter(name)
            parameter.grad = gradient.to(parameter.device)

    def begin(self, epoch: int) -> None:
        """Set the rate of the second group in an epoch of the warm-up, whatever has become of it since."""
        if epoch < self.rates.warmup:
            self.optimizer.param_groups[1]["lr"] = self.rates.lr * (epoch + 1) / self.rates.warmup

    def epoch(self, number: int, batches: Iterable[Batch]) -> list[Step]:
        """Make a step for every batch that has a cell to train on."""
        self.begin(number)
        self.network.train()
        steps = []
        for batch in batches:
            if batch.trains.any():
                steps.append(self.step(batch))
                self.plateau.step(steps[-1].loss)
        return steps

    def step(self, batch: Batch) -> Step:
        """Make one step on the cells of a batch that are trained on, in the company of all."""
        self.optimizer.zero_grad()  # what is in no group keeps its gradient
        device = batch.cells.device
        trains = torch.from_numpy(batch.trains).to(device)
        labels = torch.from_numpy(batch.labels[batch.trains]).to(device)
        with autocast(device, self.precision):
            logits = self.network(batch.cells)[trains]
        loss = F.cross_entropy(logits.float(), labels)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), self.rates.clip)
        self.optimizer.step()
        return Step(loss.item(), norm.item(), self.lr, logits.detach().float())


def drawn(batch: Batch, hiding: Hiding, draws: Draws) -> Batch:
    """Return the pass of a training step: some cells dropped, the others in random order, some counts hidden."""
    kept = np.arange(len(batch.labels))
    if hiding.cells:
        kept = draws.cells[: n_kept(len(kept), hiding.cells, hiding.most)]
    counts = batch.cells.counts[kept]
    if hiding.masked_cells and hiding.values:
        where = np.repeat(chosen(draws.masked, hiding.masked_cells), np.diff(counts.indptr))
        counts = without(counts, hidden(draws.uniform(counts), where, hiding.values))
    return Batch(batch.cells.with_counts(counts), batch.labels[kept], batch.trains[kept])


def draws_of(n_cells: int, hiding: Hiding, *key: int) -> Draws:
    """Return the draws of a pass of so many cells, which depend on the key alone."""
    rng = np.random.default_rng(key)
    cells = rng.permutation(n_cells)
    masked = rng.permutation(n_kept(n_cells, hiding.cells, hiding.most))
    return Draws(cells, masked, lambda counts: rng.random(counts.nnz, np.float32))


def macro(labels: np.ndarray, predictions: np.ndarray, n_classes: int) -> dict[str, float]:
    """Return macro averages over the classes that occur in either; the authors call the recall accuracy.

    Parameters
    ----------
    labels, predictions
        (n_cells,) class indices.
    n_classes
        Of which there are so many.
    """
    pairs = np.bincount(labels * n_classes + predictions, minlength=n_classes**2).reshape(n_classes, n_classes)
    right, true, said = np.diag(pairs), pairs.sum(1), pairs.sum(0)
    occurs = true + said > 0
    right, true, said = right[occurs], true[occurs], said[occurs]
    shares = {"macro_recall": (right, true), "macro_precision": (right, said), "macro_f1": (2 * right, true + said)}
    return {name: float((top / np.maximum(below, 1)).mean()) for name, (top, below) in shares.items()}
