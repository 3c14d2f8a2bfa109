"""What the project's own pretraining is made of: cells, genes, sizes, steps; and the named recipes of the tiers."""

from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path

import numpy as np

from bench.datasets.panglao import gene_order
from bench.datasets.sources import cache_folder
from bench.errors import BenchError, unknown
from bench.training.blocks import Selection, open_stream
from bench.training.cells import build
from bench.training.store import Cells
from bench.trials import canonical

PROTOCOL = 1  # raise when the same recipe would give other weights
SIZES = ("steps", "dim", "depth", "heads", "dim_head", "n_features", "batch_size", "micro_batch")  # at least 1
CHOICES = {"precision": ("float32", "bf16"), "stabiliser": ("batch", "per_cell")}


@dataclass(frozen=True)
class Pretraining:
    """Everything that decides the weights, except the rounding of the machine."""

    selections: tuple[Selection, ...]  # data sets, and the splits whose scored cells are left out
    steps: int  # of the optimiser
    gene2vec: bool = True  # frozen vectors, trained on the same cells before
    n_genes: int = 0  # the most variable ones that all data sets have; 0 for scBERT's 16,906
    dim: int = 200
    depth: int = 6
    heads: int = 10
    dim_head: int = 64
    n_features: int = 266
    batch_size: int = 32  # cells per step
    micro_batch: int = 8  # cells at a time, which share the stabiliser; several processes divide these among them
    lr: float = 1e-4  # largest rate, after a warm-up over 5 % of the steps; a half cosine follows
    clip: float = 100.0  # largest norm of the gradient, as published
    stabiliser: str = "batch"
    precision: str = "float32"  # or "bf16"
    validation_share: float = 0.05  # of the cells, as published
    seed: int = 2021  # as published

    def __post_init__(self):
        for name in (*SIZES, "n_genes", "seed"):
            least = int(name in SIZES)
            if getattr(self, name) < least:
                raise BenchError(f"{name}={getattr(self, name)} should be a whole number of at least {least}.")
        for name in ("lr", "clip"):
            if not 0 < getattr(self, name) < float("inf"):
                raise BenchError(f"{name}={getattr(self, name)} should be a number above 0.")
        for name, valid in CHOICES.items():
            if getattr(self, name) not in valid:
                raise unknown(name, getattr(self, name), valid)
        if self.batch_size % self.micro_batch:
            raise BenchError(
                f"batch_size={self.batch_size} should be a multiple of micro_batch={self.micro_batch}; set both."
            )

    @property
    def library(self) -> str:
        """Genes over which the library size is counted: a few genes would not measure the depth of a cell."""
        return "all" if self.n_genes else "panglao"

    def cells(self) -> Cells:
        """Return the tokens of the cells, written to the cache once."""
        folder = cache_folder() / "cells"
        if not self.n_genes:
            return build(folder, list(self.selections), gene_order(), self.library)
        return build(folder, list(self.selections), self._most_variable(folder), self.library)

    def identity(self, cells: Cells) -> str:
        """Return the 16 hex digits by which trials know weights made so."""
        settings = asdict(replace(self, selections=()))
        return sha256(canonical([PROTOCOL, settings, cells.content]).encode()).hexdigest()[:16]

    def _most_variable(self, folder: Path) -> list[str]:
        """Return the genes with the largest variance of tokens, averaged over data sets, in alphabetical order."""
        shared = sorted(set.intersection(*(set(open_stream(selection).genes) for selection in self.selections)))
        if len(shared) < self.n_genes:
            raise BenchError(f"{self.n_genes} genes were asked for; the data sets share {len(shared)}.")
        cells = build(folder, list(self.selections), shared, self.library)
        variance = np.zeros(len(shared))
        for number in range(len(cells.datasets)):
            rows = np.flatnonzero(cells.dataset == number)
            sums, squares = np.zeros(len(shared)), np.zeros(len(shared))
            for part in np.array_split(rows, -(-len(rows) // 1000)):
                X = cells.sparse(part).astype(np.float64)
                sums, squares = sums + X.sum(axis=0).A1, squares + X.multiply(X).sum(axis=0).A1
            variance += squares / len(rows) - (sums / len(rows)) ** 2
        return sorted(np.array(shared)[np.argsort(-variance, kind="stable")[: self.n_genes]].tolist())


BLOOD = (Selection("pbmc_facs", ("random",)), Selection("hao", ("random",)))
SMALL = (Selection("hao", ("random",)), Selection("baron", ("held_out:human1",)))
QUICK = Pretraining(
    SMALL, steps=500, n_genes=200, dim=32, depth=2, heads=2, dim_head=16, n_features=44, micro_batch=32, lr=5e-3
)
STANDIN = Pretraining((*BLOOD, SMALL[1]), steps=3000, precision="bf16")
RECIPES = {
    "scbert_quick": QUICK,
    "scbert_quick_no_gene2vec": replace(QUICK, gene2vec=False),
    "scbert_standin": STANDIN,
    "scbert_standin_no_gene2vec": replace(STANDIN, gene2vec=False),
}
