"""Geneformer: BERT over the genes of a cell in the order of their ranks, with its gene predictor and a classifier.

Source: Theodoris et al., Nature 2023 (V1), and Chen et al. 2024 (V2), whose configurations differ in size alone; the
network is BERT's (Devlin et al. 2019) with ReLU in the place of GELU.  Names of tensors are the published ones.
Licence of the published weights: Apache-2.0.  Known deviations: none in what it computes, except for dropped attention
weights on the CPU (`bench.models.layers.packed.attend`).  Nothing is padded, so that no output depends on padding.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.core.errors import BenchError
from bench.models.geneformer.packs import Ranked
from bench.models.layers.dropout import Dropout
from bench.models.layers.packed import attend
from bench.models.layers.products import in_tiles

EPS = 1e-12  # of all norms
STD = 0.02  # of random weights
TYPES = 2  # rows of the table of token types, the first of which is added everywhere
ROWS = 256  # numbers of positions are rounded up to multiples of it in bf16 on the CPU, see `in_tiles`
TOKENS, LAYER = "bert.embeddings.word_embeddings.weight", "bert.encoder.layer"


@dataclass(frozen=True)
class Architecture:
    """Sizes of the network; the defaults are those of V1-10M."""

    n_tokens: int = 25_426  # genes and the special tokens
    dim: int = 256  # of the encoding of a position
    depth: int = 6  # layers
    heads: int = 4
    hidden: int = 512  # width of the feed-forward layers
    positions: int = 2048  # of the longest cell
    dropout: float = 0.02
    predicts: bool = True  # with the head that predicts genes

    @classmethod
    def of(cls, tensors: dict[str, Tensor], heads: int) -> "Architecture":
        """Return the sizes that a checkpoint's tensors have; the number of heads is not among them.

        Raises
        ------
        BenchError
            If they are not those of a Geneformer.
        """
        try:
            n_tokens, dim = tensors[TOKENS].shape
            hidden = tensors[f"{LAYER}.0.intermediate.dense.weight"].shape[0]
            positions = tensors["bert.embeddings.position_embeddings.weight"].shape[0]
            depth = 1 + max(int(name.split(".")[3]) for name in tensors if name.startswith(f"{LAYER}."))
        except (KeyError, ValueError, IndexError) as error:
            raise BenchError(
                f"This is no Geneformer checkpoint: no usable {error} among its tensors {', '.join(list(tensors)[:4])} "
                "... Give a BERT checkpoint of Geneformer, such as model.safetensors of Geneformer-V1-10M."
            ) from error
        predicts = "cls.predictions.bias" in tensors
        return cls(n_tokens, dim, depth, heads, hidden, positions, predicts=predicts)

    def __post_init__(self):
        if self.dim % self.heads:
            raise BenchError(f"dim={self.dim} should be a multiple of heads={self.heads}.")


class GeneformerNetwork(nn.Module):
    """Packed ranks in, class logits out, or encodings of positions, or logits of the gene at a position.

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
        embeddings = {"word_embeddings": nn.Embedding(a.n_tokens, a.dim, padding_idx=0)}
        embeddings |= {"position_embeddings": nn.Embedding(a.positions, a.dim)}
        embeddings |= {"token_type_embeddings": nn.Embedding(TYPES, a.dim), "LayerNorm": nn.LayerNorm(a.dim, EPS)}
        layers = nn.ModuleList(Layer(a) for _ in range(a.depth))
        encoder = nn.ModuleDict({"layer": layers})
        self.bert = nn.ModuleDict({"embeddings": nn.ModuleDict(embeddings), "encoder": encoder})
        if a.predicts:
            self.cls = nn.ModuleDict({"predictions": GenePredictor(a)})
        self.dropout = Dropout(a.dropout)
        _initialise(self, seed)

    def classify_into(self, n_classes: int, *, seed: int) -> None:
        """Add a fresh pooler and classifier."""
        dim = self.architecture.dim
        self.bert["pooler"] = nn.ModuleDict({"dense": nn.Linear(dim, dim)})
        self.classifier = nn.Linear(dim, n_classes)
        _initialise(nn.ModuleList([self.bert["pooler"], self.classifier]), seed)

    def freeze(self, n_layers: int) -> None:
        """Train neither the first layers nor the head that predicts genes; embeddings go on training, as published."""
        for module in (*self.bert["encoder"]["layer"][:n_layers], *([self.cls] if self.architecture.predicts else [])):
            module.requires_grad_(False)

    def forward(self, packed: Ranked) -> Tensor:
        """Return the (n_cells, n_classes) logits."""
        return self.classifier(self.dropout(self.pooled(packed)))

    def pooled(self, packed: Ranked) -> Tensor:
        """Return what the pooler makes of first positions, (n_cells, dim): of <cls> in V2, in V1 of the top gene."""
        return torch.tanh(self.bert["pooler"]["dense"](self.first(packed, self.architecture.depth)))

    def first(self, packed: Ranked, depth: int) -> Tensor:
        """Return (n_cells, dim) encodings of first positions after so many layers, the last computed for them alone."""
        x = self.embedded(packed)
        layers = self.bert["encoder"]["layer"][:depth]
        for number, layer in enumerate(layers, start=1):
            x = layer(x, packed, only_first=number == len(layers))
        return x if depth else x[packed.first]

    def encode(self, packed: Ranked, depth: int | None = None) -> Tensor:
        """Return the encodings of all positions after so many layers, or all, (n_positions, dim)."""
        x = self.embedded(packed)
        for layer in self.bert["encoder"]["layer"][:depth]:
            x = layer(x, packed)
        return x[: len(packed.genes)]

    def embedded(self, packed: Ranked) -> Tensor:
        """Return the normalised sum of embeddings; in bf16 on the CPU rounded, with rows of zeros up to a multiple."""
        table = self.bert["embeddings"]
        x = table["word_embeddings"](packed.genes) + table["position_embeddings"](packed.places)
        x = self.dropout(table["LayerNorm"](x + table["token_type_embeddings"].weight[0]))
        if not x.is_cuda and torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16:
            x = F.pad(x.to(torch.bfloat16), (0, 0, 0, in_tiles(len(x), ROWS) - len(x)))
        return x

    def genes_at(self, encodings: Tensor) -> Tensor:
        """Return the logits of all tokens at some positions, (n, n_tokens) of (n, dim)."""
        return self.cls["predictions"](encodings, self.bert["embeddings"]["word_embeddings"].weight)


class Layer(nn.Module):
    """Attention and feed-forward layer, each followed by its norm."""

    def __init__(self, a: Architecture):
        super().__init__()
        asked = nn.ModuleDict({name: nn.Linear(a.dim, a.dim) for name in ("query", "key", "value")})
        self.attention = nn.ModuleDict({"self": asked, "output": _dense(a.dim, a.dim)})
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(a.dim, a.hidden)})
        self.output = _dense(a.hidden, a.dim)
        self.heads, self.dropout = a.heads, Dropout(a.dropout)

    def forward(self, x: Tensor, packed: Ranked, only_first: bool = False) -> Tensor:
        """Return (n_positions, dim), or (n_cells, dim) of the first positions."""
        after, last = self.attention["output"], self.output
        attended = after["dense"](self._attended(x, packed, only_first))
        x = after["LayerNorm"]((x[packed.first] if only_first else x) + self.dropout(attended))
        wide = F.relu(self.intermediate["dense"](x))
        return last["LayerNorm"](x + self.dropout(last["dense"](wide)))

    def _attended(self, x: Tensor, packed: Ranked, only_first: bool) -> Tensor:
        """Return attention by one product for queries, keys and values, without queries where few positions ask."""
        asked, first = self.attention["self"], None
        if only_first:
            first = asked["query"](x[packed.first]).unflatten(1, (self.heads, -1))
        parts = [asked[name] for name in ("key", "value") if only_first] or list(asked.values())
        weight, bias = torch.cat([part.weight for part in parts]), torch.cat([part.bias for part in parts])
        qkv = F.linear(x, weight, bias).unflatten(1, (len(parts), self.heads, -1))
        return attend(qkv, packed, self.dropout.p if self.training else 0.0, first)


class GenePredictor(nn.Module):
    """From an encoding to logits over tokens, whose embeddings are the matrix of the last product."""

    def __init__(self, a: Architecture):
        super().__init__()
        self.transform, self.bias = _dense(a.dim, a.dim), nn.Parameter(torch.zeros(a.n_tokens))

    def forward(self, encodings: Tensor, embeddings: Tensor) -> Tensor:
        """Return (n, n_tokens) of (n, dim) and (n_tokens, dim)."""
        x = self.transform["LayerNorm"](F.relu(self.transform["dense"](encodings)))
        return F.linear(x, embeddings, self.bias)


def _dense(inner: int, outer: int) -> nn.ModuleDict:
    return nn.ModuleDict({"dense": nn.Linear(inner, outer), "LayerNorm": nn.LayerNorm(outer, EPS)})


def _initialise(module: nn.Module, seed: int) -> None:
    """Draw every matrix as published, from a normal distribution; biases and the padding token begin at zero."""
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, nn.Linear | nn.Embedding):
                part.weight.normal_(0, STD, generator=draw)
            if isinstance(part, nn.Linear):
                part.bias.zero_()
            if isinstance(part, nn.Embedding) and part.padding_idx is not None:
                part.weight[part.padding_idx].zero_()
