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
    largest,
    query_features,
    scaled,
    whole,
    with_ones,
)
from bench.models.layers.projection import EPS
from bench.models.layers.stabilisers import Stabiliser


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
    with torch.autocast(q.device.type, enabled=False):  # sums are in float32 whatever the queries are in
        return _Attention.apply(q, k, v, projection, stabiliser)


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx, q, k, v, projection, stabiliser):
        projection = projection.to(torch.promote_types(q.dtype, torch.float32))
        summary = KeySummary(q.shape[0], q.shape[1], projection)
        for cells, positions in _blocks_of(q, projection):
            summary.add(cells, k[cells, :, positions], v[cells, :, positions])
        context, maximum = summary.context(stabiliser)
        out = torch.empty_like(v)
        for cells, positions in _blocks_of(q, projection):
            out[cells, :, positions] = attend(q[cells, :, positions], projection, context[cells])
        ctx.save_for_backward(q, k, v, projection, context, maximum)
        ctx.stabiliser = stabiliser
        return out

    @staticmethod
    def backward(ctx, gradient):
        q, k, v, projection, context, maximum = ctx.saved_tensors
        dq, dk, dv = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
        dcontext = torch.zeros_like(context)
        for cells, positions in _blocks_of(q, projection):
            part = (cells, slice(None), positions)
            dq[part], of_context = _query_gradient(q[part], gradient[part], projection, context[cells])
            dcontext[cells] += of_context
        top = _Top(len(q), projection)
        for cells, positions in _blocks_of(k, projection):
            part = (cells, slice(None), positions)
            dk[part], dv[part] = _key_gradient(part, k, v, projection, dcontext, maximum, top)
        top.add_gradient(dk, projection, ctx.stabiliser)
        return dq, dk, dv, None, None


def _query_gradient(q: Tensor, gradient: Tensor, projection: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
    E, factor = query_features(q, projection)
    weighted = (E @ context.to(E.dtype)) * factor
    sums = weighted + EPS * context.sum(2, keepdim=True)
    out, denominator = sums[..., :-1] / sums[..., -1:], sums[..., -1:]
    of_sums = torch.cat([gradient, -(gradient * out).sum(-1, keepdim=True)], -1) / denominator
    total = (of_sums * weighted).sum(-1, keepdim=True)  # what `of_dash` sums to over the features
    of_weighted = (of_sums * factor).to(q.dtype)
    of_context = E.transpose(2, 3) @ of_weighted + EPS * of_sums.sum(2, keepdim=True)
    of_dash = (of_weighted @ context.transpose(2, 3).to(q.dtype)).mul_(E)  # (cells, heads, positions, features)
    of_dash.scatter_add_(-1, whole(E).argmax(-1, keepdim=True), -total.to(q.dtype))  # through the query's own maximum
    return _through(of_dash, total, q, projection), of_context


def _key_gradient(part, k, v, projection, dcontext, maximum, top: "_Top") -> tuple[Tensor, Tensor]:
    cells = part[0]
    near = maximum.to(k.dtype)  # subtracted so that no exponential overflows; the rest of it is in the factor
    E = (k[part] @ scaled(projection, k.dtype)).sub_(near[cells, None, None, None]).exp_()
    top.see(cells, part[2], E)
    rest = (maximum - near)[cells, None, None]
    factor = (-half_norm(k[part]) - rest).exp_()[..., None]
    of_sums, values = dcontext[cells].to(k.dtype), with_ones(v[part])
    weighted = (E @ of_sums) * factor
    of_dash = ((values * factor).to(k.dtype) @ of_sums.transpose(2, 3)).mul_(E)
    total = (values * weighted).sum(-1, keepdim=True)
    top.total[cells] += total.sum((1, 2, 3))
    of_values = weighted + EPS * dcontext[cells].sum(2, keepdim=True)
    return _through(of_dash, total, k[part], projection), of_values[..., :-1]


def _through(of_dash: Tensor, total: Tensor, x: Tensor, projection: Tensor) -> Tensor:
    """Return the gradient of queries or keys from that of their projections, and its sum over the features."""
    return (of_dash @ scaled(projection, x.dtype).T) - total * x * projection.shape[1] ** -0.5


class _Top:
    """Where the largest projection of the keys of each cell is, and what flows back through it."""

    def __init__(self, n_cells: int, like: Tensor):
        self.value = torch.full((n_cells,), -torch.inf, dtype=like.dtype, device=like.device)
        self.place = torch.zeros(n_cells, 3, dtype=torch.long, device=like.device)  # head, position, feature
        self.total = torch.zeros_like(self.value)

    def see(self, cells: slice, positions: slice, E: Tensor) -> None:
        value = largest(E, (1, 2, 3)).to(self.value.dtype)
        larger = (value > self.value[cells]).nonzero()[:, 0]  # in the first blocks of a cell, seldom in later ones
        if len(larger):
            flat = whole(E if len(larger) == len(E) else E[larger]).flatten(1).argmax(1)
            place = torch.stack(torch.unravel_index(flat, E.shape[1:]), 1)
            place[:, 1] += positions.start
            self.place[cells][larger], self.value[cells][larger] = place, value[larger]

    def add_gradient(self, dk: Tensor, projection: Tensor, stabiliser: Stabiliser) -> None:
        scale = projection.shape[1] ** -0.25
        whole_batch = stabiliser == "batch"
        for cell in [self.value.argmax()] if whole_batch else range(len(self.value)):
            head, position, feature = self.place[cell]
            total = self.total.sum() if whole_batch else self.total[cell]
            dk[cell, head, position] -= (total * projection[feature] * scale).to(dk.dtype)


def _blocks_of(q: Tensor, projection: Tensor) -> Iterator[tuple[slice, slice]]:
    n_cells, n_heads, n_positions, _ = q.shape
    return blocks(n_cells, n_positions, n_heads, len(projection), block_size(q.device))
