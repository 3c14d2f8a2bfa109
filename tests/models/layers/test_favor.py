"""Attention in blocks has the values and gradients of its formula, at any size and length, without whole features."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from bench.models.layers import favor_sums
from bench.models.layers.favor import attention
from bench.models.layers.favor_sums import blocks
from bench.models.layers.projection import draw_projection, projection_from

CASES = {  # (cells, heads, positions, dim_head), features
    "usual": ((3, 4, 150, 16), 44),
    "one of each": ((1, 1, 1, 4), 3),
    "one position": ((2, 3, 1, 8), 16),
    "fewer features than dimensions": ((2, 2, 70, 32), 5),
    "published head": ((2, 2, 100, 64), 266),
}
SHORT = 64  # positions, the least that a block holds


def formula(q, k, v, projection, stabiliser):
    """Return the attention as it is written down, whole feature tensors and all."""
    n_features, dim = projection.shape
    scaled_q, scaled_k = q * dim**-0.25, k * dim**-0.25
    of_q, of_k = (torch.einsum("bhnd,md->bhnm", x, projection) for x in (scaled_q, scaled_k))
    half_q, half_k = (x.square().sum(-1, keepdim=True) / 2 for x in (scaled_q, scaled_k))
    maximum = of_k.amax() if stabiliser == "batch" else of_k.amax((1, 2, 3), keepdim=True)
    features_q = n_features**-0.5 * ((of_q - half_q - of_q.amax(-1, keepdim=True)).exp() + 1e-4)
    features_k = n_features**-0.5 * ((of_k - half_k - maximum).exp() + 1e-4)
    context = torch.einsum("bhnm,bhnd->bhmd", features_k, v)
    denominator = torch.einsum("bhnm,bhm->bhn", features_q, features_k.sum(2))
    return torch.einsum("bhnm,bhmd->bhnd", features_q, context) / denominator[..., None]


def draw(shape, n_features, size=1.0, seed=0):
    """Return queries, keys, values, a gradient and a projection, in float64."""
    rng = torch.Generator().manual_seed(seed)
    tensors = [torch.randn(shape, generator=rng, dtype=torch.float64) for _ in range(4)]
    projection = draw_projection(n_features, shape[-1], rng).double()
    return tensors[0] * size, tensors[1] * size, tensors[2], tensors[3], projection


def run(function, inputs, stabiliser, dtype=torch.float64):
    """Return the output and the gradients of queries, keys and values."""
    *qkv, gradient, projection = (t.to(dtype) for t in inputs)
    qkv = [t.detach().requires_grad_() for t in qkv]
    out = function(*qkv, projection, stabiliser)
    out.backward(gradient)
    return [out.detach(), *(t.grad for t in qkv)]


def assert_near(found, expected, tolerance):
    for name, one, other in zip(("output", "of q", "of k", "of v"), found, expected, strict=True):
        # a single position's gradients of q and k are zero: what rounding leaves of numbers of size one, up to 2e-6
        # in float32 with AVX2; all others are above 0.4
        size = max(other.abs().max().item(), 0.1)
        error = (one.double() - other).abs().max().item() / size
        assert error < tolerance, (name, error)


@pytest.fixture(params=[1, 10_000, favor_sums.CPU_BLOCK], ids=["smallest blocks", "some blocks", "one block"])
def block(request, monkeypatch):
    """Features mapped at a time."""
    monkeypatch.setattr(favor_sums, "CPU_BLOCK", request.param)
    return request.param


@pytest.mark.parametrize("stabiliser", ["batch", "per_cell"])
@pytest.mark.parametrize("case", CASES)
def test_output_and_gradients_are_the_formulas(case, stabiliser, block):
    inputs = draw(*CASES[case])
    expected = run(formula, inputs, stabiliser)
    assert_near(run(attention, inputs, stabiliser), expected, 1e-11)
    assert_near(run(attention, inputs, stabiliser, torch.float32), expected, 2e-4)


@pytest.mark.parametrize("stabiliser", ["batch", "per_cell"])
@pytest.mark.parametrize("size", [1e-3, 8.0, 40.0])
def test_inputs_that_overflow_a_plain_exponential_keep_the_formulas_values(size, stabiliser, block):
    inputs = draw((2, 3, 130, 16), 44, size)
    projected = (inputs[1] * 16**-0.25 @ inputs[4].T).amax()
    assert (projected > 89) == (size == 40)  # the largest exponent of float32
    expected = run(formula, inputs, stabiliser)
    assert_near(run(attention, inputs, stabiliser), expected, 1e-9)
    found = run(attention, inputs, stabiliser, torch.float32)
    assert all(torch.isfinite(t).all() for t in found)
    np.testing.assert_allclose(found[0], expected[0], atol=2e-4 if size < 40 else 5e-3)


def test_keys_that_grow_from_block_to_block_do_not_overflow(monkeypatch):
    """The reference of the sums is raised on the way, more than once."""
    monkeypatch.setattr(favor_sums, "CPU_BLOCK", 1)
    q, k, v, gradient, projection = draw((2, 2, 4 * SHORT, 16), 44)
    k = k * torch.linspace(1, 40, 4 * SHORT, dtype=torch.float64)[:, None]
    for keys in (k, k.flip(2)):
        inputs = q, keys, v, gradient, projection
        for stabiliser in ("batch", "per_cell"):
            assert_near(run(attention, inputs, stabiliser), run(formula, inputs, stabiliser), 1e-9)


@pytest.mark.parametrize("stabiliser", ["batch", "per_cell"])
def test_gradient_is_that_of_finite_differences(stabiliser, monkeypatch):
    monkeypatch.setattr(favor_sums, "CPU_BLOCK", 1)
    q, k, v, _, projection = draw((2, 2, SHORT + 2, 3), 5)
    q, k, v = (t.requires_grad_() for t in (q, k, v))
    assert torch.autograd.gradcheck(
        lambda *qkv: attention(*qkv, projection, stabiliser), (q, k, v), fast_mode=True, rtol=1e-6
    )


def test_the_batch_matters_to_one_stabiliser_alone():
    q, k, v, _, projection = draw((4, 2, 90, 16), 44, size=1.5)
    for stabiliser, nearly in (("batch", False), ("per_cell", True)):
        together = attention(q, k, v, projection, stabiliser)
        alone = torch.cat([attention(*(t[i : i + 1] for t in (q, k, v)), projection, stabiliser) for i in range(4)])
        assert torch.allclose(together, alone, rtol=0, atol=1e-12) == nearly


def test_order_of_cells_and_of_positions_carries_over():
    q, k, v, _, projection = draw((3, 2, 90, 16), 44)
    out = attention(q, k, v, projection)
    cells, positions = torch.tensor([2, 0, 1]), torch.randperm(90, generator=torch.Generator().manual_seed(0))
    moved = attention(*(t[cells][:, :, positions] for t in (q, k, v)), projection)
    torch.testing.assert_close(moved, out[cells][:, :, positions], rtol=0, atol=1e-12)


def test_projection_receives_no_gradient():
    q, k, v, gradient, projection = draw((2, 2, 20, 8), 16)
    projection.requires_grad_(), q.requires_grad_()
    attention(q, k, v, projection).backward(gradient)
    assert projection.grad is None
    assert q.grad is not None


def test_result_has_the_type_of_the_queries_and_inputs_stay_as_they_are():
    inputs = draw((2, 2, 20, 8), 16)
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        q, k, v, _, projection = (t.to(dtype) for t in inputs)
        kept = [t.clone() for t in (q, k, v, projection)]
        assert attention(q, k, v, projection).dtype == dtype
        assert all(torch.equal(now, before) for now, before in zip((q, k, v, projection), kept, strict=True))


def test_values_that_are_all_alike_come_out_as_they_are():
    q, k, v, _, projection = draw((2, 2, 70, 8), 16)
    out = attention(q, k, torch.full_like(v, 3.5), projection)
    torch.testing.assert_close(out, torch.full_like(v, 3.5), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("n_cells", "n_positions"), [(1, 1), (5, 7), (3, 200), (2, 16_907)])
@pytest.mark.parametrize("size", [1, 5_000, 1 << 21])
def test_blocks_cover_every_position_of_every_cell_once(n_cells, n_positions, size):
    seen = np.zeros((n_cells, n_positions), dtype=int)
    for cells, positions in blocks(n_cells, n_positions, 10, 266, size):
        seen[cells, positions] += 1
        n_features = (cells.stop - cells.start) * (positions.stop - positions.start) * 2660
        assert n_features <= max(size, SHORT * 2660)
    assert (seen == 1).all()


@pytest.mark.parametrize(("n_features", "dim"), [(266, 64), (64, 64), (5, 16), (44, 16)])
def test_rows_are_orthogonal_within_blocks_and_as_long_as_gaussian_vectors(n_features, dim):
    draws = [draw_projection(n_features, dim, torch.Generator().manual_seed(seed)).double() for seed in range(40)]
    lengths = torch.stack([projection.norm(dim=1) for projection in draws])
    for projection, length in zip(draws, lengths, strict=True):
        rows = projection / length[:, None]
        for part in rows.split(dim):
            torch.testing.assert_close(part @ part.T, torch.eye(len(part), dtype=torch.float64), rtol=0, atol=2e-6)
    n = lengths.numel()
    assert abs(lengths.square().mean() - dim) < 5 * (2 * dim / n) ** 0.5  # a chi-square of ``dim`` degrees
    assert abs(lengths.square().var() - 2 * dim) < 0.5 * 2 * dim


def test_projection_depends_on_its_generator_alone():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one, two, other = (draw_projection(44, 16, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(one, two)
    assert not torch.equal(one, other)
    assert torch.equal(torch.get_rng_state(), before)


def test_features_estimate_the_softmax_kernel():
    """Without the small constant, features of enough random directions give exp(q.k / sqrt(d)) on average.

    The published features keep the signs that QR gives, which favour some directions; here they are drawn.
    """
    rng = torch.Generator().manual_seed(0)
    q, k = (torch.randn(6, 8, generator=rng, dtype=torch.float64) / 2 for _ in range(2))
    projection = draw_projection(200_000, 8, rng).double()
    projection *= torch.randint(2, (len(projection), 1), generator=rng) * 2 - 1
    features = [(x * 8**-0.25 @ projection.T - x.square().sum(1, keepdim=True) * 8**-0.5 / 2).exp() for x in (q, k)]
    estimate = features[0] @ features[1].T / len(projection)
    torch.testing.assert_close(estimate, (q @ k.T * 8**-0.5).exp(), rtol=0.03, atol=0)


def test_rows_come_from_qr_and_lengths_from_the_norms():
    rng = torch.Generator().manual_seed(0)
    gaussians, norms = torch.randn(2, 4, 4, generator=rng), torch.randn(6, 4, generator=rng)
    found = projection_from(gaussians, norms)
    expected = [torch.linalg.qr(block)[0].T for block in gaussians]
    torch.testing.assert_close(found, torch.cat(expected)[:6] * norms.norm(dim=1)[:, None])


@pytest.mark.parametrize("stabiliser", ["batch", "per_cell"])
@pytest.mark.parametrize("case", ["usual", "published head"])
def test_in_bf16_output_and_gradients_are_near_those_of_the_formula(case, stabiliser, block):
    """Queries, keys and values keep eight bits; a random error of that size in each feature mostly averages out."""
    inputs = draw(*CASES[case])
    rounded = [t.bfloat16().double() for t in inputs[:4]]
    expected = run(formula, (*rounded, inputs[4]), stabiliser)
    *qkv, gradient = (t.bfloat16() for t in rounded)
    qkv = [t.requires_grad_() for t in qkv]
    with torch.autocast("cpu", torch.bfloat16):
        out = attention(*qkv, inputs[4].float(), stabiliser)
    out.backward(gradient)
    found = [out.detach(), *(t.grad for t in qkv)]
    assert {t.dtype for t in found} == {torch.bfloat16}
    for one, other in zip(found, expected, strict=True):
        error = (one.double() - other).norm() / other.norm()
        assert error < 0.03, error.item()


MEMORY = """
import sys, threading, psutil, torch
from bench.models.layers.favor import attention
from bench.models.layers.projection import draw_projection

def watch():
    while not done.wait(0.001):
        seen.append(psutil.Process().memory_info().rss)

torch.set_num_threads(1)
trained = sys.argv[1] == "trained"
shape = (1, 10, int(sys.argv[2]), 64)
q, k, v = (torch.randn(shape, requires_grad=trained) for _ in range(3))
projection = draw_projection(266, 64, torch.Generator().manual_seed(0))
few = [x[:, :, :100].detach().requires_grad_(trained) for x in (q, k, v)]
once = attention(*few, projection).sum()  # what libraries load at their first call is not of interest
if trained:
    once.backward()
done, seen = threading.Event(), [psutil.Process().memory_info().rss]
thread = threading.Thread(target=watch)
thread.start()
out = attention(q, k, v, projection)
if trained:
    out.backward(torch.ones_like(out))
done.set()
thread.join()
kept = out.nbytes * (5 if trained else 1)  # output, its gradient, and gradients of queries, keys and values
print(len(seen), max(seen) - seen[0] - kept)
"""


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["inference", "trained"])
def test_memory_stays_far_below_one_whole_feature_tensor(mode):
    n_positions = 16_907
    said = subprocess.run(
        [sys.executable, "-c", MEMORY, mode, str(n_positions)], capture_output=True, text=True, check=True
    )
    whole = 10 * n_positions * 266 * 4  # bytes; the plain way holds several of these
    n_seen, peak = map(int, said.stdout.split())
    assert n_seen > 50
    assert peak < whole / 2
