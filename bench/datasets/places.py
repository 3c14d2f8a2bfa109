"""The matrices of an open `.h5ad` file by name: ``X``, ``raw`` and layers."""

import h5py

from bench.datasets import matrix
from bench.datasets.values import Holding, held


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


def _is_matrix(found: h5py.Group | h5py.Dataset) -> bool:
    return found.attrs.get("encoding-type") != "null" and (isinstance(found, h5py.Group) or found.ndim == 2)
