"""Pretraining Geneformer in this project: settings and the named recipes of the tiers."""

from dataclasses import dataclass
from typing import ClassVar

from bench.core.errors import BenchError
from bench.models.geneformer.own_medians import Ranking
from bench.models.geneformer.vocabulary import SPECIALS
from bench.training.recipes import SMALL, STANDIN, Pretraining


@dataclass(frozen=True)
class GeneformerPretraining(Pretraining):
    """Settings of Geneformer: ranks of the genes that a cell expresses, of which some are predicted."""

    model: ClassVar[str] = "geneformer"
    protocol: ClassVar[int] = 1
    sizes: ClassVar = ("dim", "depth", "heads", "hidden")
    shares: ClassVar = ("dropout",)
    multiples: ClassVar = (("dim", "heads"),)
    choices: ClassVar = {"version": tuple(SPECIALS)}

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
        if self.max_seq_len < 4:
            raise BenchError(f"max_seq_len={self.max_seq_len} should be at least 4: two genes between <cls> and <eos>.")

    @property
    def library(self) -> str:
        """What tokens are: ranks, for which all measured genes are counted."""
        return "ranks"

    def tokens(self) -> Ranking:
        """Return ranks by the medians of these cells."""
        return Ranking(self.selections)


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
