"""FAVOR+ attention in fused Triton kernels: the (positions, features) tensors never lie in device memory.

The mathematics is that of `favor.py`.  Forward: ``collect`` sums the keys' contexts over spans of positions,
relative to local maxima, which is allowed because 1e-4 is added after the exponential; the spans' sums are brought to
the common maximum and added in float32; ``respond`` reads the context for each query.  Backward: ``query_gradient``,
``collect`` again for the gradient of the context, ``key_gradient``.  No atomics: results repeat to the bit.

Limits, by calculation for one H200, not measured: for dim_head 64 a (position, feature) pair costs a forward kernel one
exponential and 256 operations of matrix product, and both units need the same time for that (16 exponentials, 4096 bf16
operations per multiprocessor and cycle), about what memory needs for 256 bytes per position and 266 features.
``collect`` keeps all features on chip and should be bound by whichever of the three is hidden least; the others stream
the features from the second-level cache, which binds ``respond`` (a third more than its exponentials), while
``query_gradient`` and ``key_gradient`` have twice the products per exponential and are near the tensor cores' bound.
In float32 the products run in IEEE arithmetic, without tensor cores, and bind everything.
"""

import importlib.util
import os

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from bench.core.errors import BenchError, unknown
from bench.models.layers.projection import EPS
from bench.models.layers.stabilisers import STABILISERS, Stabiliser

DTYPES = (torch.bfloat16, torch.float32)  # float16 cannot hold sums over positions
DIMENSIONS = (16, 32, 64, 128)
CHIP_BYTES = 139_264  # of features that `collect` may hold: 272 of 128 float32; a multiprocessor has 227 KB
PROGRAMS = 1056  # of `collect`, 8 for each of 132 multiprocessors; fixed, so that sums do not depend on the card
MIN_SPAN = 512  # positions per program of `collect`, to repay loading the features
CHUNK = 64  # features that the other kernels hold at a time
# (positions at a time, warps), from compiling for sm_90: with dim_head 64 and 266 features hardly a register spills
LAUNCH = {
    torch.bfloat16: {"collect": (64, 8), "respond": (256, 16), "query_gradient": (128, 8), "key_gradient": (128, 8)},
    torch.float32: {"collect": (16, 8), "respond": (32, 8), "query_gradient": (32, 8), "key_gradient": (32, 8)},
}


def available(tensor: Tensor, projection: Tensor | None = None) -> bool:
    """Tell whether the kernels can take queries like ``tensor`` (and, if given, this projection)."""
    if importlib.util.find_spec("triton") is None or tensor.dtype not in DTYPES or tensor.shape[-1] not in DIMENSIONS:
        return False
    n_bytes = 0 if projection is None else sum(_parts(len(projection))) * tensor.shape[-1] * tensor.element_size()
    if tensor.is_cuda:
        return n_bytes <= CHIP_BYTES and torch.cuda.get_device_capability(tensor.device) >= (8, 0)  # bfloat16 products
    return n_bytes <= CHIP_BYTES and os.environ.get("TRITON_INTERPRET") == "1"


def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    projection: Tensor,
    stabiliser: Stabiliser = "batch",
    compute_max_gradient: bool = True,
) -> Tensor:
    """Return the linear attention of every position to all positions of its cell.

    Parameters
    ----------
    q, k, v
        Of shape (cells, heads, positions, dim_head), not scaled; bfloat16 or float32.  Transposed views of
        (cells, positions, heads, dim_head) are taken without a copy.
    projection
        Random features, (n_features, dim_head), rounded to the type of the queries; receives no gradient.
    stabiliser
        ``batch``: one maximum over all keys, as published; ``per_cell``: one for each cell.
    compute_max_gradient
        Whether gradients also flow through the maxima, as they do in the published code.

    Returns
    -------
    (cells, heads, positions, dim_head) in the type of the queries; sums and maxima are taken in float32.

    Raises
    ------
    BenchError
        If the kernels cannot take these tensors.
    """
    if not available(q, projection):
        raise BenchError(
            f"The fused kernels got {str(q.dtype).removeprefix('torch.')} queries with dim_head {q.shape[-1]} on "
            f"{q.device.type} and {len(projection)} features; they need Triton, a CUDA device (8.0 "
            f"or newer), bfloat16 or float32, dim_head {DIMENSIONS} and "
            f"features of at most {CHIP_BYTES} bytes. Use bench.models.layers.favor instead."
        )
    if stabiliser not in STABILISERS:
        raise unknown("stabiliser", stabiliser, STABILISERS)
    if not q.shape == k.shape == v.shape:
        shapes = ", ".join(str(tuple(t.shape)) for t in (q, k, v))
        raise BenchError(f"Queries, keys and values have shapes {shapes}. Give all three the same one.")
    k, v, projection = k.to(q.dtype), v.to(q.dtype), projection.detach().to(q)
    return _Attention.apply(q, k, v, projection, stabiliser, compute_max_gradient)


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx, q, k, v, projection, stabiliser, compute_max_gradient):
        q, k, v = map(_by_position, (q, k, v))
        keep_best = compute_max_gradient and ctx.needs_input_grad[0]
        launch = _Launch(q, projection)
        C, z, centre, maximum, local = launch.context(k, v, stabiliser)
        out, *kept = launch.respond(q, C, z, centre, keep_best)
        ctx.save_for_backward(q, k, v, projection, C, z, centre, maximum, local, *kept)
        ctx.options = stabiliser, compute_max_gradient, keep_best
        return out.transpose(1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        q, k, v, projection, C, z, centre, maximum, local, *kept = ctx.saved_tensors
        stabiliser, compute_max_gradient, keep_best = ctx.options
        launch = _Launch(q, projection)
        dq, G, h = launch.query_gradient(q, _by_position(gradient.to(q.dtype)), C, z, kept, keep_best)
        dk, dv, totals = launch.key_gradient(k, v, maximum, centre, G, h)
        if compute_max_gradient:
            launch.through_maximum(k, dk, local, totals, stabiliser)
        return *(t.transpose(1, 2) for t in (dq, dk, dv)), None, None, None


def _by_position(x: Tensor) -> Tensor:
    """Return (cells, positions, heads, dim_head), contiguous: no copy of what a linear layer made."""
    return x.transpose(1, 2).contiguous()


class _Launch:
    """The kernels for tensors of one shape; ``pairs`` are pairs of a cell and a head."""

    def __init__(self, q: Tensor, projection: Tensor):
        self.like = q  # (cells, positions, heads, dim_head)
        self.n_cells, self.n_positions, self.n_heads, self.dim = q.shape
        self.pairs = self.n_cells * self.n_heads
        self.n_features = len(projection)
        self.parts = _parts(self.n_features)
        self.padded = sum(self.parts)
        rows = torch.arange(self.padded, device=q.device).clamp(max=self.n_features - 1)
        self.projection = projection[rows]
        block = LAUNCH[q.dtype]["collect"][0]
        span = max(MIN_SPAN, -(-self.n_positions * self.pairs // PROGRAMS))
        self.span = -(-span // block) * block
        self.splits = -(-self.n_positions // self.span)

    def __call__(self, kernel: str, *tensors: Tensor, **options) -> None:
        from bench.models.layers import favor_triton_kernels  # late: Triton may be missing

        block, n_warps = LAUNCH[self.like.dtype][kernel]
        if kernel == "collect":
            programs = self.splits
            options["span"] = self.span
        else:
            programs = self.blocks(kernel)
            options["FC"] = min(CHUNK, self.parts[0])
        options |= {"D": self.dim, "FA": self.parts[0], "FB": self.parts[1], "BN": block, "num_warps": n_warps}
        with torch.cuda.device_of(self.like):
            getattr(favor_triton_kernels, kernel)[programs, self.pairs](
                *tensors, N=self.n_positions, H=self.n_heads, scale=self.dim**-0.25, **options
            )

    def blocks(self, kernel: str) -> int:
        """Return how many programs a kernel has for each pair."""
        return -(-self.n_positions // LAUNCH[self.like.dtype][kernel][0])

    def new(self, *shape: int) -> Tensor:
        """Return room for results in float32, (pairs, ...)."""
        return self.like.new_empty(self.pairs, *shape, dtype=torch.float32)

    def context(self, k: Tensor, v: Tensor, stabiliser: Stabiliser) -> tuple[Tensor, ...]:
        """Return sums of feature times (value - centre) and of features, the centre, the maximum and that of spans."""
        C, z = self.new(self.splits, self.padded, self.dim), self.new(self.splits, self.padded)
        local, sums = torch.empty_like(z), self.new(self.splits, self.dim)
        self("collect", k, v, self.projection, z, z, C, z, local, sums, KEYS=True)
        top = local.view(self.n_cells, -1).amax(1)  # (cells,)
        top = top.amax().expand_as(top) if stabiliser == "batch" else top
        maximum = top.repeat_interleave(self.n_heads)  # (pairs,)
        shrink = (local - maximum[:, None, None]).exp2()
        counts = torch.full_like(maximum, self.n_positions)
        C, z = self._joined(C.mul_(shrink[..., None]), z * shrink, sums, counts)
        centre = C.sum(1) / z.sum(1, keepdim=True)  # (pairs, dim_head)
        C = C - z[..., None] * centre[:, None]
        return C.to(k.dtype), z, centre, maximum, local

    def respond(self, q: Tensor, C: Tensor, z: Tensor, centre: Tensor, keep_best: bool) -> tuple[Tensor, ...]:
        """Return the answers to queries, their denominators, offsets of exponents and best features."""
        out, denominator, offset = torch.empty_like(q), self.new(self.n_positions), self.new(self.n_positions)
        best = offset.new_empty(offset.shape if keep_best else (1,), dtype=torch.int32)
        self("respond", q, self.projection, C, z, centre, z.sum(1), out, denominator, offset, best, eps=EPS,
             KEEP_BEST=keep_best)  # fmt: skip
        return out, denominator, offset, best

    def query_gradient(self, q, g, C, z, kept, keep_best: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Return the gradients of queries, of sums of feature times value and of sums of features."""
        denominator, offset, best = kept
        dq, weight, blocks = torch.empty_like(q), self.new(self.n_positions), self.blocks("query_gradient")
        sums, totals = self.new(blocks, self.dim), self.new(blocks)
        self("query_gradient", q, g, self.projection, C, z, denominator, offset, best, dq, weight, sums, totals,
             KEEP_BEST=keep_best)  # fmt: skip
        G, h = self.new(self.splits, self.padded, self.dim), self.new(self.splits, self.padded)
        self("collect", q, g, self.projection, offset, weight, G, h, h, sums, KEYS=False)
        return dq, *self._joined(G, h, sums, totals.sum(1))

    def key_gradient(self, k, v, maximum, centre, G, h) -> tuple[Tensor, Tensor, Tensor]:
        """Return the gradients of keys and values, and what the maximum receives, negated and in parts."""
        dk, dv, totals = torch.empty_like(k), torch.empty_like(v), self.new(self.blocks("key_gradient"))
        self("key_gradient", k, v, self.projection, maximum, centre, G.to(k.dtype), h, G.sum(1), dk, dv, totals,
             eps=EPS)  # fmt: skip
        return dk, dv, totals

    def _joined(self, C: Tensor, z: Tensor, sums: Tensor, total: Tensor) -> tuple[Tensor, Tensor]:
        """Add the spans and what EPS contributes; padded features become zero."""
        C, z = C.sum(1) + EPS * sums.sum(1)[:, None], z.sum(1) + EPS * total[:, None]
        C[:, self.n_features :] = 0
        z[:, self.n_features :] = 0
        return C, z

    def through_maximum(self, k: Tensor, dk: Tensor, local: Tensor, totals: Tensor, stabiliser: Stabiliser) -> None:
        """Add to ``dk`` what reaches the key at each maximum; its position is sought in the span that has it."""
        groups = 1 if stabiliser == "batch" else self.n_cells
        flat = local.view(groups, -1).argmax(1) + torch.arange(groups, device=k.device) * (local.numel() // groups)
        pair, split, feature = torch.unravel_index(flat, local.shape)
        cell, head, row = pair // self.n_heads, pair % self.n_heads, self.projection[feature].float()
        span = torch.arange(self.span, device=k.device)
        positions = (split[:, None] * self.span + span).clamp(max=self.n_positions - 1)  # (groups, span)
        keys = k[cell[:, None], positions, head[:, None]].float()  # (groups, span, dim_head)
        nearest = (keys * row[:, None]).sum(-1).argmax(1, keepdim=True)
        place = cell, positions.gather(1, nearest)[:, 0], head
        received = totals.view(groups, -1).sum(1, keepdim=True) * row * self.dim**-0.25
        dk[place] = (dk[place].float() - received).to(dk.dtype)


def _parts(n_features: int) -> tuple[int, int]:
    """Return two powers of two, at least 16, that together hold the features with little waste: 266 -> 256 + 16."""
    first = max(16, 1 << (n_features - 1).bit_length() - 1)
    return first, max(16, 1 << max(n_features - first - 1, 0).bit_length())
