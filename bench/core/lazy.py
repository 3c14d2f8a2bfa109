"""Packages whose names are imported where they are first touched: torch, pandas and anndata cost seconds each."""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def first_touched(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """Return the ``__getattr__`` of a package, given the module of the package that each of its names is in.

    No module of the package may have one of these names: once imported, it would stand in the place of what is meant.
    """

    def found(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(f"{package}.{homes[name]}"), name)

    return found
