"""The fused kernels give the formulas' values and gradients: in Triton's interpreter here, on a GPU where there is one.

The interpreter is chosen when Triton is imported, so the cases run in a child process with ``TRITON_INTERPRET=1``.
"""

import os
import re
import subprocess
import sys

import pytest
import torch

from bench.core.errors import BenchError
from bench.models.layers import favor_triton

triton = pytest.importorskip("triton", reason="Triton is not installed; it comes with torch for CUDA on Linux")
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = "cuda" if torch.cuda.is_available() and not INTERPRETED else "cpu"
kernels = pytest.mark.skipif(DEVICE == "cpu" and not INTERPRETED, reason="run by the test of the interpreter")
OLD = tuple(map(int, triton.__version__.split(".")[:2])) < (3, 7)


@pytest.mark.skipif(INTERPRETED, reason="this is the child process")
@pytest.mark.skipif(OLD, reason="the interpreter of Triton < 3.7 fails with NumPy >= 2.4")
@pytest.mark.slow
def test_kernels_in_the_interpreter():
    env = {**os.environ, "TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": ""}
    child = subprocess.run([sys.executable, "-m", "pytest", __file__], env=env, capture_output=True, text=True)
    assert child.returncode == 0, child.stdout[-4000:] + child.stderr[-2000:]
    assert int(re.search(r"(\d+) passed", child.stdout)[1]) >= 14


def formulas(q, k, v, projection, stabiliser, through_maximum=True):
    """Return the attention as it is defined, in the precision of its arguments."""
    scale = q.shape[-1] ** -0.25
    dash_q, dash_k = q * scale @ projection.T, k * scale @ projection.T
    top = dash_q.amax(-1, keepdim=True)
    maximum = dash_k.amax() if stabiliser == "batch" else dash_k.amax((1, 2, 3), keepdim=True)
    if not through_maximum:
        top, maximum = top.detach(), maximum.detach()
    phi_q = (dash_q - (q * scale).square().sum(-1, keepdim=True) / 2 - top).exp() + 1e-4
    phi_k = (dash_k - (k * scale).square().sum(-1, keepdim=True) / 2 - maximum).exp() + 1e-4
    return phi_q @ (phi_k.transpose(2, 3) @ v) / (phi_q @ phi_k.sum(2)[..., None])


def draw(shape, n_features, seed=0, size=1.0, long=1.0, mean=0.0):
    """Return queries, keys, values and a gradient as a linear layer leaves them, and a projection."""
    B, H, N, D = shape
    rng = torch.Generator().manual_seed(seed)
    q, k, v, g = (torch.randn(B, N, H, D, generator=rng).transpose(1, 2) for _ in range(4))
    projection = torch.randn(n_features, D, generator=rng) * long
    return [t.to(DEVICE) for t in (q * size, k * size, v + mean, g, projection)]


def both(inputs, *options, dtype=torch.float32):
    """Return pairs (ours, by the formulas in float64) of the output and the gradients of q, k and v."""
    *qkv, g, projection = (t.to(dtype) for t in inputs)
    ours = [t.detach().requires_grad_() for t in qkv]
    exact = [t.detach().double().requires_grad_() for t in qkv]
    out = favor_triton.attention(*ours, projection, *options)
    reference = formulas(*exact, projection.double(), *options)
    assert out.dtype == dtype and out.shape == reference.shape
    out.backward(g)
    reference.backward(g.double())
    return [(out.detach(), reference.detach()), *((a.grad, b.grad) for a, b in zip(ours, exact, strict=True))]


def errors(pairs):
    """Return ||ours - exact|| / ||exact|| of each pair."""
    return [((a.double() - b).norm() / b.norm()).item() for a, b in pairs]


SHAPES = [  # (cells, heads, positions, dim_head), features
    ((2, 3, 150, 64), 266),  # three spans, the last one short
    ((1, 1, 1, 16), 3),
    ((3, 1, 64, 32), 110),
    ((1, 2, 33, 128), 40),
    ((2, 2, 70, 16), 64),
    ((1, 1, 129, 64), 17),
]


@pytest.fixture
def short_spans(monkeypatch):
    """Several programs per cell and head although there are few positions."""
    monkeypatch.setattr(favor_triton, "MIN_SPAN", 64)


@kernels
@pytest.mark.parametrize("stabiliser", ["batch", "per_cell"])
@pytest.mark.parametrize(("shape", "n_features"), SHAPES)
def test_float32(shape, n_features, stabiliser, short_spans):
    pairs = both(draw(shape, n_features), stabiliser)
    if shape[2] == 1:  # one position attends to itself: the output is its value and nothing flows to q and k
        assert max(errors([pairs[0], pairs[3]])) < 1e-5
        assert max(p[0].abs().max() for p in pairs[1:3]) < 1e-5
    else:
        assert max(errors(pairs)) < 2e-5


@kernels
@pytest.mark.parametrize("stabiliser", ["batch", "per_cell"])
def test_bfloat16(stabiliser, short_spans):
    """Operands of products are rounded to 8 bits; the values' mean of 10 must not cost precision."""
    out, dq, dk, dv = errors(both(draw((2, 2, 150, 64), 266, mean=10.0), stabiliser, dtype=torch.bfloat16))
    assert out < 4e-3  # half a unit in the last place of the output
    assert max(dq, dk, dv) < 4e-2


@kernels
def test_exponents_that_overflow(short_spans):
    inputs = draw((1, 2, 100, 64), 266, size=0.5, long=20.0)
    q, *_, projection = inputs
    assert torch.isinf((q * 64**-0.25 @ projection.T).exp()).any()  # a plain exponential would
    assert max(errors(both(inputs, "batch"))) < 2e-4  # a float32 exponent of 130 may be wrong by 1e-5


@kernels
def test_large_queries_and_keys_stay_finite(short_spans):
    pairs = both(draw((1, 1, 70, 64), 20, size=100.0), "per_cell")
    assert all(torch.isfinite(ours).all() for ours, _ in pairs)
    assert max(errors([pairs[0], pairs[3]])) < 1e-5  # what flows to q and k is below float32's range


@kernels
def test_maxima_without_gradient(short_spans):
    inputs = draw((2, 2, 70, 16), 44)
    with_, without = both(inputs, "per_cell", True), both(inputs, "per_cell", False)
    assert max(errors(without)) < 2e-5
    assert errors([(with_[1][0], without[1][1])])[0] > 1e-3  # so the case can tell


@kernels
def test_results_repeat_and_layout_does_not_matter(short_spans):
    q, k, v, _, projection = draw((2, 2, 70, 16), 44)
    first = favor_triton.attention(q, k, v, projection)
    assert torch.equal(first, favor_triton.attention(q, k.contiguous(), v, projection))
    assert first.transpose(1, 2).is_contiguous()  # heads can be merged without a copy


@kernels
def test_what_does_not_fit_is_refused():
    q, k, v, _, projection = draw((1, 1, 5, 16), 8)
    with pytest.raises(BenchError, match="float64"):
        favor_triton.attention(q.double(), k, v, projection)
    with pytest.raises(BenchError, match="features"):
        favor_triton.attention(q, k, v, projection.repeat(1000, 1))
    with pytest.raises(BenchError, match="Unknown stabiliser"):
        favor_triton.attention(q, k, v, projection, "cell")
    with pytest.raises(BenchError, match="same"):
        favor_triton.attention(q, k[:, :, :4], v, projection)


@pytest.mark.skipif(INTERPRETED, reason="the interpreter takes tensors on the CPU")
def test_tensors_on_the_cpu_are_not_taken():
    assert not favor_triton.available(torch.zeros(1, 1, 4, 64))


@pytest.mark.gpu
@pytest.mark.skipif(DEVICE == "cpu", reason="needs a CUDA device")
@pytest.mark.parametrize(("dtype", "limit"), [(torch.float32, 1e-4), (torch.bfloat16, 4e-2)])
def test_published_size_on_a_gpu(dtype, limit):
    """All positions of the published model; memory stays far below one (positions, features) tensor per head."""
    inputs = draw((2, 10, 16907, 64), 266)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    *qkv, g, projection = (t.to(dtype) for t in inputs)
    favor_triton.attention(*(t.detach().requires_grad_() for t in qkv), projection).backward(g)
    peak = torch.cuda.max_memory_allocated() - before
    assert peak < 16 * qkv[0].nbytes  # about 11; one float32 tensor of features is 4 (8 for bfloat16) times q
    assert max(errors(both([t[:1, :2] if t.ndim == 4 else t for t in inputs], "batch", dtype=dtype))) < limit
