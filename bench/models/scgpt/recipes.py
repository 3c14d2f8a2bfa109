"""Pretraining scGPT in this project: settings and the named recipes of the tiers."""

from dataclasses import dataclass
from typing import ClassVar

from bench.core.errors import BenchError
from bench.core.keys import added
from bench.models.scgpt.binning import Bins
from bench.training.recipes import SMALL, STANDIN, Pretraining


@dataclass(frozen=True)
class ScGPTPretraining(Pretraining):
    """Settings of scGPT: bins of the genes that a cell expresses, of which some are predicted as numbers."""

    model: ClassVar[str] = "scgpt"
    protocol: ClassVar[int] = 1
    sizes: ClassVar = ("dim", "depth", "heads", "hidden")
    shares: ClassVar = ("dropout",)
    multiples: ClassVar = (("dim", "heads"),)

    max_seq_len: int = 1200  # tokens of a cell, the one that stands for it included; a longer one is cut at random
    dim: int = 512
    depth: int = 12
    heads: int = 8
    hidden: int = 512  # width of the feed-forward layers
    dropout: float = 0.2
    clip: float = 1.0  # largest norm of the gradient
    even_start: bool = added(False)  # layers begin by passing on what they get, values are told from the middle bin

    def __post_init__(self):
        super().__post_init__()
        if self.max_seq_len < 2:
            raise BenchError(f"max_seq_len={self.max_seq_len} should be at least 2: a cell's own token and one gene.")

    @property
    def library(self) -> str:
        """What tokens are: bins, which need no library size."""
        return "bins"

    def tokens(self) -> Bins:
        """Return bins of the counts of each cell."""
        return Bins(self.seed)


QUICK = ScGPTPretraining(
    SMALL,
    steps=1200,
    n_genes=240,  # of which half of the cells express more than 119
    max_seq_len=129,
    dim=64,
    depth=2,
    heads=4,
    hidden=64,
    dropout=0.0,
    batch_size=16,
    micro_batch=16,
    lr=3e-3,
)
# Without an even start all positions of twelve layers are one vector after twenty steps, and still so after 200.
EVEN = {"even_start": True, "lr": 3e-4, "precision": "bf16"}
TWO_CORES = ScGPTPretraining(STANDIN, steps=1000, n_genes=3000, batch_size=16, micro_batch=16, **EVEN)
# The 12,196 cells have 760 tokens on average, about 9 TFLOP a step: estimated, not measured, 50 to 70 ms on an H200.
GPU = ScGPTPretraining(STANDIN, steps=8000, batch_size=64, micro_batch=64, **EVEN)
RECIPES = {"scgpt_quick": QUICK, "scgpt_standin": TWO_CORES, "scgpt_standin_gpu": GPU}
