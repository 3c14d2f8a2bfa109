"""A model with every choice made: its variant, recipe and settings by name; a wrong name lists the right ones."""

import inspect
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from os.path import expanduser
from typing import Any

from bench.core.errors import BenchError, unknown
from bench.core.settings import as_type
from bench.models.registry import find

OPTIONS = ("recipe", "weights", "device")  # what an override may set besides hyper-parameters


@dataclass(frozen=True)
class Spec:
    """A model with every choice made, not yet constructed."""

    name: str
    cls: type
    variant: str
    recipe: str
    hyperparameters: dict[str, Any]  # defaults included
    weights: str | None = None  # path
    device: str = "cpu"

    @property
    def vectors(self) -> tuple[str, ...]:
        """Names of the vectors of cells that are read for this model alone; see `bench.datasets.vectors`."""
        return (self.variant,) if getattr(self.cls, "needs_vectors", False) else ()

    @property
    def called(self) -> str:
        """The variant as records have it: of a file of vectors neither the folder nor the kind of file."""
        if not self.vectors:
            return self.variant
        from bench.datasets.vector_files import short  # only now: pandas and anndata come with it

        return short(self.variant)

    @property
    def sees_scored_cells(self) -> bool:
        """Whether this recipe is declared to look at the scored cells; only then is it given them in training."""
        return self.recipe in declared(self.cls, self.variant, "leaking_recipes", ())

    @property
    def is_stochastic(self) -> bool:
        """Whether the seed matters for more than the draw of a few-shot subset."""
        return declared(self.cls, self.variant, "stochastic", True)

    @property
    def is_embedding(self) -> bool:
        """Whether a classifier judges what ``embed`` gives, in which no label has a part."""
        return declared(self.cls, self.variant, "is_embedding", False)

    @property
    def is_pretrained(self) -> bool:
        """Whether anything goes in that was learnt from the cells that its weights were pretrained on."""
        return bool(self.weights) and declared(self.cls, self.variant, "is_pretrained", True)


def declared(model: Any, variant: str | None, name: str, default: Any) -> Any:
    """Return what a model, or its class, declares of one of its variants, such as ``stochastic``.

    Parameters
    ----------
    model, variant
        The variant's entry in ``variant_declares`` counts before the model's attribute.
    name, default
        Of the attribute, and what is meant by a model that does not declare it.
    """
    own = getattr(model, "variant_declares", {}).get(variant, {})
    return own[name] if name in own else getattr(model, name, default)


def defaults(cls: type, variant: str) -> dict[str, Any]:
    """Return the hyper-parameters of a class by name, as they are by default in one of its variants."""
    return _defaults(cls) | getattr(cls, "variant_settings", {}).get(variant, {})


def describe(text: str, overrides: dict[str, Any] | None = None) -> Spec:
    """Return the specification of ``name`` or ``name@variant`` with overrides applied.

    Parameters
    ----------
    text
        A name as in `find`, optionally with one of the model's variants, such as ``scbert@no_pretraining``, or with
        vectors, such as ``embedding@X_pca``; whether these are there is for `bench.datasets.vectors` to say.
    overrides
        Hyper-parameters by name, and ``recipe``, ``weights`` or ``device``.

    Raises
    ------
    BenchError
        If the variant, the recipe or an override is not one of the model's, or has another type than its default, or
        if a hyper-parameter without default is not given.
    """
    name, _, variant = text.partition("@")
    cls, overrides = find(name), dict(overrides or {})
    given = {key: overrides.pop(key, None) for key in OPTIONS}
    options = {key: value for key, value in given.items() if value is not None}
    if getattr(cls, "needs_vectors", False):
        variant = expanduser(variant)
    else:
        variant = _one_of(f"variant of {name}", variant, getattr(cls, "variants", ("default",)))
    hyperparameters = defaults(cls, variant)
    for key, value in overrides.items():
        if key not in hyperparameters:
            raise unknown(f"hyper-parameter of {name}", key, [*hyperparameters, *OPTIONS])
        default = None if hyperparameters[key] is MISSING else hyperparameters[key]
        hyperparameters[key] = as_type(f"{name}.{key}", value, default)
    if needed := [key for key, value in hyperparameters.items() if value is MISSING]:
        raise BenchError(
            f"Model {name!r} needs {' and '.join(needed)}, which {'has' if len(needed) == 1 else 'have'} no default: "
            f"bench check takes -p {needed[0]} VALUE, "
            f'bench run -p overrides \'{{"{text}": {{"{needed[0]}": VALUE}}}}\'.'
        )
    _check_config(cls, hyperparameters)
    recipe = _one_of(f"recipe of {name}", options.pop("recipe", ""), getattr(cls, "recipes", ("default",)))
    return Spec(name, cls, variant, recipe, hyperparameters, **options)


def create(spec: Spec):
    """Return an unfitted model; a class is given only the options that its constructor names."""
    options = {"variant": spec.variant, "recipe": spec.recipe, "weights": spec.weights, "device": spec.device}
    config, accepted = getattr(spec.cls, "Config", None), _parameters(spec.cls)
    passes_on = is_dataclass(config) and any(p.kind is p.VAR_KEYWORD for p in accepted.values())  # to `Annotator`
    if not passes_on:
        options = {key: value for key, value in options.items() if key in accepted}
    if spec.weights and "weights" not in options:
        raise BenchError(f"Model {spec.name!r} takes no weights; leave them out of the overrides.")
    if is_dataclass(config):
        return spec.cls(config(**spec.hyperparameters), **options)
    return spec.cls(**spec.hyperparameters, **options)


def _check_config(cls: type, hyperparameters: dict[str, Any]) -> None:
    """Let a configuration of this project say what is wrong with its values before anything runs."""
    config = getattr(cls, "Config", None)
    if is_dataclass(config) and config.__module__.startswith(f"{__name__.partition('.')[0]}."):
        config(**hyperparameters)


def _one_of(kind: str, name: str, valid: str | tuple[str, ...]) -> str:
    valid = (valid,) if isinstance(valid, str) else valid
    if name and name not in valid:
        raise unknown(kind, name, valid)
    return name or valid[0]


def _defaults(cls: type) -> dict[str, Any]:
    """Return the hyper-parameters of a class, by name, with their defaults; `MISSING` where there is none."""
    config = getattr(cls, "Config", None)
    if is_dataclass(config):
        made = {field.name: field.default_factory for field in fields(config) if field.default_factory is not MISSING}
        plain = {field.name: field.default for field in fields(config) if field.init}
        return plain | {name: made[name]() for name in plain if name in made}
    return {
        p.name: MISSING if p.default is p.empty else p.default
        for p in _parameters(cls).values()
        if p.name not in ("variant", *OPTIONS) and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    }


def _parameters(cls: type) -> Mapping[str, inspect.Parameter]:
    """Return what a constructor takes, by name; nothing where a compiled one does not say."""
    try:
        return inspect.signature(cls).parameters
    except ValueError:
        return {}
