"""What the project's own pretraining is made of: cells, genes, sizes, steps; and the named recipes of the tiers.

A model has one frozen dataclass of settings here, and one class in `bench.training.pretrain.OBJECTIVES` that knows its
network and its loss.
"""

from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from typing import ClassVar

from bench.datasets.panglao import gene_order
from bench.datasets.sources import cache_folder
from bench.errors import BenchError, unknown
from bench.training.blocks import Selection
from bench.training.cells import build
from bench.training.genes import most_variable, of_any
from bench.training.store import Cells
from bench.trials import canonical

PRECISIONS = ("float32", "bf16")


@dataclass(frozen=True)
class Pretraining:
    """Everything that decides the weights, except the rounding of the machine; what all models have of it."""

    model: ClassVar[str]
    protocol: ClassVar[int]  # raise when the same recipe would give other weights
    sizes: ClassVar[tuple[str, ...]] = ("steps", "dim", "depth", "heads", "batch_size", "micro_batch")  # at least 1

    selections: tuple[Selection, ...]  # data sets, and the splits whose scored cells are left out
    steps: int  # of the optimiser
    n_genes: int = 0  # the most variable ones that all data sets have; 0 for all genes of the model
    batch_size: int = 32  # cells per step
    micro_batch: int = 8  # cells at a time; several processes divide these among them
    lr: float = 1e-4  # largest rate, after a warm-up over 5 % of the steps; a half cosine follows
    precision: str = "float32"  # or "bf16"
    validation_share: float = 0.05  # of the cells, as published for scBERT
    seed: int = 2021

    def __post_init__(self):
        for name in (*self.sizes, "n_genes", "seed"):
            least = int(name in self.sizes)
            if getattr(self, name) < least:
                raise BenchError(f"{name}={getattr(self, name)} should be a whole number of at least {least}.")
        for name in ("lr", "clip"):
            if not 0 < getattr(self, name) < float("inf"):
                raise BenchError(f"{name}={getattr(self, name)} should be a number above 0.")
        if self.precision not in PRECISIONS:
            raise unknown("precision", self.precision, PRECISIONS)
        if self.batch_size % self.micro_batch:
            raise BenchError(
                f"batch_size={self.batch_size} should be a multiple of micro_batch={self.micro_batch}; set both."
            )

    def cells(self) -> Cells:
        """Return the tokens of the cells, written to the cache once."""
        raise NotImplementedError

    def identity(self, cells: Cells) -> str:
        """Return the 16 hex digits by which trials know weights made so."""
        settings = asdict(replace(self, selections=()))
        return sha256(canonical([self.protocol, settings, cells.content]).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class ScBERTPretraining(Pretraining):
    """Settings of scBERT: tokens of all genes of a list, of which some are predicted as classes."""

    model: ClassVar[str] = "scbert"
    protocol: ClassVar[int] = 1
    sizes: ClassVar[tuple[str, ...]] = (*Pretraining.sizes, "dim_head", "n_features")

    gene2vec: bool = True  # frozen vectors, trained on the same cells before
    dim: int = 200
    depth: int = 6
    heads: int = 10
    dim_head: int = 64
    n_features: int = 266
    clip: float = 100.0  # largest norm of the gradient, as published
    stabiliser: str = "batch"  # shared by the cells of a micro-batch

    def __post_init__(self):
        super().__post_init__()
        if self.stabiliser not in ("batch", "per_cell"):
            raise unknown("stabiliser", self.stabiliser, ("batch", "per_cell"))

    @property
    def library(self) -> str:
        """Genes over which the library size is counted: a few genes would not measure the depth of a cell."""
        return "all" if self.n_genes else "panglao"

    def cells(self) -> Cells:
        """Return the tokens of the cells, written to the cache once; all genes are scBERT's 16,906."""
        folder = cache_folder() / "cells"
        genes = most_variable(folder, self.selections, self.n_genes) if self.n_genes else gene_order()
        return build(folder, list(self.selections), genes, self.library)


@dataclass(frozen=True)
class ScGPTPretraining(Pretraining):
    """Settings of scGPT: bins of the genes that a cell expresses, of which some are predicted as numbers."""

    model: ClassVar[str] = "scgpt"
    protocol: ClassVar[int] = 1
    sizes: ClassVar[tuple[str, ...]] = (*Pretraining.sizes, "hidden")

    max_seq_len: int = 1200  # tokens of a cell, the one that stands for it included; a longer one is cut at random
    dim: int = 512
    depth: int = 12
    heads: int = 8
    hidden: int = 512  # width of the feed-forward layers
    dropout: float = 0.2
    clip: float = 1.0  # largest norm of the gradient

    def __post_init__(self):
        super().__post_init__()
        if self.max_seq_len < 2:
            raise BenchError(f"max_seq_len={self.max_seq_len} should be at least 2: a cell's own token and one gene.")
        if not 0 <= self.dropout < 1:
            raise BenchError(f"dropout={self.dropout} should be at least 0 and below 1.")
        if self.dim % self.heads:
            raise BenchError(f"dim={self.dim} should be a multiple of heads={self.heads}; set both.")

    @property
    def library(self) -> str:
        """What tokens are: bins, which need no library size."""
        return "bins"

    def cells(self) -> Cells:
        """Return the bins of the cells, written to the cache once; all genes are those that any data set has."""
        folder = cache_folder() / "cells"
        chosen = most_variable(folder, self.selections, self.n_genes) if self.n_genes else of_any(self.selections)
        return build(folder, list(self.selections), chosen, self.library, seed=self.seed)


BLOOD = (Selection("pbmc_facs", ("random",)), Selection("hao", ("random",)))
SMALL = (Selection("hao", ("random",)), Selection("baron", ("held_out:human1",)))
QUICK = ScBERTPretraining(
    SMALL, steps=500, n_genes=200, dim=32, depth=2, heads=2, dim_head=16, n_features=44, micro_batch=32, lr=5e-3
)
STANDIN = ScBERTPretraining((*BLOOD, SMALL[1]), steps=3000, precision="bf16")
SCGPT_QUICK = ScGPTPretraining(
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
# The 12,196 cells have 760 tokens on average, about 9 TFLOP a step: estimated, not measured, 50 to 70 ms on an H200.
SCGPT_STANDIN = ScGPTPretraining(
    (*BLOOD, SMALL[1], Selection("kang", ("held_out:stimulated",))),
    steps=8000,
    batch_size=64,
    micro_batch=64,
    precision="bf16",
)
RECIPES = {
    "scbert_quick": QUICK,
    "scbert_quick_no_gene2vec": replace(QUICK, gene2vec=False),
    "scbert_standin": STANDIN,
    "scbert_standin_no_gene2vec": replace(STANDIN, gene2vec=False),
    "scgpt_quick": SCGPT_QUICK,
    "scgpt_standin": SCGPT_STANDIN,
}
