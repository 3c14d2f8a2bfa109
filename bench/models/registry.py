"""The models by name, and the class of one; a wrong name is an error that lists the right ones."""

from bench.core.errors import BenchError, unknown
from bench.core.families import families, ours
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
