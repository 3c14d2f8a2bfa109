"""Pretraining CellPLM in this project: settings and the named recipes of the tiers."""

from dataclasses import dataclass
from typing import ClassVar

from bench.core.errors import BenchError
from bench.models.cellplm.sizes import check_width
from bench.training.counts import Counts
from bench.training.recipes import SMALL, STANDIN, Pretraining


@dataclass(frozen=True)
class CellPLMPretraining(Pretraining):
    """Settings of CellPLM: counts of passes of cells, of which some are hidden and guessed."""

    model: ClassVar[str] = "cellplm"
    protocol: ClassVar[int] = 1
    sizes: ClassVar = ("dim", "depth", "heads", "latent", "divergence_steps")
    shares: ClassVar = ("dropout", "drop_cells", "masked_cells", "masked_values")

    dim: int = 1024
    depth: int = 4
    heads: int = 8
    latent: int = 512
    dropout: float = 0.2
    clip: float = 2.0  # largest norm of the gradient
    drop_cells: float = 0.3  # share of a pass that a step leaves out
    masked_cells: float = 0.75  # share of the others of which counts are hidden
    masked_values: float = 0.25  # share of their counts
    divergence_steps: int = 10_000  # until the latent space's divergence counts in full

    def __post_init__(self):
        super().__post_init__()
        check_width(self.dim, self.heads)
        if int(self.masked_cells * int(self.micro_batch * (1 - self.drop_cells))) < 1 or not self.masked_values:
            raise BenchError(
                f"Of micro_batch={self.micro_batch} cells no count would be hidden; give larger passes, or more of "
                "masked_cells and masked_values."
            )

    @property
    def library(self) -> str:
        """What tokens are: counts, which need no library size."""
        return Counts.library

    def tokens(self) -> Counts:
        """Return counts as they are."""
        return Counts()


# As many cells are drawn as for the other models of a tier, 16,000 to 19,200; a step leaves 30 % of them out.
QUICK = CellPLMPretraining(
    SMALL,
    steps=300,
    n_genes=240,
    dim=64,
    depth=2,
    heads=4,
    latent=32,
    dropout=0.0,
    batch_size=64,
    micro_batch=64,
    lr=3e-3,
    divergence_steps=300,
)
TWO_CORES = CellPLMPretraining(
    STANDIN, steps=125, n_genes=3000, batch_size=128, micro_batch=128, lr=5e-4, divergence_steps=125
)
RECIPES = {"cellplm_quick": QUICK, "cellplm_standin": TWO_CORES}
