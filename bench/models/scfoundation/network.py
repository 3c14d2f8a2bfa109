"""scFoundation: a transformer over the expressed genes of a cell, and a Performer over all of its genes.

Source: Hao et al., Nature Methods 2024; written from a description of what the published code computes.  State-dict
names are those of the published checkpoint without their prefix, so that it loads without a key map.  Licence of the
published weights: non-commercial research only.  Known deviations: none in what it computes; nothing is padded; random
features are redrawn by `count_pass`, which training loops call, not by the forward pass.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.models.layers import performer
from bench.models.layers.stabilisers import Stabiliser
from bench.models.scfoundation.architecture import Architecture
from bench.models.scfoundation.encoder import EncoderSide
from bench.models.scfoundation.inputs import Tokens

LONG = 2**12  # positions from which the Performer computes again for the gradient what it would have to keep


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
