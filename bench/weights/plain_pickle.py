"""Dictionaries that are published as pickles only, read so that nothing in the file can run.

The reader knows no globals but numpy's scalar and dtype, and has its own in the place of these, which make numbers and
nothing else.  Whoever calls it has compared the file's hash before.
"""

import pickle
from pathlib import Path
from typing import Any

import numpy as np

from bench.core.errors import BenchError

NUMBERS = ("f8", "f4", "i8", "i4", "i2", "u8", "u4", "u2", "u1", "i1")
ORDERS = ("<", ">", "|", "=")


def read_dictionary(path: Path) -> dict[str, Any]:
    """Return what a pickle of a plain dictionary holds: numbers or text by name.

    Raises
    ------
    BenchError
        If the file is damaged, asks to import anything else, or holds anything else.
    """
    path = Path(path)
    try:
        with open(path, "rb") as file:
            found = _Reader(file).load()
    except BenchError as error:
        raise BenchError(
            f"{path} was refused and nothing of it was run: {error} Take the published file, or write the dictionary "
            "as JSON where you trust it."
        ) from error
    except OSError as error:
        raise BenchError(f"{path} cannot be read: {error.strerror or error}.") from error
    except Exception as error:  # a damaged pickle can raise anything
        raise BenchError(
            f"{path} ({path.stat().st_size:,} bytes) is incomplete or damaged, or no pickle ({type(error).__name__}). "
            "Download or copy it again."
        ) from error
    plain = isinstance(found, dict) and all(isinstance(name, str) for name in found)
    if not plain or not all(type(value) in (int, float, str) for value in found.values()):
        raise BenchError(f"{path} holds no plain dictionary of names with numbers or text; take the published file.")
    return found


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if name == "scalar" and module in ("numpy.core.multiarray", "numpy._core.multiarray"):
            return _scalar
        if (module, name) == ("numpy", "dtype"):
            return _Dtype
        raise BenchError(f"it asks to import {module}.{name}, and a pickle that imports can run any program.")

    def persistent_load(self, pid: Any) -> Any:
        raise BenchError("it asks for an object outside of the file.")


class _Dtype:
    """The name and the byte order of a type of number, as numpy writes them."""

    def __init__(self, name: str, _align: Any = False, _copy: Any = True):
        if name not in NUMBERS:
            raise BenchError(f"it has values of type {name!r}, which are no plain numbers.")
        self.name = name

    def __setstate__(self, state: tuple) -> None:
        order = state[1]
        if order not in ORDERS:
            raise BenchError(f"it has numbers in the byte order {order!r}.")
        self.name = order + self.name


def _scalar(dtype: _Dtype, raw: bytes) -> int | float:
    (number,) = np.frombuffer(raw, np.dtype(dtype.name))
    return number.item()
