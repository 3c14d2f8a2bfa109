"""A reference and a query: two files or data sets that go together, found out before anything runs."""

import sys
from collections import Counter
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata import AnnData

from bench.core.errors import BenchError, listed
from bench.datasets import DATASETS, Request, loaded, tables, twins
from bench.datasets.labels import MISSING, key_of
from bench.datasets.opened import opened
from bench.datasets.places import matrices
from bench.datasets.reading import LABEL
from bench.datasets.spelling import named_alike, other_spelling
from bench.protocol.query import is_labelled, measures, name_of, types_of

SPLIT = "query"  # what records say in the place of a split
FLOOR = 0.1  # of the reference's genes, and of the query's counts: with less a score says nothing of the method


@dataclass(frozen=True)
class Pair:
    """How data are read that are trained on, and those that are scored where they are no part of them."""

    reference: Request
    query: Request | None = None
    query_hash: str = ""  # of the checked content

    @property
    def columns(self) -> dict[str, str]:
        """Columns of the record, see `bench.protocol.columns`."""
        return {"query": Path(self.query.name).name, "query_hash": self.query_hash} if self.query else {}


def paired(asked: Request, name: str | None) -> Pair:
    """Return how a data set and its query are read, once both are found to go together; what is odd of them is said.

    Parameters
    ----------
    asked
        The data set; its columns and its layer are those of the query, too.
    name
        The query, a key of ``DATASETS`` or the path of a file; None where a split says what is scored.

    Raises
    ------
    BenchError
        If one of them cannot be read, or cannot be scored by what is learned of the other.
    """
    if name is None:
        return Pair(asked)
    reference, query, notes = requests(asked, name)
    known, found = loaded(reference), loaded(query)
    for note in notes + checked(found, known):
        print(f"query {Path(name).name}: {note}", file=sys.stderr)
    return Pair(reference, query, found.uns["bench"]["hash"])


def requests(asked: Request, name: str) -> tuple[Request, Request, list[str]]:
    """Return how both are read, see `paired`, and what is to be said of it.

    A column or layer that is named and that one of the files lacks is used in the other one alone.  What both lack is
    left to the reader, which names the nearest there is.
    """
    both = [asked, replace(asked, name=name, least_types=1)]
    found = [None if request.name in DATASETS else _parts(request) for request in both]
    notes = []
    for part in ("layer", "batch", "symbols"):
        wanted = getattr(asked, part)
        lacking = [i for i in (0, 1) if found[i] is not None and wanted not in (None, "X", *found[i][part])]
        for i in lacking if len(lacking) < 2 - found.count(None) else ():
            both[i] = replace(both[i], **{part: None})
            notes.append(f"{Path(both[i].name).name} has no {part} {wanted!r} and is read without it")
    label = asked.label or LABEL
    if found[1] is not None and label not in found[1]["batch"]:
        both[1] = replace(both[1], least_types=0)
        notes.append(_unlabelled(label, found[1]["batch"]))
    there = [None if parts is None else parts["drop"] for parts in found]
    for i in (0, 1):  # a type that one of them has not is left out of the other alone
        own, other = there[i], there[1 - i]
        kept = (
            asked.drop if own is None else [n for n in asked.drop if key_of(n) in own or key_of(n) not in (other or ())]
        )
        both[i] = replace(both[i], drop=tuple(kept))
    return *both, notes


def _parts(request: Request) -> dict[str, set[str] | list[str]]:
    """Return what a file has, by the part of a request that names it; of types to leave out what their names share."""
    with opened(request.name) as file:
        columns, label = tables.columns(file["obs"]), request.label or LABEL
        types = tables.column(file["obs"], label) if label in columns and request.drop else pd.Series(dtype=object)
        drop = {key_of(str(name)) for name in types.dropna().unique()} | (MISSING if types.isna().any() else set())
        raw = tables.columns(file["raw/var"]) if "raw/var" in file else []
        symbols = [*tables.columns(file["var"]), *raw]
        return {"layer": matrices(file), "batch": columns, "symbols": symbols, "drop": drop}


def checked(query: AnnData, reference: AnnData) -> list[str]:
    """Return what a user should know of these two, or say why one cannot score the other.

    Raises
    ------
    BenchError
        If they are the same, of different kinds of values, or share too few genes or no type.
    """
    ours, theirs = (adata.uns["bench"] for adata in (reference, query))
    if ours["hash"] == theirs["hash"]:
        raise BenchError(
            f"query {name_of(query)} has the very content of the data set {name_of(reference)}; "
            "name another file, or leave query out and let split say which part is scored."
        )
    if ours["values"] != theirs["values"]:
        raise BenchError(
            f"{name_of(reference)} holds {ours['values']} and query {name_of(query)} holds {theirs['values']}: models "
            "would be trained on one kind of values and asked about another. Name where both have the same kind with "
            "layer, such as -p layer counts or -p layer raw (a file without that layer is read from X), or convert one."
        )
    return [_genes(query, reference), *_types(query, reference), *_same_cells(query, reference)]


def _unlabelled(label: str, columns: list[str]) -> str:
    near = get_close_matches(label, columns, n=1, cutoff=0.6)
    hint = f" If {near[0]!r} are its labels, rename that column to {label!r}." if near else ""
    return (
        f"obs has no column {label!r}, so that its cells are predicted and not scored; bench predictions writes the "
        f"labels.{hint}"
    )


def _genes(query: AnnData, reference: AnnData) -> str:
    """Say how many genes are shared, or refuse where it is too few."""
    found, n_shared = measures(query, reference), int(query.var_names.isin(reference.var_names).sum())
    share = found.get("query_counts")
    of_counts = "" if share is None else f", which hold {100 * share:.1f} % of its counts"
    has = f"it has {n_shared:,} of the {reference.n_vars:,} genes of {name_of(reference)}{of_counts}"
    if found["query_genes"] < FLOOR or (share is not None and share < FLOOR):
        why = other_spelling(query.var_names, reference.var_names)
        raise BenchError(f"query {name_of(query)}: {has}; expected at least {100 * FLOOR:g} % of both. {why}")
    missing = "; those that it lacks are zeros" if n_shared < reference.n_vars else ""
    others = query.n_vars - n_shared
    return f"{has}{missing}{f'; its other {others:,} genes are left out' if others else ''}"


def _types(query: AnnData, reference: AnnData) -> list[str]:
    """Say which types the reference lacks, or refuse where no type is shared."""
    if not is_labelled(query):
        return []
    known = set(reference.obs["cell_type"].astype(str))
    cells = Counter(types_of(query, reference))
    unseen = {label: n for label, n in cells.most_common() if label not in known}
    if len(unseen) == len(cells):
        raise BenchError(
            f"No cell type in common: query {name_of(query)} has {listed(sorted(cells), 8)}; "
            f"{name_of(reference)} has {listed(sorted(known), 8)}. Rename the types in one of the files; "
            "a query without the label column is predicted and not scored."
        )
    notes = []
    if unseen:
        counts = listed((f"{label} {n:,}" for label, n in unseen.items()), 8)
        total = sum(unseen.values())
        notes.append(f"{total:,} of its {query.n_obs:,} cells are of types that it cannot learn here: {counts}")
    alike = named_alike(set(query.obs["cell_type"].astype(str)) - known, known)
    if alike:
        pairs = listed((f"{theirs!r} as {ours!r}" for theirs, ours in sorted(alike.items())), 8)
        notes.append(f"types that differ in case or blanks only are taken as one: {pairs}")
    return notes


def _same_cells(query: AnnData, reference: AnnData) -> list[str]:
    """Say how many cells of the query are trained on, too, as far as values and names tell."""
    genes = query.var_names.intersection(reference.var_names, sort=False)
    ours, theirs = (twins.profiles(_on(adata, genes)) for adata in (reference, query))
    same = np.isin(theirs, ours[ours != 0])
    notes = []
    if n := int(same.sum()):
        notes.append(
            f"{n:,} of its {query.n_obs:,} cells have the very values of a cell that is trained on; "
            "take them out of one of the files"
        )
    named = query.obs_names[~same]
    named = named[~named.str.fullmatch(r"\d+")]  # numbers of rows say nothing
    if n := int(named.isin(reference.obs_names).sum()):
        notes.append(f"{n:,} of its cells have the name of a cell that is trained on, with other values: are they one?")
    return notes


def _on(adata: AnnData, genes: pd.Index) -> sp.csr_matrix:
    """Return the values of some genes, in their order."""
    X = adata.X[:, adata.var_names.get_indexer(genes)]
    X.sort_indices()
    return X
