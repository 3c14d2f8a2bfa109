"""Foundation models, one folder each: what a family brings, declared as import paths so that listing imports no torch.

Adding one is a folder and a line in `FAMILIES`; from outside it is the same object under an entry point of the group
``bench.families``.  Everything generic (registry, weights, pretraining, golden cases, the command) iterates over them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import import_module
from typing import Any

from bench.core.errors import BenchError, unknown

FAMILIES = {
    "scbert": "bench.models.scbert:FAMILY",
    "scgpt": "bench.models.scgpt:FAMILY",
    "geneformer": "bench.models.geneformer:FAMILY",
    "scfoundation": "bench.models.scfoundation:FAMILY",
    "cellplm": "bench.models.cellplm:FAMILY",
}


@dataclass(frozen=True)
class Option:
    """A switch that a command has for one family alone, and the settings that it stands for."""

    help: str
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class Family:
    """One foundation model; paths are ``module:attribute``, imported when they are used.

    Parameters
    ----------
    name
        Beginning of the names of its weights; what commands call it.
    title
        As its authors write it.
    annotators
        Path of each of its models by name; the first is the family's own.
    published
        Path of a dictionary of `bench.weights.entries.Published` by name, the paper's first.
    converter
        Path of a function of paths, genes or None, and options, that returns tensors by name, and metadata.
    described
        Path of a function of a file's header and metadata that returns lines on it, beyond what any file says.
    objective
        Path of a class as `bench.training.objective.Objective`.
    recipes
        Path of a dictionary of `bench.training.recipes.Pretraining` by name.
    pretrained
        The names in ``recipes``, whose weights this project makes itself.
    pretrainer
        Path of a function of a name that makes its weights, or finds them made, and returns the file.
    golden
        Path of a function that compares a golden case, by the case's name.
    on_gpu
        Cases of networks: they are computed in bf16 too, and on a GPU where there is one.
    weights_options, pretrain_options
        Switches of ``bench weights``, which stand for options of the converter, and of ``bench pretrain``, which stand
        for settings of its recipe.
    commands
        Path of a click command by name.
    """

    name: str
    title: str
    annotators: Mapping[str, str]
    published: str = ""
    converter: str = ""
    described: str = ""
    objective: str = ""
    recipes: str = ""
    pretrained: tuple[str, ...] = ()
    pretrainer: str = "bench.training.pretrain:pretrained"
    golden: Mapping[str, str] = field(default_factory=dict)
    on_gpu: frozenset[str] = frozenset()
    weights_options: Mapping[str, Option] = field(default_factory=dict)
    pretrain_options: Mapping[str, Option] = field(default_factory=dict)
    commands: Mapping[str, str] = field(default_factory=dict)

    def load(self, part: str) -> Any:
        """Return what one of the paths names, such as ``family.load("converter")``."""
        return imported(getattr(self, part))


def imported(path: str) -> Any:
    """Return the attribute that ``module:attribute`` names."""
    module, _, attribute = path.partition(":")
    return getattr(import_module(module), attribute)


def ours() -> dict[str, Family]:
    """Return the families of this project by name."""
    return {name: imported(path) for name, path in FAMILIES.items()}


def families() -> dict[str, Family]:
    """Return all families by name, those of this project first.

    Raises
    ------
    BenchError
        If one from outside cannot be imported or goes by a name that is taken.
    """
    found = ours()
    for point in _outside():
        try:
            family = point.load()
        except (ImportError, AttributeError) as error:
            raise BenchError(
                f"Family {point.name!r} ({point.value}) cannot be imported: {error}. Install or uninstall its package."
            ) from error
        if found.setdefault(point.name, family) is not family:
            raise BenchError(f"Two families go by the name {point.name!r}; rename the one of {point.value}.")
    return found


@lru_cache
def _outside() -> tuple:
    """Return the entry points of other packages; looking them up reads the metadata of every installed one."""
    from importlib.metadata import entry_points  # here: it takes as long to import as all that ``bench --help`` needs

    return tuple(entry_points(group="bench.families"))


def with_part(part: str) -> Iterator[Family]:
    """Yield the families that declare a part, such as ``published``."""
    return (family for family in families().values() if getattr(family, part))


def family_of(name: str, part: str, kind: str) -> Family:
    """Return the family of that name, which must declare a part.

    Raises
    ------
    BenchError
        If there is none, listing those there are, as a ``kind``.
    """
    known = {family.name: family for family in with_part(part)}
    if name not in known:
        raise unknown(kind, name, known)
    return known[name]
