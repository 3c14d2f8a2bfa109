"""Pretraining Geneformer in this project: settings and the named recipes of the tiers."""

from dataclasses import dataclass
from typing import ClassVar

from bench.core.errors import BenchError, unknown
from bench.datasets.sources import cache_folder
from bench.models.geneformer.own_medians import Ranking
from bench.models.geneformer.vocabulary import SPECIALS
from bench.training.cells import build
from bench.training.genes import most_variable, of_any
from bench.training.recipes import SMALL, STANDIN, Pretraining
from bench.training.store import Cells


@dataclass(frozen=True)
class GeneformerPretraining(Pretraining):
    """Settings of Geneformer: ranks of the genes that a cell expresses, of which some are predicted."""

    model: ClassVar[str] = "geneformer"
    protocol: ClassVar[int] = 1
    sizes: ClassVar[tuple[str, ...]] = (*Pretraining.sizes, "hidden")

    version: str = "V1"  # or "V2": cells begin with <cls> and end with <eos>
    max_seq_len: int = 2048  # positions of a cell; the lowest ranks of a longer one are cut off
    dim: int = 256
    depth: int = 6
    heads: int = 4
    hidden: int = 512  # width of the feed-forward layers
    dropout: float = 0.02
    clip: float = 1.0  # largest norm of the gradient

    def __post_init__(self):
        super().__post_init__()
        if self.version not in SPECIALS:
            raise unknown("version", self.version, SPECIALS)
        if self.max_seq_len < 4:
            raise BenchError(f"max_seq_len={self.max_seq_len} should be at least 4: two genes between <cls> and <eos>.")
        if not 0 <= self.dropout < 1:
            raise BenchError(f"dropout={self.dropout} should be at least 0 and below 1.")
        if self.dim % self.heads:
            raise BenchError(f"dim={self.dim} should be a multiple of heads={self.heads}; set both.")

    @property
    def library(self) -> str:
        """What tokens are: ranks, for which all measured genes are counted."""
        return "ranks"

    def cells(self) -> Cells:
        """Return the ranks of the cells, written to the cache once; all genes are those that any data set has."""
        folder = cache_folder() / "cells"
        chosen = most_variable(folder, self.selections, self.n_genes) if self.n_genes else of_any(self.selections)
        return build(folder, list(self.selections), chosen, Ranking(self.selections))


QUICK = GeneformerPretraining(
    SMALL,
    steps=1200,
    n_genes=240,  # of which half of the cells express more than 119
    max_seq_len=128,
    dim=64,
    depth=2,
    heads=4,
    hidden=128,
    dropout=0.0,
    batch_size=16,
    micro_batch=16,
    lr=3e-3,
)
TWO_CORES = GeneformerPretraining(STANDIN, steps=500, n_genes=3000, micro_batch=32, lr=1e-3, precision="bf16")
GPU = GeneformerPretraining(STANDIN, steps=8000, batch_size=64, micro_batch=64, lr=1e-3, precision="bf16")
RECIPES = {"geneformer_quick": QUICK, "geneformer_standin": TWO_CORES, "geneformer_standin_gpu": GPU}
