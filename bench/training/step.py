"""One step of the optimiser on a batch, in parts where memory is short."""

import torch
import torch.nn.functional as F
from torch import nn
from tqdm import tqdm

from bench.training.device import autocast


def step_within_memory(network, optimizer, tokens, labels, class_weights, schedule, seed: int, history) -> float:
    """Make one training step; where memory is short, halve the cells at a time, add up gradients, and say so."""
    if hasattr(network, "count_pass"):
        network.count_pass(seed)
    while True:
        try:
            return training_step(
                network,
                optimizer,
                tokens,
                labels,
                class_weights,
                clip=schedule.clip,
                micro_batch=history.micro_batch,
                precision=schedule.precision,
            )
        except (torch.OutOfMemoryError, RuntimeError) as error:
            if not _out_of_memory(error) or history.micro_batch == 1:
                raise
        history.micro_batch = -(-history.micro_batch // 2)
        if tokens.is_cuda:
            torch.cuda.empty_cache()
        tqdm.write(f"Out of memory: {history.micro_batch} cells at a time from here on, gradients added up.")


def training_step(
    network, optimizer, tokens, labels, class_weights, *, clip=1e6, micro_batch=None, precision="float32"
) -> float:
    """Make one optimiser step on a batch and return its loss, a mean weighted by class over the whole batch."""
    weights = torch.ones(len(labels), device=labels.device) if class_weights is None else class_weights[labels]
    optimizer.zero_grad(set_to_none=True)
    total = 0.0
    for part in torch.arange(len(labels)).split(micro_batch or len(labels)):
        rows = slice(int(part[0]), int(part[-1]) + 1)
        with autocast(tokens.device, precision):
            logits = network(tokens[rows])
        losses = F.cross_entropy(logits.float(), labels[rows], reduction="none")
        loss = (losses * weights[rows]).sum() / weights.sum()
        loss.backward()
        total += loss.item()
    nn.utils.clip_grad_norm_([p for p in network.parameters() if p.grad is not None], clip)
    optimizer.step()
    return total


def _out_of_memory(error: Exception) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "not enough memory" in str(error)
