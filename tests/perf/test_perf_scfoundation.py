"""scFoundation's encoder on packed cells beside torch's on padded ones, and the memory that its decoder takes.

Run with: pytest tests/perf/test_perf_scfoundation.py --benchmark-only -s
Batches of 32 real cells in file order, padded to their longest for torch's layers, called one by one as the published
code calls them, and for ``torch.nn.TransformerEncoder``, which in evaluation leaves padding out, too.  Two layers of
published width: each further one costs as much.  Outputs and losses are compared first.  Medians of alternating rounds
and ratios are printed; nothing here asserts a time.  Memory is the growth of the peak of a process of its own.
"""

import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from rates import alternating
from torch import Tensor, nn

from bench.datasets import load
from bench.models.scfoundation.architecture import Architecture
from bench.models.scfoundation.classifier import ScFoundationClassifier
from bench.models.scfoundation.inputs import Batch, Expressed, normalised, with_depth
from bench.training.step import adam, training_step

BATCH, ROUNDS = 32, 3
CPU = torch.device("cpu")


class Plain(nn.Module):
    """The network's own weights in torch's layers, over padded cells; its maximum leaves padding out."""

    def __init__(self, network: ScFoundationClassifier, *, container: bool = False):
        super().__init__()
        a = network.architecture
        layer = nn.TransformerEncoderLayer(a.dim, a.heads, a.hidden, a.dropout, batch_first=True)
        self.network, self.container = network, container
        self.encoder = nn.TransformerEncoder(layer, a.depth, network.encoder["norm"], enable_nested_tensor=container)
        for theirs, ours in zip(self.encoder.layers, network.encoder["transformer_encoder"], strict=True):
            theirs.load_state_dict(ours.state_dict())
            for one, other in zip(theirs.parameters(), ours.parameters(), strict=True):
                one.requires_grad_(other.requires_grad)

    def embed(self, padded: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        values, positions, there = padded
        x = self.network.token_emb(values) + self.network.pos_emb(positions)
        if self.container:
            x = self.encoder(x, src_key_padding_mask=~there)
            there = there[:, : x.shape[1]]
        else:
            for layer in self.encoder.layers:
                x = layer(x, src_key_padding_mask=~there)
            x = self.encoder.norm(x)
        return x.masked_fill(~there[..., None], -torch.inf).amax(1)

    def forward(self, padded: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        return self.network.fc1(self.network.norm(self.embed(padded)))


def padded(batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """Return values, positions and what is there, (n_cells, longest) each, cells by length."""
    lengths = torch.cat([part.lengths_on_device for part in batch.parts])
    there = torch.arange(int(lengths.max())) < lengths[:, None]
    values, positions = torch.zeros(there.shape), torch.zeros(there.shape, dtype=torch.long)
    values[there] = torch.cat([part.bins for part in batch.parts])
    positions[there] = torch.cat([part.genes for part in batch.parts])
    return tuple(t[batch.place] for t in (values, positions, there))


@pytest.fixture(scope="module")
def cells() -> Expressed:
    adata = load("hao")
    labels = np.unique(adata.obs["cell_type"].astype(str), return_inverse=True)[1]
    return Expressed(with_depth(normalised(adata.X)[0]), labels, 103)


def test_cells_per_second_on_the_cpu(cells, benchmark, capsys):
    network = ScFoundationClassifier(
        Architecture(cells.tokens.shape[1] - 2, depth=2, dropout=0.0), int(cells.labels.max()) + 1, pads=False
    )
    network.train_only("one_layer")
    plain, container = Plain(network), Plain(network, container=True)
    rng, drawn = np.random.default_rng(0), {}

    def draw(n: int = BATCH):
        start = int(rng.integers(len(cells) - n))
        rows = np.arange(start, start + n)  # in the order of the file
        drawn.update(batch=cells.inputs(rows, CPU), labels=cells.targets(rows, CPU))
        drawn["padded"] = padded(drawn["batch"])

    def embedding(run, inputs: str):
        def go():
            with torch.no_grad():  # a step takes the same batch
                return run.eval().embed(drawn[inputs]) if run is not network else run.eval().pooled(drawn[inputs])

        return go

    def training(run, inputs: str):
        optimizer = adam(run, lr=1e-5)
        return lambda: training_step(run.train(), optimizer, [(drawn[inputs], drawn["labels"])], None)

    draw(4)
    for other in (plain, container):
        expected, found = embedding(other, "padded")(), embedding(network, "batch")()
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(
        *(
            F.cross_entropy(run.train()(drawn[of]), drawn["labels"])
            for run, of in ((network, "batch"), (plain, "padded"))
        )
    )
    runs = {"draw": draw, "embedding": embedding(network, "batch"), "embedding, plain": embedding(plain, "padded")}
    runs |= {"embedding, container": embedding(container, "padded")}
    runs |= {"step": training(network, "batch"), "step, plain": training(plain, "padded")}
    seconds = alternating(runs, ROUNDS)
    with capsys.disabled():
        print(f"\n{BATCH} cells of {np.diff(cells.tokens.indptr).mean():.0f} tokens, {torch.get_num_threads()} threads")
        for what in ("embedding", "step"):
            for other in [name for name in seconds if name.startswith(f"{what}, ")]:
                ratio = seconds[other] / seconds[what]
                print(f"  ours {BATCH / seconds[what]:.2f} cells/s, {ratio:.2f}x of {other}")
    benchmark.pedantic(embedding(network, "batch"), rounds=1)


DECODER = """
import sys, torch
from pathlib import Path
from bench.models.layers import favor, performer
from bench.models.scfoundation.network import LONG

def peak() -> int:  # kB; what getrusage gives begins with that of the process that started this one
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])

def whole(q, k, v, projection, stabiliser):
    def features(x, over):
        dash = x @ projection.T * x.shape[-1] ** -0.25
        norm = x.square().sum(-1, keepdim=True) * x.shape[-1] ** -0.5 / 2
        return (dash - norm - dash.amax(over, keepdim=True)).exp() + 1e-4
    q, k = features(q, -1), features(k, (0, 1, 2, 3))
    return q @ (k.transpose(2, 3) @ v) / (q @ k.sum(2)[..., None])

ours, gradient = sys.argv[1] == "ours", sys.argv[2] == "gradient"
layers = torch.nn.ModuleList(performer.Layer(512, 8, 64, 266, qkv_bias=True) for _ in range(2))
x = torch.randn(1, 19_266, 512)
if not ours:
    performer.attention = whole
before = peak()
with torch.set_grad_enabled(gradient):
    for layer in layers:
        if not ours:
            x = layer(x, "batch")
        else:
            x = layer.in_parts(x, "batch", LONG) if gradient else layer.in_blocks(x, "batch")
    if gradient:
        x.square().mean().backward()
print(peak() - before, float(x.detach().square().mean()))
"""


@pytest.mark.parametrize("what", ["embedding", "gradient"])
def test_memory_of_the_decoder(what, benchmark, capsys):
    """Two layers of published size over all 19,266 positions of a cell."""
    found = {}
    for which in ("ours", "whole feature tensors"):
        command = [sys.executable, "-c", "import torch; torch.manual_seed(0)" + DECODER, which.split()[0], what]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found[which] = [float(number) for number in done.stdout.split()]
    (ours, one), (theirs, other) = found.values()
    assert one == pytest.approx(other, rel=1e-3)
    assert ours < theirs / 4
    with capsys.disabled():
        print(f"\n{what}: {ours / 1e3:.0f} MB beside {theirs / 1e3:.0f} MB, {ours / theirs:.2f} of it")
    benchmark.pedantic(lambda: None, rounds=1)  # what was measured is memory
