"""An `.h5ad` file opened for reading, or the one sentence that says why it cannot be and what to do.

Nothing is read here but what tells kinds of files apart: names of groups, and the first bytes of what is no HDF5 file.
"""

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

import h5py

from bench.core.errors import BenchError, listed, unknown

WRITE = 'write_h5ad("mine.h5ad")'
BEGINNINGS = {  # of files that are not HDF5
    b"\x1f\x8b": "it is compressed: run gunzip -k on it and give what that writes",
    b"PK\x03\x04": "it is a zip archive: unzip it and give the .h5ad file inside",
    b"BZh": "it is compressed: run bunzip2 -k on it and give what that writes",
    b"\xfd7zXZ": "it is compressed: run unxz -k on it and give what that writes",
    b"(\xb5/\xfd": "it is compressed: run unzstd on it and give what that writes",
    b"version https://git-lfs": "it is a Git LFS pointer, a few lines of text: get the content with git lfs pull",
    b"<": "it looks like a web page: download the file itself",
    b"%%MatrixMarket": f"it is a matrix alone: scanpy.read_10x_mtx(its folder).{WRITE}, with labels in obs",
}
TABLE = f"if it is a table of cells by genes, anndata.io.read_csv(...).{WRITE} makes one, with labels in obs"


@contextmanager
def opened(name: str | Path) -> Iterator[h5py.File]:
    """Open a file that anndata has written; whatever cannot be read inside the block is said in one sentence, too.

    Parameters
    ----------
    name
        Path of the file.

    Raises
    ------
    BenchError
        If it is missing, locked, cut short, compressed by an unknown filter, too large, or of another kind.
    """
    path = Path(name).expanduser()
    _check_there(str(name), path)
    _plugins()
    try:
        with _file(path) as file:
            _check_kind(file, path)
            yield file
    except BenchError as error:
        if str(name) in str(error) or str(path) in str(error):
            raise
        raise BenchError(f"{path}: {error}") from error
    except Exception as error:  # h5py and anndata raise many kinds for the same causes
        raise _sentence(path, error) from error


def _check_there(name: str, path: Path) -> None:
    if "://" in name:
        raise BenchError(f"{name} is an address; download the file (curl -LO {name}) and give its path.")
    if path.is_dir():
        raise BenchError(f"{path} is a folder, expected an .h5ad file; {_of_folder(path)}.")
    try:
        there = path.is_file() and path.open("rb").read(32)
    except OSError as error:
        raise BenchError(f"{path} cannot be opened: {error.strerror}.") from error
    if there is False:
        near = [file.name for file in path.parent.glob("*.[hH]5*")] if path.parent.is_dir() else []
        raise unknown(f"file in {path.parent}", path.name, near)
    if not h5py.is_hdf5(path) and not (there.startswith(b"\x89HDF") and path.stat().st_size):
        hint = next((hint for begin, hint in BEGINNINGS.items() if there.startswith(begin)), TABLE)
        if path.suffix.lower() in (".rds", ".rdata", ".rda"):
            hint = "it is R's: zellkonverter::writeH5AD(object, 'mine.h5ad') writes one, after as.SingleCellExperiment"
        if not there:
            hint = "it is empty: copy or download it again"
        raise BenchError(f"{path} is not an .h5ad (HDF5) file: it begins with {there[:16]!r}; {hint}.")


def _of_folder(path: Path) -> str:
    names = {file.name for file in path.iterdir()}
    if names & {".zgroup", ".zattrs", "zarr.json"}:
        return f'it is a zarr store: anndata.read_zarr("{path}").{WRITE} writes one'
    if names & {"matrix.mtx", "matrix.mtx.gz"}:
        return f'scanpy.read_10x_mtx("{path}").{WRITE} makes one of what Cell Ranger wrote, with labels in obs'
    files = sorted(str(path / name) for name in names if name.lower().endswith(".h5ad"))
    return f"give one of {listed(files, 5)}" if files else "it holds none"


@cache
def _plugins() -> None:
    """Let HDF5 read what `hdf5plugin` can, where that is installed."""
    with suppress(ImportError):
        import hdf5plugin  # noqa: F401  registers its filters on import


def _file(path: Path) -> h5py.File:
    try:
        return h5py.File(path)
    except OSError as error:
        if error.errno in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):  # some file systems know no locks
            return h5py.File(path, locking=False)
        raise


def _check_kind(file: h5py.File, path: Path) -> None:
    """Tell AnnData from what other tools keep in HDF5."""
    names, own = set(file), f"{path} was not written by anndata: "
    if "mod" in names:
        kinds = listed(file["mod"], 5)
        some = next((name for name in ("rna", "gex", "RNA") if name in file["mod"]), next(iter(file["mod"]), "rna"))
        raise BenchError(
            f'{own}it is MuData, with {kinds}; mudata.read_h5mu("{path}")["{some}"].{WRITE} writes one modality.'
        )
    if {"row_attrs", "col_attrs"} <= names:
        raise BenchError(f'{own}it is a loom file; anndata.io.read_loom("{path}").{WRITE} writes one.')
    if {"assays", "meta.data"} <= names:
        raise BenchError(f'{own}it is Seurat\'s; SeuratDisk::Convert("{path}", dest = "h5ad") in R writes one.')
    if any(isinstance(file[name], h5py.Group) and "barcodes" in file[name] for name in names):
        raise BenchError(
            f'{own}it is Cell Ranger\'s .h5; scanpy.read_10x_h5("{path}") reads it: put labels into obs, then {WRITE}.'
        )
    if missing := {"obs", "var"} - names:
        raise BenchError(f"{own}it holds {listed(sorted(names), 8) or 'nothing'}, not {' and '.join(sorted(missing))}.")


def _sentence(path: Path, error: Exception) -> BenchError:
    """Return the one cause of what h5py or anndata has raised."""
    reason = (str(error) or type(error).__name__).splitlines()[0]
    start = f"{path} ({path.stat().st_size:,} bytes) cannot be read"
    if isinstance(error, MemoryError):
        return BenchError(f"{start}: the memory does not suffice ({reason}). Take fewer cells, or a larger machine.")
    if "unable to lock" in reason or isinstance(error, BlockingIOError):
        return BenchError(
            f"{start}: another process has it open for writing (a notebook with backed='r+'?); close it there, "
            "or give a copy."
        )
    if re.search(r"filter|plugin|can't open directory", reason):
        return BenchError(
            f"{start}: it is compressed by a filter{_filters(path)} that HDF5 does not have by itself; "
            "pip install hdf5plugin, then run the same command again."
        )
    return BenchError(
        f"{start}: {reason}. It is cut short or not written by anndata: copy or download it again, "
        "or write it with adata.write_h5ad."
    )


def _filters(path: Path) -> str:
    """Return the names of filters in a file that are not available, where they tell."""
    found = set()

    def look(_, item) -> None:
        if isinstance(item, h5py.Dataset):
            made = item.id.get_create_plist()
            for code, *_, name in (made.get_filter(number) for number in range(made.get_nfilters())):
                if not h5py.h5z.filter_avail(code):
                    found.add(name.decode().partition(";")[0] or str(code))

    with suppress(Exception), _file(path) as file:  # a better word at most
        file.visititems(look)
    return f" ({listed(sorted(found), 3)})" if found else ""
