"""Layer of a transformer over packed cells, as ``torch.nn.TransformerEncoderLayer`` has it: each part before its norm.

Children are named as torch names them.  Activation is ReLU; dropout is in the usual four places.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.models.layers.dropout import Dropout
from bench.models.layers.packed import Packed, attend


class Layer(nn.Module):
    """Attention and feed-forward layer, each followed by its norm."""

    def __init__(self, dim: int, heads: int, hidden: int, dropout: float):
        super().__init__()
        self.self_attn = Attention(dim, heads, dropout)
        self.linear1, self.linear2 = nn.Linear(dim, hidden), nn.Linear(hidden, dim)
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.dropout = Dropout(dropout)

    def pass_on(self) -> None:
        """Set the last weights of both branches to zero: until they are trained, the layer only norms its input."""
        for last in (self.self_attn.out_proj, self.linear2):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def forward(self, x: Tensor, packed: Packed, only_first: bool = False, beside: bool = False) -> Tensor:
        """Return (n_rows, dim), or (n_cells, dim) of the first positions.

        With ``beside`` the last n_cells rows are no positions: each reads those of its cell, and none reads it.
        """
        attended = self.self_attn(x, packed, only_first, beside)
        x = self.norm1((x[packed.first] if only_first else x) + self.dropout(attended))
        return self.norm2(x + self.dropout(self.linear2(self.dropout(F.relu(self.linear1(x))))))


class Attention(nn.Module):
    """Attention of the positions of a cell to each other; queries, keys and values in one matrix."""

    def __init__(self, dim: int, heads: int, dropout: float):
        super().__init__()
        drawn, self.out_proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.in_proj_weight, self.in_proj_bias = drawn.weight, drawn.bias
        self.heads, self.share = heads, dropout

    def forward(self, x: Tensor, packed: Packed, only_first: bool, beside: bool = False) -> Tensor:
        """Return (n_rows, dim), or (n_cells, dim) of the first positions; see `Layer`."""
        weight, bias, parts, first = self.in_proj_weight, self.in_proj_bias, (3, self.heads, -1), None
        dropout = self.share if self.training else 0.0
        if only_first:
            (of_first, weight), (with_first, bias) = (t.tensor_split([x.shape[1]]) for t in (weight, bias))
            first = F.linear(x[packed.first], of_first, with_first).unflatten(1, parts[1:])
            parts = (2, self.heads, -1)
        qkv = F.linear(x, weight, bias).unflatten(1, parts)
        found = attend(qkv, packed, dropout, first)
        if beside:
            positions, rows = qkv.split([sum(packed.lengths), len(packed.lengths)])
            found = torch.cat([found[: len(positions)], attend(positions[:, 1:], packed, dropout, rows[:, 0])])
        return self.out_proj(found)
