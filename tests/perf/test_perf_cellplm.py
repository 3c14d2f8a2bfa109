"""CellPLM on real cells at its published size: what a cell's company costs, and that passes cost by the cell.

Run with: pytest tests/perf/test_perf_cellplm.py -s
Cells that go alone are computed side by side, not pass by pass; cells that read a reference read three sums of it, not
a pass of their own with all of it.  Outputs of each pair are compared first; medians of alternating rounds are printed,
nothing here asserts a time.
"""

import numpy as np
import pytest
import torch
from rates import alternating

from bench.datasets import load
from bench.models.cellplm.finetuning import Batch, Rates, Trainer
from bench.models.cellplm.network import Architecture, CellPLMNetwork
from bench.models.cellplm.passes import Pass

N_CELLS, N_REFERENCE, ROUNDS = 64, 200, 3


@pytest.fixture(scope="module")
def cells():
    """All genes of Hao's cells, as rows of the published number of genes."""
    hao = load("hao")
    return Pass(hao.X, np.arange(hao.n_vars), torch.device("cpu"))


@pytest.fixture(scope="module")
def network():
    return CellPLMNetwork(Architecture(decoder=0)).eval()


def some(cells: Pass, rows, **more) -> Pass:
    return Pass(cells.counts[rows], cells.genes, cells.device, **more)


@torch.inference_mode()
def test_company(cells, network):
    few, reference = np.arange(N_CELLS), some(cells, np.arange(100, 100 + N_REFERENCE))

    def one_by_one():
        return torch.cat([network.embed(some(cells, [row])) for row in few])

    def side_by_side():
        return network.embed(some(cells, few, alone=True))

    def a_pass_each():
        rows = [np.r_[100 : 100 + N_REFERENCE, row] for row in few[:4]]
        return torch.cat([network.embed(some(cells, each))[-1:] for each in rows])

    def reading():
        return network.embed(some(cells, few), network.summaries(reference))

    torch.testing.assert_close(one_by_one(), side_by_side(), atol=2e-5, rtol=1e-4)
    runs = {f.__name__: f for f in (one_by_one, side_by_side, a_pass_each, reading)}
    rate = {name: (4 if name == "a_pass_each" else N_CELLS) / s for name, s in alternating(runs, ROUNDS).items()}
    print("\ncells per second:", {name: round(value, 1) for name, value in rate.items()})
    print(f"alone, side by side over one by one: {rate['side_by_side'] / rate['one_by_one']:.1f}x")
    print(f"reading {N_REFERENCE} cells over a pass with them each: {rate['reading'] / rate['a_pass_each']:.1f}x")


def test_a_step_costs_by_the_cell(cells):
    network = CellPLMNetwork(Architecture(decoder=0, dropout=0.5))
    network.classify_into(11, seed=0)
    trainer = Trainer(network.train(), Rates())

    def step(n: int):
        labels = np.arange(n) % 11
        trainer.step(Batch(some(cells, np.arange(n)), labels, np.ones(n, bool)))

    seconds = alternating({n: lambda n=n: step(n) for n in (64, 128, 256)}, ROUNDS)
    print("\nseconds of a step:", {n: round(s, 2) for n, s in seconds.items()})
