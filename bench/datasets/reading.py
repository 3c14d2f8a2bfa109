"""How a user's file is read: which matrix, what it holds, which column has the symbols; asked for, or recognised."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata.io import read_elem

from bench.core.errors import BenchError, listed, unknown
from bench.datasets import matrix, tables
from bench.datasets.notes import say
from bench.datasets.opened import opened
from bench.datasets.request import Request, option
from bench.datasets.symbols import Symbols, symbols_of
from bench.datasets.values import Holding, held

LABEL = "cell_type"  # the column unless another one is named
OF_COUNTS = ("raw", "counts", "raw_counts", "count", "umi", "umis", "umi_counts")  # taken where X holds none


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
        return Path(self.asked.name).expanduser()

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
    path = Path(asked.name).expanduser()
    about = path.stat() if path.exists() else None
    return _resolved(asked, about and about.st_mtime_ns, about and about.st_size)


@lru_cache(maxsize=16)
def _resolved(asked: Request, _modified: int | None, _size: int | None) -> Reading:
    with opened(asked.name) as file:
        n_cells, n_genes = tables.size(file["obs"]), tables.size(file["var"])
        if not n_cells or not n_genes:
            raise BenchError(f"{asked.name} holds {n_cells} cells and {n_genes} genes; expected some of both.")
        layer, values, notes = _chosen(file, asked)
        found = matrix.shape(element(file, layer))
        genes = tables.size(var_of(file, layer))
        if found != (n_cells, genes):
            raise BenchError(f"{asked.name}: {place(layer)} is of {found}, its tables of {(n_cells, genes)}.")
        return Reading(asked, layer, values, tuple(notes))


def matrices(file: h5py.File) -> list[str]:
    """Return the matrices that a file has: ``X``, ``raw`` and the names of its layers."""
    own = [name for name, key in (("X", "X"), ("raw", "raw/X"), ("raw", "raw.X")) if key in file]
    own = [name for name in own if _is_matrix(element(file, name))]
    return own + [name for name in file.get("layers", ()) if name not in own]


def element(file: h5py.File, layer: str) -> h5py.Group | h5py.Dataset:
    """Return a matrix of an open file by the name that `matrices` gives it."""
    if layer == "X":
        return file["X"]
    if layer == "raw":
        return file["raw/X"] if "raw/X" in file else file["raw.X"]
    return file["layers"][layer]


def var_of(file: h5py.File, layer: str) -> h5py.Group | h5py.Dataset:
    """Return the table of the genes of a matrix."""
    if layer != "raw":
        return file["var"]
    return file["raw/var"] if "raw/var" in file else file["raw.var"]


def place(layer: str) -> str:
    """Return what the matrix is called in Python."""
    return layer if layer == "X" else "raw.X" if layer == "raw" else f"layers[{layer!r}]"


def found_in(file: h5py.File, layer: str) -> Holding:
    """Return what a matrix holds, by some of its rows."""
    return held(matrix.sample(element(file, layer)))


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


def refused(reading_of: str, layer: str, holding: Holding, others: Mapping[str, Holding]) -> BenchError:
    """Return the error for a matrix that holds neither counts nor, as asked, logarithms; with the way that is left."""
    start = f"{reading_of}: {place(layer)} holds {holding.said}, not counts"
    counts = [name for name, other in others.items() if other.kind == "counts"]
    logs = [name for name, other in others.items() if other.kind == "log1p"]
    if counts:
        return BenchError(f"{start}; {place(counts[0])} holds {others[counts[0]].said}: {option('layer', counts[0])}.")
    if holding.kind == "log1p":
        return BenchError(
            f"{start}, and the file has none. To use them as they are: {option('layer', layer)}, or "
            "adata.uns['bench'] = {'values': 'log1p'} in the file."
        )
    if logs:
        return BenchError(f"{start}; {place(logs[0])} holds {others[logs[0]].said}: {option('layer', logs[0])}.")
    return BenchError(f"{start}, and no other matrix does; {REMEDIES[holding.kind]}.")


REMEDIES = {
    "scaled": "store the counts from before scaling in a layer (adata.layers['counts'])",
    "linear": "store the raw counts in a layer, or take the logarithm (scanpy.pp.log1p) and name X with -p layer X",
    "root": "store the raw counts in a layer; square roots are neither counts nor logarithms",
    "fractions": "store the counts from before the correction in a layer, or round to whole numbers if they are counts",
    "broken": "remove or replace them, from the counts on",
    "nothing": "load a matrix of counts or log values",
}


def _chosen(file: h5py.File, asked: Request) -> tuple[str, str, list[str]]:
    """Return the matrix, what it holds and what was recognised."""
    there = matrices(file)
    if asked.layer is not None:
        return _asked_for(file, asked, there)
    if "X" in there:
        declared = _declared(file)
        holding = found_in(file, "X")
        if declared not in (None, "counts"):
            return "X", declared, []
        if holding.kind == "counts":
            return "X", "counts", [f"X holds {holding.said}."] if "binary" in holding.said else []
    else:
        holding = None
    for name in (name for name in OF_COUNTS if name in there):
        if (other := found_in(file, name)).kind == "counts":
            said = f"X holds {holding.said}" if holding else "there is no X"
            also = f" ({option('layer', 'X')} takes X)" if holding and holding.kind == "log1p" else ""
            return name, "counts", [f"{said}; {place(name)} is used, with {other.said}{also}."]
    if holding is None:
        raise BenchError(
            f"{asked.name} has no X; store the counts there (adata.X = adata.layers[...])"
            + (f", or name one of {listed(there)} with {option('layer', there[0])}." if there else ".")
        )
    raise refused(asked.name, "X", holding, {name: found_in(file, name) for name in there if name != "X"})


def _asked_for(file: h5py.File, asked: Request, there: list[str]) -> tuple[str, str, list[str]]:
    if asked.layer not in there:
        raise unknown(f"layer of {asked.name}", asked.layer, there)
    holding = found_in(file, asked.layer)
    if asked.layer == "X" and (declared := _declared(file)):
        return "X", declared, []
    if holding.kind in ("counts", "log1p"):
        used = [f"{place(asked.layer)} holds {holding.said}, used as they are."] if holding.kind == "log1p" else []
        return asked.layer, holding.kind, used
    others = {name: found_in(file, name) for name in there if name != asked.layer}
    raise refused(asked.name, asked.layer, holding, others)


def _declared(file: h5py.File) -> str | None:
    """Return the values that the file itself declares."""
    if "uns/bench" not in file:
        return None
    declared = read_elem(file["uns/bench"])
    return str(declared["values"]) if isinstance(declared, Mapping) and "values" in declared else None


def _is_matrix(found: h5py.Group | h5py.Dataset) -> bool:
    return found.attrs.get("encoding-type") != "null" and (isinstance(found, h5py.Group) or found.ndim == 2)
