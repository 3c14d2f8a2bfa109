"""scFoundation: a transformer over the expressed genes of a cell, and a Performer over all of its genes.

Source: Hao et al., Nature Methods 2024; written from a description of what the published code computes.  State-dict
names are those of the published checkpoint without their prefix, so that it loads without a key map.  Licence of the
published weights: non-commercial research only.  Known deviations: none in what it computes; nothing is padded; random
features are redrawn by `count_pass`, which training loops call, not by the forward pass.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.core.errors import BenchError
from bench.models.layers import performer
from bench.models.layers.post_norm import Layer
from bench.models.layers.stabilisers import Stabiliser
from bench.models.scfoundation.inputs import Tokens

LONG = 2**12  # positions from which the Performer computes again for the gradient what it would have to keep


@dataclass(frozen=True)
class Architecture:
    """Sizes of the network; the defaults are the published ones."""

    n_genes: int = 19_264  # two tokens of read depth follow
    dim: int = 768  # of the encoding of a token
    depth: int = 12  # layers of the encoder
    heads: int = 12
    hidden: int = 3072  # width of the encoder's feed-forward layers
    decoder_dim: int = 512
    decoder_depth: int = 6
    decoder_heads: int = 8
    dim_head: int = 64  # of the decoder
    n_features: int = 266  # random features, int(dim_head * ln(dim_head))
    n_bins: int = 100  # vectors that a value is mixed of
    bin_alpha: float = 1.0
    dropout: float = 0.1  # of the encoder
    mask_id: int = 102  # values that stand for a hidden one and for padding
    pad_id: int = 103

    @classmethod
    def of(cls, tensors: dict[str, Tensor], **more: float) -> "Architecture":
        """Return the sizes that tensors have; ``heads`` and what else they do not tell is given.

        Raises
        ------
        BenchError
            If they are not those of an scFoundation.
        """
        try:
            n_bins, dim = tensors["token_emb.emb.weight"].shape
            hidden = tensors["encoder.transformer_encoder.0.linear1.weight"].shape[0]
            n_features, dim_head = tensors[f"{DECODER}.0.0.fn.fast_attention.projection_matrix"].shape
            inner, decoder_dim = tensors[f"{DECODER}.0.0.fn.to_q.weight"].shape
            depth = _number_of("encoder.transformer_encoder", tensors)
            decoder = (decoder_dim, _number_of(DECODER, tensors), inner // dim_head, dim_head, n_features)
            n_genes = len(tensors["pos_emb.weight"]) - 3
        except (KeyError, ValueError) as error:
            raise BenchError(
                f"This is no scFoundation checkpoint: no usable {error} among its tensors "
                f"{', '.join(list(tensors)[:4])} ..."
            ) from error
        return cls(n_genes, dim, depth, int(more.pop("heads")), hidden, *decoder, n_bins, **more)

    def __post_init__(self):
        if self.dim % self.heads:
            raise BenchError(f"dim={self.dim} should be a multiple of heads={self.heads}.")
        if self.pad_id >= self.n_genes + 3:
            raise BenchError(f"pad_id={self.pad_id} is the row of a position, too; there are {self.n_genes + 3}.")


DECODER = "decoder.performer.net.layers"


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


class ScFoundationNetwork(EncoderSide):
    """The whole network: encodings of the expressed genes, then of all genes, then predicted values.

    Parameters
    ----------
    stabiliser
        ``batch``, as published: what is subtracted from the keys of the Performer is the largest of the whole batch.
        ``per_cell`` is what every cell alone gives.
    """

    def __init__(self, architecture: Architecture, *, seed: int = 0, stabiliser: Stabiliser = "batch"):
        super().__init__(architecture, seed=seed)
        a, self.stabiliser = architecture, stabiliser
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed + 1)
            self.decoder_embed = nn.Linear(a.dim, a.decoder_dim)
            sizes = (a.decoder_dim, a.decoder_heads, a.dim_head, a.n_features)
            layers = nn.ModuleList(performer.Layer(*sizes, qkv_bias=True) for _ in range(a.decoder_depth))
            inner = nn.ModuleDict({"net": nn.ModuleDict({"layers": layers})})
            inner.register_buffer("calls_since_last_redraw", torch.tensor(0))
            self.decoder = nn.ModuleDict({"performer": inner, "norm": nn.LayerNorm(a.decoder_dim)})
            self.norm = nn.LayerNorm(a.decoder_dim)
            self.to_final = nn.Linear(a.decoder_dim, 1)

    def forward(self, tokens: Tokens, place: Tensor, values: Tensor) -> Tensor:
        """Return predicted values, (n_cells, n_genes + 2); parameters as those of `gene_embedding`."""
        return self.predicted(self.gene_embedding(tokens, place, values))

    def predicted(self, embedding: Tensor) -> Tensor:
        """Return the values predicted from embeddings of genes, (n_cells, n_genes + 2)."""
        return self.to_final(embedding)[..., 0]

    def gene_embedding(self, tokens: Tokens, place: Tensor, values: Tensor) -> Tensor:
        """Return embeddings of all genes, T and S, (n_cells, n_genes + 2, decoder_dim).

        Parameters
        ----------
        tokens
            What goes into the encoder.
        place, values
            Other positions that are not zero, numbered through the cells, and their values: hidden ones.
        """
        x = self.decoder_input(tokens, self.encode(tokens), place, values)
        for layer in self.decoder["performer"]["net"]["layers"]:
            x = self._through(layer, x)
        return self.norm(self.decoder["norm"](x))

    def decoder_input(self, tokens: Tokens, encodings: Tensor, place: Tensor, values: Tensor) -> Tensor:
        """Return what the Performer is given, (n_cells, n_genes + 2, decoder_dim).

        Zeros all have the same vector, and positions the same ones in all cells: neither is computed for each cell.
        """
        bridge, n_cells, length = self.decoder_embed, len(tokens.lengths), self.architecture.n_genes + 2
        positions = bridge(self.pos_emb.weight[:length])  # (length, decoder_dim)
        zero = F.linear(self.token_emb(encodings.new_zeros(1)), bridge.weight)
        there = torch.cat([encodings, self.token_emb(values).to(encodings.dtype)])
        at = torch.cat([self.place_of(tokens), place])
        x = zero.expand(n_cells * length, -1).index_copy(0, at, F.linear(there, bridge.weight).to(zero.dtype))
        return x.view(n_cells, length, -1) + positions

    def place_of(self, tokens: Tokens) -> Tensor:
        """Return the places of tokens among all positions of their cells, numbered through the cells."""
        cells = torch.arange(len(tokens.lengths), device=tokens.genes.device)
        return cells.repeat_interleave(tokens.lengths_on_device) * (self.architecture.n_genes + 2) + tokens.genes

    def _through(self, layer: performer.Layer, x: Tensor) -> Tensor:
        if not layer.is_trained(x):
            return layer(x, self.stabiliser) if x.is_cuda else layer.in_blocks(x, self.stabiliser)
        if x.shape[1] < LONG:
            return layer(x, self.stabiliser)
        return layer.in_parts(x, self.stabiliser, LONG)

    def count_pass(self, seed: int) -> bool:
        """Count a training pass and, when one is due, redraw the random features; say whether it did."""
        inner = self.decoder["performer"]
        return performer.count_pass(inner.calls_since_last_redraw, inner["net"]["layers"], seed)


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


def _number_of(layers: str, tensors: dict[str, Tensor]) -> int:
    n_parts = layers.count(".") + 1
    return 1 + max(int(name.split(".")[n_parts]) for name in tensors if name.startswith(f"{layers}."))


def _as_torch_begins(layer: Layer) -> None:
    """Give the attention the random weights that ``torch.nn.MultiheadAttention`` begins with."""
    nn.init.xavier_uniform_(layer.self_attn.in_proj_weight)
    nn.init.zeros_(layer.self_attn.in_proj_bias)
    nn.init.zeros_(layer.self_attn.out_proj.bias)
