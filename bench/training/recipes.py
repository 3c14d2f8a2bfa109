"""What the project's own pretraining is made of: cells, genes, sizes, steps; and the named recipes of the tiers.

A family has one frozen dataclass of settings, derived from `Pretraining`, its named recipes, and one class that knows
its network and its loss (`bench.training.objective.Objective`).
"""

from dataclasses import dataclass, replace
from typing import ClassVar

from bench.core.errors import BenchError, unknown
from bench.core.families import with_part
from bench.core.keys import digest, settled_of
from bench.training.blocks import Selection
from bench.training.store import Cells

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
        return digest([self.protocol, settled_of(replace(self, selections=())), cells.content])


def named() -> dict[str, Pretraining]:
    """Return the recipes of all families by name."""
    return {name: recipe for family in with_part("recipes") for name, recipe in family.load("recipes").items()}


# cells of the tiers, less those that are scored later
BLOOD = (Selection("pbmc_facs", ("random",)), Selection("hao", ("random",)))
STANDIN = (*BLOOD, Selection("baron", ("held_out:human1",)), Selection("kang", ("held_out:stimulated",)))
SMALL = (Selection("hao", ("random",)), Selection("baron", ("held_out:human1",)))
