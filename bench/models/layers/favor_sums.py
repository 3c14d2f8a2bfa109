"""What FAVOR+ sums over the keys of a cell, block by block, and what a block of queries reads from these sums.

The mathematics is that of `favor.py`.  Because 1e-4 is added after the exponential, the sum over keys is
``exp(reference - maximum) * sum(E v) + 1e-4 * sum(v)`` with any reference, and needs one pass.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from bench.models.layers.projection import EPS
from bench.models.layers.stabilisers import Stabiliser

SAFE = 60.0  # exponents up to here are taken without a reference: e^60 times 10^5 keys is far from overflow
CPU_BLOCK = 1 << 21  # features mapped at a time: 8 MB of float32, which two cores keep in their caches
GPU_BLOCK = 1 << 28
WHOLE = {torch.bfloat16: torch.int16, torch.float32: torch.int32, torch.float64: torch.int64}  # of the same size


class KeySummary:
    """Sums over the keys of a batch, collected block by block: all that queries need to know of them."""

    def __init__(self, n_cells: int, n_heads: int, projection: Tensor):
        self.projection = scaled(projection, projection.dtype)
        features, dim = projection.shape
        new = {"dtype": projection.dtype, "device": projection.device}
        self.sums = torch.zeros(n_cells, n_heads, features, dim + 1, **new)  # of E [v, 1]
        self.values = torch.zeros(n_cells, n_heads, 1, dim + 1, **new)  # of [v, 1]
        self.reference = torch.zeros(n_cells, n_heads, **new)  # subtracted from the exponents of `sums`
        self.top = torch.full((n_cells, n_heads), -torch.inf, **new)  # largest projection

    def add(self, cells: slice, k: Tensor, v: Tensor, *, take_out: bool = False) -> None:
        """Add, or take out, a block of keys and values, each (cells, heads, positions, dim_head)."""
        if k.dtype != self.projection.dtype:  # bf16; sums stay in the precision of the projection
            self.projection = self.projection.to(k.dtype)
        E = self._features(cells, k)  # (cells, heads, positions, features)
        most = largest(E, (2, 3))
        if not (most < math.exp(SAFE)).all():
            before = self.reference[cells].clone()
            self.reference[cells] = torch.maximum(before, (k @ self.projection).amax((2, 3)).to(before.dtype))
            self.sums[cells] *= (before - self.reference[cells]).exp()[..., None, None]
            E = self._features(cells, k)
            most = largest(E, (2, 3))
        if not take_out:
            top = most.to(self.top.dtype).log() + self.reference[cells]
            self.top[cells] = torch.maximum(self.top[cells], top)
        augmented = with_ones(v)
        weighted = (augmented * (-half_norm(k)).exp_()[..., None]).to(v.dtype)
        sign = -1 if take_out else 1
        self.sums[cells] += sign * (E.transpose(2, 3) @ weighted)
        self.values[cells] += sign * augmented.sum(2, keepdim=True, dtype=self.values.dtype)

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
    E, factor = query_features(q, projection)
    sums = (E @ context.to(E.dtype)) * factor + EPS * context.sum(2, keepdim=True)
    return sums[..., :-1] / sums[..., -1:]


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


def query_features(q: Tensor, projection: Tensor) -> tuple[Tensor, Tensor]:
    """Return E and a factor per query: its features are E * factor + EPS."""
    projection = scaled(projection, q.dtype)
    E = (q @ projection).exp_()  # (cells, heads, positions, features)
    most = largest(E, -1)[..., None]
    factor = (-half_norm(q)[..., None]).exp()
    if ((most > math.exp(-SAFE)) & (most < math.exp(SAFE))).all():
        return E, factor / most
    dash = q @ projection
    return dash.sub_(dash.amax(-1, keepdim=True)).exp_(), factor


def largest(E: Tensor, dims) -> Tensor:
    """Return the largest of numbers that are not negative."""
    return whole(E).amax(dims).view(E.dtype)


def whole(E: Tensor) -> Tensor:
    """Return numbers that are not negative as whole numbers of the same order.

    Vector units compare these several times as fast, since they need not look for what is not a number.
    """
    return E.view(WHOLE[E.dtype])


def scaled(projection: Tensor, dtype: torch.dtype) -> Tensor:
    """Return (dim_head, n_features) that takes unscaled queries or keys of that type to their projections."""
    return (projection * projection.shape[1] ** -0.25).to(dtype).T.contiguous()


def half_norm(x: Tensor) -> Tensor:
    """Return half the squared length of the scaled vectors, (cells, heads, positions)."""
    exact = torch.promote_types(x.dtype, torch.float32)
    return torch.linalg.vector_norm(x, dim=-1, dtype=exact).square_().mul_(x.shape[-1] ** -0.5 / 2)


def with_ones(v: Tensor) -> Tensor:
    """Return values with a last column of ones, whose sums are the denominators."""
    return torch.cat([v, v.new_ones(*v.shape[:-1], 1)], -1)
