"""Pretraining scFoundation in this project: settings and the named recipes of the tiers."""

from dataclasses import dataclass
from typing import ClassVar

from bench.core.errors import BenchError
from bench.models.layers.stabilisers import STABILISERS
from bench.models.scfoundation.vocabulary import published_genes
from bench.training.counts import Counts
from bench.training.recipes import SMALL, STANDIN, Pretraining


@dataclass(frozen=True)
class ScFoundationPretraining(Pretraining):
    """Settings of scFoundation: counts of the genes of a list, of which some are hidden and predicted as numbers."""

    model: ClassVar[str] = "scfoundation"
    protocol: ClassVar[int] = 1
    sizes: ClassVar = (
        *("dim", "depth", "heads", "hidden", "decoder_dim", "decoder_depth", "decoder_heads", "dim_head"),
        *("n_features", "n_bins"),
    )
    fractions: ClassVar = ("hidden_values", "hidden_zeros", "thinned")
    shares: ClassVar = ("dropout",)
    multiples: ClassVar = (("dim", "heads"),)
    choices: ClassVar = {"stabiliser": STABILISERS}

    dim: int = 768
    depth: int = 12
    heads: int = 12
    hidden: int = 3072
    decoder_dim: int = 512
    decoder_depth: int = 6
    decoder_heads: int = 8
    dim_head: int = 64
    n_features: int = 266
    n_bins: int = 100
    dropout: float = 0.1
    hidden_values: float = 0.3  # shares that are hidden: of the expressed genes,
    hidden_zeros: float = 0.03  # and of the others
    thinned: float = 0.5  # share of cells of which fewer counts are shown
    clip: float = 1.0  # largest norm of the gradient
    stabiliser: str = "batch"  # shared by the cells of a micro-batch, as published

    def __post_init__(self):
        super().__post_init__()
        if not self.hidden_values:
            raise BenchError("hidden_values=0.0 leaves nothing to predict; 0.3 is published.")

    @property
    def library(self) -> str:
        """Genes over which totals are counted: those of the list."""
        return "list"

    def tokens(self) -> Counts:
        """Return counts as they are."""
        return Counts()

    def all_genes(self) -> list[str]:
        """Return the published 19,264 genes."""
        return published_genes()


QUICK = ScFoundationPretraining(
    SMALL,
    steps=1200,
    n_genes=240,
    dim=32,
    depth=2,
    heads=2,
    hidden=64,
    decoder_dim=16,
    decoder_depth=1,
    decoder_heads=1,
    dim_head=16,
    n_features=24,
    n_bins=16,
    dropout=0.0,
    batch_size=16,
    micro_batch=16,
    lr=3e-3,
)
TWO_CORES = (
    ScFoundationPretraining(  # the decoder over the tier's genes; a third of the published width, half of its depth
        STANDIN,
        steps=500,
        n_genes=3000,
        dim=256,
        depth=6,
        heads=4,
        hidden=1024,
        decoder_dim=128,
        decoder_depth=2,
        decoder_heads=2,
        micro_batch=8,
        precision="bf16",
        stabiliser="per_cell",
    )
)
GPU = ScFoundationPretraining(STANDIN, steps=8000, batch_size=64, micro_batch=8, precision="bf16")  # published size
RECIPES = {"scfoundation_quick": QUICK, "scfoundation_standin": TWO_CORES, "scfoundation_standin_gpu": GPU}
