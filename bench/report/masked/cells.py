"""Which cells are scored: none that the weights were trained on; and which cells fit the baselines."""

import json
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import numpy as np

from bench import weights
from bench.core.errors import BenchError
from bench.datasets.sources import cache_folder
from bench.models.scbert.recipes import RECIPES, ScBERTPretraining
from bench.training.blocks import Selection
from bench.training.cells import build
from bench.training.store import Cells
from bench.weights.card import header
from bench.weights.seen import seen_by

SHARE, SPLIT_SEED = 0.05, 2021  # PROTOCOL 1.4 of the paper: plain train_test_split, random_state 2021
VARIANTS = ("pretrained", "no_gene2vec")


@dataclass(frozen=True)
class Weights:
    """A weights file and what it says of itself; or a recipe of this project whose weights need not exist."""

    variant: str
    path: Path | None
    genes: tuple[str, ...]  # order of the positions
    library: str
    identity: str
    recipe: ScBERTPretraining | None = None  # where there is no file
    name: str = ""  # likewise: by which the weights can be had

    @classmethod
    def of(cls, variant: str, name: str) -> "Weights":
        """Return the weights of that name or path, fetched or pretrained if need be.

        Raises
        ------
        BenchError
            If they cannot be had, do not say their genes, or belong to the other variant.
        """
        path = weights.resolve(name)
        found = header(path) or {}
        told = found.get("__metadata__") or {}
        if missing := [key for key in ("genes", "library") if key not in told]:
            raise BenchError(
                f"{path} does not say its {' and '.join(missing)}; convert it with: "
                f"bench weights scbert --path {path} --genes GENES.txt"
            )
        if ("pos_emb.emb.weight" in found) == (variant == "no_gene2vec"):
            state = "without" if variant == "pretrained" else "with"
            raise BenchError(
                f"{path} was pretrained {state} gene2vec and cannot stand for the variant {variant!r}; give that "
                f"variant weights of its own: weights={{{variant!r}: ...}}."
            )
        return cls(variant, path, tuple(json.loads(told["genes"])), told["library"], weights.identity(path))

    @classmethod
    def planned(cls, variant: str, name: str) -> "Weights":
        """Return what baselines need to know of weights: for a recipe of this project no file, nor a pretraining."""
        if not isinstance(recipe := RECIPES.get(name), ScBERTPretraining):
            return cls.of(variant, name)
        cells = recipe.cells()
        return cls(variant, None, tuple(cells.genes), recipe.library, recipe.identity(cells), recipe, name)

    def here(self) -> "Weights":
        """Return the weights with their file, pretrained if need be."""
        return self if self.path else Weights.of(self.variant, self.name)

    @property
    def positions(self) -> str:
        """Number of genes, and 8 hex digits over their order and the library."""
        return f"{len(self.genes)} genes, {_digest([*self.genes, self.library])}"

    def card(self) -> dict | None:
        """Return the card of a pretraining in this project; None for any other weights."""
        if self.path is None:
            return None
        path = self.path.with_suffix(".json")
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None

    def seen(self) -> np.ndarray | None:
        """Return the identifiers of the cells that they were trained on or chosen by; None where nobody knows."""
        return self.recipe.cells().ids if self.path is None else seen_by(self.path)

    def pretraining(self) -> tuple[ScBERTPretraining, Cells] | None:
        """Return the recipe and the cells of a pretraining in this project; None for any other weights.

        Raises
        ------
        BenchError
            If the data sets are no longer what they were.
        """
        if self.recipe is not None:
            return self.recipe, self.recipe.cells()
        if (card := self.card()) is None:
            return None
        settings = dict(card["recipe"])
        chosen = tuple(Selection(**one) for one in settings.pop("selections"))
        recipe = ScBERTPretraining(chosen, **settings)
        cells = recipe.cells()
        if (found := recipe.identity(cells)) != self.identity:
            raise BenchError(
                f"{self.path.name} was trained on other cells than its recipe now gives (identity {self.identity}, now "
                f"{found}): a data set or the protocol has changed. Delete the file and pretrain again."
            )
        return recipe, cells


@dataclass(frozen=True)
class Rows:
    """Some cells of a store."""

    folder: Path = field(compare=False)
    rows: np.ndarray = field(compare=False)
    name: str  # how many cells, and 8 hex digits over their identifiers

    @classmethod
    def of(cls, cells: Cells, rows: np.ndarray) -> "Rows":
        """Return these rows, in this order."""
        return cls(cells.folder, rows, f"{len(rows)} cells, {_digest([cells.content, *cells.ids[rows].tolist()])}")

    def cells(self) -> Cells:
        """Return the store."""
        return Cells(self.folder)


def tokens_of(dataset: str, given: Weights) -> Cells:
    """Return the tokens of all cells of a data set, by name or path, at the positions of the weights."""
    return build(cache_folder() / "cells", [Selection(str(dataset))], list(given.genes), given.library)


def held_out(cells: Cells, seen: np.ndarray | None) -> tuple[str, np.ndarray]:
    """Return the cells of a data set that may be scored, in random order.

    Parameters
    ----------
    cells
        All cells of the data set.
    seen
        Identifiers of cells that the weights have seen, or None.

    Returns
    -------
    ``not_pretrained`` and every cell that was not seen, if some were; else ``validation_5_percent`` and the published
    draw of one cell in twenty.

    Raises
    ------
    BenchError
        If all cells were seen.
    """
    unseen = np.ones(len(cells), bool) if seen is None else ~np.isin(cells.ids, seen)
    if unseen.all():
        return "validation_5_percent", cells.split(SHARE, SPLIT_SEED)[1]
    if not unseen.any():
        raise BenchError(
            f"All {len(cells):,} cells of {cells.datasets[0]!r} were pretrained on, none is left to score; evaluate "
            "another data set, or pretrain without some of its cells."
        )
    return "not_pretrained", np.random.default_rng(SPLIT_SEED).permutation(np.flatnonzero(unseen))


def to_fit(given: Weights, cells: Cells, scored: np.ndarray) -> list[tuple[str, str, Rows]]:
    """Return variant, recipe and cells of each fit of a baseline.

    Returns
    -------
    Recipe ``pretraining_cells`` fits on the cells that the weights were trained on; where these are of several data
    sets, variant ``same_data`` fits on those of the evaluated one alone.  Where nobody knows them, recipe
    ``other_cells`` fits on the cells of the evaluated data set that are not ``scored``, an advantage over weights from
    elsewhere.
    """
    if (known := given.pretraining()) is None:
        return [("default", "other_cells", Rows.of(cells, np.setdiff1d(np.arange(len(cells)), scored)))]
    recipe, theirs = known
    train, _ = theirs.split(recipe.validation_share, recipe.seed)
    fits = [("default", "pretraining_cells", Rows.of(theirs, train))]
    if len(theirs.datasets) > 1 and cells.datasets[0] in theirs.datasets:
        same = train[theirs.dataset[train] == theirs.datasets.index(cells.datasets[0])]
        fits.append(("same_data", "pretraining_cells", Rows.of(theirs, same)))
    return fits


def _digest(parts: list) -> str:
    return sha256("\n".join(map(str, parts)).encode()).hexdigest()[:8]
