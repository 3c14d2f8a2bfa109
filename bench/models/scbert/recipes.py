"""Pretraining scBERT in this project: settings and the named recipes of the tiers."""

from dataclasses import dataclass, replace
from typing import ClassVar

from bench.datasets.panglao import gene_order
from bench.models.layers.stabilisers import STABILISERS
from bench.training.recipes import BLOOD, SMALL, STANDIN, Pretraining


@dataclass(frozen=True)
class ScBERTPretraining(Pretraining):
    """Settings of scBERT: tokens of all genes of a list, of which some are predicted as classes."""

    model: ClassVar[str] = "scbert"
    protocol: ClassVar[int] = 1
    sizes: ClassVar = ("dim", "depth", "heads", "dim_head", "n_features")
    choices: ClassVar = {"stabiliser": STABILISERS}

    gene2vec: bool = True  # frozen vectors, trained on the same cells before
    dim: int = 200
    depth: int = 6
    heads: int = 10
    dim_head: int = 64
    n_features: int = 266
    clip: float = 100.0  # largest norm of the gradient, as published
    stabiliser: str = "batch"  # shared by the cells of a micro-batch

    @property
    def library(self) -> str:
        """Genes over which the library size is counted: a few genes would not measure the depth of a cell."""
        return "all" if self.n_genes else "panglao"

    def tokens(self) -> str:
        """Return the genes over which levels of expression count the library size."""
        return self.library

    def all_genes(self) -> list[str]:
        """Return scBERT's 16,906 genes."""
        return gene_order()


QUICK = ScBERTPretraining(
    SMALL, steps=500, n_genes=200, dim=32, depth=2, heads=2, dim_head=16, n_features=44, micro_batch=32, lr=5e-3
)
TWO_CORES = ScBERTPretraining(STANDIN, steps=500, n_genes=3000, precision="bf16", stabiliser="per_cell")
GPU = ScBERTPretraining((*BLOOD, SMALL[1]), steps=3000, precision="bf16")  # all 16,906 genes
RECIPES = {
    "scbert_quick": QUICK,
    "scbert_quick_no_gene2vec": replace(QUICK, gene2vec=False),
    "scbert_standin": TWO_CORES,
    "scbert_standin_no_gene2vec": replace(TWO_CORES, gene2vec=False),
    "scbert_standin_gpu": GPU,
    "scbert_standin_gpu_no_gene2vec": replace(GPU, gene2vec=False),
}
