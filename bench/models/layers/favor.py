"""FAVOR+ attention of scBERT's Performer, with the stabilisers that its published code has.

Source: Choromanski et al., Rethinking Attention with Performers, ICLR 2021; constants and stabilisers as measured in
the published scBERT: data scaled by d^-0.25, 1e-4 added after the exponential, a query's own maximum subtracted from
its projections, and ONE maximum over all keys of the batch from those of the keys, so that predictions depend on the
batch.  ``per_cell`` takes the maximum over each cell instead.  The published factor n_features^-0.5 cancels.

Feature tensors of shape (positions, features) are never whole in memory: blocks of positions that fit the cache are
mapped, summed (`favor_sums.py`) and forgotten, and mapped again for the gradient.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from bench.models.layers.favor_sums import (
    KeySummary,
    attend,
    block_size,
    blocks,
    half_norm,
    query_features,
    read,
    scaled,
    with_ones,
)
from bench.models.layers.projection import EPS, Stabiliser


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


def _query_gradient(q: Tensor, gradient: Tensor, projection: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
    E, factor = query_features(q, projection)
    out, denominator = read(E, factor, context)
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
    dash = k[part] @ scaled(projection)
    top.see(cells, part[2], dash)
    E = dash.sub_(half_norm(k[part])[..., None] + maximum[cells, None, None, None]).exp_()
    of_values = (E + EPS) @ dcontext[cells]
    of_dash = (with_ones(v[part]) @ dcontext[cells].transpose(2, 3)).mul_(E)
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
