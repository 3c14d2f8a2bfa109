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
from anndata.abc import CSCDataset
from anndata.io import read_elem, sparse_dataset

from bench.core.errors import BenchError
from bench.datasets import Dataset, Request, check, find, load
from bench.datasets.contract import _check_genes, _check_values, _unique_cells
from bench.datasets.h5ad import _fixes_split, read_file, user_dataset
from bench.datasets.load import _read
from bench.datasets.names import cell_ids, hidden_names
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
    checked: bool  # whether the values were checked before

    def blocks(self) -> Iterator[tuple[int, sp.csr_matrix]]:
        """Yield the number of the first row and the values, CSR float32 of shape (some cells, n_genes).

        Raises
        ------
        BenchError
            If the file is broken, stored by gene, or its values are not what they are declared to be.
        """
        step = max(1, BLOCK_VALUES // len(self.genes))
        seen = np.empty(0, np.float32)
        with h5py.File(self.path) as file:
            matrix = self._matrix(file)
            for start in range(0, len(self.ids), step):
                X = self._rows(matrix, start, start + step)
                seen = _notable(np.concatenate([seen, X.data]))
                if not self.checked and self.values == "counts" and seen.size:
                    _check_values(seen, self.values, f"Data set {self.name!r}")
                yield start, X
        if not self.checked:
            _check_values(seen, self.values, f"Data set {self.name!r}")

    def _matrix(self, file: h5py.File):
        if "X" not in file:
            raise BenchError(f"{self.path} has no X; store the counts there (adata.X = adata.layers[...]).")
        matrix = sparse_dataset(file["X"]) if isinstance(file["X"], h5py.Group) else file["X"]
        if isinstance(matrix, CSCDataset):
            raise BenchError(
                f"{self.path} stores X gene by gene (CSC), so that cells cannot be read a few at a time; "
                "write it again with adata.X = adata.X.tocsr()."
            )
        return matrix

    def _rows(self, matrix, start: int, end: int) -> sp.csr_matrix:
        try:
            X = sp.csr_matrix(matrix[start:end], dtype=np.float32)
        except OSError as error:  # of h5py: cut short or damaged
            raise BenchError(f"{self.path} cannot be read from cell {start:,} on: {error}. Copy it again.") from error
        X.sum_duplicates()
        X.eliminate_zeros()
        return X


def open_stream(selection: Selection) -> Stream:
    """Return the stream of a selection's data set, downloaded and checked first if it has a name.

    Raises
    ------
    BenchError
        If the data set is unknown or lacks what its splits need.
    """
    if str(selection.dataset).endswith(".h5ad"):
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
    return _stream(selection, path, head.obs, head.uns["bench"] | {"name": name}, head.var_names, checked=True)


def _stream(selection: Selection, path: Path, obs: pd.DataFrame, about: dict, genes: pd.Index, checked: bool) -> Stream:
    ids = cell_ids(about["name"], hidden_names(obs.index))
    kept = _kept(obs, about["name"], selection.excluded)
    return Stream(about["name"], path, str(about["values"]), str(about["hash"]), genes.tolist(), ids, kept, checked)


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
    path = Path(selection.dataset)
    if not selection.excluded:
        return _unlabelled_stream(path)
    dataset = user_dataset(Request(str(path), selection.label, selection.batch))
    head = read_file(path, backed="r")
    head.file.close()
    about = {"name": str(path), "values": dataset.values, "hash": sha256_of(path)[:16]}
    return _stream(selection, path, _table(head, dataset, selection), about, head.var_names.astype(str), checked=False)


def _unlabelled_stream(path: Path) -> Stream:
    """Read names of genes and cells alone: the other tables of a million cells are large."""
    try:
        with h5py.File(path) as file:
            genes = read_elem(file["var"]).index
            declared = read_elem(file["uns/bench"]) if "uns/bench" in file else {}
            ids = _ids(str(path), file["obs"])
        if not len(genes) or not len(ids):
            raise ValueError("no genes or no cells")
    except (AttributeError, KeyError, OSError, TypeError, ValueError) as error:
        read_file(path, backed="r").file.close()  # says what is wrong with a missing, broken or empty file
        raise BenchError(
            f"{path} was written by an old anndata ({error}); write it again with adata.write_h5ad."
        ) from error
    _check_genes(genes, f"Data set {str(path)!r}")
    values, digest = str(declared.get("values", "counts")), sha256_of(path)[:16]
    return Stream(str(path), path, values, digest, genes.astype(str).tolist(), ids, np.ones(len(ids), bool), False)


def _ids(name: str, obs: h5py.Group) -> np.ndarray:
    column = obs[obs.attrs["_index"]]
    if isinstance(column, h5py.Dataset):
        starts = range(0, len(column), BLOCK_NAMES)
        parts = [cell_ids(name, hidden_names(column.asstr()[start : start + BLOCK_NAMES])) for start in starts]
        ids = np.concatenate(parts or [np.empty(0, np.uint64)])
        if len(np.unique(ids)) == len(ids):
            return ids
    return cell_ids(name, hidden_names(_unique_cells(read_elem(obs).index)))


def _table(head: AnnData, dataset: Dataset, selection: Selection) -> pd.DataFrame:
    """Put the tables through the contract, beside a matrix of one value: the real one is checked block by block."""
    obs = pd.DataFrame({"cell_type": head.obs[selection.label or "cell_type"]})
    if selection.batch:
        obs["batch"] = head.obs[selection.batch]
    if _fixes_split(head.obs):
        obs["split"] = head.obs["split"]
    one = 1.0 if dataset.values == "counts" else 0.5
    X = sp.csr_matrix(([np.float32(one)], ([0], [0])), shape=head.shape)
    return check(AnnData(X, obs=obs, var=pd.DataFrame(index=head.var_names)), dataset).obs


def _notable(values: np.ndarray) -> np.ndarray:
    """Return the few values on which the check of all of them depends."""
    finite = values[np.isfinite(values)]
    odd = [values[~np.isfinite(values)][:1], finite[finite != np.round(finite)][:1]]
    return np.concatenate([*odd, *([found] for found in (finite.min(), finite.max()))]) if finite.size else odd[0]
