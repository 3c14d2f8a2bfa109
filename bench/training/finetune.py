"""Fine-tuning of a network with a classification head: one loop for every model of the project.

Source of the defaults: PROTOCOL 1.1 of the paper (Adam, weighted cross-entropy, best epoch by validation accuracy).
"""

import math
from collections.abc import Callable
from copy import deepcopy

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.metrics import f1_score
from torch import Tensor, nn
from tqdm import tqdm

from bench.core.errors import BenchError
from bench.core.unfinished import place
from bench.training.device import autocast, device_of_module, threads_for
from bench.training.kept import Kept, trained
from bench.training.labelled import Cells
from bench.training.schedule import History, Schedule
from bench.training.step import Fit, optimizer_of, step_within_memory


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

    Where whoever asked for it has named a place (`bench.core.unfinished`), it goes on from the state that is there.

    Parameters
    ----------
    network
        Takes the inputs of such cells and returns (cells, n_classes) logits; on the device where it shall run.
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
    device = device_of_module(network)
    optimizer = optimizer_of(network, schedule)
    scaler = torch.amp.GradScaler(device.type, enabled=schedule.precision == "fp16")
    fit = Fit(network, optimizer, scaler, schedule, class_weights, history)
    kept = Kept(place(), network, {"optimizer": optimizer, "scaler": scaler}, history, best)
    epochs = range(kept.resume(), schedule.epochs)
    try:
        with threads_for(network), torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            for epoch in tqdm(epochs, desc="epochs", leave=False, disable=None):
                history.train_loss.append(_epoch(fit, train, seed, epoch))
                if validation is not None:
                    loss, accuracy, *f1 = evaluate(network, validation, schedule, class_weights)
                    history.validation_loss.append(loss)
                    history.validation_accuracy.append(accuracy)
                    history.validation_macro_f1 += f1
                    best.see(network, loss, f1[0] if f1 else accuracy, epoch)
                kept.keep()
    finally:
        best.restore(network)
        history.best_epoch = best.epoch or len(history.train_loss)


def _epoch(fit: Fit, train: Cells, seed: int, epoch: int) -> float:
    """Train for one epoch and return the mean loss over batches."""
    fit.network.train()
    schedule, rng = fit.schedule, np.random.default_rng([seed, epoch])
    order = rng.permutation(len(train)) if schedule.shuffle else np.arange(len(train))
    n_cells = schedule.batch_size * schedule.accumulate
    losses, batches = [], range(0, len(order), n_cells)
    for step, start in enumerate(batches):
        rate = schedule.rate_at(epoch, epoch * len(batches) + step, schedule.epochs * len(batches))
        for group in fit.optimizer.param_groups:
            group["lr"] = rate
        rows = order[start : start + n_cells]
        loss = step_within_memory(fit, train, rows, int(rng.integers(2**31)))
        if not math.isfinite(loss):
            raise BenchError(
                f"The loss is {loss} at epoch {epoch + 1}, step {step + 1}; lower lr, or check weights and input."
            )
        losses.append(loss)
    return float(np.mean(losses))


def predict(network: nn.Module, cells: Cells, schedule: Schedule) -> Tensor:
    """Return (n_cells, n_classes) float32 logits on the CPU, cells in their order."""
    return over_cells(network, network, cells, schedule)


def over_cells(network: nn.Module, run: Callable, cells: Cells, schedule: Schedule) -> Tensor:
    """Return what a function of the network's inputs gives for every cell, float32 on the CPU, without a gradient."""
    network.eval()
    device, out = device_of_module(network), []
    parts = cells.parts(np.arange(len(cells)), schedule.evaluation_batch, device)
    in_precision = autocast(device, schedule.precision)  # one context: it keeps the rounded weights
    with threads_for(network), torch.inference_mode(), in_precision:
        for rows in parts:
            out.append(run(cells.inputs(rows, device)).float().cpu())
    return torch.cat(out)[np.argsort(np.concatenate(parts))]


def evaluate(
    network: nn.Module, cells: Cells, schedule: Schedule, class_weights: Tensor | None
) -> tuple[float, float] | tuple[float, float, float]:
    """Return weighted loss and accuracy over cells with known classes, and macro F1 where that chooses the epoch."""
    logits, labels = predict(network, cells, schedule), torch.as_tensor(cells.labels)
    loss = F.cross_entropy(logits, labels, None if class_weights is None else class_weights.cpu())
    found = loss.item(), (logits.argmax(1) == labels).double().mean().item()
    if schedule.choose != "macro_f1":
        return found
    return *found, float(f1_score(labels, logits.argmax(1), average="macro", zero_division=0))


class _Best:
    """The weights of the best epoch so far, on the CPU; what is seen of it is a loss, and a score such as accuracy."""

    def __init__(self, choose: str):
        self.choose, self.value, self.state, self.epoch = choose, -math.inf, None, 0

    def see(self, network: nn.Module, loss: float, score: float, epoch: int) -> None:
        value = -loss if self.choose == "loss" else score
        if value > self.value:
            self.value, self.epoch = value, epoch + 1
            self.state = deepcopy({name: tensor.cpu() for name, tensor in trained(network).items()})

    def restore(self, network: nn.Module) -> None:
        if self.state is not None:
            network.load_state_dict(self.state, strict=False)
