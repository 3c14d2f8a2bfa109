"""The part of scFoundation that sees the expressed genes: values in, encodings of genes and cells out.

Source and licence: see `bench.models.scfoundation.network`.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.core.errors import BenchError
from bench.models.layers.post_norm import Layer
from bench.models.scfoundation.architecture import Architecture
from bench.models.scfoundation.inputs import Tokens


class EncoderSide(nn.Module):
    """The part that sees the expressed genes: tokens in, encodings out.

    Parameters
    ----------
    architecture
        Sizes.
    seed
        Of every random weight.
    """

    def __init__(self, architecture: Architecture, *, seed: int = 0):
        super().__init__()
        self.architecture = a = architecture
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.token_emb = ValueEmbedding(a)
            self.pos_emb = nn.Embedding(a.n_genes + 3, a.dim)  # of genes, T, S and padding
            layers = nn.ModuleList(Layer(a.dim, a.heads, a.hidden, a.dropout) for _ in range(a.depth))
            for layer in layers:
                _as_torch_begins(layer)
            self.encoder = nn.ModuleDict({"transformer_encoder": layers, "norm": nn.LayerNorm(a.dim)})

    def encode(self, tokens: Tokens, padding: int | None = None) -> Tensor:
        """Return the encodings of all tokens, (n_tokens, dim).

        With ``padding``, the row of its position, (n_tokens + n_cells, dim): behind them what the published code gives
        at a padded position of each cell, which reads the tokens of its cell and is read by none.
        """
        *_, x = self.steps(tokens, padding)
        return self.encoder["norm"](x)

    def steps(self, tokens: Tokens, padding: int | None = None) -> Iterator[Tensor]:
        """Yield the outputs of the layers, as `encode` returns the encodings; padding is the same in all of a cell."""
        x = self.token_emb(tokens.bins) + self.pos_emb(tokens.genes)
        if padding is not None:
            padded = self.token_emb.emb_pad.weight + self.pos_emb.weight[padding]
            x = torch.cat([x, padded.expand(len(tokens.lengths), -1)])
        for layer in self.encoder["transformer_encoder"]:
            x = layer(x, tokens, beside=padding is not None)
            yield x

    def embed(self, tokens: Tokens, pool: str = "all") -> Tensor:
        """Return embeddings of cells, (n_cells, 4 * dim): of S, of T, the maximum and the mean of the other tokens.

        S is whatever comes last, T what comes before it.  With pool ``max`` it is the maximum over all tokens, of width
        dim.
        """
        x = self.encode(tokens)
        lengths = tokens.lengths_on_device
        if pool == "max":
            return largest(x, lengths)
        if min(tokens.lengths) < 2:
            raise BenchError("A cell has fewer than two tokens, where T and S were expected; give cells with counts.")
        last = lengths.cumsum(0) - 1
        is_gene = torch.ones(len(x), dtype=torch.bool, device=x.device)
        is_gene[last] = is_gene[last - 1] = False
        genes, n_genes = x[is_gene], lengths - 2
        few = n_genes[:, None] == 0  # no gene at all
        top = largest(genes, n_genes).masked_fill(few, 0)
        mean = torch.segment_reduce(genes, "mean", lengths=n_genes, axis=0).masked_fill(few, 0)
        return torch.cat([x[last], x[last - 1], top, mean], dim=1)


class ValueEmbedding(nn.Module):
    """From a value to a vector: a mixture of some vectors, whose shares are a function of the value."""

    def __init__(self, a: Architecture):
        super().__init__()
        self.mlp, self.mlp2 = nn.Linear(1, a.n_bins), nn.Linear(a.n_bins, a.n_bins)
        self.emb = nn.Embedding(a.n_bins, a.dim)
        self.emb_mask, self.emb_pad = nn.Embedding(1, a.dim), nn.Embedding(1, a.dim)
        self.alpha, self.mask_id, self.pad_id = a.bin_alpha, a.mask_id, a.pad_id

    def forward(self, values: Tensor) -> Tensor:
        """Return (..., dim) of (...) values; those that stand for hidden ones and padding have vectors of their own."""
        x = self.shares(values) @ self.emb.weight
        for value, own in ((self.mask_id, self.emb_mask), (self.pad_id, self.emb_pad)):
            x = torch.where((values == value)[..., None], own.weight.to(x.dtype), x)
        return x

    def shares(self, values: Tensor) -> Tensor:
        """Return the shares of the vectors, (..., n_bins)."""
        v = F.leaky_relu(self.mlp(values[..., None]), 0.1)
        return (self.alpha * v + self.mlp2(v)).softmax(-1)


def largest(x: Tensor, lengths: Tensor) -> Tensor:
    """Return the maximum over the rows of each cell, (n_cells, dim) of (n_rows, dim)."""
    return torch.segment_reduce(x, "max", lengths=lengths, axis=0)


def _as_torch_begins(layer: Layer) -> None:
    """Give the attention the random weights that ``torch.nn.MultiheadAttention`` begins with."""
    nn.init.xavier_uniform_(layer.self_attn.in_proj_weight)
    nn.init.zeros_(layer.self_attn.in_proj_bias)
    nn.init.zeros_(layer.self_attn.out_proj.bias)
