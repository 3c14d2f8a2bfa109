"""Vectors of cells that another tool has made: arrays of ``obsm`` or files, joined to the cells of a data set.

They are read beside a data set and not with it, so that its values are read once whatever vectors are asked for, and
the hash of a data set covers none.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from hashlib import sha256
from os.path import expanduser
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
from anndata import AnnData
from anndata.io import read_elem

from bench.core.errors import BenchError, listed
from bench.datasets import h5ad, tables
from bench.datasets.contract import LEFT_OUT, ORIGINAL
from bench.datasets.joining import joined
from bench.datasets.opened import opened
from bench.datasets.reading import resolved
from bench.datasets.request import Request, is_file
from bench.datasets.sources import sha256_of
from bench.datasets.vector_files import is_vectors, read
from bench.datasets.vector_tables import matrix

FILE = "name a file of vectors behind the @, with the names of cells first, such as embedding@vectors.csv"


@dataclass(frozen=True)
class Vectors:
    """Vectors of the cells of a data set."""

    values: np.ndarray  # (n_cells, n_dimensions) float32; NaN for the cells that may lack one
    about: str  # what they are, for records
    sha256: str = ""  # of the file; empty for an array of obsm
    n_missing: int = 0  # cells of neither part that have none
    notes: tuple[str, ...] = ()  # what a user should know

    @cached_property
    def told(self) -> dict[str, str | int]:
        """What is handed on beside the values; the hash is that of the values in the order of the cells."""
        return {"about": self.about, "sha256": self.sha256, "hash": hash_of(self.values), "missing": self.n_missing}


def hash_of(values: np.ndarray) -> str:
    """Return 16 hex digits over float32 values: equal whatever kind of file they came in, in whatever order."""
    digest = sha256(repr(values.shape).encode())
    for start in range(0, len(values), 2**14):
        digest.update(np.ascontiguousarray(values[start : start + 2**14] + np.float32(0), "<f4"))  # -0 is 0
    return digest.hexdigest()[:16]


def with_vectors(adata: AnnData, found: Mapping[str, Vectors]) -> AnnData:
    """Return a data set with vectors in ``obsm``, and what is to be told of them; values are shared, not copied."""
    told = {"obsm": {name: vectors.told for name, vectors in found.items()}}
    uns = {**adata.uns, "bench": adata.uns["bench"] | told}
    obsm = {name: vectors.values for name, vectors in found.items()}
    return AnnData(adata.X, obs=adata.obs, var=adata.var, uns=uns, obsm=obsm)


def vectors_of(adata: AnnData, asked: Request, name: str) -> Vectors:
    """Return the vectors of a data set's cells.

    Parameters
    ----------
    adata
        What `bench.datasets.load` returns.
    asked
        How it was read.
    name
        A key of the file's obsm, or a file of vectors.

    Raises
    ------
    BenchError
        If there is no such array or file, or it has no finite vector for a cell.
    """
    if not is_vectors(name):
        values, what = _of_obsm(asked, name), f"obsm[{name!r}] of {Path(asked.name).name}"
        notes = _checked(values, adata.obs_names, what)
        return Vectors(values, f"obsm[{name!r}], {shape(values)}", notes=tuple(notes))
    path = Path(expanduser(name))
    names = pd.Index(adata.obs.get(ORIGINAL, adata.obs_names)).astype(str)
    spare = (adata.obs["split"] == LEFT_OUT).to_numpy() if "split" in adata.obs else np.zeros(adata.n_obs, bool)
    table = read(path, names)
    values, missing, notes = joined(table, names, _kept(asked, adata), spare, path.name, Path(asked.name).name)
    notes += _checked(values[~missing], names[~missing], path.name)
    about = f"{path.name}, {shape(table.values)}"
    return Vectors(values, about, sha256_of(path), int(missing.sum()), tuple(f"{path.name}: {note}" for note in notes))


def arrays(file: h5py.File) -> dict[str, str]:
    """Return the shape of every array in the obsm of an open file as text; of what is no array, its kind."""
    obsm = file.get("obsm", {})
    return {name: _shape_of(obsm[name]) for name in obsm} if isinstance(obsm, h5py.Group) else {}


def shape(values: np.ndarray) -> str:
    """Return cells x dimensions as text."""
    return f"{values.shape[0]:,} x {values.shape[1]:,}"


def _shape_of(element: h5py.Group | h5py.Dataset) -> str:
    kind = str(element.attrs.get("encoding-type", ""))
    if isinstance(element, h5py.Dataset):
        return " x ".join(f"{n:,}" for n in element.shape)
    if "shape" in element.attrs:
        return " x ".join(f"{int(n):,}" for n in element.attrs["shape"])
    return f"{tables.size(element):,} x {len(tables.columns(element)):,}" if kind == "dataframe" else kind or "no array"


def _kept(asked: Request, adata: AnnData) -> np.ndarray:
    """Return which cells of a data set's file are in the data set, (n_all,)."""
    if not is_file(asked.name):
        return np.ones(adata.n_obs, bool)
    with opened(asked.name) as file:
        return h5ad.cells(file, resolved(asked))[1]


def _of_obsm(asked: Request, name: str) -> np.ndarray:
    """Return an array of a file's obsm, rows of the cells that are kept."""
    where = asked.name
    if not is_file(where):
        raise BenchError(f"{where} is a data set by name and has no obsm; {FILE}.")
    with opened(asked.name) as file:
        there = arrays(file)
        if name not in there:
            raise _lacking(where, name, there)
        what = f"obsm[{name!r}] of {Path(where).name}"
        try:
            found = read_elem(file["obsm"][name])
        except Exception as error:  # anndata and h5py raise many kinds
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise BenchError(f"{what} ({there[name]}) cannot be read: {reason}.") from error
        values, kept = matrix(found, what), h5ad.cells(file, resolved(asked))[1]
    if len(values) != len(kept):
        raise BenchError(f"{what} has {len(values):,} rows for {len(kept):,} cells; write it again with anndata.")
    return values[kept]


def _lacking(where: str, name: str, there: Mapping[str, str]) -> BenchError:
    if not there:
        return BenchError(f"{where} has no array in obsm; {FILE}.")
    listing = listed(f"{key} ({size})" for key, size in there.items())
    if not name:
        first = next(iter(there))
        return BenchError(f"Name vectors behind the @, such as embedding@{first}: obsm of {where} has {listing}.")
    near = get_close_matches(name, there, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return BenchError(f"obsm of {where} has no {name!r}.{hint} It has {listing}; or {FILE}.")


def _checked(values: np.ndarray, names: pd.Index, what: str) -> list[str]:
    """Return notes on vectors, or refuse those that nothing can be learned from."""
    if not values.shape[1]:
        raise BenchError(f"{what} has no column of numbers; expected at least one dimension.")
    broken = ~np.isfinite(values).all(axis=1)
    if broken.any():
        raise BenchError(
            f"{what} has NaN or infinite values in {broken.sum():,} of {len(values):,} cells, e.g. "
            f"{listed(map(repr, names[broken][:3]))}; leave those cells out of the data set, or compute them again."
        )
    constant = int((values == values[:1]).all(axis=0).sum())
    if constant == values.shape[1]:
        raise BenchError(f"{what} has the same vector for all {len(values):,} cells: there is nothing to learn.")
    notes = [f"{constant:,} of its {values.shape[1]:,} dimensions are constant"] if constant else []
    return notes + (["it has one dimension only"] if values.shape[1] == 1 else [])
