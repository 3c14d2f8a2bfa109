"""Files of vectors of cells, whatever has written them: .npy, .npz, .csv, .tsv, .txt and .parquet, with names or not.

No pickle is loaded.  Names are the first column, the index, or an array of text; a first column of numbers names cells
where the data set has such names, where it has no heading, or where it counts the rows.
"""

import csv
import gzip
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import islice
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import pandas as pd
import scipy.sparse as sp

from bench.core.errors import BenchError, listed

TO_CSV = 'pd.DataFrame(vectors, index=adata.obs_names).to_csv("vectors.csv")'
SPARSE = {"data", "indices", "indptr", "shape"}  # of what scipy.sparse.save_npz writes
OTHERS = {  # what vectors come in that is not read, and what to do
    (".h5ad",): "write one array of it: pd.DataFrame(adata.obsm[KEY], index=adata.obs_names).to_csv('vectors.csv')",
    (".xlsx", ".xls", ".ods"): "save the sheet as CSV",
    (".pkl", ".pickle", ".joblib", ".pt", ".pth", ".bin"): f"such files can run code, so none is read: {TO_CSV}",
    (".rds", ".rdata", ".rda"): "in R: write.csv(vectors, 'vectors.csv'), with cells as rows",
    (".h5", ".hdf5", ".zarr", ".feather", ".mtx", ".json", ".safetensors", ".loom", ".mat"): TO_CSV,
}


@dataclass(frozen=True)
class Table:
    """What a file of vectors holds."""

    values: np.ndarray  # (n_rows, n_dimensions) float32
    names: pd.Index | None  # of the cells, as text; None where the file names none


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


def matrix(values, what: str) -> np.ndarray:
    """Return cells x dimensions as float32, whatever anndata, pandas, SciPy or NumPy hold them in.

    Raises
    ------
    BenchError
        If they are not numbers, or have another shape.
    """
    if isinstance(values, pd.DataFrame):
        return _numbers(values, what)
    values = values.toarray() if sp.issparse(values) else values
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "fiub":
        kind = getattr(values, "dtype", type(values).__name__)
        raise BenchError(f"{what} holds {kind}, expected numbers, cells x dimensions.")
    if values.ndim != 2:
        raise BenchError(f"{what} is of shape {values.shape}, expected cells x dimensions; reshape it.")
    with np.errstate(over="ignore"):  # infinite, which is refused
        return values.astype(np.float32)


def _numbers(frame: pd.DataFrame, what: str) -> np.ndarray:
    for name, column in frame.items():
        if column.dtype.kind not in "fiu":
            some = next((value for value in column.dropna() if not _is_number(value)), column.iloc[0])
            raise BenchError(
                f"{what}: column {str(name)!r} holds {some!r}, expected a number; leave the column out "
                "(names of cells come first, in a column or an index)."
            )
    return matrix(frame.to_numpy(np.float64, na_value=np.nan), what)


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
        arrays["matrix"] = form(tuple(parts), shape=tuple(arrays.pop("shape"))).toarray()
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


def _delimited(path: Path, known: pd.Index) -> Table:
    """Read text with or without a heading, R's too, which has no heading above names."""
    opener = gzip.open if path.open("rb").read(2) == b"\x1f\x8b" else open
    with opener(path, "rt", encoding="utf-8-sig", newline="") as file:
        lines = list(islice((line for line in file if line.strip()), 2))
    if not lines:
        raise BenchError(f"{path.name} is empty.")
    separator = max("\t;,", key=lines[0].count)
    separator = separator if separator in lines[0] else " "
    heading, *below = csv.reader(lines, delimiter=separator, skipinitialspace=True)
    if below and len(below[0]) == len(heading) + 1:
        heading = ["", *heading]
    elif not _is_heading(heading[1:] or heading):
        heading = []
    if heading and (n := sum(name in known for name in heading)):
        raise BenchError(f"{path.name} has cells as columns ({n:,} of its headings are cells); write it transposed.")
    frame = pd.read_csv(
        path,
        sep=separator if separator != " " else r"\s+",
        header=None,
        skiprows=int(bool(heading)),
        index_col=False,
        converters={0: str},  # a cell may be called NA
        decimal="," if separator == ";" and "," in lines[-1] else ".",  # as R's write.csv2 has it
        float_precision="round_trip",
        low_memory=False,
        encoding="utf-8-sig",
        compression="gzip" if opener is gzip.open else None,
        skipinitialspace=True,
    )
    if heading:
        if len(heading) != frame.shape[1]:
            raise BenchError(f"{path.name} has {len(heading)} headings and {frame.shape[1]} columns; write it again.")
        frame.columns = heading
    return _table(frame, known, path.name)


def _is_heading(fields: list[str]) -> bool:
    """Return whether a row of text is one of names, or of the numbers of columns, and not of values."""
    return not all(map(_is_number, fields)) or _count(fields)


def _parquet(path: Path, known: pd.Index) -> Table:
    try:
        frame = pd.read_parquet(path)
    except ImportError as error:
        raise BenchError(
            f"{path.name}: this Python cannot read Parquet; pip install pyarrow, then run the same command again "
            "(or write the vectors as .csv)."
        ) from error
    if not isinstance(frame.index, pd.RangeIndex):
        return Table(matrix(frame, path.name), frame.index.astype(str))
    return _table(frame, known, path.name)


def _table(frame: pd.DataFrame, known: pd.Index, what: str) -> Table:
    """Return vectors of a table whose first column may name cells."""
    first = frame.iloc[:, 0].astype(str).str.strip()
    unnamed = str(frame.columns[0]).startswith("Unnamed") or frame.columns[0] == ""
    if unnamed or not first.map(_is_number).all() or first.isin(known).any() or _count(first):
        return Table(matrix(frame.iloc[:, 1:], what), pd.Index(first))
    return Table(matrix(frame.astype({frame.columns[0]: float}), what), None)


def _is_number(text) -> bool:
    try:
        float(text)
    except (TypeError, ValueError):
        return False
    return True


def _count(names) -> bool:
    """Return whether these are all numbers from 0 or 1 on, in whatever order."""
    return numbers_of(pd.Index(names)) is not None


def numbers_of(names: pd.Index) -> np.ndarray | None:
    """Return the rows that names mean, (n,), where they are all numbers from 0 or from 1 on; None if they are not."""
    if not names.str.fullmatch(r"\d{1,12}").all():
        return None
    rows = names.astype(np.int64).to_numpy()
    start = rows.min(initial=1)
    return rows - start if start < 2 and np.array_equal(np.sort(rows), np.arange(start, start + len(rows))) else None


READERS = {
    ".npy": _npy,
    ".npz": _npz,
    **dict.fromkeys((".csv", ".tsv", ".txt"), _delimited),
    **dict.fromkeys((".parquet", ".pq"), _parquet),
}
