"""Softmax attention of single cells by plain products in bf16, for processors that multiply in bf16 themselves.

Exponentials are taken as they are, without the largest one of each query subtracted; sums and weighted values come from
one product with the values and columns of ones, and the gradient goes back through both in one product, too.  So there
are few passes over the pairs of positions, and those of a cell stay in the processor's cache.  Where a sum leaves the
range in which nothing was lost, the largest products are subtracted after all.

oneDNN compiles each product anew for each new shape, which takes longer than many a product: `in_tiles` keeps the
shapes few.  Positions beyond a cell are zeros, with zeros where others have ones, and so weigh nothing.
"""

import torch
from torch import Tensor

TILE = 32  # lengths of cells are rounded up to multiples of it; also the columns of ones, of which one would do
SAFE = 1e-25, 1e25  # sums of exponentials whose terms neither overflowed nor were lost


def in_tiles(n: int, tile: int = TILE) -> int:
    """Return the next multiple of a number of positions."""
    return -(-n // tile) * tile


class CellProducts(torch.autograd.Function):
    """Attention of every position over the positions of its cell; zeros where rows belong to none.

    From queries, keys and values, (n_rows, 3, n_heads, dim), the lengths of the cells, and what the values of each cell
    are multiplied by in dropout, (n_heads, length, 1) or None, to (n_rows, n_heads * dim).
    """

    @staticmethod
    def forward(ctx, qkv, lengths, kept):
        """Return attention, and keep what the gradient needs: exponentials, not what they were taken of."""
        out, saved = torch.empty_like(qkv[:, 0]), []
        for kept_here, part, to in zip(kept, *_cells(lengths, qkv, out), strict=True):
            q, k, values = _heads(part, kept_here)
            exponentials, sums = _weighted(q, k, values, to.transpose(0, 1))
            if ctx.needs_input_grad[0]:
                saved += q, k, values, exponentials, sums
        ctx.lengths, ctx.kept = lengths, kept
        ctx.save_for_backward(out, *saved)
        return out.flatten(1)

    @staticmethod
    def backward(ctx, gradient):
        """Return the gradient of queries, keys and values."""
        out, *saved = ctx.saved_tensors
        of_qkv = out.new_empty(len(out), 3, *out.shape[1:])
        cells = zip(ctx.kept, *_cells(ctx.lengths, out, gradient.view(out.shape), of_qkv), strict=True)
        for cell, (kept, found, g, to) in enumerate(cells):
            q, k, values, exponentials, sums = saved[5 * cell : 5 * cell + 5]
            of_sums = _through_division(g.transpose(0, 1), found.transpose(0, 1), sums, like=values)
            of_products = (of_sums @ values.transpose(1, 2)).mul_(exponentials)
            length, dim = len(g), q.shape[2]
            of_q, of_k, of_v = to.permute(1, 2, 0, 3)  # (n_heads, length, dim) each
            torch.mul((of_products @ k)[:, :length], dim**-0.5, out=of_q)
            of_k.copy_((of_products.transpose(1, 2) @ q)[:, :length])
            of_v.copy_((exponentials.transpose(1, 2) @ of_sums)[:, :length, :dim])
            if kept is not None:
                of_v.mul_(kept)
        return of_qkv, None, None


def _cells(lengths: tuple[int, ...], *read: Tensor) -> list[tuple[Tensor, ...]]:
    """Return the rows of each cell of several tensors; the last tensor is written to and gets zeros in other rows."""
    read[-1][sum(lengths) :] = 0
    return [t[: sum(lengths)].split(lengths) for t in read]


def _heads(qkv: Tensor, kept: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Return scaled queries, keys, and values with ones beside them, each (n_heads, in_tiles(length), ...)."""
    length, _, n_heads, dim = qkv.shape
    q, k = qk = qkv.new_zeros(2, n_heads, in_tiles(length), dim)
    qk[:, :, :length] = qkv[:, :2].permute(1, 2, 0, 3)
    values = qkv.new_zeros(n_heads, in_tiles(length), dim + TILE)
    values[:, :length, dim:] = 1
    v = qkv[:, 2].transpose(0, 1)
    values[:, :length, :dim] = v if kept is None else v * kept
    return q.mul_(dim**-0.5), k, values


def _weighted(q: Tensor, k: Tensor, values: Tensor, out: Tensor) -> tuple[Tensor, Tensor]:
    """Write weighted means of values to ``out``; return exponentials of products, and the sums that they divide by."""
    length, dim = out.shape[1:]
    exponentials = (q @ k.transpose(1, 2)).exp_()
    found = exponentials @ values
    least, most = found[..., dim].aminmax()
    if not SAFE[0] < least.item() <= most.item() < SAFE[1]:
        products = q @ k.transpose(1, 2)
        products[..., length:] = -torch.inf
        exponentials = products.sub_(products.amax(2, keepdim=True)).exp_()
        found = exponentials @ values
    sums = found[:, :length, dim : dim + 1].clone()
    torch.div(found[:, :length, :dim], sums, out=out)
    return exponentials, sums


def _through_division(gradient: Tensor, out: Tensor, sums: Tensor, like: Tensor) -> Tensor:
    """Return the gradient of the weighted sums of values and, in the next column, of the sums that divide them."""
    found, (length, dim) = torch.zeros_like(like), out.shape[1:]
    of_weighted = torch.div(gradient, sums, out=found[:, :length, :dim])
    torch.sum(of_weighted * out, -1, out=found[:, :length, dim]).neg_()
    return found
