"""Look a model up and make it from named options; a wrong name is an error that lists the right ones."""

import inspect
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from os.path import expanduser
from typing import Any

from bench.core.errors import BenchError, unknown
from bench.core.families import families, ours
from bench.core.settings import as_type
from bench.models.importing import class_of

CONTROLS = {
    "majority": "bench.models.baselines.controls:Majority",
    "random": "bench.models.baselines.controls:Random",
    "shuffled_labels": "bench.models.baselines.controls:ShuffledLabels",
}
BASELINES = {
    "l1_logistic": "bench.models.baselines.l1_logistic:L1Logistic",
    "knn": "bench.models.baselines.knn:KNN",
    "nearest_centroid": "bench.models.baselines.nearest_centroid:NearestCentroid",
    "l2_logistic": "bench.models.baselines.l2_logistic:L2Logistic",
    "linear_svm": "bench.models.baselines.linear_svm:LinearSVM",
    "shrinkage_lda": "bench.models.baselines.shrinkage_lda:ShrinkageLDA",
    "pca_logistic": "bench.models.baselines.pca_logistic:PCALogistic",
    "projection": "bench.models.projection:Projection",
    "rank_linear": "bench.models.baselines.rank_linear:RankLinear",
    "celltypist_recipe": "bench.models.baselines.celltypist_recipe:CellTypistRecipe",
    "streaming_logistic": "bench.models.baselines.streaming_logistic:StreamingLogistic",
    "boosted_trees": "bench.models.baselines.boosted_trees:BoostedTrees",
    "mlp": "bench.models.baselines.mlp:MLP",
    "scanvi": "bench.models.baselines.scanvi:ScANVI",
}
FOUNDATION = {name: path for family in ours().values() for name, path in family.annotators.items()}
EMBEDDINGS = {"embedding": "bench.models.elsewhere.embedding:Embedding"}  # judges what other tools have made
KINDS = {  # what they are -> name -> import path
    "controls": CONTROLS,
    "baselines": BASELINES,
    "foundation models": FOUNDATION,
    "results made elsewhere": EMBEDDINGS,
}
MODELS = CONTROLS | BASELINES | FOUNDATION  # of this project, which vouches for their versions
OTHERS = "of other packages"  # the kind of all others
ELSEWHERE = "elsewhere"  # what records call predictions of other tools, which nobody runs; the variant is the tool
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
        from bench.datasets.vector_files import (
            short,
        )  # here: pandas and anndata come with it, and listing needs neither

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


def known() -> dict[str, str]:
    """Return the import path of every model that has a name, those of this project first.

    It reads the metadata of every installed package, which takes time.
    """
    from importlib.metadata import entry_points

    points = {point.name: point.value for point in entry_points(group="bench.models")}
    of_families = {name: path for family in families().values() for name, path in family.annotators.items()}
    own = MODELS | EMBEDDINGS
    return own | {name: path for name, path in (of_families | points).items() if name not in own}


def by_kind() -> dict[str, dict[str, str]]:
    """Return the import path of every model that has a name, by kind; those of other packages last."""
    grouped = {name for models in KINDS.values() for name in models}
    others = {name: path for name, path in known().items() if name not in grouped}
    return {kind: models for kind, models in (KINDS | {OTHERS: others}).items() if models}


def defaults(cls: type, variant: str) -> dict[str, Any]:
    """Return the hyper-parameters of a class by name, as they are by default in one of its variants."""
    return _defaults(cls) | getattr(cls, "variant_settings", {}).get(variant, {})


def find(name: str) -> type:
    """Return the class of a model.

    Parameters
    ----------
    name
        A key of ``MODELS``, a name under the entry point group ``bench.models`` or in a family under
        ``bench.families``, or an import path ``module:Class``.

    Raises
    ------
    BenchError
        If there is no such model, or it lacks ``fit`` or ``predict_proba``.
    """
    if name == ELSEWHERE:
        raise BenchError(
            f"What is recorded of {name} stands in every chapter that shows its experiment; leave it out of models. "
            "Predictions that another tool has made are recorded with bench score."
        )
    path = name if ":" in name else (MODELS | EMBEDDINGS).get(name) or known().get(name, name)
    module, colon, _ = path.partition(":")
    if not (module and colon):
        raise unknown("model", name, [*known(), "an import path such as my_module:MyModel"])
    model = class_of(name, path)
    missing = [verb for verb in ("fit", "predict_proba") if not callable(getattr(model, verb, None))]
    if missing:
        raise BenchError(
            f"Model {name!r} has no method {' and no '.join(missing)}; what a model promises is in the project's "
            "chapters/audit.md, and printed by: python -m pydoc bench.models.contract"
        )
    return model


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
