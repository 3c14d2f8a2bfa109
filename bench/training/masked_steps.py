"""One optimiser step on masked cells, shared among processes, and the look at validation cells between steps."""

import math

import numpy as np
import torch
from torch import nn

from bench.core.errors import BenchError
from bench.training.checkpoint import Run
from bench.training.objective import Objective
from bench.training.recipes import Pretraining
from bench.training.schedule import cosine_warm_restarts
from bench.training.stop import Stop
from bench.training.world import World

N_VALIDATION = 256  # validation cells looked at each time


def step(run: Run, objective: Objective, rows: np.ndarray, world: World, stop: Stop) -> bool:
    """Make one optimiser step and note its loss, a mean over all predicted positions of the batch.

    Parameters
    ----------
    run
        What is trained; every process has the same.
    objective
        Where batches and their loss come from.
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
    run.network.train()
    parts = objective.parts(run.network, rows, run.step)
    trained = [p for p in run.network.parameters() if p.requires_grad]
    for parameter in trained:
        parameter.grad = torch.zeros_like(parameter)  # a process without a part of the batch adds nothing
    sums = torch.zeros(2, device=world.device)  # loss, processes that were asked to stop
    sums[1] = stop.asked is not None
    for part in parts[world.rank :: world.size]:
        loss = objective.loss(run.network, part)
        loss.backward()
        sums[0] += loss.detach()
    world.add_up([sums, *(p.grad for p in trained)])
    loss, n_stopped = sums.tolist()
    _update(run, objective.recipe, loss, trained)
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


def evaluate(run: Run, objective: Objective, rows: np.ndarray) -> dict[str, float]:
    """Return the step, and the objective's measures of up to 256 of these cells."""
    run.network.eval()
    with torch.inference_mode():
        return {"step": run.step} | objective.evaluate(run.network, rows[:N_VALIDATION])
