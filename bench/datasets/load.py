"""Look a data set up by name or path, read it once, and keep the checked form in the user's cache."""

import os
import tempfile
from functools import lru_cache
from importlib import import_module
from pathlib import Path

from anndata import AnnData, read_h5ad

from bench.core.errors import unknown
from bench.datasets.contract import Dataset, check
from bench.datasets.h5ad import user_dataset
from bench.datasets.request import Request
from bench.datasets.sources import cache_folder

DATASETS = {
    name: f"bench.datasets.{name}"
    for name in ("baron", "hao", "kang", "pbmc_facs", "zheng68k", "ms", "myeloid", "hpancreas", "liver")
}


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
    if str(request.name).endswith(".h5ad"):
        return user_dataset(request)
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


def loaded(request: Request, path: Path | None = None) -> AnnData:
    """Return the data set that is asked for, see `load`."""
    dataset = described(request)
    if dataset.name not in DATASETS:
        return _load_user(dataset, Path(request.name).stat().st_mtime_ns)
    kept = _kept(dataset)
    if path is not None or not kept.exists():
        _write(check(dataset.read(path), dataset), kept)
    return _read(kept, kept.stat().st_mtime_ns)


def is_cached(name: str) -> bool:
    """Return whether a data set of ``DATASETS`` can be loaded without fetching or converting anything."""
    return _kept(find(name)).exists()


def _kept(dataset: Dataset) -> Path:
    return cache_folder() / "datasets" / f"{dataset.name}-{dataset.version}.h5ad"


@lru_cache(maxsize=2)
def _read(path: Path, _modified: int) -> AnnData:
    return read_h5ad(path)


@lru_cache(maxsize=2)
def _load_user(dataset: Dataset, _modified: int) -> AnnData:
    return check(dataset.read(None), dataset)


def _write(adata: AnnData, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, part = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=".h5ad")
    os.close(handle)
    try:
        adata.write_h5ad(part, compression="lzf")
        os.replace(part, path)
    finally:
        Path(part).unlink(missing_ok=True)
