"""scBERT at true size, side by side with a plain float32 transcription that builds whole feature tensors.

Run with: pytest tests/perf/test_perf_scbert.py --benchmark-only -s
Ratios and medians of alternating rounds are printed; nothing here asserts a time.
"""

import statistics
import threading
import time

import numpy as np
import psutil
import pytest
import torch
import torch.nn.functional as F
from rates import alternating, ceiling_of_the_gpu, matrix_rate

from bench.models.scbert.network import Architecture, ScBERTNetwork
from bench.training.device import autocast

N_EXPRESSED = 1200  # genes of a cell with a token above 0
ROUNDS = 5
TUNED_PASSES = 1 + 2 / Architecture().depth  # forward through all layers, backward through the last one


def plain_features(x, projection, is_query):
    x = x * x.shape[-1] ** -0.25
    dash = torch.einsum("bhnd,fd->bhnf", x, projection)
    stabiliser = dash.amax(-1, keepdim=True) if is_query else dash.max()
    half_norm = x.square().sum(-1, keepdim=True) / 2
    return len(projection) ** -0.5 * (torch.exp(dash - half_norm - stabiliser) + 1e-4)


def plain_attention(q, k, v, projection):
    q, k = plain_features(q, projection, True), plain_features(k, projection, False)
    context = torch.einsum("bhnf,bhnd->bhfd", k, v)
    inverse = 1 / torch.einsum("bhnf,bhf->bhn", q, k.sum(2))
    return torch.einsum("bhfd,bhnf,bhn->bhnd", context, q, inverse)


def plain_encode(network, tokens):
    x = network.embed(tokens)
    for layer in network.layers:
        norm, at = layer[0].values()
        q, k, v = (at.split(linear(norm(x))) for linear in (at.to_q, at.to_k, at.to_v))
        x = x + at.to_out(at.join(plain_attention(q, k, v, at.projection)))
        feed = layer[1]["fn"]["fn"]
        x = x + feed["w2"](F.gelu(feed["w1"](layer[1]["norm"](x))))
    return network.norm(x)


def flops(a: Architecture, n_positions: int) -> int:
    """Multiply-adds times two of one cell, matrix products alone."""
    inner = a.heads * a.dim_head
    linear = 4 * a.dim * inner + 8 * a.dim * a.dim
    features = a.heads * a.n_features * (2 * a.dim_head + 2 * (a.dim_head + 1))
    return 2 * a.depth * n_positions * (linear + features)


@pytest.fixture(scope="module")
def network():
    network = ScBERTNetwork(Architecture()).eval()
    network.pos_emb["emb"].weight[:-1].normal_(generator=torch.Generator().manual_seed(0))
    return network


def cells(n: int, n_positions: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    tokens = torch.zeros(n, n_positions, dtype=torch.long)
    for cell in tokens:
        expressed = torch.randperm(n_positions - 1, generator=generator)[:N_EXPRESSED]
        cell[expressed] = torch.randint(1, 6, (N_EXPRESSED,), generator=generator)
    return tokens


def peak_mb(run) -> float:
    """Return how much more memory was resident at most while something ran."""
    process, most, done = psutil.Process(), [0], threading.Event()
    before = process.memory_info().rss

    def watch():
        while not done.wait(0.002):
            most[0] = max(most[0], process.memory_info().rss - before)

    watcher = threading.Thread(target=watch)
    watcher.start()
    run()
    done.set()
    watcher.join()
    return most[0] / 1e6


def test_embedding_of_one_cell_on_the_cpu(network, benchmark, capsys):
    tokens = cells(1, network.architecture.n_genes + 1)

    def ours(shortcut: bool, precision: str = "float32"):
        network.shortcut = shortcut
        with torch.inference_mode(), autocast(tokens.device, precision):
            return network.encode(tokens)

    def plain():
        with torch.inference_mode():
            return plain_encode(network, tokens)

    ours(True)
    memory = {"ours": peak_mb(lambda: ours(False)), "plain": peak_mb(plain)}
    error = max((ours(shortcut) - plain()).abs().max().item() for shortcut in (False, True))
    rounded, exact = ours(False, "bf16").flatten(), plain().flatten()
    rates, in_bf16 = [], []
    runs = {"shortcut": lambda: ours(True), "ours": lambda: ours(False), "plain": plain}
    runs |= {"bf16": lambda: ours(False, "bf16"), "rate": lambda: rates.append(matrix_rate())}
    runs |= {"rate in bf16": lambda: in_bf16.append(matrix_rate(dtype=torch.bfloat16))}
    seconds = alternating(runs, ROUNDS)
    products = flops(network.architecture, tokens.shape[1])
    share = products / seconds["ours"] / statistics.median(rates)
    share_in_bf16 = products / seconds["bf16"] / statistics.median(in_bf16)
    with capsys.disabled():
        print(f"\nplain {seconds['plain']:.2f} s; without the shortcut {seconds['ours']:.2f} s, ", end="")
        print(f"{seconds['plain'] / seconds['ours']:.1f}x; with it {seconds['shortcut']:.2f} s, ", end="")
        print(f"{seconds['plain'] / seconds['shortcut']:.1f}x; largest difference {error:.1e}")
        print(f"{100 * share:.0f} % of the matrix rate, {statistics.median(rates) / 1e9:.0f} GFLOP/s; ", end="")
        print(f"peak memory {memory['ours']:.0f} MB against {memory['plain']:.0f} MB")
        print(
            f"in bf16 {seconds['bf16']:.2f} s, {seconds['plain'] / seconds['bf16']:.1f}x; {100 * share_in_bf16:.0f} % ",
            end="",
        )
        print(f"of the matrix rate, {statistics.median(in_bf16) / 1e9:.0f} GFLOP/s; largest difference ", end="")
        alike = F.cosine_similarity(rounded.double(), exact.double(), dim=0).item()
        print(f"{(rounded - exact).abs().max().item():.1e}, cosine {alike:.6f}")
    benchmark.pedantic(lambda: ours(True), rounds=3)
    assert error < 1e-4


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("what", ["embedding", "fine-tuning"])
def test_cells_per_second_on_a_gpu(network, benchmark, capsys, what):
    from copy import deepcopy

    from bench.training.step import training_step

    device, ours = torch.device("cuda"), deepcopy(network).cuda()
    tokens = cells(32, network.architecture.n_genes + 1).cuda()
    if what == "fine-tuning":
        ours.classify_into(11, seed=0)
        ours.cuda().requires_grad_(False)
        for module in (ours.layers[-1], ours.norm, ours.to_out):
            module.requires_grad_(True)
    plain_network = deepcopy(ours)
    plain_network.encode = lambda ids: plain_encode(plain_network, ids)
    labels = torch.arange(32, device=device) % 11

    def run(net, precision, batch):
        if what == "embedding":
            with torch.inference_mode(), autocast(device, precision):
                net.encode(tokens[:batch])
        else:
            optimizer = torch.optim.Adam([p for p in net.parameters() if p.requires_grad])
            training_step(net, optimizer, [(tokens[:batch], labels[:batch])], None, precision=precision)
        torch.cuda.synchronize()

    runs = {"ours": lambda: run(ours, "bf16", 32), "plain": lambda: run(plain_network, "float32", 8)}
    for warm in runs.values():
        warm()
    seconds = alternating(runs, ROUNDS)
    rate = {"ours": 32 / seconds["ours"], "plain": 8 / seconds["plain"]}
    passes = 1 if what == "embedding" else TUNED_PASSES
    share = rate["ours"] * passes * flops(network.architecture, tokens.shape[1]) / ceiling_of_the_gpu()
    with capsys.disabled():
        print(f"\n{what}: {rate['ours']:.0f} cells/s in bf16, plain float32 {rate['plain']:.0f} cells/s, ", end="")
        print(f"{rate['ours'] / rate['plain']:.1f}x; {100 * share:.0f} % of the ceiling of the matrix units; ", end="")
        print(f"peak memory {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB")
    benchmark.pedantic(runs["ours"], rounds=5)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_fine_tuning_of_the_size_of_zheng68k_on_a_gpu(network, capsys):
    """Time 300 steps and a validation pass on real cells; compare classes in bf16 and float32 on 1,000 cells."""
    from bench.datasets import load
    from bench.datasets.panglao import gene_order
    from bench.models.scbert.inputs import Positions as Cells
    from bench.preprocess import gene_tokens
    from bench.training.finetune import History, Schedule, predict
    from bench.training.step import Fit, step_within_memory

    adata = load("pbmc_facs")
    tokens = gene_tokens(adata.X, adata.var_names.tolist(), "counts", gene_order(), "panglao")
    classes, labels = np.unique(adata.obs["cell_type"].astype(str), return_inverse=True)
    order = np.random.default_rng(0).permutation(len(labels))
    scored, train = (Cells(tokens[rows], labels[rows]) for rows in (order[:1000], order[1000:]))
    network.classify_into(len(classes), seed=0)
    network.cuda().requires_grad_(False)
    for module in (network.layers[-1], network.norm, network.to_out):
        module.requires_grad_(True)
    optimizer = torch.optim.Adam([p for p in network.parameters() if p.requires_grad], lr=1e-4)
    schedule = Schedule(1, 32, lambda epoch: 1e-4, precision="bf16")
    scaler = torch.amp.GradScaler("cuda", enabled=False)
    fit = Fit(network.train(), optimizer, scaler, schedule, None, History(micro_batch=32))
    seconds = []
    for step in range(310):
        rows = np.random.default_rng(step).choice(len(train), 32)
        start = time.perf_counter()
        step_within_memory(fit, train, rows, step)
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    start = time.perf_counter()
    fast = predict(network, scored, schedule).argmax(1)
    per_cell = (time.perf_counter() - start) / len(scored)
    exact = predict(network, scored, Schedule(1, 32, lambda epoch: 1e-4)).argmax(1)
    step_s = statistics.median(seconds[10:])
    total = 10 * (1712 * step_s + 13_690 * per_cell)
    with capsys.disabled():
        print(
            f"\n{1e3 * step_s:.0f} ms a step of 32 cells (median of 300), {1e3 * per_cell:.1f} ms a scored cell; ",
            end="",
        )
        print(f"extrapolated to 54,760 cells and 10 epochs: {total / 60:.1f} min; ", end="")
        print(f"classes agree with float32 on {100 * (fast == exact).double().mean():.2f} % of 1,000 cells")
