"""Find a module as a new process would, without importing it or what is around it, and say who has installed it."""

import json
import re
import sys
import sysconfig
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any

STANDARD = {Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib")}
INSTALLED = {"site-packages", "dist-packages"}


@dataclass(frozen=True)
class Module:
    """Where a module is from."""

    name: str
    file: str | None  # none of a package without an __init__, and of what is part of the interpreter
    inside: list[str] | None  # folders of its submodules, if it is a package
    loader: Any = None

    @property
    def package(self) -> str:
        """Name of the package that its relative imports start from."""
        return self.name if self.inside is not None else self.name.rpartition(".")[0]

    @property
    def place(self) -> str:
        """Path of its file below the folder that its outermost package lies in."""
        return self.name.replace(".", "/") + (".py" if self.inside is None else "/__init__.py")

    @property
    def is_standard(self) -> bool:
        """Whether it comes with Python."""
        place = Path(self.file or next(iter(self.inside or ()), ""))
        return place == Path() or (not STANDARD.isdisjoint(place.parents) and INSTALLED.isdisjoint(place.parts))

    @property
    def folder(self) -> Path:
        """The folder that its outermost package lies in, as on ``sys.path``."""
        place = Path(self.file or self.inside[0])
        above = (place.parent if self.file and self.inside is not None else place).parents
        return above[min(self.name.count("."), len(above) - 1)]

    @property
    def is_among_packages(self) -> bool:
        """Whether an installer has put packages where it lies."""
        folder = self.folder
        return folder.name in INSTALLED or (folder.is_dir() and any(folder.glob("*.dist-info")))

    def content(self) -> bytes | None:
        """Return its file, which may be in an archive; None if it has none, or none that can be read."""
        with suppress(AttributeError, OSError):
            return self.loader.get_data(self.file) if self.file else None
        return None


def find(name: str, within: list[str] | None = None) -> Module | None:
    """Return the module of a name, in the folders of its package unless it is outermost; None if there is none."""
    if name == "__main__":
        file = getattr(sys.modules[name], "__file__", None)
        return Module(name, file, None, SourceFileLoader(name, file)) if file and Path(file).is_file() else None
    for finder in sys.meta_path:
        with suppress(AttributeError, ImportError, KeyError):  # KeyError: of a package in one that is not imported
            if spec := finder.find_spec(name, within):
                return _module(spec)
    folders = [Path(folder, name.rpartition(".")[2]) for folder in within or ()]
    if folders := [str(folder) for folder in folders if folder.is_dir()]:
        return Module(name, None, folders)  # a package without an __init__ in another one
    spec = getattr(sys.modules.get(name), "__spec__", None)  # found where nobody looks any more
    return _module(spec) if spec else None


def _module(spec: ModuleSpec) -> Module:
    folders = spec.submodule_search_locations
    file = spec.origin if spec.has_location else None
    return Module(spec.name, file, None if folders is None else list(folders), spec.loader)


def installed_as(module: Module) -> tuple[dict[str, str], bool]:
    """Return the packages that brought a module, with major and minor version, and whether it is there to be edited.

    A module that lies among installed packages and belongs to none of them is the user's, too.
    """
    top, folder = module.name.partition(".")[0], [str(module.folder)]
    found = list(distributions(name=top, path=folder))
    if module.is_among_packages:
        found = found or [package for package in distributions(path=folder) if _holds(package, top)]
        versions = _versions(found)
        return versions, not versions or any(map(_is_linked, found))
    return _versions(found or filter(_is_linked, distributions(name=top))), True


def _versions(packages: Iterable[Distribution]) -> dict[str, str]:
    found = {}
    for package in packages:
        with suppress(AttributeError, KeyError, OSError, TypeError):  # what is left of an installation has no metadata
            found[package.name] = re.match(r"(\d+!)?\d*(\.\d+)?", package.version)[0]
    return found


def _holds(package: Distribution, top: str) -> bool:
    if declared := package.read_text("top_level.txt"):
        return top in declared.split()
    record = "\n" + (package.read_text("RECORD") or "")
    return f"\n{top}/" in record or f"\n{top}." in record


def _is_linked(package: Distribution) -> bool:
    """Say whether it was installed in a form to be edited (PEP 610)."""
    with suppress(AttributeError, ValueError):  # it is written by installers, not by us
        told = json.loads(package.read_text("direct_url.json") or "{}")
        return bool(told.get("dir_info", {}).get("editable"))
    return False
