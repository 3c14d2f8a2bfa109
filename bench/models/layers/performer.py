"""Layer of a Performer: FAVOR+ attention and a feed-forward network, each after a norm, each added to its input.

Source: PROTOCOL 3.1 of the paper.  Children are named so that the state dict has the names of published checkpoints.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from bench.models.layers.favor import attention
from bench.models.layers.favor_sums import KeySummary, attend, block_size, blocks
from bench.models.layers.projection import draw_projection
from bench.models.layers.stabilisers import Stabiliser

REDRAW_INTERVAL = 1000  # training passes between two draws of the random features


class Layer(nn.ModuleList):
    """x + attention(norm(x)), then x + feed-forward(norm(x))."""

    def __init__(self, dim: int, heads: int, dim_head: int, n_features: int, *, qkv_bias: bool = False):
        feed_forward = nn.ModuleDict({"w1": nn.Linear(dim, 4 * dim), "w2": nn.Linear(4 * dim, dim)})
        attention = Attention(dim, heads, dim_head, n_features, qkv_bias)
        attention_block = nn.ModuleDict({"norm": nn.LayerNorm(dim), "fn": attention})
        feed_forward_block = nn.ModuleDict({"norm": nn.LayerNorm(dim), "fn": nn.ModuleDict({"fn": feed_forward})})
        super().__init__([attention_block, feed_forward_block])

    def forward(self, x: Tensor, stabiliser: Stabiliser) -> Tensor:
        """Return the (cells, positions, dim) encodings after this layer."""
        return self.feed_forward(self.attended(x, stabiliser))

    def attended(self, x: Tensor, stabiliser: Stabiliser) -> Tensor:
        """Return the first half of `forward`: the encodings with what attention adds."""
        norm, attend_to = self[0].values()
        return x + attend_to(norm(x), stabiliser)

    def in_parts(self, x: Tensor, stabiliser: Stabiliser, n_positions: int) -> Tensor:
        """Do the same for a gradient with little memory: only the two halves' inputs are kept, not what is in between.

        What is in between is computed again, the second half for so many positions at a time.
        """
        x = checkpoint(self.attended, x, stabiliser, use_reentrant=False)
        parts = x.split(n_positions, dim=1)
        return torch.cat([checkpoint(self.feed_forward, part, use_reentrant=False) for part in parts], dim=1)

    def is_trained(self, x: Tensor) -> bool:
        """Whether a gradient is wanted of this layer or of what came before."""
        return torch.is_grad_enabled() and (x.requires_grad or any(p.requires_grad for p in self.parameters()))

    def feed_forward(self, x: Tensor) -> Tensor:
        """Return the second half of `forward`: the encodings with what the feed-forward network adds."""
        norm, linear = self[1]["norm"], self[1]["fn"]["fn"]
        return x + linear["w2"](F.gelu(linear["w1"](norm(x))))

    def in_blocks(self, x: Tensor, stabiliser: Stabiliser, keys: KeySummary | None = None) -> Tensor:
        """Do the same with intermediate results of a few positions at a time, which then stay in the cache.

        Sums over the keys, where they are known, are not computed again.
        """
        norm, at = self[0].values()
        n_features = len(at.projection)
        parts = list(blocks(len(x), x.shape[1], at.heads, n_features, block_size(x.device)))
        known, keys = keys is not None, keys or KeySummary(len(x), at.heads, at.projection)
        for cells, positions in [] if known else parts:
            normed = norm(x[cells, positions])
            keys.add(cells, at.split(at.to_k(normed)), at.split(at.to_v(normed)))
        context, _ = keys.context(stabiliser)
        out = torch.empty_like(x)
        for cells, positions in parts:
            queries = at.split(at.to_q(norm(x[cells, positions])))
            read = at.to_out(at.join(attend(queries, at.projection, context[cells])))
            out[cells, positions] = self.feed_forward(x[cells, positions] + read)
        return out


class Attention(nn.Module):
    """FAVOR+ attention between linear maps."""

    def __init__(self, dim: int, heads: int, dim_head: int, n_features: int, qkv_bias: bool):
        super().__init__()
        self.heads = heads
        inner = heads * dim_head
        self.fast_attention = nn.Module()
        generator = torch.Generator().manual_seed(int(torch.randint(2**31, (), device="cpu")))
        projection = draw_projection(n_features, dim_head, generator)
        self.fast_attention.register_buffer("projection_matrix", projection)
        self.to_q = nn.Linear(dim, inner, bias=qkv_bias)
        self.to_k = nn.Linear(dim, inner, bias=qkv_bias)
        self.to_v = nn.Linear(dim, inner, bias=qkv_bias)
        self.to_out = nn.Linear(inner, dim)

    @property
    def projection(self) -> Tensor:
        """Random features, (n_features, dim_head)."""
        return self.fast_attention.projection_matrix

    def forward(self, x: Tensor, stabiliser: Stabiliser) -> Tensor:
        """Return what every position reads, (cells, positions, dim)."""
        q, k, v = (self.split(linear(x)) for linear in (self.to_q, self.to_k, self.to_v))
        return self.to_out(self.join(attention(q, k, v, self.projection, stabiliser)))

    def split(self, x: Tensor) -> Tensor:
        """Return (cells, heads, positions, dim_head) of (cells, positions, heads * dim_head)."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def join(self, x: Tensor) -> Tensor:
        """Undo `split`."""
        return x.transpose(1, 2).flatten(2)


def count_pass(counter: Tensor, layers: nn.ModuleList, seed: int, *, redraws: bool = True) -> bool:
    """Count a training pass and, when one is due, redraw the random features of all layers; say whether it did."""
    due = redraws and bool(counter >= REDRAW_INTERVAL)
    if due:
        generator = torch.Generator().manual_seed(seed)
        for layer in layers:
            at = layer[0]["fn"]
            at.projection.copy_(draw_projection(*at.projection.shape, generator))
    counter.copy_(torch.tensor(0) if due else counter + 1)
    return due
