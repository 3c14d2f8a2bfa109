"""Look a data set up by name or path, read it once, and keep the checked form in the user's cache."""

from dataclasses import replace
from functools import lru_cache
from importlib import import_module
from io import BytesIO
from os.path import expanduser
from pathlib import Path

import h5py
from anndata import AnnData, read_h5ad
from anndata.io import write_elem

from bench.core import atomic
from bench.core.catalogue import DATASETS
from bench.core.errors import unknown
from bench.core.shared import filled
from bench.datasets.contract import Dataset, check
from bench.datasets.h5ad import user_dataset
from bench.datasets.notes import say
from bench.datasets.request import Request, is_file
from bench.datasets.sources import cache_folder
from bench.datasets.vectors import Vectors, vectors_of, with_vectors


def find(name: str, label: str | None = None, batch: str | None = None, **more) -> Dataset:
    """Return the description of a data set.

    Parameters
    ----------
    name
        A key of ``DATASETS`` or the path of an ``.h5ad`` file.
    label, batch, more
        How a file is to be read, see `bench.datasets.request.Request`.

    Raises
    ------
    BenchError
        If the name is unknown, or the file is missing or lacks what is asked for.
    """
    return described(Request(name, label, batch, **more))


def described(request: Request) -> Dataset:
    """Return the description of the data set that is asked for, see `find`."""
    if request.name not in DATASETS and is_file(request.name):
        return user_dataset(replace(request, obsm=()))
    if request.name not in DATASETS:
        raise unknown("data set", request.name, [*DATASETS, "a path ending in .h5ad"])
    return import_module(DATASETS[request.name]).DATASET


def load(name: str, label: str | None = None, batch: str | None = None, *, path: Path | None = None, **more) -> AnnData:
    """Return a data set that keeps the contract of `bench.datasets.contract`.

    Parameters
    ----------
    name, label, batch, more
        As in `find`.
    path
        File or folder with the original files, for a data set that cannot be downloaded; needed once.

    Returns
    -------
    AnnData of cells x genes with ``obs["cell_type"]``; treat it as read-only.
    """
    return loaded(Request(name, label, batch, **more), path)


def loaded(request: Request, path: Path | None = None, *, silent: bool = False) -> AnnData:
    """Return the data set that is asked for, see `load`; what was recognised in a file is printed unless silent."""
    if request.obsm:
        return _with_vectors(request, path, silent)
    dataset = described(request)
    if dataset.name not in DATASETS:
        adata = _load_user(dataset, Path(dataset.name).stat().st_mtime_ns)
        if not silent:
            say(dataset.name, adata.uns["bench"]["notes"])
        return adata
    kept = _kept(dataset)
    if path is not None or not kept.exists():
        _write(check(dataset.read(path), dataset), kept)
    return _read(kept, kept.stat().st_mtime_ns)


def forget() -> None:
    """Let go of what was read: a process that only plans trials needs no large data set while others run them."""
    _read.cache_clear()
    _load_user.cache_clear()


def file_of(request: Request) -> Path:
    """Return the file that is read for a data set: the user's own, or the checked form in the cache."""
    return Path(request.name) if request.name not in DATASETS else _kept(described(request))


def is_cached(name: str) -> bool:
    """Return whether a data set of ``DATASETS`` can be loaded without fetching or converting anything."""
    return _kept(find(name)).exists()


def _with_vectors(request: Request, path: Path | None, silent: bool) -> AnnData:
    plain, found = replace(request, obsm=()), {}
    adata = loaded(plain, path, silent=silent)
    for name in request.obsm:
        files = [Path(expanduser(file)) for file in (request.name, name)]
        stamps = tuple((file.stat().st_mtime_ns, file.stat().st_size) for file in files if file.is_file())
        found[name] = _vectors(plain, name, stamps)
        if not silent:
            say(request.name, found[name].notes)
    return with_vectors(adata, found)


@lru_cache(maxsize=4)
def _vectors(plain: Request, name: str, _stamps: tuple) -> Vectors:
    return vectors_of(loaded(plain, silent=True), plain, name)


def _kept(dataset: Dataset) -> Path:
    return cache_folder() / "datasets" / f"{dataset.name}-{dataset.version}.h5ad"


@lru_cache(maxsize=2)
def _read(path: Path, _modified: int) -> AnnData:
    return read_h5ad(path)


@lru_cache(maxsize=2)
def _load_user(dataset: Dataset, _modified: int) -> AnnData:
    return check(dataset.read(None), dataset)


def _write(adata: AnnData, path: Path) -> None:
    adata.strings_to_categoricals()
    content = BytesIO()  # where a disk is full, HDF5 cannot close its file, and says so until the process ends
    with h5py.File(content, "w") as file:
        write_elem(file, "/", adata, dataset_kwargs={"compression": "lzf"})
    with filled(path.parent):
        atomic.put(path, lambda file: file.write(content.getbuffer()), replace=True)
