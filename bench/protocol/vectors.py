"""Vectors that a model's variant names, found for each data set before anything runs: requests that read them, a hash.

A trial's weights' hash is that of the values joined to the cells of its own data, so that the same file in another
place, of another kind or in another order makes the same key, and another value another one.
"""

from dataclasses import dataclass, replace
from pathlib import Path

from anndata import AnnData

from bench.core.errors import BenchError
from bench.core.keys import digest
from bench.datasets import Request, loaded
from bench.models.spec import Spec
from bench.protocol.pairs import Pair


@dataclass(frozen=True)
class Given:
    """How data are read for one model, and the identity of what is read beside them."""

    source: Request
    query: Request | None
    weights_hash: str = ""  # of vectors; empty where there are none

    @property
    def fields(self) -> dict[str, str]:
        """Fields of a trial that take the place of the model's own."""
        return {"weights_hash": self.weights_hash} if self.weights_hash else {}


def given(spec: Spec, pair: Pair, splits: set[str]) -> Given:
    """Return how a model's data are read, with the vectors that it needs.

    Raises
    ------
    BenchError
        If a cell that is trained on or scored has no vector, or both files have vectors of different lengths.
    """
    if not spec.vectors:
        return Given(pair.reference, pair.query)
    asked = [replace(part, obsm=spec.vectors) for part in (pair.reference, pair.query) if part]
    (name,), found = spec.vectors, [loaded(part) for part in asked]
    told = [adata.uns["bench"]["obsm"][name] for adata in found]
    lengths = {adata.obsm[name].shape[1] for adata in found}
    if len(lengths) > 1:
        raise BenchError(
            f"{name} has vectors of {found[0].obsm[name].shape[1]} numbers in {Path(asked[0].name).name} and of "
            f"{found[1].obsm[name].shape[1]} in {Path(asked[1].name).name}; both must come from one embedding."
        )
    if (n := told[0]["missing"]) and splits - {"authors"}:
        raise BenchError(
            f"{name} has no vector for {n:,} cells that the authors' split leaves out and other splits use; "
            "ask for -p split authors alone, or give the vectors of all cells."
        )
    return Given(asked[0], asked[1] if pair.query else None, hash_of(found, name))


def hash_of(found: list[AnnData], name: str) -> str:
    """Return the identity of vectors of a name in a data set, or in that and its query."""
    hashes = [adata.uns["bench"]["obsm"][name]["hash"] for adata in found]
    return digest(hashes) if len(hashes) > 1 else hashes[0]


def undeclared(spec: Spec) -> str:
    """Return that a model's vectors may have seen scored cells and nobody has said so; empty text where it is said."""
    if not spec.vectors or spec.hyperparameters.get("seen") != "unknown":
        return ""
    return (
        f"{spec.name}@{spec.variant}: nobody has said whether this embedding was trained on cells that are scored; say "
        f'it with -p overrides \'{{"{spec.name}@{spec.variant}": {{"seen": "no"}}}}\' (or "yes"): it is recorded '
        "and shown."
    )
