"""Softmax attention of single cells by plain products in bf16, for processors that multiply in bf16 themselves.

Exponentials are taken as they are, without the largest one of each query subtracted; sums and weighted values come from
one product with the values and columns of ones, and the gradient goes back through both in one product, too.  So there
are few passes over the pairs of positions, and those of a cell stay in the processor's cache.  Where a sum leaves the
range in which nothing was lost, the largest products are subtracted after all.
"""

import torch
from torch import Tensor

ONES = 32  # columns of ones beside the values: one would do, but whole tiles are multiplied faster
SAFE = 1e-25, 1e25  # sums of exponentials whose terms neither overflowed nor were lost


class CellProducts(torch.autograd.Function):
    """Attention of every position over the positions of its cell.

    From queries, keys and values, (n_positions, 3, n_heads, dim), what the values are multiplied by in dropout,
    (n_cells, n_heads, longest, 1) or None, and the lengths of the cells, to (n_positions, n_heads * dim).
    """

    @staticmethod
    def forward(ctx, qkv, kept, lengths):
        out, saved = torch.empty_like(qkv[:, 0]), []
        for cell, part, to in zip(range(len(lengths)), qkv.split(lengths), out.split(lengths), strict=True):
            kept_here = None if kept is None else kept[cell, :, : len(part)]
            q, k, values = _heads(part, kept_here)
            exponentials, sums = _weighted(q, k, values, to.transpose(0, 1))
            if ctx.needs_input_grad[0]:
                saved += q, k, values, exponentials, sums
        ctx.lengths, ctx.kept = lengths, kept
        ctx.save_for_backward(out, *saved)
        return out.flatten(1)

    @staticmethod
    def backward(ctx, gradient):
        out, *saved = ctx.saved_tensors
        gradient = gradient.view(out.shape)
        of_qkv = out.new_empty(len(out), 3, *out.shape[1:])
        parts = zip(*(t.split(ctx.lengths) for t in (out, gradient, of_qkv)), strict=True)
        for cell, (found, g, to) in enumerate(parts):
            q, k, values, exponentials, sums = saved[5 * cell : 5 * cell + 5]
            of_sums = _through_division(g.transpose(0, 1), found.transpose(0, 1), sums)
            of_products = (of_sums @ values.transpose(1, 2)).mul_(exponentials)
            of_q, of_k, of_v = to.permute(1, 2, 0, 3)
            torch.mul(of_products @ k, q.shape[-1] ** -0.5, out=of_q)
            of_k.copy_(of_products.transpose(1, 2) @ q)
            of_values = (exponentials.transpose(1, 2) @ of_sums)[..., : q.shape[-1]]
            of_v.copy_(of_values) if ctx.kept is None else torch.mul(of_values, ctx.kept[cell, :, : len(g)], out=of_v)
        return of_qkv, None, None


def _heads(qkv: Tensor, kept: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Return scaled queries, keys, and values with columns of ones, each (n_heads, length, ...) without gaps."""
    length, _, n_heads, dim = qkv.shape
    q, k = qk = qkv.new_empty(2, n_heads, length, dim).copy_(qkv[:, :2].permute(1, 2, 0, 3))
    values, v = qkv.new_ones(n_heads, length, dim + ONES), qkv[:, 2].transpose(0, 1)
    values[..., :dim].copy_(v) if kept is None else torch.mul(v, kept, out=values[..., :dim])
    return q.mul_(dim**-0.5), k, values


def _weighted(q: Tensor, k: Tensor, values: Tensor, out: Tensor) -> tuple[Tensor, Tensor]:
    """Write weighted means of values to ``out``; return exponentials of products, and the sums that they divide by."""
    dim, exponentials = out.shape[-1], (q @ k.transpose(1, 2)).exp_()
    found = exponentials @ values
    least, most = found[..., dim].aminmax()
    if not SAFE[0] < least.item() <= most.item() < SAFE[1]:
        products = q @ k.transpose(1, 2)
        exponentials = products.sub_(products.amax(2, keepdim=True)).exp_()
        found = exponentials @ values
    sums = found[..., dim : dim + 1].clone()
    torch.div(found[..., :dim], sums, out=out)
    return exponentials, sums


def _through_division(gradient: Tensor, out: Tensor, sums: Tensor) -> Tensor:
    """Return the gradient of weighted sums of values, and of the sums beside it; zeros for the other columns of ones."""
    dim = out.shape[-1]
    found = out.new_zeros(*out.shape[:-1], dim + ONES)
    of_weighted = torch.div(gradient, sums, out=found[..., :dim])
    torch.sum(of_weighted * out, -1, out=found[..., dim]).neg_()
    return found
