"""How a user's file is read: which matrix, what it holds, which column has the symbols; asked for, or recognised."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import scipy.sparse as sp

from bench.core.errors import BenchError, listed
from bench.datasets import matrix, tables
from bench.datasets.choosing import chosen
from bench.datasets.notes import say
from bench.datasets.opened import opened
from bench.datasets.places import element, place, var_of
from bench.datasets.request import Request, option
from bench.datasets.symbols import Symbols, symbols_of

LABEL = "cell_type"  # the column unless another one is named


@dataclass(frozen=True)
class Reading:
    """What was asked for, and what was found to answer it."""

    asked: Request
    layer: str  # X, raw or the name of a layer
    values: str  # counts or log1p
    notes: tuple[str, ...]  # what was recognised

    @property
    def path(self) -> Path:
        """The file."""
        return Path(self.asked.name)

    @property
    def place(self) -> str:
        """The matrix, as one says it in Python."""
        return place(self.layer)


@dataclass(frozen=True)
class Columns:
    """Genes of the data set, and which column of the matrix goes where."""

    names: pd.Index  # (n_genes,) unique symbols
    identifiers: pd.Index | None  # (n_genes,) Ensembl identifiers
    source: str  # column of var with the symbols
    kept: np.ndarray | None  # columns of the matrix that are genes; None: all
    target: np.ndarray | None  # for each of those its gene; None: one by one
    notes: tuple[str, ...]


def resolved(asked: Request) -> Reading:
    """Return how the file is read; a few hundred cells are looked at.

    Raises
    ------
    BenchError
        If the file cannot be read, lacks what is asked for, or no matrix holds counts or logarithms.
    """
    path = Path(asked.name)
    about = path.stat() if path.exists() else None
    return _resolved(asked, about and about.st_mtime_ns, about and about.st_size)


@lru_cache(maxsize=16)
def _resolved(asked: Request, _modified: int | None, _size: int | None) -> Reading:
    with opened(asked.name) as file:
        n_cells, n_genes = tables.size(file["obs"]), tables.size(file["var"])
        if not n_cells or not n_genes:
            raise BenchError(f"{asked.name} holds {n_cells} cells and {n_genes} genes; expected some of both.")
        layer, values, notes = chosen(file, asked)
        found = matrix.shape(element(file, layer))
        genes = tables.size(var_of(file, layer))
        if found != (n_cells, genes):
            raise BenchError(f"{asked.name}: {place(layer)} is of {found}, its tables of {(n_cells, genes)}.")
        return Reading(asked, layer, values, tuple(notes))


def symbols(file: h5py.File, layer: str, asked: str | None) -> Symbols:
    """Return the names of a matrix's genes; for ``raw`` a column of ``var`` stands in where ``raw.var`` has none."""
    own, other = var_of(file, layer), file["var"]
    index, names = tables.index(own), tables.columns(own)
    more = [name for name in tables.columns(other) if name not in names] if layer == "raw" else []

    def read(name: str) -> pd.Series:
        if name in names:
            return tables.column(own, name)
        found = pd.Series(tables.column(other, name).to_numpy(object), index=tables.index(other))
        return found[~found.index.duplicated()].reindex(index).reset_index(drop=True)

    return symbols_of(index, [*names, *more], read, asked)


def columns(file: h5py.File, reading: Reading) -> Columns:
    """Return the genes of the data set: repeated symbols are one, and summed, where they are counts.

    Raises
    ------
    BenchError
        If there are no symbols, or symbols of logarithms repeat.
    """
    found = symbols(file, reading.layer, reading.asked.symbols)
    kept = None if found.kept.all() else np.flatnonzero(found.kept)
    names = found.names if kept is None else found.names[kept]
    ids = found.identifiers if found.identifiers is None or kept is None else found.identifiers[kept]
    if not names.has_duplicates:
        return Columns(names, ids, found.source, kept, None, found.notes)
    n, example = int(names.duplicated().sum()), names[names.duplicated()].unique()[:3].tolist()
    if reading.values != "counts":
        raise BenchError(
            f"{reading.path}: {n} gene symbols repeat, e.g. {example}, and logarithms cannot be summed; give counts "
            f"({option('layer', 'NAME')}), or write the file without repeats (adata[:, ~adata.var_names.duplicated()])."
        )
    target, unique = pd.factorize(names)
    first = np.unique(target, return_index=True)[1]
    note = f"{n} repeats of gene symbols, e.g. {listed(example)}, are summed; {len(unique):,} genes."
    return Columns(unique, None if ids is None else ids[first], found.source, kept, target, (*found.notes, note))


def names(asked: Request) -> pd.Index:
    """Return the genes of a file without reading its values, and say what was recognised."""
    with opened(asked.name) as file:
        try:
            reading = resolved(asked)
        except BenchError:  # values do not matter here
            reading = Reading(asked, asked.layer or "X", "counts", ())
        found = columns(file, reading)
        say(reading.path, [*reading.notes, *found.notes])
        return found.names


def rows(file: h5py.File, reading: Reading, genes: Columns) -> Iterator[sp.csr_matrix]:
    """Yield the values of consecutive cells, canonical CSR float32 of (some cells, n_genes)."""
    for part in matrix.blocks(element(file, reading.layer)):
        part = part if genes.kept is None else part[:, genes.kept]
        if genes.target is not None:
            shape = (part.shape[0], len(genes.names))
            part = sp.csr_matrix((part.data, genes.target[part.indices].astype(np.int32), part.indptr), shape=shape)
            part.sum_duplicates()
        yield part
