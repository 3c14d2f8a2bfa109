"""FAVOR+ attention of scBERT's Performer, with the stabilisers that its published code has.

Source: Choromanski et al., Rethinking Attention with Performers, ICLR 2021; constants and stabilisers as measured in
the published scBERT: data scaled by d^-0.25, 1e-4 added after the exponential, a query's own maximum subtracted from
its projections, and ONE maximum over all keys of the batch from those of the keys, so that predictions depend on the
batch.  ``per_cell`` takes the maximum over each cell instead.  The published factor n_features^-0.5 cancels.

Feature tensors of shape (positions, features) are never whole in memory: blocks of positions that fit the cache are
mapped, summed and forgotten, and mapped again for the gradient.  Because 1e-4 is added after the exponential, the sum
over keys is ``exp(reference - maximum) * sum(E v) + 1e-4 * sum(v)`` with any reference, and needs one pass.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from bench.models.layers.projection import EPS, Stabiliser

SAFE = 60.0  # exponents up to here are taken without a reference: e^60 times 10^5 keys is far from overflow
CPU_BLOCK = 1 << 21  # features mapped at a time: 8 MB of float32, which two cores keep in their caches
GPU_BLOCK = 1 << 28
WHOLE = {
    torch.bfloat16: torch.int16,
    torch.float32: torch.int32,
    torch.float64: torch.int64,
}  # of the same size


def attention(q: Tensor, k: Tensor, v: Tensor, projection: Tensor, stabiliser: Stabiliser = "batch") -> Tensor:
    """Return the linear attention of every position to all positions of its cell.

    Parameters
    ----------
    q, k, v
        Of shape (cells, heads, positions, dim_head), not scaled.
    projection
        Random features, (n_features, dim_head); receives no gradient.
    stabiliser
        ``batch``, as published, or ``per_cell``.

    Returns
    -------
    (cells, heads, positions, dim_head); differentiable, also through the maxima.
    """
    if q.is_cuda:
        from bench.models.layers import favor_triton

        if favor_triton.available(q, projection):
            return favor_triton.attention(q, k, v, projection, stabiliser)
    return _Attention.apply(q, k, v, projection, stabiliser)


class KeySummary:
    """Sums over the keys of a batch, collected block by block: all that queries need to know of them."""

    def __init__(self, n_cells: int, n_heads: int, projection: Tensor):
        self.projection = _scaled(projection)
        features, dim = projection.shape
        new = {"dtype": projection.dtype, "device": projection.device}
        self.sums = torch.zeros(n_cells, n_heads, features, dim + 1, **new)  # of E [v, 1]
        self.values = torch.zeros(n_cells, n_heads, 1, dim + 1, **new)  # of [v, 1]
        self.reference = torch.zeros(n_cells, n_heads, **new)  # subtracted from the exponents of `sums`
        self.top = torch.full((n_cells, n_heads), -torch.inf, **new)  # largest projection

    def add(self, cells: slice, k: Tensor, v: Tensor, *, take_out: bool = False) -> None:
        """Add, or take out, a block of keys and values, each (cells, heads, positions, dim_head)."""
        E = self._features(cells, k)  # (cells, heads, positions, features)
        largest = _largest(E, (2, 3))
        if not (largest < math.exp(SAFE)).all():
            before = self.reference[cells].clone()
            self.reference[cells] = torch.maximum(before, (k @ self.projection).amax((2, 3)).to(before.dtype))
            self.sums[cells] *= (before - self.reference[cells]).exp()[..., None, None]
            E = self._features(cells, k)
            largest = _largest(E, (2, 3))
        if not take_out:
            top = largest.to(self.top.dtype).log() + self.reference[cells]
            self.top[cells] = torch.maximum(self.top[cells], top)
        augmented = _with_ones(v)
        weighted = augmented * (-_half_norm(k)).exp()[..., None].to(v.dtype)
        sign = -1 if take_out else 1
        self.sums[cells] += sign * (E.transpose(2, 3) @ weighted)
        self.values[cells] += sign * augmented.sum(2, keepdim=True)

    def _features(self, cells: slice, k: Tensor) -> Tensor:
        dash = k @ self.projection
        if self.reference[cells].any():
            dash -= self.reference[cells][..., None, None]
        return dash.exp_()

    def context(self, stabiliser: Stabiliser) -> tuple[Tensor, Tensor]:
        """Return the sums of feature times [v, 1], (cells, heads, features, dim_head + 1), and the maximum per cell."""
        top = self.top.amax(1)
        maximum = top.amax().expand_as(top) if stabiliser == "batch" else top  # (cells,)
        scale = (self.reference - maximum[:, None]).exp()
        return self.sums * scale[..., None, None] + EPS * self.values, maximum


def attend(q: Tensor, projection: Tensor, context: Tensor) -> Tensor:
    """Return what a block of queries reads from the context of its cells, in the shape of the queries."""
    return _read(*_query_features(q, projection), context)[0]


def blocks(n_cells: int, n_positions: int, n_heads: int, n_features: int, size: int) -> Iterator[tuple[slice, slice]]:
    """Yield slices of cells and positions with about ``size`` features: small cells together, large ones in parts."""
    per_cell = n_heads * n_positions * n_features
    cells = max(1, size // per_cell)
    positions = n_positions if per_cell <= size else max(64, size // (n_heads * n_features) // 64 * 64)  # whole tiles
    for c in range(0, n_cells, cells):
        for p in range(0, n_positions, positions):
            yield slice(c, min(c + cells, n_cells)), slice(p, min(p + positions, n_positions))


def block_size(device: torch.device) -> int:
    """Return how many features are mapped at a time on a device."""
    return CPU_BLOCK if device.type == "cpu" else GPU_BLOCK


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx, q, k, v, projection, stabiliser):
        dtype = q.dtype
        q, k, v, projection = (t.double() if dtype == torch.float64 else t.float() for t in (q, k, v, projection))
        summary = KeySummary(q.shape[0], q.shape[1], projection)
        for cells, positions in _blocks_of(q, projection):
            summary.add(cells, k[cells, :, positions], v[cells, :, positions])
        context, maximum = summary.context(stabiliser)
        out = torch.empty_like(v)
        for cells, positions in _blocks_of(q, projection):
            out[cells, :, positions] = attend(q[cells, :, positions], projection, context[cells])
        ctx.save_for_backward(q, k, v, projection, context, maximum)
        ctx.stabiliser, ctx.dtype = stabiliser, dtype
        return out.to(dtype)

    @staticmethod
    def backward(ctx, gradient):
        q, k, v, projection, context, maximum = ctx.saved_tensors
        gradient = gradient.to(v.dtype)
        dq, dk, dv = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
        dcontext = torch.zeros_like(context)
        for cells, positions in _blocks_of(q, projection):
            part = (cells, slice(None), positions)
            dq[part], of_context = _query_gradient(q[part], gradient[part], projection, context[cells])
            dcontext[cells] += of_context
        top = _Top(len(q), q)
        for cells, positions in _blocks_of(k, projection):
            part = (cells, slice(None), positions)
            dk[part], dv[part] = _key_gradient(part, k, v, projection, dcontext, maximum, top)
        top.add_gradient(dk, projection, ctx.stabiliser)
        return dq.to(ctx.dtype), dk.to(ctx.dtype), dv.to(ctx.dtype), None, None


def _query_features(q: Tensor, projection: Tensor) -> tuple[Tensor, Tensor]:
    """Return E and a factor per query: its features are E * factor + EPS."""
    projection = _scaled(projection)
    E = (q @ projection).exp_()  # (cells, heads, positions, features)
    largest = _largest(E, -1)[..., None]
    factor = (-_half_norm(q)[..., None]).exp()
    if ((largest > math.exp(-SAFE)) & (largest < math.exp(SAFE))).all():
        return E, factor / largest
    dash = q @ projection
    return dash.sub_(dash.amax(-1, keepdim=True)).exp_(), factor


def _largest(E: Tensor, dims) -> Tensor:
    """Return the largest of numbers that are not negative: read as whole numbers they have the same order.

    Vector units compare these several times as fast, since they need not look for what is not a number.
    """
    return E.view(WHOLE[E.dtype]).amax(dims).view(E.dtype)


def _read(E: Tensor, factor: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
    """Return output and denominator of queries."""
    sums = (E @ context) * factor + EPS * context.sum(2, keepdim=True)  # (cells, heads, positions, dim_head + 1)
    return sums[..., :-1] / sums[..., -1:], sums[..., -1:]


def _query_gradient(q: Tensor, gradient: Tensor, projection: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
    E, factor = _query_features(q, projection)
    out, denominator = _read(E, factor, context)
    of_sums = torch.cat([gradient, -(gradient * out).sum(-1, keepdim=True)], -1) / denominator
    E *= factor
    of_context = (E + EPS).transpose(2, 3) @ of_sums
    of_dash = (of_sums @ context.transpose(2, 3)).mul_(E)  # (cells, heads, positions, features)
    total = of_dash.sum(-1, keepdim=True)
    of_dash.scatter_add_(-1, E.argmax(-1, keepdim=True), -total)  # through the query's own maximum
    scale = projection.shape[1] ** -0.25
    return (of_dash @ projection) * scale - total * q * scale**2, of_context


def _key_gradient(part, k, v, projection, dcontext, maximum, top: "_Top") -> tuple[Tensor, Tensor]:
    cells = part[0]
    dash = k[part] @ _scaled(projection)
    top.see(cells, part[2], dash)
    E = dash.sub_(_half_norm(k[part])[..., None] + maximum[cells, None, None, None]).exp_()
    of_values = (E + EPS) @ dcontext[cells]
    of_dash = (_with_ones(v[part]) @ dcontext[cells].transpose(2, 3)).mul_(E)
    total = of_dash.sum(-1, keepdim=True)
    top.total[cells] += total.sum((1, 2, 3))
    scale = projection.shape[1] ** -0.25
    return (of_dash @ projection) * scale - total * k[part] * scale**2, of_values[..., :-1]


class _Top:
    """Where the largest projection of the keys of each cell is, and what flows back through it."""

    def __init__(self, n_cells: int, like: Tensor):
        self.value = torch.full((n_cells,), -torch.inf, dtype=like.dtype, device=like.device)
        self.place = torch.zeros(n_cells, 3, dtype=torch.long, device=like.device)  # head, position, feature
        self.total = torch.zeros_like(self.value)

    def see(self, cells: slice, positions: slice, dash: Tensor) -> None:
        value, flat = dash.flatten(1).max(1)
        place = torch.stack(torch.unravel_index(flat, dash.shape[1:]), 1)
        place[:, 1] += positions.start
        larger = value > self.value[cells]
        self.place[cells] = torch.where(larger[:, None], place, self.place[cells])
        self.value[cells] = torch.maximum(value, self.value[cells])

    def add_gradient(self, dk: Tensor, projection: Tensor, stabiliser: Stabiliser) -> None:
        scale = projection.shape[1] ** -0.25
        whole_batch = stabiliser == "batch"
        for cell in [self.value.argmax()] if whole_batch else range(len(self.value)):
            head, position, feature = self.place[cell]
            total = self.total.sum() if whole_batch else self.total[cell]
            dk[cell, head, position] -= total * projection[feature] * scale


def _blocks_of(q: Tensor, projection: Tensor) -> Iterator[tuple[slice, slice]]:
    n_cells, n_heads, n_positions, _ = q.shape
    return blocks(n_cells, n_positions, n_heads, len(projection), block_size(q.device))


def _scaled(projection: Tensor) -> Tensor:
    """Return (dim_head, n_features) that takes unscaled queries or keys to their projections."""
    return (projection * projection.shape[1] ** -0.25).T.contiguous()


def _half_norm(x: Tensor) -> Tensor:
    """Return half the squared length of the scaled vectors, (cells, heads, positions)."""
    exact = torch.promote_types(x.dtype, torch.float32)
    return torch.linalg.vector_norm(x, dim=-1, dtype=exact).square_().mul_(x.shape[-1] ** -0.5 / 2)


def _with_ones(v: Tensor) -> Tensor:
    return torch.cat([v, v.new_ones(*v.shape[:-1], 1)], -1)
