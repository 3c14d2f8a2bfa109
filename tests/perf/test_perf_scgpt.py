"""Fine-tuning of scGPT on packed cells, side by side with the published plan: all padded to the longest of the set.

Run with: pytest tests/perf/test_perf_scgpt.py --benchmark-only -s
All train the same weights on the same drawn batches of real cells with dropout on, Adam included; without dropout their
losses and gradients are compared first.  Slow plans get the first cells of each batch, as many at a time as memory
allows: with a padded length each cell costs the same, and the step of Adam weighs little beside them.
Cells per second by medians of alternating rounds, and ratios, are printed; nothing here asserts a time.
What limits scGPT in bf16 on the CPU beside its products, about half of the time: compiling products for new shapes
(ten times as long as a product of one cell), memory that is fresh for each large result, casts, dropout and norms.
"""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import scipy.sparse as sp
import torch
import torch.nn.functional as F
from rates import alternating, ceiling_of_the_gpu, matrix_rate
from torch import Tensor, nn

from bench.datasets import load
from bench.models.layers import packed as packing
from bench.models.layers.packed import Packed, attend
from bench.models.layers.sequences import Sequences
from bench.models.scgpt.binning import SPECIAL, at_most, binned
from bench.models.scgpt.network import Architecture, ScGPTNetwork
from bench.training.device import PRECISIONS, autocast
from bench.training.finetune import predict
from bench.training.schedule import Schedule
from bench.training.step import adam, training_step

BATCH, MOST = 32, 3000  # cells of a batch, genes of a cell
N_TOKENS = 60_697  # of the published vocabulary
ROUNDS = 3


@dataclass(frozen=True)
class Padded:
    genes: Tensor  # (n_cells, longest)
    bins: Tensor
    mask: Tensor  # (n_cells, 1, 1, longest), True at positions that are there


def inside(q, k, v, mask, dropout):
    return F.scaled_dot_product_attention(q, k, v, mask, dropout)


def around(q, k, v, mask, dropout):
    return F.scaled_dot_product_attention(q, k, v * F.dropout(torch.ones_like(v[..., :1]), dropout), mask)


def materialised(q, k, v, mask, dropout):
    pairs = (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).masked_fill(~mask, -torch.inf)
    return F.dropout(pairs.softmax(-1), dropout) @ v


class PublishedPlan(nn.Module):
    """The network's own weights over padded cells; optionally with its last layer for the first tokens alone."""

    def __init__(self, network: ScGPTNetwork, attention, short: bool = False):
        super().__init__()
        self.network, self.attention, self.short = network, attention, short

    def forward(self, padded: Padded) -> Tensor:
        x = self.network.gene_embedding(padded) + self.network.value_embedding(padded)  # (n_cells, longest, dim)
        layers = self.network.transformer_encoder["layers"]
        for layer in layers:
            at = layer.self_attn
            qkv = F.linear(x, at.in_proj_weight, at.in_proj_bias)
            q, k, v = qkv.unflatten(2, (3, at.heads, -1)).permute(2, 0, 3, 1, 4)
            if self.short and layer is layers[-1]:
                q, x = q[:, :, :1], x[:, :1]
            found = self.attention(q, k, v, padded.mask, at.share if self.training else 0.0)
            x = layer.norm1(x + self.drop(at.out_proj(found.transpose(1, 2).flatten(2))))
            x = layer.norm2(x + self.drop(layer.linear2(self.drop(F.relu(layer.linear1(x))))))
        return self.network.cls_decoder(x[:, 0])

    def drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.network.architecture.dropout, self.training)


PLANS = {
    "padded, materialised": {"attention": materialised},
    "padded, dropout in SDPA": {"attention": inside},
    "padded, dropout around SDPA": {"attention": around},
    "the same, short last layer": {"attention": around, "short": True},
}


@dataclass(frozen=True)
class Setting:
    """What is trained on which cells."""

    architecture: Architecture
    genes: int = 0  # the most variable ones, 0 for all
    most: int = MOST  # genes of a cell
    cells: tuple[int, ...] = (BATCH,) * len(PLANS)  # of each batch, for each plan
    at_once: int = BATCH  # cells that go through a padded network together
    rounds: int = ROUNDS


TRUE = Architecture(depth=2, mvc=False)
SETTINGS = {
    "all genes": Setting(TRUE, cells=(2, 2, 4, 4), at_once=2),
    "highly variable genes": Setting(TRUE, genes=3000, cells=(8, 8, 16, 16), at_once=8),
    "quick tier": Setting(Architecture(dim=64, depth=2, heads=4, hidden=64, mvc=False), most=127, rounds=15),
}


def sequences(genes: int, most: int, n_tokens: int = 0) -> Sequences:
    """Return the cells of baron over a vocabulary of its genes, or of more tokens."""
    adata = load("baron")
    vocabulary, names = [*SPECIAL, *adata.var_names], adata.var_names.tolist()
    X, ids = adata.X, np.arange(adata.n_obs)
    if genes:
        chosen = most_variable(adata, genes)
        X, names = X[:, chosen], [names[i] for i in chosen]
    bins = at_most(binned(X, names, vocabulary, ids=ids, seed=0), most, ids=ids, seed=0)
    bins = sp.csr_matrix((bins.data, bins.indices, bins.indptr), (len(ids), n_tokens or len(vocabulary)))
    return Sequences(bins, np.unique(adata.obs["cell_type"].astype(str), return_inverse=True)[1], 1)


def most_variable(adata, n_genes: int) -> np.ndarray:
    import scanpy

    logs = adata.copy()
    scanpy.pp.normalize_total(logs, target_sum=1e4)
    scanpy.pp.log1p(logs)
    return np.flatnonzero(scanpy.pp.highly_variable_genes(logs, n_top_genes=n_genes, inplace=False).highly_variable)


def padded(cells: Sequences, rows: np.ndarray, at_once: int, device: torch.device) -> list[tuple[Padded, Tensor]]:
    """Return cells of a batch as the published plan takes them, padded to the longest of the whole set."""
    longest, parts = int(np.diff(cells.tokens.indptr).max()) + 1, []
    for start in range(0, len(rows), at_once):
        part = rows[start : start + at_once]
        packed = cells.inputs(part, device)
        there = torch.arange(longest) < torch.tensor(packed.lengths)[:, None]
        genes, bins = (torch.zeros(there.shape, dtype=torch.long) for _ in range(2))
        genes[there], bins[there] = packed.genes.cpu(), packed.bins.cpu()
        put = Padded(*(t.to(device) for t in (genes, bins, there[:, None, None])))
        parts.append((put, cells.targets(part, device)))
    return parts


def packed(cells: Sequences, rows: np.ndarray, device: torch.device) -> list[tuple]:
    parts = cells.parts(rows, len(rows), device)
    return [(cells.inputs(part, device), cells.targets(part, device)) for part in parts]


def flops(a: Architecture, lengths: np.ndarray) -> float:
    """Operations of matrix products of a training step on cells of such lengths, backward twice the forward."""
    positions, pairs, n = lengths.sum(), (lengths.astype(float) ** 2).sum(), len(lengths)
    whole = positions * (4 * a.dim**2 + 2 * a.dim * a.hidden) + 2 * pairs * a.dim
    last = positions * 2 * a.dim**2 + n * (2 * a.dim**2 + 2 * a.dim * a.hidden) + 2 * positions * a.dim
    return 3 * 2 * ((a.depth - 1) * whole + last)


def gradients(network: nn.Module, parts: list[tuple]) -> tuple[float, list[Tensor]]:
    """Return the loss of cells and its gradients without dropout."""
    network.eval().zero_grad()
    total = 0.0
    for inputs, labels in parts:
        loss = F.cross_entropy(network(inputs), labels, reduction="sum")
        loss.backward()
        total += loss.item()
    return total, [p.grad.clone() for p in network.parameters() if p.grad is not None]


def made(setting: Setting, cells: Sequences, device: str = "cpu") -> tuple[ScGPTNetwork, dict[str, nn.Module]]:
    """Return our network and the published plans with its weights."""
    network = ScGPTNetwork(replace(setting.architecture, n_tokens=cells.tokens.shape[1]))
    network.classify_into(int(cells.labels.max()) + 1, seed=0)
    network.to(device)
    return network, {name: PublishedPlan(network, **options) for name, options in PLANS.items()}


def plain_adam(network: nn.Module, **settings: float) -> torch.optim.Adam:
    return torch.optim.Adam(network.parameters(), **settings)


def training(network: nn.Module, precision: str = "float32"):
    """Return what makes a step on parts of a batch, with the project's Adam for the network, torch's for plans."""
    optimizer = (adam if isinstance(network, ScGPTNetwork) else plain_adam)(network, lr=1e-5, eps=1e-4)
    return lambda parts: training_step(network.train(), optimizer, parts, None, clip=1.0, precision=precision)


@pytest.mark.parametrize("name", SETTINGS)
def test_cells_per_second_on_the_cpu(name, benchmark, capsys):
    setting, device = SETTINGS[name], torch.device("cpu")
    cells = sequences(setting.genes, setting.most)
    lengths = np.diff(cells.tokens.indptr) + 1
    network, plans = made(setting, cells)
    few = np.argsort(lengths)[[len(lengths) // 2, len(lengths) // 4]]
    loss, expected = gradients(network, packed(cells, few, device))
    for plan in plans.values():
        found, their = gradients(plan, padded(cells, few, len(few), device))
        assert found == pytest.approx(loss, rel=1e-4)
        for ours, theirs in zip(expected, their, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4 * theirs.abs().max().item())
    rng, rates, drawn = np.random.default_rng(0), [], {}

    def draw():
        drawn["rows"] = rng.choice(len(lengths), BATCH, replace=False)
        rates.append(matrix_rate())

    def ours():
        step(packed(cells, drawn["rows"], device))

    def theirs(train, n: int):
        return lambda: train(padded(cells, drawn["rows"][:n], setting.at_once, device))

    step, counts = training(network), dict(zip(plans, setting.cells, strict=True))
    runs = {"draw": draw, "ours": ours} | {n: theirs(training(plan), counts[n]) for n, plan in plans.items()}
    seconds = alternating(runs, setting.rounds)
    told(capsys, name, lengths, {"ours": BATCH} | counts, seconds)
    share = flops(network.architecture, lengths) / len(lengths) * BATCH / seconds["ours"] / np.median(rates)
    with capsys.disabled():
        print(f"  ours at {100 * share:.0f} % of the matrix rate, {np.median(rates) / 1e9:.0f} GFLOP/s")
    benchmark.pedantic(ours, rounds=1)


@pytest.mark.parametrize("precision", ["bf16", "float32"])
def test_published_size_on_the_cpu(precision, benchmark, capsys):
    """Time training and scoring of batches of cells of 100 to 300 tokens beside the plain plan, padded per batch."""
    device, dtype = torch.device("cpu"), PRECISIONS[precision] or torch.float32
    cells = sequences(3000, 299, N_TOKENS)
    cells = cells.take(np.flatnonzero(np.diff(cells.tokens.indptr) >= 99))
    network = ScGPTNetwork(Architecture(N_TOKENS, mvc=False))
    network.classify_into(int(cells.labels.max()) + 1, seed=0)
    plan, schedule = PublishedPlan(network, around), Schedule(1, BATCH, lambda epoch: 1e-5, precision=precision)
    train, train_plan = training(network, precision), training(plan, precision)
    rng, rates, lengths, drawn = np.random.default_rng(0), [], [], {}

    def draw():
        drawn["cells"] = cells.take(rng.choice(len(cells), BATCH, replace=False))
        lengths.append(np.diff(drawn["cells"].tokens.indptr) + 1)
        rates.append(matrix_rate(dtype=dtype))

    def at_once():
        return padded(drawn["cells"], np.arange(BATCH), BATCH, device)

    def score_plan():
        with torch.inference_mode(), autocast(device, precision):
            plan.eval()(at_once()[0][0])

    runs = {"draw": draw, "training": lambda: train(packed(drawn["cells"], np.arange(BATCH), device))}
    runs |= {"training, plain": lambda: train_plan(at_once())}
    runs |= {"scoring": lambda: predict(network, drawn["cells"], schedule), "scoring, plain": score_plan}
    alternating(runs, 1)  # to warm up
    seconds = alternating(runs, ROUNDS)
    products, rate = flops(network.architecture, np.concatenate(lengths)) / len(lengths), np.median(rates)
    with capsys.disabled():
        print(f"\n{precision}, {BATCH} cells of {np.mean(lengths):.0f} tokens, {torch.get_num_threads()} threads")
        for what, share_of_step in {"training": 1, "scoring": 1 / 3}.items():
            ours, plain = seconds[what], seconds[f"{what}, plain"]
            share = 100 * share_of_step * products / ours / rate
            print(
                f"  {what:<9} plain {BATCH / plain:6.1f} cells/s, ours {BATCH / ours:6.1f}, {plain / ours:.2f}x, ",
                end="",
            )
            print(f"{share:.0f} % of the matrix rate, {rate / 1e9:.0f} GFLOP/s")
    benchmark.pedantic(runs["training"], rounds=1)


@pytest.mark.parametrize("length", [300, 700, 1200, 2400])
def test_attention_of_cells_of_one_length_by_products_and_fused(length, benchmark, capsys, monkeypatch):
    """Time both kinds in bf16 with their gradients, as `bench.models.layers.packed.PRODUCTS` chooses between them."""
    n = max(1, 4800 // length)
    cells = Packed(*torch.zeros(2, n * length, dtype=torch.long), (length,) * n)
    qkv, gradient = (torch.randn(n * length, *rest).bfloat16() for rest in [(3, 8, 64), (512,)])

    def attention(most: int):
        monkeypatch.setitem(packing.PRODUCTS, "cpu", most)
        attend(qkv.requires_grad_(), cells, 0.2).backward(gradient)

    runs = {"products": lambda: attention(length), "fused": lambda: attention(0)}
    alternating(runs, 1)  # to warm up
    seconds = alternating(runs, ROUNDS)
    told = ", ".join(f"{name} {1000 * one / n:.0f} ms a cell" for name, one in seconds.items())
    with capsys.disabled():
        print(f"\n{length} tokens: {told}, {seconds['fused'] / seconds['products']:.2f}x")
    benchmark.pedantic(runs["products"], rounds=1)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("name", ["all genes", "highly variable genes"])
def test_cells_per_second_on_a_gpu(name, benchmark, capsys):
    """Time steps in bf16 at true size, 12 layers and the published number of tokens."""
    setting, device = replace(SETTINGS[name], architecture=Architecture(mvc=False)), torch.device("cuda")
    cells = sequences(setting.genes, setting.most, N_TOKENS)
    lengths = np.diff(cells.tokens.indptr) + 1
    network, plans = made(setting, cells, "cuda")
    rng, drawn = np.random.default_rng(0), {}
    at_once = dict.fromkeys(plans, BATCH) | {"padded, materialised": 2 if name == "all genes" else BATCH}

    def draw():
        drawn["rows"] = rng.choice(len(lengths), BATCH, replace=False)

    def run(train, parts):
        def once():
            train(parts(drawn["rows"]))
            torch.cuda.synchronize()

        return once

    runs = {"draw": draw, "ours": run(training(network, "bf16"), lambda rows: packed(cells, rows, device))}
    for plan, net in plans.items():
        runs[plan] = run(training(net, "bf16"), lambda rows, most=at_once[plan]: padded(cells, rows, most, device))
    alternating(runs, 1)  # to warm up
    seconds = alternating(runs, 10)
    told(capsys, name, lengths, dict.fromkeys(["ours", *plans], BATCH), seconds)
    rate = flops(network.architecture, lengths) / len(lengths) * BATCH / seconds["ours"]
    with capsys.disabled():
        print(f"  ours at {100 * rate / ceiling_of_the_gpu():.0f} % of the ceiling of the matrix units")
    benchmark.pedantic(runs["ours"], rounds=3)


def told(capsys, name: str, lengths: np.ndarray, cells: dict[str, int], seconds: dict[str, float]) -> None:
    """Print cells per second and ratios."""
    rate = {plan: n / seconds[plan] for plan, n in cells.items()}
    capped = 100 * (lengths == MOST + 1).mean()
    with capsys.disabled():
        print(f"\n{name}: {np.median(lengths):.0f} tokens in the median, {lengths.max()} at most, ", end="")
        print(f"{capped:.0f} % cut; {torch.get_num_threads()} threads")
        for plan, n in cells.items():
            print(f"  {plan:<28} {n:>2} cells in {seconds[plan]:8.3f} s, {rate[plan]:8.3f} cells/s, ", end="")
            print(f"ours {rate['ours'] / rate[plan]:.2f}x")
