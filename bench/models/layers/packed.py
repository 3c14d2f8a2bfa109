"""Cells of different lengths one after the other, without padding, and attention within each of them.

Neighbours of similar length attend in one call: a small padded corner costs less than a call of its own.  Whoever packs
cells puts them in the order of their lengths; any order gives the same result.

Dropped attention weights differ between devices.  As published, and on a GPU here, each pair of query and key is
dropped by itself.  On the CPU a mask of all pairs would cost more than the attention itself, and leave torch's fused
kernel.  There the value of a key is dropped instead, for all queries of its cell in that head and layer.  Each weight
is dropped with the same probability and keeps its mean, and in the last layer, where a cell has one query, nothing
differs; in the others the queries of a cell lose the same keys, so that their noise does not average out among them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse as sp
import torch
import torch.nn.functional as F
from torch import Tensor

from bench.models.layers.dropout import kept
from bench.models.layers.products import CellProducts
from bench.training.device import has_matrix_units

PRODUCTS = {"cpu": 700 if has_matrix_units() else 4096, "cuda": 0}  # positions up to which products in bf16 cost less
CORNER = {"cpu": 2**13, "cuda": 2**18}  # padded pairs of positions of a cell that cost less than another call


class OneAfterAnother:
    """Cells without padding between them, as `attend` needs to know them."""

    genes: Tensor  # (n_positions,) token ids
    lengths: tuple[int, ...]  # (n_cells,) positions of each cell

    @cached_property
    def first(self) -> Tensor:
        """Positions where cells begin, (n_cells,)."""
        return torch.as_tensor(np.cumsum(self.lengths) - self.lengths, device=self.genes.device)

    @cached_property
    def groups(self) -> "tuple[Group, ...]":
        """Neighbouring cells that attend in one call."""
        return tuple(_groups(self.lengths, self.genes.device))


@dataclass(frozen=True)
class Packed(OneAfterAnother):
    """Genes and bins of several cells; each cell begins with the token that stands for it."""

    genes: Tensor  # (n_positions,) token ids
    bins: Tensor  # (n_positions,) whole numbers: 0 at the first token, 1 to 50 at genes, -1 where hidden
    lengths: tuple[int, ...]  # (n_cells,) positions of each cell

    @classmethod
    def of(cls, bins: sp.csr_matrix, cls_id: int, device: torch.device | str = "cpu") -> "Packed":
        """Return the cells of a matrix of bins, (n_cells, n_tokens), in the order of its rows and stored genes."""
        n_genes = np.diff(bins.indptr)
        of_genes = np.ones(bins.nnz + len(n_genes), dtype=bool)
        of_genes[bins.indptr[:-1] + np.arange(len(n_genes))] = False
        genes, values = np.full(len(of_genes), cls_id, dtype=np.int64), np.zeros(len(of_genes), dtype=np.int64)
        genes[of_genes], values[of_genes] = bins.indices, bins.data
        return cls(*(torch.from_numpy(a).to(device) for a in (genes, values)), tuple((n_genes + 1).tolist()))


@dataclass(frozen=True)
class Group:
    """Some neighbouring cells of a pack, as an array of (n_cells, longest) positions."""

    n_cells: int
    longest: int
    n_positions: int
    place: Tensor | None  # where the positions go in the array, row by row; None where all lengths are equal
    mask: Tensor | None  # (n_cells, 1, 1, longest), True at positions that are there

    def pad(self, x: Tensor) -> Tensor:
        """Return (n_cells, longest, ...) of (n_positions, ...)."""
        if self.place is not None:
            x = x.new_zeros(self.n_cells * self.longest, *x.shape[1:]).index_copy(0, self.place, x)
        return x.view(self.n_cells, self.longest, *x.shape[1:])

    def unpad(self, x: Tensor) -> Tensor:
        """Return (n_positions, ...) of (n_cells, longest, ...)."""
        x = x.flatten(0, 1)
        return x if self.place is None else x.index_select(0, self.place)


def attend(qkv: Tensor, packed: OneAfterAnother, dropout: float, first: Tensor | None = None) -> Tensor:
    """Return softmax attention of every position, or of the first ones alone, over the positions of its cell.

    Parameters
    ----------
    qkv
        Queries, keys and values, (n_rows, 3, n_heads, dim_head), those of positions first; without the queries where
        ``first`` is given.
    packed
        Cells that the positions belong to.
    dropout
        Share of attention weights that are dropped: pairs of positions on a GPU, on the CPU keys for all queries.
    first
        Queries of the first positions, (n_cells, n_heads, dim_head), if these alone ask.

    Returns
    -------
    (n_rows or n_cells, n_heads * dim_head); rows of ``qkv`` beyond those of the cells give rows without a meaning.
    """
    kept_values = [None] * len(packed.groups)
    if dropout and not qkv.is_cuda:
        kept_values = [kept((g.n_cells, qkv.shape[2], g.longest, 1), dropout, qkv.dtype) for g in packed.groups]
        dropout = 0.0
    if first is None and qkv.dtype == torch.bfloat16 and max(packed.lengths) <= PRODUCTS[qkv.device.type]:
        return CellProducts.apply(qkv, packed.lengths, _of_cells(packed, kept_values))
    sizes = [group.n_positions for group in packed.groups]
    *parts, beyond = qkv.split([*sizes, len(qkv) - sum(sizes)])
    asking = [None] * len(parts) if first is None else first.split([group.n_cells for group in packed.groups])
    out = [_fused(*group, dropout) for group in zip(packed.groups, parts, kept_values, asking, strict=True)]
    return torch.cat(out if first is not None else [*out, beyond[:, 0].flatten(1)])


def _of_cells(packed: OneAfterAnother, of_groups: list[Tensor | None]) -> list[Tensor | None]:
    """Return what values are multiplied by for each cell, (n_heads, length, 1), of (n_cells, n_heads, longest, 1)."""
    found = []
    for group, kept_values in zip(packed.groups, of_groups, strict=True):
        here = packed.lengths[len(found) : len(found) + group.n_cells]
        found += [None if kept_values is None else kept_values[i, :, :length] for i, length in enumerate(here)]
    return found


def _fused(group: Group, qkv: Tensor, kept_values: Tensor | None, first: Tensor | None, dropout: float) -> Tensor:
    """Return attention of a group by torch's fused kernel."""
    *q, k, v = group.pad(qkv).permute(2, 0, 3, 1, 4)  # (n_cells, n_heads, longest, dim_head) each
    q = q[0] if first is None else first[:, :, None]
    found = F.scaled_dot_product_attention(q, k, v if kept_values is None else v * kept_values, group.mask, dropout)
    found = found.transpose(1, 2).flatten(2)  # (n_cells, queries, n_heads * dim_head)
    return group.unpad(found) if first is None else found[:, 0]


def _groups(lengths: Sequence[int], device: torch.device) -> Iterator[Group]:
    begin = 0
    for end in range(1, len(lengths) + 1):
        there = np.asarray(lengths[begin : end + 1])
        if end == len(lengths) or there.max() ** 2 - there.min() ** 2 > CORNER[device.type]:
            yield _group(np.asarray(lengths[begin:end]), device)
            begin = end


def _group(lengths: np.ndarray, device: torch.device) -> Group:
    sizes = len(lengths), int(lengths.max()), int(lengths.sum())
    if (lengths == lengths[0]).all():
        return Group(*sizes, None, None)
    there = np.arange(lengths.max()) < lengths[:, None]  # (n_cells, longest)
    place, mask = np.flatnonzero(there), there[:, None, None]
    return Group(*sizes, *(torch.as_tensor(a, device=device) for a in (place, mask)))
