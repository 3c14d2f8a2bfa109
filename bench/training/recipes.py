"""What the project's own pretraining is made of: cells, genes, sizes, steps; and the named recipes of the tiers.

A family has one frozen dataclass of settings, derived from `Pretraining`, its named recipes, and one class that knows
its network and its loss (`bench.training.objective.Objective`).  Of its settings it says which are sizes, shares,
choices and multiples, and what it calls tokens; `Checked` sees to the first, `Pretraining` writes the cells.
"""

from dataclasses import dataclass, replace
from typing import ClassVar

from bench.core.checked import Checked
from bench.core.families import with_part
from bench.core.keys import digest, settled_of
from bench.datasets.sources import cache_folder
from bench.training.blocks import Selection
from bench.training.cells import Tokens, build
from bench.training.genes import most_variable, of_any
from bench.training.store import Cells

PRECISIONS = ("float32", "bf16")


@dataclass(frozen=True)
class Pretraining(Checked):
    """Everything that decides the weights, except the rounding of the machine; what all models have of it."""

    model: ClassVar[str]
    protocol: ClassVar[int]  # raise when the same recipe would give other weights
    sizes: ClassVar = ("steps", "batch_size", "micro_batch")
    least: ClassVar = {"n_genes": 0, "seed": 0}
    above: ClassVar = {"lr": 0, "clip": 0}  # every model has a norm at which gradients are cut
    shares: ClassVar = ("validation_share",)
    choices: ClassVar = {"precision": PRECISIONS}
    multiples: ClassVar = (("batch_size", "micro_batch"),)

    selections: tuple[Selection, ...]  # data sets, and the splits whose scored cells are left out
    steps: int  # of the optimiser
    n_genes: int = 0  # the most variable ones that all data sets have; 0 for all genes of the model
    batch_size: int = 32  # cells per step
    micro_batch: int = 8  # cells at a time; several processes divide these among them
    lr: float = 1e-4  # largest rate, after a warm-up over 5 % of the steps; a half cosine follows
    precision: str = "float32"  # or "bf16"
    validation_share: float = 0.05  # of the cells, as published for scBERT
    seed: int = 2021

    def tokens(self) -> str | Tokens:
        """Return the kind of tokens, or the genes over which levels of expression count the library size."""
        raise NotImplementedError

    def all_genes(self) -> list[str]:
        """Return the genes of the model, in their order: those that any data set has, unless it has a list."""
        return of_any(self.selections)

    def cells(self) -> Cells:
        """Return the tokens of the cells, written to the cache once."""
        folder = cache_folder() / "cells"
        genes = most_variable(folder, self.selections, self.n_genes) if self.n_genes else self.all_genes()
        return build(folder, list(self.selections), genes, self.tokens())

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
