"""Files of vectors of cells, whatever has written them: .npy, .npz, .csv, .tsv, .txt and .parquet, with names or not.

No pickle is loaded.
"""

import csv
from difflib import get_close_matches
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import pandas as pd
import scipy.sparse as sp

from bench.core.errors import BenchError, listed
from bench.datasets.vector_tables import TO_CSV, Table, delimited, matrix, parquet

SPARSE = {"data", "indices", "indptr", "shape"}  # of what scipy.sparse.save_npz writes
OTHERS = {  # what vectors come in that is not read, and what to do
    (".h5ad",): "write one array of it: pd.DataFrame(adata.obsm[KEY], index=adata.obs_names).to_csv('vectors.csv')",
    (".xlsx", ".xls", ".ods"): "save the sheet as CSV",
    (".pkl", ".pickle", ".joblib", ".pt", ".pth", ".bin"): f"such files can run code, so none is read: {TO_CSV}",
    (".rds", ".rdata", ".rda"): "in R: write.csv(vectors, 'vectors.csv'), with cells as rows",
    (".h5", ".hdf5", ".zarr", ".feather", ".mtx", ".json", ".safetensors", ".loom", ".mat"): TO_CSV,
}


def is_vectors(name: str) -> bool:
    """Return whether a name means a file of vectors, and not a key of obsm."""
    lower = name.lower().removesuffix(".gz")
    return "/" in name or lower.endswith((*READERS, *(ending for endings in OTHERS for ending in endings)))


def short(name: str) -> str:
    """Return what vectors go by in records: a key of obsm as it is, a file without its folder and its ending."""
    if not is_vectors(name):
        return name
    path = Path(name)
    path = path.with_suffix("") if path.suffix.lower() == ".gz" else path
    return path.stem if path.suffix.lower() in READERS else path.name


def read(path: Path, known: pd.Index) -> Table:
    """Return the content of a file of vectors.

    Parameters
    ----------
    path
        The file.
    known
        Names of the data set's cells, which tell whether a column of numbers names any.

    Raises
    ------
    BenchError
        If it is missing, of another kind, or holds no cells x dimensions.
    """
    if "://" in str(path) or str(path).startswith(("http:/", "https:/", "s3:/", "gs:/")):
        raise BenchError(f"{path} is an address; download the file and give its path.")
    ending = Path(path.name.lower().removesuffix(".gz")).suffix
    for endings, advice in OTHERS.items():
        if ending in endings:
            raise BenchError(f"{path.name} is no table of vectors ({listed(READERS)}); {advice}.")
    if path.is_dir():
        raise BenchError(f"{path} is a folder, expected a file of vectors ({listed(READERS)}).")
    if not path.is_file():
        there = [file.name for file in path.parent.iterdir()] if path.parent.is_dir() else []
        near = get_close_matches(path.name, filter(is_vectors, there), n=1)
        raise BenchError(f"There is no file {path}.{f' Did you mean {near[0]!r}?' if near else ''}")
    if ending not in READERS:
        raise BenchError(f"{path.name} is of an unknown kind; expected one of {listed(READERS)}: {TO_CSV} writes one.")
    try:
        return READERS[ending](path, known)
    except BenchError:
        raise
    except (OSError, ValueError, EOFError, KeyError, BadZipFile, csv.Error) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        if "allow_pickle" in reason or "pickled" in reason:
            reason = "it holds Python objects, or is no NumPy file"
        raise BenchError(f"{path.name} cannot be read: {reason}. {TO_CSV} writes a file that can.") from error


def _npy(path: Path, known: pd.Index) -> Table:
    return Table(matrix(np.load(path, allow_pickle=False), path.name), None)


def _npz(path: Path, known: pd.Index) -> Table:
    """Read the one matrix of an archive, dense or as SciPy saves it, and the names, if there is an array of text."""
    with np.load(path, allow_pickle=False) as file:
        arrays = {}
        for name in file.files:
            try:
                arrays[name] = file[name]
            except ValueError as error:
                raise BenchError(
                    f"{path.name}: array {name!r} holds Python objects, which only a pickle could read; "
                    "save names as text, with adata.obs_names.to_numpy(str)."
                ) from error
    if set(arrays) >= SPARSE:
        form = {"csc": sp.csc_matrix}.get(_text(arrays.get("format", np.array("csr"))), sp.csr_matrix)
        parts = [arrays.pop(part) for part in ("data", "indices", "indptr")]
        arrays["matrix"] = matrix(form(tuple(parts), shape=tuple(arrays.pop("shape"))), path.name)
        arrays.pop("format", None)
    found = {name: array for name, array in arrays.items() if array.ndim == 2 and array.dtype.kind in "fiub"}
    if len(found) != 1:
        shapes = listed(f"{name} {array.shape}" for name, array in arrays.items())
        raise BenchError(
            f"{path.name} holds {shapes or 'nothing'}; expected one matrix, cells x dimensions, and the names of cells."
        )
    values = matrix(next(iter(found.values())), path.name)
    rows = [array for array in arrays.values() if array.shape == (len(values),) and array.dtype.kind in "USiu"]
    named = [pd.Index(map(_text, array), dtype=object) for array in rows]
    return Table(values, max(named, key=lambda names: names.isin(known).sum(), default=None))  # labels name no cells


def _text(value) -> str:
    value = value.item() if isinstance(value, np.ndarray) else value
    return value.decode() if isinstance(value, bytes) else str(value)


READERS = {
    ".npy": _npy,
    ".npz": _npz,
    **dict.fromkeys((".csv", ".tsv", ".txt"), delimited),
    **dict.fromkeys((".parquet", ".pq"), parquet),
}
