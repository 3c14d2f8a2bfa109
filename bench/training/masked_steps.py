"""One optimiser step on masked cells, shared among processes, and the look at validation cells between steps.

Source: PROTOCOL 1.4 and 1.5 of the paper.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.errors import BenchError
from bench.training.checkpoint import Run
from bench.training.device import autocast
from bench.training.masking import accuracy_where, mask_seeded, masked_loss, selected_count
from bench.training.recipes import Pretraining
from bench.training.schedule import cosine_warm_restarts
from bench.training.stop import Stop
from bench.training.store import Cells
from bench.training.world import World

N_VALIDATION = 256  # validation cells looked at each time


def step(run: Run, recipe: Pretraining, cells: Cells, rows: np.ndarray, world: World, stop: Stop) -> bool:
    """Make one optimiser step and note its loss, a mean over all selected positions of the batch.

    Parameters
    ----------
    run
        What is trained; every process has the same.
    recipe, cells
        Sizes and tokens.
    rows
        Cells to draw from.
    world
        Processes, among which the micro-batches are divided.
    stop
        Signals of this process.

    Returns
    -------
    Whether any process has been asked to stop, the same in all of them.

    Raises
    ------
    BenchError
        If the loss or its gradient is not finite; the weights are then those of the step before.
    """
    tokens, seeds = _batch(cells, rows, recipe, run.step)
    n_selected = selected_count((tokens != 0).sum(1), tokens.shape[1]).sum().clamp(min=1)
    run.network.train()
    run.network.count_pass(seeds.pop())
    trained = [p for p in run.network.parameters() if p.requires_grad]
    for parameter in trained:
        parameter.grad = torch.zeros_like(parameter)  # a process without a part of the batch adds nothing
    sums = torch.zeros(2, device=world.device)  # loss, processes that were asked to stop
    sums[1] = stop.asked is not None
    for number, part in enumerate(tokens.split(recipe.micro_batch)):
        if number % world.size == world.rank:
            masked = mask_seeded(part, seeds[number])
            with autocast(world.device, recipe.precision):
                logits = run.network(masked.tokens.to(world.device))
            loss = masked_loss(logits, masked.labels.to(world.device), "sum") / n_selected
            loss.backward()
            sums[0] += loss.detach()
    world.add_up([sums, *(p.grad for p in trained)])
    loss, n_stopped = sums.tolist()
    _update(run, recipe, loss, trained)
    return n_stopped > 0


def _update(run: Run, recipe: Pretraining, loss: float, trained: list[nn.Parameter]) -> None:
    norm = nn.utils.clip_grad_norm_(trained, recipe.clip).item()
    if not math.isfinite(loss + norm):
        raise BenchError(
            f"The loss is {loss:g} and the norm of its gradient {norm:g} at step {run.step + 1}; lower "
            f"lr={recipe.lr:g}. The last checkpoint, of an earlier step, is as it was."
        )
    warmup, cycle = max(1, recipe.steps // 20), recipe.steps + 1
    rate = cosine_warm_restarts(run.step + 1, peak=recipe.lr, floor=recipe.lr / 100, first=cycle, warmup=warmup)
    for group in run.optimizer.param_groups:
        group["lr"] = rate
    run.optimizer.step()
    run.losses.append(loss)
    run.step += 1


def evaluate(
    network: nn.Module, recipe: Pretraining, cells: Cells, rows: np.ndarray, device: torch.device
) -> dict[str, float]:
    """Return loss and masked accuracy of up to 256 of these cells, with the same masks each time.

    The accuracy is over replaced positions and all seven ids, as the paper's notebook counts.
    """
    network.eval()
    losses, right, weights = [], [], []
    with torch.inference_mode():
        for start in range(0, min(len(rows), N_VALIDATION), recipe.micro_batch):
            tokens = _tokens(cells, rows[start : start + recipe.micro_batch])
            masked = mask_seeded(tokens, start)
            with autocast(device, recipe.precision):
                logits = network(masked.tokens.to(device)).float().cpu()
            if masked.replaced.any():
                losses.append(masked_loss(logits, masked.labels).item())
                right.append(accuracy_where(logits.argmax(-1), tokens, masked.replaced).item())
                weights.append(int(masked.replaced.sum()))
    return {"loss": float(np.average(losses, weights=weights)), "accuracy": float(np.average(right, weights=weights))}


def _batch(cells: Cells, rows: np.ndarray, recipe: Pretraining, number: int) -> tuple[Tensor, list[int]]:
    """Return the tokens of a step's cells, and a seed for each micro-batch and one more."""
    rng = np.random.default_rng([recipe.seed, number])
    chosen = rng.choice(rows, recipe.batch_size)  # with replacement, as published
    seeds = rng.integers(2**31, size=recipe.batch_size // recipe.micro_batch + 1).tolist()
    return _tokens(cells, chosen), seeds


def _tokens(cells: Cells, rows: np.ndarray) -> Tensor:
    return F.pad(torch.from_numpy(cells.tokens(rows)), (0, 1)).long()  # (cells, genes + 1)
