"""Steps of the quick pretrainings with one thread and with two: pytest tests/perf/test_perf_threads.py -o addopts= -s.

Reports only.  On an idle machine two threads that sleep while they wait for each other were at best as fast as one;
hence `bench.training.device.threads_for`.
"""

import time
from statistics import median

import pytest
import torch

from bench.core.families import families
from bench.training.checkpoint import Run
from bench.training.masked_steps import step
from bench.training.recipes import named
from bench.training.step import adam
from bench.training.stop import Stop
from bench.training.world import World

ROUNDS, STEPS = 3, 20


@pytest.mark.parametrize("name", sorted(name for name in named() if name.endswith("_quick")))
def test_a_step_with_one_and_with_two_threads(name):
    recipe, world = named()[name], World("cpu")
    cells = recipe.cells()
    objective = families()[recipe.model].load("objective")(recipe, cells, world.device)
    rows, _ = cells.split(recipe.validation_share, recipe.seed)
    run = Run(network := objective.network(), adam(network))
    run.prepared = objective.prepare(network, rows)
    usual, seconds = torch.get_num_threads(), {1: [], 2: []}
    for n_threads in [1, 2] * ROUNDS:
        torch.set_num_threads(n_threads)
        begun = time.perf_counter()
        for _ in range(STEPS):
            step(run, objective, rows, world, Stop())
        seconds[n_threads].append((time.perf_counter() - begun) / STEPS)
    torch.set_num_threads(usual)
    one, two = (1000 * median(seconds[n_threads]) for n_threads in (1, 2))
    print(f"\n{name}: {one:.1f} ms a step with one thread, {two:.1f} with two, {two / one:.2f} of it")
    assert len(run.losses) == 2 * ROUNDS * STEPS
