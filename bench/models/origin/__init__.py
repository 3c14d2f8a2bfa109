"""What a model from outside rests on: its own code, all of its user's that this imports, packages it wraps, settings.

Its trials' keys are made of that: of contents, names of modules and versions, never of a path, so that two machines
agree.  Imports are read from the source, those inside functions too, and found as a new process would find them;
nothing is executed for it.
"""

import importlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256

from bench.core.errors import BenchError, listed
from bench.core.keys import canonical
from bench.models.origin.imports import Imports, imports_of
from bench.models.origin.modules import Module, find, installed_as
from bench.models.origin.settings import Settings
from bench.models.registry import MODELS, known
from bench.models.spec import Spec

PROJECT = __name__.partition(".")[0]
# Every record tells their versions, and this project's own models rest on them too, whose keys do not name them.
TOLD = {"numpy", "scipy", "sklearn", "anndata", "torch"}


@dataclass(frozen=True)
class Origin:
    """Contents and versions that a model's numbers depend on, and what could not be found out about these."""

    protocol: int = 1  # of a class of this project that it is derived from
    modules: dict[str, str] = field(default_factory=dict)  # SHA-256 by name, of the user's own ones
    packages: dict[str, str] = field(default_factory=dict)  # major and minor version by name
    missed: list[str] = field(default_factory=list)  # in words
    contents: dict[str, bytes] = field(default_factory=dict)  # of the modules, by path below a folder of sys.path

    @property
    def digest(self) -> str:
        """8 hex digits; of a model that is one file and wraps nothing that records do not tell, the file's own."""
        if len(self.modules) == 1 and not self.packages and self.protocol == 1:
            return next(iter(self.modules.values()))[:8]
        return sha256(canonical([self.modules, self.packages, self.protocol]).encode()).hexdigest()[:8]

    def add(self, module: Module) -> Imports:
        """Add a module of the user's, and return what it imports."""
        if (content := module.content()) is None:
            return Imports(missed=[f"{module.name}, which cannot be read"])
        self.modules[module.name] = sha256(content).hexdigest()
        self.contents[module.place] = content
        return imports_of(module, content)


def is_ours(spec: Spec) -> bool:
    """Return whether a model is of this project, which vouches for its version."""
    return spec.name in MODELS or _path(spec).startswith(f"{PROJECT}.")


def origin_of(spec: Spec) -> Origin:
    """Return what a model from outside rests on.

    Covered are the modules of the class and of its base classes and, from there on, every module that is imported, if
    it is the user's own: of neither the standard library, nor this project, nor an installed package.  A package that
    is installed in a form to be edited is the user's own, and so is the one that holds the model, however it is
    installed.  Other installed packages that these modules import count with major and minor version, unless every
    record tells the version anyway.

    Raises
    ------
    BenchError
        If the class is defined in no file, as in a notebook.
    """
    importlib.invalidate_caches()  # a file may have been written a moment ago
    roots = [_path(spec).partition(":")[0], *(str(base.__module__) for base in spec.cls.__mro__)]
    found = Origin(_protocol(spec.cls))
    _follow(found, [*roots, *_modules_of(spec)], own=roots[0].partition(".")[0])
    if roots[0] not in found.modules:
        raise BenchError(
            f"Model {spec.name!r} is defined in no file, as in a notebook, so that no key could tell its versions "
            "apart; write it into a module such as my_model.py and name it my_model:MyModel."
        )
    return found


def said(spec: Spec, origin: Origin, settings: Settings) -> Iterator[str]:
    """Yield sentences on what the keys of a model cover besides its own file, and on what they do not."""
    rests_on = [*sorted(origin.modules), *map(" ".join, sorted(origin.packages.items())), *settings.files]
    if len(rests_on) > 1:
        yield f"{spec.name} is run anew when one of these changes: {listed(rests_on)}."
    if missed := [*origin.missed, *settings.missed]:
        yield (
            f"The keys of {spec.name} do not cover {listed(missed)}. When that changes, edit the model's own file too "
            "(a comment will do), or old results stay; a file that a hyper-parameter names is covered."
        )


def _path(spec: Spec) -> str:
    return spec.name if ":" in spec.name else known()[spec.name]


def _protocol(cls: type) -> int:
    """Return the version of the class of this project that one is derived from."""
    ours = (vars(base) for base in cls.__mro__ if str(base.__module__).startswith(f"{PROJECT}."))
    return next((attributes["protocol"] for attributes in ours if "protocol" in attributes), 1)


def _modules_of(spec: Spec) -> list[str]:
    """Return the modules of functions, classes and objects among the hyper-parameters."""
    values = spec.hyperparameters.values()
    return [getattr(value, "__module__", None) or type(value).__module__ for value in values]


def _follow(found: Origin, waiting: list[str], own: str) -> None:
    """Add the modules of these names and all that they import, with the packages around them."""
    inside: dict[str, list[str] | None] = {}  # folders of submodules; None where none is to be looked at
    while waiting:
        parts, within = waiting.pop().split("."), None
        for n in range(1, len(parts) + 1):
            name = ".".join(parts[:n])
            if name not in inside:
                module = find(name, within)
                imported = _look_into(module, found, own) if module else None
                inside[name] = None if imported is None else module.inside
                waiting += imported or []
            if (within := inside[name]) is None:
                break


def _look_into(module: Module, found: Origin, own: str) -> list[str] | None:
    """Add a module, or the version of what has installed it; return what it imports if it is the user's own."""
    top = module.name.partition(".")[0]
    if module.is_standard or top == PROJECT:
        return None
    if top in TOLD and top != own and module.is_among_packages:
        return None
    if module.file is None:  # a package without an __init__, which may lie in several places
        return []
    versions, is_to_edit = installed_as(module)
    found.packages.update(versions)
    if not is_to_edit and top != own:
        return None
    imports = found.add(module)
    if is_to_edit:  # of what is installed as it is, the version tells the rest
        found.missed.extend(imports.missed)
    return imports.names
