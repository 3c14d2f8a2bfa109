"""scBERT: a Performer over all genes of a cell, with its masked-token output and its position-wise classifier.

Source: Yang et al., Nature Machine Intelligence 2022, as used by Boiarsky et al. 2023; written from their description.
State-dict names are those of the published checkpoint (91 tensors for six layers), so that it loads without a key map.
Licence of the published weights: GPL-3.0.  Known deviations: none in what it computes; dropout, zero everywhere in the
paper, is left out; random features are redrawn by `count_pass`, which training loops call, not by the forward pass.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.core.errors import BenchError, unknown
from bench.models.layers import performer
from bench.models.layers.performer import Layer
from bench.models.layers.stabilisers import STABILISERS, Stabiliser
from bench.models.scbert.first_layer import FirstKeys

MASK = 6  # token of masked positions, ignored as a label; 0 to 5 are floor(log2(1 + CP10K)), capped
SHORTCUT_FROM = 4000  # genes; below, whole cells fit a block and the shortcut costs more than it saves


@dataclass(frozen=True)
class Architecture:
    """Sizes of the network; the defaults are the published ones."""

    n_genes: int = 16_906  # one token each; a token 0 is appended
    dim: int = 200  # of the encoding of a position
    depth: int = 6  # layers
    heads: int = 10
    dim_head: int = 64  # the published default, so that attention is 640 wide, not 200
    n_features: int = 266  # random features, int(dim_head * ln(dim_head))
    n_tokens: int = 7
    gene2vec: bool = True  # a frozen vector per position, or no positional term at all

    @classmethod
    def of(cls, tensors: dict[str, Tensor]) -> "Architecture":
        """Return the sizes that a checkpoint's tensors have.

        Raises
        ------
        BenchError
            If they are not those of an scBERT.
        """
        try:
            n_features, dim_head = tensors["performer.net.layers.0.0.fn.fast_attention.projection_matrix"].shape
            n_tokens, dim = tensors["token_emb.weight"].shape
            heads = tensors["performer.net.layers.0.0.fn.to_q.weight"].shape[0] // dim_head
            depth = 1 + max(int(name.split(".")[3]) for name in tensors if name.startswith("performer.net.layers."))
        except (KeyError, ValueError) as error:
            raise BenchError(
                f"This is no scBERT checkpoint: no usable {error} among its tensors {', '.join(list(tensors)[:4])} ..."
            ) from error
        positions = tensors.get("pos_emb.emb.weight", tensors.get("to_out.fc1.weight", torch.empty(0, 0)).T)
        n_genes = max(len(positions) - 1, 0) or cls.n_genes
        return cls(n_genes, dim, depth, heads, dim_head, n_features, n_tokens, "pos_emb.emb.weight" in tensors)


class ScBERTNetwork(nn.Module):
    """Token ids in, logits out: per position over tokens, or per cell over classes once it has a `Head`.

    Parameters
    ----------
    architecture
        Sizes.
    seed
        Of every random weight and of the first random features.
    stabiliser
        ``batch``, as published, or ``per_cell``, which makes a cell's output independent of its batch.
    """

    def __init__(self, architecture: Architecture, *, seed: int = 0, stabiliser: Stabiliser = "batch"):
        super().__init__()
        if stabiliser not in STABILISERS:
            raise unknown("stabiliser", stabiliser, STABILISERS)
        self.architecture, self.stabiliser, self.redraws = architecture, stabiliser, True
        self.kept_as: torch.dtype | None = None  # in which the input of the last layer is kept where that is done
        self._first_keys, self.shortcut = FirstKeys(self), architecture.n_genes >= SHORTCUT_FROM
        a = architecture
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.token_emb = nn.Embedding(a.n_tokens, a.dim)
            if a.gene2vec:
                vectors = torch.zeros(a.n_genes + 1, a.dim, dtype=torch.float64)  # the appended token has none
                self.pos_emb = nn.ModuleDict({"emb": nn.Embedding.from_pretrained(vectors)})
            layers = nn.ModuleList(Layer(a.dim, a.heads, a.dim_head, a.n_features) for _ in range(a.depth))
            self.performer = nn.ModuleDict({"net": nn.ModuleDict({"layers": layers})})
            self.performer.register_buffer("calls_since_last_redraw", torch.tensor(0))
            self.norm = nn.LayerNorm(a.dim)
            self.to_out = nn.Linear(a.dim, a.n_tokens)

    @property
    def layers(self) -> nn.ModuleList:
        """Performer layers, first to last."""
        return self.performer["net"]["layers"]

    def draw_positions(self, *, seed: int) -> None:
        """Put normal random numbers in the place of gene2vec, as ``torch.nn.Embedding`` begins with; none without."""
        if self.architecture.gene2vec:
            vectors = self.pos_emb["emb"].weight
            drawn = np.random.default_rng(seed).standard_normal((len(vectors) - 1, self.architecture.dim))
            with torch.no_grad():
                vectors[:-1] = torch.from_numpy(drawn)  # of another generator than the tokens' vectors

    def classify_into(self, n_classes: int, *, seed: int) -> None:
        """Put a fresh classification head in the place of the output over tokens."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.to_out = Head(self.architecture.n_genes + 1, n_classes, self.architecture.dim)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return (cells, genes + 1, n_tokens) or, with a head, (cells, n_classes) logits of (cells, genes + 1) ids."""
        return self.to_out(self.encode(tokens))

    def encode(self, tokens: Tensor) -> Tensor:
        """Return the encodings of all positions after the final norm, (cells, genes + 1, dim).

        In the place of (cells, genes + 1) ids it takes what `before_last` gives for them.
        """
        x = tokens.float() if tokens.is_floating_point() else self.before_last(tokens)
        return self.norm(self._through(self.layers[-1], x))

    def before_last(self, tokens: Tensor) -> Tensor:
        """Return what the last layer is given, (cells, genes + 1, dim), rounded to ``kept_as`` where that is set."""
        x = self.embed(tokens)
        shortcut = self.shortcut and tokens.shape[1] == self.architecture.n_genes + 1
        for number, layer in enumerate(self.layers[:-1]):
            x = self._through(layer, x, tokens if shortcut and number == 0 else None)
        return x if self.kept_as is None else x.to(self.kept_as).float()

    def _through(self, layer: Layer, x: Tensor, tokens: Tensor | None = None) -> Tensor:
        """Return the encodings after a layer; of the first one the tokens, where the shortcut shall be taken."""
        if layer.is_trained(x) or x.is_cuda:
            return layer(x, self.stabiliser)
        return layer.in_blocks(x, self.stabiliser, None if tokens is None else self._first_keys.summary(tokens))

    def embed(self, tokens: Tensor, positions: Tensor | slice = slice(None)) -> Tensor:
        """Return token plus gene embeddings, summed in double precision and rounded once, (cells, positions, dim)."""
        if not self.architecture.gene2vec:
            return self.token_emb(tokens)
        vectors = self.pos_emb["emb"].weight[positions]
        return (F.embedding(tokens, self.token_emb.weight.double()) + vectors).float()

    def count_pass(self, seed: int) -> bool:
        """Count a training pass and, when one is due, redraw the random features of all layers; say whether it did."""
        return performer.count_pass(self.performer.calls_since_last_redraw, self.layers, seed, redraws=self.redraws)


class Head(nn.Module):
    """Classifier with weights of its own for every position: gene identity is available to it without any vector."""

    def __init__(self, n_positions: int, n_classes: int, dim: int):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 1, (1, dim))  # one dot product, the same at all positions
        self.fc1 = nn.Linear(n_positions, 512)
        self.fc2 = nn.Linear(512, 128)
        self.fc3 = nn.Linear(128, n_classes)

    def forward(self, encodings: Tensor) -> Tensor:
        """Return (cells, n_classes) logits of (cells, positions, dim) encodings."""
        x = F.relu(F.linear(encodings, self.conv1.weight.flatten(0, 2), self.conv1.bias)[..., 0])  # (cells, positions)
        return self.classify(x)

    def classify(self, x: Tensor) -> Tensor:
        """Return (cells, n_classes) logits of one number per position, (cells, positions)."""
        return self.fc3(F.relu(self.fc2(F.relu(self.fc1(x)))))
