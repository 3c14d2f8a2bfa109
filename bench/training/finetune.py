"""Fine-tuning of a network with a classification head: one loop for every model of the project.

Source of the defaults: PROTOCOL 1.1 of the paper (Adam, weighted cross-entropy, best epoch by validation accuracy).
"""

import math
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field

import numpy as np
import scipy.sparse as sp
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from bench.errors import BenchError
from bench.training.device import autocast
from bench.training.step import step_within_memory


@dataclass(frozen=True)
class Schedule:
    """How a network is fine-tuned."""

    epochs: int
    batch_size: int
    rate: Callable[[int], float]  # learning rate of an epoch, from 0
    adam_eps: float = 1e-8
    clip: float = 1e6  # largest norm of the gradient
    shuffle: bool = True
    choose: str = "accuracy"  # best epoch by validation accuracy, or by "loss"
    evaluation_batch: int = 64
    precision: str = "float32"  # or "bf16": matrix products in bfloat16 on a GPU


@dataclass
class History:
    """What happened, per epoch."""

    train_loss: list[float] = field(default_factory=list)
    validation_loss: list[float] = field(default_factory=list)
    validation_accuracy: list[float] = field(default_factory=list)
    best_epoch: int = 0  # from 1
    micro_batch: int = 0  # cells at a time; smaller than the batch where memory was short

    def diagnostics(self) -> dict[str, float | list[float]]:
        """Return what is worth recording."""
        return {name: value for name, value in vars(self).items() if value != []}


@dataclass(frozen=True)
class Cells:
    """Labelled cells: tokens (n_cells, n_genes), CSR or dense, and class indices (n_cells,)."""

    tokens: sp.csr_matrix | np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return self.tokens.shape[0]


def finetune(
    network: nn.Module,
    train: Cells,
    validation: Cells | None,
    schedule: Schedule,
    history: History,
    *,
    class_weights: Tensor | None,
    seed: int,
) -> None:
    """Train the parameters that require gradients and leave the network at its best epoch.

    Parameters
    ----------
    network
        Takes (cells, positions) ids and returns (cells, n_classes) logits; on the device where it shall run.
    train, validation
        Cells; without validation the last epoch is kept.
    schedule
        Epochs, rates, batch size.
    history
        Filled as training goes on, so that it is there after an interruption too.
    class_weights
        (n_classes,) weights of the loss.
    seed
        Of the order of cells and of whatever the network draws.

    Raises
    ------
    BenchError
        If the loss is not finite.
    KeyboardInterrupt
        After a Ctrl-C, with the best epoch so far put in place.
    """
    history.micro_batch, best = schedule.batch_size, _Best(schedule.choose)
    optimizer = torch.optim.Adam([p for p in network.parameters() if p.requires_grad], eps=schedule.adam_eps)
    try:
        for epoch in tqdm(range(schedule.epochs), desc="epochs", leave=False, disable=None):
            for group in optimizer.param_groups:
                group["lr"] = schedule.rate(epoch)
            history.train_loss.append(_epoch(network, optimizer, train, schedule, class_weights, seed, epoch, history))
            if validation is None:
                continue
            loss, accuracy = evaluate(network, validation, schedule, class_weights)
            history.validation_loss.append(loss)
            history.validation_accuracy.append(accuracy)
            best.see(network, loss, accuracy, epoch)
    finally:
        best.restore(network)
        history.best_epoch = best.epoch or len(history.train_loss)


def _epoch(network, optimizer, train, schedule, class_weights, seed, epoch, history) -> float:
    """Train for one epoch and return the mean loss over batches."""
    network.train()
    rng = np.random.default_rng([seed, epoch])
    order = rng.permutation(len(train)) if schedule.shuffle else np.arange(len(train))
    losses = []
    for step, start in enumerate(range(0, len(order), schedule.batch_size)):
        rows = order[start : start + schedule.batch_size]
        batch = tokens_of(train, rows, network), labels_of(train, rows, network)
        draw = int(rng.integers(2**31))
        loss = step_within_memory(network, optimizer, *batch, class_weights, schedule, draw, history)
        if not math.isfinite(loss):
            raise BenchError(
                f"The loss is {loss} at epoch {epoch + 1}, step {step + 1}; lower lr, or check weights and input."
            )
        losses.append(loss)
    return float(np.mean(losses))


def predict(network: nn.Module, cells: Cells, schedule: Schedule) -> Tensor:
    """Return (n_cells, n_classes) float32 logits on the CPU, cells in their order, batch by batch."""
    network.eval()
    out = []
    with torch.inference_mode():
        for start in range(0, len(cells), schedule.evaluation_batch):
            rows = np.arange(start, min(start + schedule.evaluation_batch, len(cells)))
            tokens = tokens_of(cells, rows, network)
            with autocast(tokens.device, schedule.precision):
                out.append(network(tokens).float().cpu())
    return torch.cat(out)


def evaluate(network: nn.Module, cells: Cells, schedule: Schedule, class_weights: Tensor | None) -> tuple[float, float]:
    """Return weighted loss and accuracy over cells with known classes."""
    logits, labels = predict(network, cells, schedule), torch.as_tensor(cells.labels)
    loss = F.cross_entropy(logits, labels, None if class_weights is None else class_weights.cpu())
    return loss.item(), (logits.argmax(1) == labels).double().mean().item()


def tokens_of(cells: Cells, rows: np.ndarray, network: nn.Module) -> Tensor:
    """Return the token ids of some cells with the appended token 0, (cells, genes + 1), where the network is."""
    block = cells.tokens[rows]
    dense = block.toarray() if sp.issparse(block) else block
    device = next(network.parameters()).device
    return F.pad(torch.from_numpy(np.ascontiguousarray(dense)).to(device).long(), (0, 1))


def labels_of(cells: Cells, rows: np.ndarray, network: nn.Module) -> Tensor:
    """Return the class indices of some cells, (cells,), where the network is."""
    return torch.as_tensor(cells.labels[rows], device=next(network.parameters()).device)


class _Best:
    """The weights of the best epoch so far, on the CPU."""

    def __init__(self, choose: str):
        self.choose, self.value, self.state, self.epoch = choose, -math.inf, None, 0

    def see(self, network: nn.Module, loss: float, accuracy: float, epoch: int) -> None:
        value = accuracy if self.choose == "accuracy" else -loss
        if value > self.value:
            trained = {name for name, p in network.named_parameters() if p.requires_grad}
            buffers = dict(network.named_buffers())
            state = {k: v for k, v in network.state_dict().items() if k in trained or k in buffers}
            self.value, self.epoch = value, epoch + 1
            self.state = deepcopy({k: v.cpu() for k, v in state.items()})

    def restore(self, network: nn.Module) -> None:
        if self.state is not None:
            network.load_state_dict(self.state, strict=False)
