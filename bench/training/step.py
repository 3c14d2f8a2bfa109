"""One step of the optimiser on a batch, in parts where memory is short or cells differ in length."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from bench.training.device import autocast, device_of_module
from bench.training.labelled import Cells
from bench.training.schedule import History, Schedule


@dataclass
class Fit:
    """What one training of a network works with."""

    network: nn.Module
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    schedule: Schedule
    class_weights: Tensor | None
    history: History


def adam(network: nn.Module, **settings: float) -> torch.optim.Adam:
    """Return Adam over what is trained of a network; one pass over its numbers a step."""
    return torch.optim.Adam([p for p in network.parameters() if p.requires_grad], fused=True, **settings)


def optimizer_of(network: nn.Module, schedule: Schedule) -> torch.optim.Optimizer:
    """Return the optimiser of a schedule: Adam, or with weight decay AdamW, which spares biases and norms."""
    if not schedule.weight_decay:
        return adam(network, eps=schedule.adam_eps)
    trained = [p for p in network.parameters() if p.requires_grad]
    matrices = {"params": [p for p in trained if p.ndim > 1], "weight_decay": schedule.weight_decay}
    others = {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0}
    return torch.optim.AdamW([matrices, others], fused=True, eps=schedule.adam_eps)


def step_within_memory(fit: Fit, cells: Cells, rows: np.ndarray, seed: int) -> float:
    """Make one training step; where memory is short, halve the cells at a time, add up gradients, and say so."""
    device, history = device_of_module(fit.network), fit.history
    if hasattr(fit.network, "count_pass"):
        fit.network.count_pass(seed)
    while True:
        try:
            torch.manual_seed(seed)  # of dropout
            parts = cells.parts(rows, history.micro_batch, device)
            batch = [(cells.inputs(part, device), cells.targets(part, device)) for part in parts]
            told = {"clip": fit.schedule.clip, "precision": fit.schedule.precision, "scaler": fit.scaler}
            told |= {"each_alike": fit.schedule.accumulate > 1}
            return training_step(fit.network, fit.optimizer, batch, fit.class_weights, **told)
        except (torch.OutOfMemoryError, RuntimeError) as error:
            if not out_of_memory(error) or history.micro_batch == 1:
                raise
        history.micro_batch = -(-history.micro_batch // 2)
        if device.type == "cuda":
            torch.cuda.empty_cache()
        tqdm.write(f"Out of memory: {history.micro_batch} cells at a time from here on, gradients added up.")


def training_step(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    parts: Sequence[tuple],
    class_weights: Tensor | None,
    *,
    clip: float = 1e6,
    precision: str = "float32",
    scaler: torch.amp.GradScaler | None = None,
    each_alike: bool = False,
) -> float:
    """Make one optimiser step and return the loss, a mean weighted by class over the whole batch.

    Parameters
    ----------
    network, optimizer
        What is trained.
    parts
        Inputs of the network and class indices (cells,) of each part of the batch; gradients of parts add up.
    class_weights
        (n_classes,) weights of the loss, or None.
    clip
        Largest norm of the gradient.
    precision, scaler
        Of matrix products; half precision needs a scaler of gradients.
    each_alike
        The loss is the mean of those of the parts, each a mean weighted by class: parts are batches of their own.
    """
    scaler = scaler or torch.amp.GradScaler("cpu", enabled=False)
    weights = [torch.ones_like(y, dtype=torch.float32) if class_weights is None else class_weights[y] for _, y in parts]
    sums = [w.sum() for w in weights]
    totals = [s * len(sums) for s in sums] if each_alike else [sum(sums)] * len(sums)
    optimizer.zero_grad(set_to_none=True)
    losses = []
    for (inputs, labels), weight, total in zip(parts, weights, totals, strict=True):
        with autocast(labels.device, precision):
            logits = network(inputs)
        loss = (F.cross_entropy(logits.float(), labels, reduction="none") * weight).sum() / total
        scaler.scale(loss).backward()
        losses.append(loss.detach())
    scaler.unscale_(optimizer)
    nn.utils.clip_grad_norm_([p for p in network.parameters() if p.grad is not None], clip)
    scaler.step(optimizer)
    scaler.update()
    return torch.stack(losses).sum().item()


def out_of_memory(error: Exception) -> bool:
    """Say whether an error means that memory was short, on a GPU or on the CPU."""
    return isinstance(error, torch.OutOfMemoryError) or "not enough memory" in str(error)
