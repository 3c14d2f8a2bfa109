"""CellPLM: cells as tokens, genes summed up beforehand, attention among the cells that go through it together.

Source: Wen et al., ICLR 2024; written from a description of what the authors' code computes.  Licence of the code:
BSD-2-Clause; of the published weights: not stated.  Names in the state dict are the published ones.  As published, the
position of a cell is not encoded: its term is 0, and what belongs to it is not here (`UNUSED`).
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bench.core.errors import BenchError
from bench.models.cellplm.attention import DROPOUT, FlowAttention, Summary
from bench.models.cellplm.decoder import Decoder
from bench.models.cellplm.latent import Gaussian, Latent, Linear, Mixture
from bench.models.cellplm.passes import Pass
from bench.models.cellplm.sizes import GROUPS, check_width
from bench.models.layers.dropout import Dropout

UNUSED = ("embedder.norm0.*", "embedder.pe_enc.*")  # in published files, and never read by the authors' code
KINDS = {"hid_2mu": "vae", "inference": "gmvae", "lat_2lat": "ae"}  # of latent layers, by a name of their tensors
LATENT = "latent.layers.1"  # 0 is empty, as published


@dataclass(frozen=True)
class Architecture:
    """Sizes of the network; the defaults are the published ones."""

    n_genes: int = 19_374
    dim: int = 1024  # of a cell
    depth: int = 4  # layers of the encoder
    heads: int = 8
    hidden: int = 2048  # width of the feed-forward layers
    latent: int = 512
    kind: str = "vae"  # of the latent layer: also "gmvae", "ae"
    n_clusters: int = 16  # of a gmvae
    mixture: int = 512  # hidden width of a gmvae
    decoder: int = 1024  # width of the decoder; 0 without one
    decoder_depth: int = 1
    between: int = 128  # width before the decoder's genes
    n_batches: int = 12_596
    n_datasets: int = 484
    dropout: float = 0.2
    attention_dropout: float = DROPOUT

    def __post_init__(self):
        check_width(self.dim, self.heads)

    @classmethod
    def of(cls, tensors: dict[str, Tensor], heads: int, **more: float) -> "Architecture":
        """Return the sizes that a file's tensors have; the number of heads and dropout are not among them.

        Raises
        ------
        BenchError
            If they are not those of a CellPLM.
        """
        try:
            n_genes, dim = tensors["embedder.feat_enc.emb"].shape
            hidden = len(tensors["encoder.layers.0._ff_block.0.weight"])
            depth = 1 + max(int(name.split(".")[2]) for name in tensors if name.startswith("encoder.layers."))
            part = next(name for name in tensors if name.startswith(f"{LATENT}.")).split(".")[3]
            sizes = {"kind": KINDS[part], **_latent_sizes(KINDS[part], tensors), **_decoder_sizes(tensors)}
        except (KeyError, ValueError, StopIteration) as error:
            raise BenchError(
                f"This is no CellPLM checkpoint: no usable {error or LATENT} among its tensors "
                f"{', '.join(list(tensors)[:4])} ..."
            ) from error
        return cls(n_genes, dim, depth, heads, hidden, **sizes, **more)


class CellPLMNetwork(nn.Module):
    """Passes of cells in, class logits out, or embeddings, or means of counts.

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
            self.embedder = _Embedder(a.n_genes, a.dim, a.dropout)
            self.encoder = nn.ModuleDict({"layers": nn.ModuleList(_Layer(a) for _ in range(a.depth))})
            self.pre_latent_norm = nn.ModuleDict({"norm": nn.LayerNorm(a.dim)})
            self.latent = nn.ModuleDict({"layers": nn.ModuleList([nn.Identity(), _latent(a)])})
            if a.decoder:
                covariates = (a.n_batches, a.n_datasets)
                self.decoder = Decoder(
                    *(a.n_genes, a.latent, a.decoder, a.between, a.dropout),
                    n_blocks=a.decoder_depth,
                    covariates=covariates,
                )

    def classify_into(self, n_classes: int, *, seed: int) -> None:
        """Put a fresh linear layer in the place of the latent one, and a fresh head upon it; the decoder goes."""
        a = self.architecture
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.latent["layers"][1] = Linear(a.dim, a.latent)
            head = nn.Sequential(Dropout(a.dropout), nn.Linear(a.latent, n_classes))
            self.head = nn.ModuleDict({"mlp": head})
        if hasattr(self, "decoder"):
            del self.decoder

    def forward(self, cells: Pass, read: list[Summary] | None = None) -> Tensor:
        """Return the (n_cells, n_classes) logits; see `encode`."""
        return self.head["mlp"](self.distribution(cells, read).mean)

    def embed(self, cells: Pass, read: list[Summary] | None = None) -> Tensor:
        """Return the (n_cells, latent) means of the cells' distributions, what the authors take as their embedding."""
        return self.distribution(cells, read).mean

    def distribution(self, cells: Pass, read: list[Summary] | None = None) -> Latent:
        """Return the distributions of the cells in the latent space."""
        return self.latent["layers"][1](self.encode(cells, read), cells.uniform)

    def encode(self, cells: Pass, read: list[Summary] | None = None) -> Tensor:
        """Return the (n_cells, dim) encodings of cells.

        Parameters
        ----------
        cells
            They see each other, unless each is to go alone.
        read
            What `summaries` gave of other cells: each cell reads those, and no other one of its pass.
        """
        x = self.embedder(cells)
        x = x[:, None] if cells.alone else x  # (n_cells, 1, dim): as many passes as cells
        for number, layer in enumerate(self.encoder["layers"]):
            x = layer(x, read[number] if read else None)
        x = self.pre_latent_norm["norm"](x)
        return x[:, 0] if cells.alone else x

    def summaries(self, cells: Pass) -> list[Summary]:
        """Return what the cells of a pass give to each of them in every layer."""
        x, found = self.embedder(cells), []
        for layer in self.encoder["layers"]:
            found.append(layer.self_attn.summary(layer.norm1(x)))
            x = layer(x, found[-1])
        return found


class _Embedder(nn.Module):
    """The sum of gene vectors, each times the logarithm of its count; a layer, and groups of channels normalised."""

    def __init__(self, n_genes: int, dim: int, dropout: float):
        super().__init__()
        self.feat_enc = nn.Module()
        self.feat_enc.emb = nn.Parameter(0.005 * torch.randn(n_genes, dim))
        self.extra_linear = nn.Sequential(nn.Linear(dim, dim), nn.ReLU(), Dropout(dropout), nn.GroupNorm(GROUPS, dim))

    def forward(self, cells: Pass) -> Tensor:
        return self.extra_linear(cells.features(self.feat_enc.emb))  # (n_cells, dim)


class _Layer(nn.Module):
    def __init__(self, a: Architecture):
        super().__init__()
        self.self_attn = FlowAttention(a.dim, a.heads, a.attention_dropout)
        widen, narrow = nn.Linear(a.dim, a.hidden), nn.Linear(a.hidden, a.dim)
        self._ff_block = nn.Sequential(widen, nn.GELU(), Dropout(a.dropout), narrow, Dropout(a.dropout))
        self.norm1, self.norm2 = nn.LayerNorm(a.dim), nn.LayerNorm(a.dim)
        self.dropout = Dropout(a.dropout)

    def forward(self, x: Tensor, summary: Summary | None = None) -> Tensor:
        x = x + self.dropout(self.self_attn(self.norm1(x), summary))
        return x + self._ff_block(self.norm2(x))


def _latent(a: Architecture) -> nn.Module:
    if a.kind == "gmvae":
        return Mixture(a.dim, a.latent, a.n_clusters, a.mixture)
    return (Gaussian if a.kind == "vae" else Linear)(a.dim, a.latent)


def _latent_sizes(kind: str, tensors: dict[str, Tensor]) -> dict[str, int]:
    if kind == "gmvae":
        n_clusters = len(tensors[f"{LATENT}.inference.inference_qyx.0.logits.weight"])
        latent, mixture = tensors[f"{LATENT}.inference.inference_qzyx.2.mu.weight"].shape
        return {"n_clusters": n_clusters, "latent": latent, "mixture": mixture}
    return {"latent": len(tensors[f"{LATENT}.{'hid_2mu' if kind == 'vae' else 'lat_2lat.0'}.weight"])}


def _decoder_sizes(tensors: dict[str, Tensor]) -> dict[str, int]:
    blocks = {name.split(".")[2] for name in tensors if name.startswith("decoder.layers.")}
    if not blocks:
        return {"decoder": 0}
    between, decoder = tensors["decoder.out_layer.dec_1.weight"].shape
    first = "decoder.covariate_layers.0"
    n_batches, n_datasets = (len(tensors[f"{first}.{name}.0.weight"]) for name in ("batch", "dataset"))
    sizes = {"decoder": decoder, "decoder_depth": len(blocks), "between": between}
    return sizes | {"n_batches": n_batches, "n_datasets": n_datasets}
