"""Any `.h5ad` file of a user as a data set, read as the user asks or as its shape tells (`bench.datasets.reading`).

Licence: the user's. Known deviations: blanks and case that alone tell two labels apart are taken for slips, repeated
symbols of counts are summed, features that are no genes are left out; each is said.  ``obs["split"]`` decides nothing
unless the split ``authors`` is asked for; there ``train`` and ``test`` count in any case, other cells are left out.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata import AnnData, read_h5ad

from bench.core.errors import BenchError, listed, unknown
from bench.core.memory import free, said
from bench.datasets import labels, tables, twins
from bench.datasets import symbols as names_of_genes
from bench.datasets.choosing import logarithms, refused
from bench.datasets.contract import LEFT_OUT, Dataset
from bench.datasets.matrix import gathered, stored
from bench.datasets.opened import opened
from bench.datasets.places import element, found_in, matrices
from bench.datasets.reading import LABEL, Columns, Reading, columns, resolved, rows
from bench.datasets.request import Request
from bench.datasets.values import held

VALUE = 8  # bytes of a value and the number of its gene
SPLIT = "split"  # the column of obs that the split `authors` goes by


@dataclass(frozen=True)
class _Reader:
    """Read the file as it is asked for; equal by value, so that reading can be cached."""

    reading: Reading

    def __call__(self, path: Path | None = None) -> AnnData:
        reading = self.reading
        with opened(reading.asked.name) as file:
            table, kept, notes = cells(file, reading)
            genes = columns(file, reading)
            expected = stored(element(file, reading.layer))
            _check_room(reading, expected)
            X = gathered(_kept(rows(file, reading, genes), kept), len(genes.names), expected)
            _check_counts(file, reading, X)
            logs = logarithms(file) if (reading.layer, reading.values) == ("X", "log1p") else {}
        var = pd.DataFrame(index=genes.names)
        if genes.identifiers is not None and genes.source != "ensembl_id":
            var["ensembl_id"] = np.asarray(genes.identifiers.str.replace(r"\.\d+$", "", regex=True))
        about = {"layer": reading.layer, "symbols": genes.source} | logs
        about["notes"] = [*reading.notes, *genes.notes, *notes, *_remarks(X, genes, table)]
        return AnnData(X, obs=table, var=var, uns={"bench": about})


def user_dataset(asked: Request) -> Dataset:
    """Return the description of a user's file; of its matrix a few cells are looked at, to know what it holds.

    Parameters
    ----------
    asked
        An `.h5ad` file, and how it is to be read.

    Raises
    ------
    BenchError
        If the file is missing, broken or of another kind, has no such column or layer, or no matrix that can be used.
    """
    check_columns(replace(asked, label=(asked.label or LABEL) if asked.least_types else None))
    reading = resolved(asked)
    path = reading.path
    return Dataset(
        name=str(path),
        title=path.stem,
        read=_Reader(reading),
        licence="the user's",
        values=reading.values,
        least_types=asked.least_types,
    )


def check_columns(asked: Request) -> None:
    """Refuse a label or batch column that the file has not, with the nearest of those that it has."""
    with opened(asked.name) as file:
        there = tables.columns(file["obs"])
    for kind, column in (("label column", asked.label), ("batch column", asked.batch)):
        if column is not None and column not in there:
            raise unknown(f"{kind} of {asked.name}", column, there)


def cells(file: h5py.File, reading: Reading) -> tuple[pd.DataFrame, np.ndarray, list[str]]:
    """Return the table of the cells that are kept, which of all cells they are, and what was done to their names.

    Raises
    ------
    BenchError
        If cells have no label or batch, or the column holds no types.
    """
    obs, asked = file["obs"], reading.asked
    column, there = asked.label or LABEL, tables.columns(obs)
    table, kept, notes = pd.DataFrame(index=tables.index(obs)), np.ones(tables.size(obs), bool), []
    if asked.least_types:
        types, notes = labels.tidied(tables.column(obs, column), f"labels of obs[{column!r}]")
        kept = labels.chosen(types, asked.drop, column).to_numpy()
        labels.check_types(types[kept], column, [name for name in there if name != column])
        table["cell_type"] = types.to_numpy(object)
    if asked.batch:
        groups, more = labels.tidied(tables.column(obs, asked.batch), f"batches of obs[{asked.batch!r}]")
        table["batch"], notes = groups.to_numpy(object), notes + more
    if (sides := split_of(obs)) is not None:
        table["split"] = sides
    table = table[kept]
    if not kept.all():
        notes.append(f"{(~kept).sum():,} cells of {listed(map(repr, asked.drop), 5)} are left out.")
    if asked.batch:
        notes += labels.remarks_on_batches(table["batch"], asked.batch)
    return table, kept, notes + (labels.remarks(table["cell_type"], asked.drop) if asked.least_types else [])


def split_of(obs: h5py.Group | h5py.Dataset) -> np.ndarray | None:
    """Return train, test, or that a cell is left out, (n_cells,), where ``obs["split"]`` has both of the first two."""
    if SPLIT not in tables.columns(obs):
        return None
    try:
        values = tables.column(obs, SPLIT)
    except Exception:  # it is not asked for: what it is does not matter
        return None
    sides = values.astype(object).where(values.notna(), "").astype(str).str.strip().str.lower()
    if not {"train", "test"} <= set(sides):
        return None
    return sides.where(sides.isin(["train", "test"]), LEFT_OUT).to_numpy(object)


def read_file(path: Path) -> AnnData:
    """Return the whole content of an `.h5ad` file, or say why it cannot be read."""
    with opened(path):
        adata = read_h5ad(path)
    if not adata.n_obs or not adata.n_vars:
        raise BenchError(f"{path} holds {adata.n_obs} cells and {adata.n_vars} genes; it was not written by anndata.")
    return adata


def _kept(parts, kept: np.ndarray):
    """Yield the rows of blocks that are kept."""
    first = 0
    for part in parts:
        inside = kept[first : first + part.shape[0]]
        first += part.shape[0]
        yield part if inside.all() else part[inside]


def _check_room(reading: Reading, n_values: int) -> None:
    """Refuse a matrix that the memory cannot hold, before minutes of reading."""
    size, found = VALUE * n_values, free()
    if size > found.size:
        raise BenchError(
            f"{reading.path} holds {n_values:,} values in {reading.place}, which take {said(size)} in memory, and "
            f"{said(found.size)} {found.limit} are free; write a file of fewer cells "
            '(adata[::10].write_h5ad("fewer.h5ad")), or take a larger machine.'
        )


def _check_counts(file: h5py.File, reading: Reading, X: sp.csr_matrix) -> None:
    """Refuse values that the few cells looked at did not tell: fractions or negative values somewhere."""
    if reading.values != "counts":
        return
    for start in range(0, X.nnz, 2**20):
        part = X.data[start : start + 2**20]
        odd = np.flatnonzero((part != np.round(part)) | (part < 0))
        if odd.size:
            row = int(np.searchsorted(X.indptr, start + odd[0], side="right")) - 1
            others = {name: found_in(file, name) for name in matrices(file) if name != reading.layer}
            raise refused(str(reading.path), reading.layer, held(X[row : row + 256]), others)


def _remarks(X: sp.csr_matrix, genes: Columns, table: pd.DataFrame) -> list[str]:
    """Return what a user should know of the cells and genes that were read."""

    def share(some: np.ndarray) -> float:
        sums = np.zeros(2)
        for start in range(0, X.nnz, 2**20):
            part = slice(start, start + 2**20)
            sums += np.bincount(some[X.indices[part]], weights=X.data[part], minlength=2)
        return float(sums[1] / sums.sum())

    found = names_of_genes.remarks(genes.names, share)
    if empty := int((np.diff(X.indptr) == 0).sum()):
        found.append(f"{empty:,} cells have no count at all; they are scored like others.")
    if n := twins.repeated(X):
        found.append(f"{n:,} cells stand in the file more than once, with equal values of all genes.")
    if n := int(table.index.duplicated().sum()):
        found.append(f"{n:,} names of cells stand in the file more than once; they are told apart by -1, -2 ...")
    return found
