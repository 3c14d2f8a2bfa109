"""The cells of a data set, a block of rows at a time: no matrix is ever whole in memory.

A data set known by name is read from its checked form in the cache.  A user's `.h5ad` file keeps the same contract
(`bench.datasets.contract`), checked block by block, but for one thing: unless cells are left out, it needs no labels.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata import AnnData, read_h5ad
from anndata.io import sparse_dataset

from bench.core.errors import BenchError
from bench.core.keys import added
from bench.datasets import Request, check, find, load, tables
from bench.datasets.contract import _check_genes, _check_values, _unique_cells
from bench.datasets.h5ad import cells, user_dataset
from bench.datasets.loading import DATASETS, _read
from bench.datasets.names import cell_ids, hidden_names
from bench.datasets.notes import say
from bench.datasets.opened import opened
from bench.datasets.reading import Columns, Reading, columns, resolved, rows
from bench.datasets.request import is_file
from bench.datasets.sources import cache_folder, sha256_of
from bench.datasets.splits import split

BLOCK_VALUES = 2**21  # of a dense block: 8 MB
BLOCK_NAMES = 2**12


@dataclass(frozen=True)
class Selection:
    """Cells to train on: a data set less the cells that some splits score."""

    dataset: str  # name, or path of an .h5ad file
    excluded: tuple[str, ...] = ()  # splits, such as "random" or "held_out:human1", whose scored cells are left out
    label: str | None = None  # column of the cell type, for a file whose "random" split is excluded
    batch: str | None = None  # column of the batch, for a file of which a group is excluded
    layer: str | None = added(None)  # these three: see bench.datasets.request
    symbols: str | None = added(None)
    drop: tuple[str, ...] = added(())

    def __post_init__(self):
        for name in ("excluded", "drop"):  # JSON knows no tuples
            object.__setattr__(self, name, tuple(getattr(self, name)))

    @property
    def request(self) -> Request:
        """What is asked of a file."""
        return Request(self.dataset, self.label, self.batch, self.layer, self.symbols, self.drop)


@dataclass(frozen=True)
class Stream:
    """A data set of which no values are in memory."""

    name: str
    path: Path
    values: str  # "counts" or "log1p"
    digest: str  # of the content, 16 hex digits
    genes: list[str]
    ids: np.ndarray  # (n_cells,) uint64, see `cell_ids`
    kept: np.ndarray  # (n_cells,) bool: which cells no excluded split scores
    file: tuple[Reading, Columns] | None = None  # of a user's file, whose values are checked while they are read

    def blocks(self) -> Iterator[tuple[int, sp.csr_matrix]]:
        """Yield the number of the first row and the values, CSR float32 of shape (some cells, n_genes).

        Raises
        ------
        BenchError
            If the file is broken, or its values are not what they are declared to be.
        """
        if self.file is None:
            yield from self._checked_blocks()
            return
        seen, start = np.empty(0, np.float32), 0
        with opened(self.path) as file:
            for X in rows(file, *self.file):
                seen = _notable(np.concatenate([seen, X.data]))
                if self.values == "counts" and seen.size:
                    _check_values(seen, self.values, f"Data set {self.name!r}")
                yield start, X
                start += X.shape[0]
        _check_values(seen, self.values, f"Data set {self.name!r}")

    def _checked_blocks(self) -> Iterator[tuple[int, sp.csr_matrix]]:
        step = max(1, BLOCK_VALUES // len(self.genes))
        with h5py.File(self.path) as file:
            matrix = sparse_dataset(file["X"])
            for start in range(0, len(self.ids), step):
                yield start, self._rows(matrix, start, start + step)

    def _rows(self, matrix, start: int, end: int) -> sp.csr_matrix:
        return matrix[start:end]


def open_stream(selection: Selection) -> Stream:
    """Return the stream of a selection's data set, downloaded and checked first if it has a name.

    Raises
    ------
    BenchError
        If the data set is unknown or lacks what its splits need.
    """
    if selection.dataset not in DATASETS and is_file(selection.dataset):
        return _user_stream(selection)
    dataset = find(selection.dataset)
    path = cache_folder() / "datasets" / f"{dataset.name}-{dataset.version}.h5ad"
    if not path.exists():
        load(dataset.name)
        _read.cache_clear()  # what was read to be checked need not stay in memory
    return _named_stream(selection, dataset.name, path, path.stat().st_mtime_ns)


@lru_cache(maxsize=16)
def _named_stream(selection: Selection, name: str, path: Path, _modified: int) -> Stream:
    """Return the stream of a checked file, whose tables are read once as long as it stays the same."""
    head = read_h5ad(path, backed="r")
    head.file.close()
    return _stream(selection, path, head.obs, head.uns["bench"] | {"name": name}, head.var_names)


def _stream(selection: Selection, path: Path, obs: pd.DataFrame, about: dict, genes: pd.Index) -> Stream:
    ids = cell_ids(about["name"], hidden_names(obs.index))
    kept = _kept(obs, about["name"], selection.excluded)
    return Stream(about["name"], path, str(about["values"]), str(about["hash"]), genes.tolist(), ids, kept)


def _kept(obs: pd.DataFrame, name: str, excluded: tuple[str, ...]) -> np.ndarray:
    kept = np.ones(len(obs), bool)
    table = AnnData(obs=obs, uns={"bench": {"name": name}})
    for scored in excluded:
        kept[split(table, scored).test] = False
    if not kept.any():
        raise BenchError(
            f"{name!r}: the splits {', '.join(excluded)} score all of its {len(kept):,} cells together, none is left "
            "to train on; exclude fewer splits, or leave this data set out."
        )
    return kept


def _user_stream(selection: Selection) -> Stream:
    """Return the stream of a user's file; unless cells are left out, its labels are not read."""
    asked = selection.request
    labelled = bool(selection.excluded or selection.drop)
    reading = user_dataset(asked).read.reading if labelled else resolved(asked)
    path, notes = reading.path, [*reading.notes]
    with opened(asked.name) as file:
        genes = columns(file, reading)
        ids = _ids(str(path), file["obs"])
        kept = np.ones(len(ids), bool)
        if labelled:
            table, kept, more = cells(file, reading)
            notes += more
    if labelled:
        kept[kept] = _kept(_checked(table, reading), str(path), selection.excluded)
    _check_genes(genes.names, f"Data set {str(path)!r}")
    say(path, [*notes, *genes.notes])
    digest = sha256_of(path)[:16]
    return Stream(str(path), path, reading.values, digest, genes.names.tolist(), ids, kept, (reading, genes))


def _ids(name: str, obs: h5py.Group) -> np.ndarray:
    column = obs[obs.attrs["_index"]] if "_index" in obs.attrs else None
    if isinstance(column, h5py.Dataset) and h5py.check_string_dtype(column.dtype):
        starts = range(0, len(column), BLOCK_NAMES)
        parts = [cell_ids(name, hidden_names(column.asstr()[start : start + BLOCK_NAMES])) for start in starts]
        ids = np.concatenate(parts or [np.empty(0, np.uint64)])
        if len(np.unique(ids)) == len(ids):
            return ids
    return cell_ids(name, hidden_names(_unique_cells(tables.index(obs))))


def _checked(table: pd.DataFrame, reading: Reading) -> pd.DataFrame:
    """Put the table through the contract, beside a matrix of one value: the real one is checked block by block."""
    one = 1.0 if reading.values == "counts" else 0.5
    X = sp.csr_matrix(([np.float32(one)], ([0], [0])), shape=(len(table), 1))
    return check(AnnData(X, obs=table, var=pd.DataFrame(index=["gene"])), user_dataset(reading.asked)).obs


def _notable(values: np.ndarray) -> np.ndarray:
    """Return the few values on which the check of all of them depends."""
    finite = values[np.isfinite(values)]
    odd = [values[~np.isfinite(values)][:1], finite[finite != np.round(finite)][:1]]
    return np.concatenate([*odd, *([found] for found in (finite.min(), finite.max()))]) if finite.size else odd[0]
