"""scGPT: a transformer over the expressed genes of a cell, with its value decoders and its cell-type classifier.

Source: Cui et al., Nature Methods 2024, as used by Boiarsky et al. 2023; written from the descriptions (PROTOCOL 3.2).
State-dict names are those of plain PyTorch layers; `plain_name` maps the other two layouts of published checkpoints.
Licence of the published weights: MIT.  Known deviations: none in what it computes, except for dropped attention weights
on the CPU (`bench.models.layers.packed.attend`); no output depends on padding.  In bf16 on the CPU what layers pass on
is bf16, too: about twice the rounding of products alone, for half of the memory.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.core.errors import BenchError
from bench.models.layers.dropout import Dropout
from bench.models.layers.packed import Packed
from bench.models.layers.post_norm import Layer
from bench.models.layers.products import in_tiles
from bench.models.scgpt.binning import N_BINS

HIDDEN_VALUE = -1  # bin of positions whose value is to be predicted
LARGEST_VALUE = 512.0  # larger ones count as this
ROWS = 256  # numbers of positions are rounded up to multiples of it in bf16 on the CPU, see `in_tiles`


@dataclass(frozen=True)
class Architecture:
    """Sizes of the network; the defaults are the published ones."""

    n_tokens: int = 60_697  # genes and the special tokens
    dim: int = 512  # of the encoding of a position
    depth: int = 12  # layers
    heads: int = 8
    hidden: int = 512  # width of the feed-forward layers
    dropout: float = 0.2
    mvc: bool = True  # with the decoder that predicts values from the cell's embedding
    n_bins: int = N_BINS

    @classmethod
    def of(cls, tensors: dict[str, Tensor], heads: int) -> "Architecture":
        """Return the sizes that a checkpoint's tensors have; the number of heads is not among them.

        Raises
        ------
        BenchError
            If they are not those of an scGPT.
        """
        try:
            n_tokens, dim = tensors["encoder.embedding.weight"].shape
            hidden = tensors["transformer_encoder.layers.0.linear1.weight"].shape[0]
            depth = 1 + max(int(n.split(".")[2]) for n in tensors if n.startswith("transformer_encoder.layers."))
        except (KeyError, ValueError) as error:
            raise BenchError(
                f"This is no scGPT checkpoint: no usable {error} among its tensors {', '.join(list(tensors)[:4])} ..."
            ) from error
        return cls(n_tokens, dim, depth, heads, hidden, mvc=any(name.startswith("mvc_decoder.") for name in tensors))

    def __post_init__(self):
        if self.dim % self.heads:
            raise BenchError(f"dim={self.dim} should be a multiple of heads={self.heads}.")


class ScGPTNetwork(nn.Module):
    """Packed cells in, class logits out, or embeddings, or predicted values.

    Parameters
    ----------
    architecture
        Sizes.
    seed
        Of every random weight.
    equal_layers
        Begin with the same weights in all layers, as ``torch.nn.TransformerEncoder``, and so scGPT, does.
    """

    def __init__(self, architecture: Architecture, *, seed: int = 0, equal_layers: bool = False):
        super().__init__()
        self.architecture = a = architecture
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.encoder = nn.ModuleDict(
                {"embedding": nn.Embedding(a.n_tokens, a.dim), "enc_norm": nn.LayerNorm(a.dim)}
            )
            nn.init.uniform_(self.encoder["embedding"].weight, -0.1, 0.1)
            self.value_encoder = ValueEncoder(a.dim, a.dropout)
            layers = nn.ModuleList(Layer(a.dim, a.heads, a.hidden, a.dropout) for _ in range(a.depth))
            if equal_layers:
                for layer in layers[1:]:
                    layer.load_state_dict(layers[0].state_dict())
            self.transformer_encoder = nn.ModuleDict({"layers": layers})
            self.decoder = nn.ModuleDict({"fc": _decoder(a.dim)})
            if a.mvc:
                between = {"gene2query": nn.Linear(a.dim, a.dim), "W": nn.Linear(a.dim, a.dim, bias=False)}
                self.mvc_decoder = nn.ModuleDict(between)

    def classify_into(self, n_classes: int, *, seed: int, n_layers: int = 3) -> None:
        """Add a fresh classifier of cell embeddings."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.cls_decoder = Classifier(self.architecture.dim, n_classes, n_layers)

    def forward(self, packed: Packed) -> Tensor:
        """Return the (n_cells, n_classes) logits."""
        return self.cls_decoder(self.embed(packed))

    def embed(self, packed: Packed) -> Tensor:
        """Return the embeddings of cells, (n_cells, dim): the last layer is computed for their first tokens alone."""
        x = self._inputs(packed)
        *layers, last = self.transformer_encoder["layers"]
        for layer in layers:
            x = layer(x, packed)
        return last(x, packed, only_first=True)

    def encode(self, packed: Packed) -> Tensor:
        """Return the encodings of all positions, (n_positions, dim)."""
        x = self._inputs(packed)
        for layer in self.transformer_encoder["layers"]:
            x = layer(x, packed)
        return x[: len(packed.genes)]

    def _inputs(self, packed: Packed) -> Tensor:
        """Return the sum of both embeddings; in bf16 on the CPU rounded, with rows of zeros up to a common number."""
        x = self.gene_embedding(packed) + self.value_embedding(packed)
        if not x.is_cuda and torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16:
            x = F.pad(x.to(torch.bfloat16), (0, 0, 0, in_tiles(len(x), ROWS) - len(x)))
        return x

    def masked_values(self, packed: Packed) -> tuple[Tensor, Tensor | None]:
        """Return the bins predicted from the encodings, and from the cell's embedding, (n_positions,) each."""
        x = self.encode(packed)
        return self.values_of(x), self.values_of_cell(x[packed.first], packed) if self.architecture.mvc else None

    def values_of(self, encodings: Tensor) -> Tensor:
        """Return the values predicted from encodings of positions, (n_positions,)."""
        return self.decoder["fc"](encodings)[..., 0]

    def values_of_cell(self, embeddings: Tensor, packed: Packed) -> Tensor:
        """Return the values predicted from (n_cells, dim) embeddings of cells and from genes, (n_positions,)."""
        query = torch.sigmoid(self.mvc_decoder["gene2query"](self.gene_embedding(packed)))
        lengths = torch.tensor(packed.lengths, device=embeddings.device)
        return (self.mvc_decoder["W"](query) * embeddings.repeat_interleave(lengths, dim=0)).sum(-1)

    def gene_embedding(self, packed: Packed) -> Tensor:
        """Return the normalised embeddings of genes, (n_positions, dim)."""
        return self.encoder["enc_norm"](self.encoder["embedding"](packed.genes))

    def value_embedding(self, packed: Packed) -> Tensor:
        """Return the embeddings of bins, (n_positions, dim), each of the few different ones computed once."""
        values = torch.arange(HIDDEN_VALUE, self.architecture.n_bins, device=packed.bins.device)
        table = self.value_encoder.encode(values.float())
        return self.value_encoder.dropout(F.embedding(packed.bins - HIDDEN_VALUE, table))


class ValueEncoder(nn.Module):
    """From a number to a vector."""

    def __init__(self, dim: int, dropout: float):
        super().__init__()
        self.linear1, self.linear2 = nn.Linear(1, dim), nn.Linear(dim, dim)
        self.norm, self.dropout = nn.LayerNorm(dim), Dropout(dropout)

    def encode(self, values: Tensor) -> Tensor:
        """Return (..., dim) of (...), before dropout."""
        x = values.clamp(max=LARGEST_VALUE)[..., None]
        return self.norm(self.linear2(F.relu(self.linear1(x))))


class Classifier(nn.Module):
    """From a cell's embedding to logits."""

    def __init__(self, dim: int, n_classes: int, n_layers: int):
        super().__init__()
        block = [layer for _ in range(n_layers - 1) for layer in (nn.Linear(dim, dim), nn.ReLU(), nn.LayerNorm(dim))]
        self._decoder = nn.Sequential(*block)
        self.out_layer = nn.Linear(dim, n_classes)

    def forward(self, embeddings: Tensor) -> Tensor:
        """Return (n_cells, n_classes) logits of (n_cells, dim) embeddings."""
        return self.out_layer(self._decoder(embeddings))


def plain_name(name: str) -> str:
    """Return the name that a tensor has in plain PyTorch layers: flash-attention layers call the projections Wqkv."""
    name = name.replace(".self_attn._impl.", ".self_attn.")
    return name.replace(".self_attn.Wqkv.", ".self_attn.in_proj_")


def _decoder(dim: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(dim, dim), nn.LeakyReLU(), nn.Linear(dim, dim), nn.LeakyReLU(), nn.Linear(dim, 1))
