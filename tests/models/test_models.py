"""What every model promises, on real cells; controls at their theoretical values; models from outside."""

import pickle
from dataclasses import replace
from functools import partial
from pathlib import Path
from textwrap import dedent

import numpy as np
import pytest
import torch
from anndata import AnnData
from in_process import run_task
from optional import installed

from bench.core.errors import BenchError
from bench.datasets import load
from bench.datasets.splits import split
from bench.models import MODELS, create, describe, find
from bench.models.candidate import Candidate
from bench.models.conformance import CHECKS
from bench.models.contract import without_labels
from bench.models.registry import BASELINES
from bench.models.spec import Spec
from bench.protocol import records
from bench.protocol.columns import yes_no
from bench.protocol.trials import Grid
from bench.statistics.metrics import evaluate, score
from bench.statistics.predictions import Predictions

pytestmark = pytest.mark.slow  # every model is fitted

TUNED = {"epochs": 2, "lr": 0.01, "batch_size": 8}
SMALL = {"layers": 2, "dim": 16, "hidden": 16, "heads": 2}  # of an scGPT from scratch
QUICK = {"l1_logistic": {"Cs": [0.1]}, **dict.fromkeys(("scbert", "scbert_head", "scgpt"), TUNED)}  # to fit once more
QUICK["geneformer"] = TUNED | {"warmup_steps": 2}
QUICK["projection"] = {"Cs": [0.1]}
QUICK |= {name: {"tuned": False} for name in MODELS if "tuned" in describe(name).hyperparameters}
QUICK["mlp"] |= {"epochs": 10}
QUICK["boosted_trees"] |= {"rounds": 5}
QUICK["scanvi"] = {"epochs": 20, "epochs_labelled": 10}
COUNTS_ALONE = ("scanvi", "geneformer", "scfoundation", "cellplm")  # they refuse log values
UNSEEING = {"scbert": {"recipe": "clean", "stabiliser": "per_cell"}, "scbert_head": {"recipe": "clean"}}
UNSEEING["geneformer"] = {"recipe": "clean"}
UNSEEING["scfoundation"] = {"recipe": "clean"}
UNSEEING["cellplm"] = {"recipe": "clean", "company": "reference"}
SCGPT = [f"scgpt@{variant}" for variant in find("scgpt").variants]
NEEDED = {}  # what a model cannot do without: weights
every_model = pytest.mark.parametrize("name", installed(MODELS))
tuned_model = pytest.mark.parametrize("name", ["scbert", "scbert_head"])
DEFAULTS = {"boosted_trees": {"rounds": 10}}  # all the same, but for a search of which every step takes long
_fitted = {}  # one fit of each model with its defaults, shared by the tests that only predict
_candidates = {}  # the same for the checks of `bench check`, with settings that are quick to fit


@pytest.fixture(scope="module", autouse=True)
def weights(tiny_scbert, tiny_scgpt, tiny_geneformer, tiny_scfoundation, tiny_cellplm):
    NEEDED.update({name: {"weights": str(tiny_scbert())} for name in ("scbert", "scbert_head")})
    NEEDED["scgpt"] = {"weights": str(tiny_scgpt())}
    NEEDED["geneformer"] = {"weights": str(tiny_geneformer())}
    steps = {"epochs": 5, "batch_size": 16, "accumulation": 1, "lr": 3e-3}  # 45 of them tell cells apart
    NEEDED["scfoundation"] = {"weights": str(tiny_scfoundation())} | steps
    NEEDED["cellplm"] = {"weights": str(tiny_cellplm()), "epochs": 30, "warmup_epochs": 1}


def settings(name: str) -> dict:
    return QUICK.get(name, {}) | NEEDED.get(name, {})


def quick(name: str, **more):
    return create(describe(name, settings(name) | more))


def labels(cells: AnnData) -> np.ndarray:
    return cells.obs["cell_type"].astype(str).to_numpy()


def accuracy(model, cells: AnnData) -> float:
    return float((model.predict(without_labels(cells)) == labels(cells)).mean())


def same(found: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


def log_values(cells: AnnData) -> AnnData:
    cells = cells.copy()
    cells.X.data = np.log1p(cells.X.data)
    cells.uns["bench"] = cells.uns["bench"] | {"values": "log1p"}
    return cells


@pytest.fixture
def fitted(name, sides):
    """Return the model fitted with its defaults, and the scored cells as it may see them."""
    if name not in _fitted:
        _fitted[name] = create(describe(name, DEFAULTS.get(name, {}) | NEEDED.get(name, {}))).fit(sides[0], seed=0)
    return _fitted[name], without_labels(sides[1])


# The contract


@every_model
@pytest.mark.parametrize("promise", CHECKS)
def test_what_bench_check_asks_of_a_model_from_outside_is_kept(name, promise, sides):
    if name not in _candidates:
        _candidates[name] = Candidate(lambda: quick(name), *sides, tolerance=1e-6)
    CHECKS[promise].function(_candidates[name])


@every_model
def test_probabilities_sum_to_one(name, fitted):
    model, cells = fitted
    same(model.predict_proba(cells).sum(axis=1), 1)


@every_model
def test_prediction_is_the_most_probable_class(name, fitted):
    model, cells = fitted
    np.testing.assert_array_equal(model.predict(cells), model.classes_[model.predict_proba(cells).argmax(axis=1)])


@pytest.mark.parametrize("name", installed(name for name in MODELS if find(name).stochastic))
def test_another_seed_gives_another_result_where_that_is_declared(name, sides):
    train, cells = sides[0], without_labels(sides[1])
    first, other = (quick(name).fit(train, seed=seed).predict_proba(cells) for seed in (3, 4))
    assert np.abs(other - first).max() > 1e-3


@pytest.mark.parametrize("recipe", ["published", "clean"])
def test_scbert_with_a_stabiliser_per_cell_predicts_one_by_one_what_it_predicts_together(recipe, sides):
    model = quick("scbert", stabiliser="per_cell", recipe=recipe).fit(sides[0], seed=0)
    assert not model.batch_dependent
    cells = without_labels(sides[1])
    together = model.predict_proba(cells)
    assert together.std(axis=0).max() > 0.01
    alone = np.vstack([model.predict_proba(cells[i : i + 1].copy()) for i in range(cells.n_obs)])
    np.testing.assert_allclose(alone, together, rtol=0, atol=1e-5)
    for size in (3, 31, 64, 200):
        assert (
            create(describe("scbert", settings("scbert") | {"evaluation_batch": size})).config.evaluation_batch == size
        )
        model.config = replace(model.config, evaluation_batch=size)
        np.testing.assert_allclose(model.predict_proba(cells), together, rtol=0, atol=1e-5)


def test_scbert_as_published_declares_that_predictions_depend_on_the_batch_and_they_do(sides):
    model = quick("scbert").fit(sides[0], seed=0)
    assert model.batch_dependent
    cells = without_labels(sides[1])
    alone = np.vstack([model.predict_proba(cells[i : i + 1].copy()) for i in range(cells.n_obs)])
    assert np.abs(alone - model.predict_proba(cells)).max() > 1e-5


def tell_cells_apart(model, cells: AnnData) -> AnnData:
    """Sharpen the attention, for a network that was hardly trained says nearly the same of all cells."""
    with torch.no_grad():
        for layer in model.network_.transformer_encoder["layers"]:
            layer.self_attn.in_proj_weight *= 4
        model.network_.encoder["enc_norm"].weight *= 2
    return cells


@pytest.mark.parametrize("name", SCGPT)
@pytest.mark.parametrize("recipe", ["published", "clean"])
def test_scgpt_sees_each_cell_by_itself(name, recipe, sides):
    """Neither order nor company nor the size of a batch, nor the order of genes, changes what a cell is predicted."""
    sizes = SMALL if name.endswith("scratch_tuned") else {}
    options = settings("scgpt") | sizes | {"recipe": recipe, "lr": 1e-3}
    model = create(describe(name, options)).fit(sides[0], seed=0)
    assert not model.batch_dependent
    cells = without_labels(tell_cells_apart(model, sides[1]))
    together, order = model.predict_proba(cells), np.random.default_rng(0).permutation(cells.n_obs)
    assert together.std(axis=0).max() > 1e-3
    # Sharp attention enlarges rounding: by AVX2 kernels up to 1e-4 where cells differ by 0.08, usually 1e-6.
    near = partial(np.testing.assert_allclose, rtol=0, atol=0.005 * together.std(axis=0).max())
    near(model.predict_proba(cells[order].copy()), together[order])
    genes = np.random.default_rng(1).permutation(cells.n_vars)
    near(model.predict_proba(cells[:, genes].copy()), together)
    near(np.vstack([model.predict_proba(cells[i : i + 1].copy()) for i in range(cells.n_obs)]), together)
    for size in (1, 3, 31, 200):
        model.config = replace(model.config, evaluation_batch=size)
        near(model.predict_proba(cells), together)


def test_scgpt_with_the_published_stream_declares_that_predictions_depend_on_the_other_cells_and_they_do(sides):
    model = quick("scgpt", published_rng=True, lr=1e-3).fit(sides[0], seed=0)
    assert model.batch_dependent
    cells = without_labels(tell_cells_apart(model, sides[1]))
    together = model.predict_proba(cells)
    np.testing.assert_array_equal(model.predict_proba(cells), together)
    alone = np.vstack([model.predict_proba(cells[i : i + 1].copy()) for i in range(cells.n_obs)])
    same(alone[0], together[0])  # of the first cell nothing was drawn before
    assert np.abs(alone - together).max() > 1e-3


@pytest.mark.parametrize("name", ["scgpt"])
def test_fitted_model_survives_pickling(name, fitted):
    model, cells = fitted
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict_proba(cells), model.predict_proba(cells))


@pytest.mark.parametrize("name", installed(name for name in MODELS if name not in COUNTS_ALONE))
def test_log_values_stay_as_they_are_too(name, sides):
    CHECKS["unchanged"].function(Candidate(lambda: quick(name), *map(log_values, sides)))


@every_model
def test_type_that_training_lacks_is_still_scored(name, sides):
    train, scored = sides
    train = train[labels(train) != "Platelet"].copy()
    model = quick(name).fit(train, seed=0)
    assert "Platelet" not in model.classes_
    predictions = Predictions(labels(scored), model.predict_proba(without_labels(scored)), model.classes_)
    rows = {(metric, label): value for metric, label, value in score(predictions)}
    assert rows["recall", "Platelet"] == 0
    assert rows["support", "Platelet"] == (labels(scored) == "Platelet").sum()
    assert all(np.isfinite(value) for value in rows.values())


@every_model
def test_type_that_the_scored_cells_lack_stays_a_class(name, fitted, sides):
    model, cells = fitted
    kept = labels(sides[1]) != "Platelet"
    probabilities = model.predict_proba(cells[kept].copy())
    predictions = Predictions(labels(sides[1])[kept], probabilities, model.classes_)
    assert "Platelet" in predictions.classes
    assert "Platelet" not in predictions.labels
    assert 0 <= evaluate("macro_f1", predictions) <= 1


@pytest.mark.parametrize("name", installed(BASELINES))
def test_baselines_beat_the_majority_by_a_margin(name, fitted, sides):
    majority = create(describe("majority")).fit(sides[0], seed=0)
    assert accuracy(fitted[0], sides[1]) > accuracy(majority, sides[1]) + 0.3


def test_embedding_has_one_row_per_cell_and_is_the_same_to_the_last_digit_under_a_seed(sides):
    cells = without_labels(sides[1])
    one, two = (create(describe("knn", {"n_components": 7})).fit(sides[0], seed=0).embed(cells) for _ in range(2))
    assert one.shape == (cells.n_obs, 7)
    np.testing.assert_array_equal(one, two)


def test_few_training_cells_lower_the_components_and_neighbours(sides):
    train, scored = sides
    model = create(describe("knn")).fit(train[:5].copy(), seed=0)
    assert model.embed(scored).shape == (scored.n_obs, 4)
    assert model.predict_proba(scored).shape == (scored.n_obs, len(model.classes_))


# Nothing is learnt from scored cells


@pytest.fixture
def two_sets(small, tmp_path) -> list[str]:
    """Two files: in the second one every scored cell but the first has other counts and another label."""
    changed = small.copy()
    others = np.flatnonzero(changed.obs["split"] == "test")[1:]
    rng = np.random.default_rng(0)
    X = changed.X.toarray()
    X[others] = rng.permuted(X[others], axis=1) * rng.integers(1, 9, (len(others), 1))
    changed.X = type(small.X)(X)
    changed.obs.iloc[others, 0] = np.roll(labels(small)[others], 7)
    files = [str(tmp_path / name) for name in ("one.h5ad", "two.h5ad")]
    for file, cells in zip(files, (small, changed), strict=True):
        cells.write_h5ad(file)
    return files


def run_both(two_sets, name: str, **more) -> list:
    """Return the records of the trials on both files, made by the runner."""
    tables = []
    for file in two_sets:
        (task,) = Grid("leak", "quick", file, name, split="authors", overrides={name: settings(name) | more}).tasks()
        assert run_task(task) == ""
        table = records.read("leak", committed=False)
        tables.append((task, table[table["key"] == task.trial.key]))
    return tables


@every_model
def test_other_scored_cells_never_change_a_prediction(name, small, two_sets):
    predictions = []
    for task, _ in run_both(two_sets, name, **UNSEEING.get(name, {})):
        names, predicted = records.read_predictions("leak", "quick", task.trial.key)
        assert names[0] == small.obs_names[small.obs["split"] == "test"][0]
        predictions.append(predicted)
    one, two = predictions
    assert (one.truth != two.truth).mean() > 0.5
    np.testing.assert_array_equal(one.classes, two.classes)
    same(two.probabilities[0], one.probabilities[0])
    assert two.predicted[0] == one.predicted[0]


@tuned_model
@pytest.mark.parametrize("recipe", ["published", "clean"])
def test_a_recipe_that_sees_scored_cells_says_so_and_sees_them_where_it_says(name, recipe, two_sets):
    """Labels are exchanged among scored cells: the choice of the epoch sees it, weights of classes and training not."""
    per_epoch = {}
    for number, (_, table) in enumerate(run_both(two_sets, name, **UNSEEING[name] | {"recipe": recipe})):
        assert set(table["sees_scored_cells"]) == {yes_no(recipe == "published")}
        for metric, part in table[table["epoch"].notna()].groupby("metric"):
            per_epoch[metric, number] = part.sort_values("epoch")["value"].to_numpy()
    assert len(per_epoch["train_loss", 0]) == TUNED["epochs"]
    np.testing.assert_array_equal(per_epoch["train_loss", 0], per_epoch["train_loss", 1])
    for metric in ("validation_loss", "validation_accuracy"):
        seen = not np.array_equal(per_epoch[metric, 0], per_epoch[metric, 1])
        assert seen == (recipe == "published"), metric


def test_view_for_prediction_has_expression_genes_and_batch_but_no_label(sides):
    scored = sides[1]
    scored.obs["batch"] = "donor 1"
    scored.obs_names = [f"{label}-{i}" for i, label in enumerate(labels(scored))]  # as in sorted populations
    scored.obsm["labels"] = np.zeros((scored.n_obs, 1))
    scored.layers["more"] = scored.X.copy()
    view = without_labels(scored)
    assert list(view.obs) == ["batch"]
    assert (view.obs["batch"] == "donor 1").all()
    assert view.var_names.equals(scored.var_names)
    np.testing.assert_array_equal(view.X.toarray(), scored.X.toarray())
    assert not [*view.obsm, *view.layers, *view.varm, *view.obsp]
    assert view.obs_names.is_unique
    everything = " ".join([*view.obs_names, *map(str, view.uns["bench"].values())])
    assert not [label for label in set(labels(scored)) if label in everything]
    part = without_labels(scored[3:5].copy())
    assert part.obs_names.tolist() == view.obs_names[3:5].tolist()  # a cell has one name whatever its company


PROBE = """
    import numpy as np
    from bench.models.contract import Annotator, labels_of

    class Probe(Annotator):
        recipes = ("clean", "published")
        leaking_recipes = ("published",)

        def fit(self, train, *, seed, validation="nothing"):
            given = validation != "nothing" if isinstance(validation, str) else validation.n_obs
            self.diagnostics_ = {"given": float(given)}
            self.classes_ = np.unique(labels_of(train))
            return self

        def predict_proba(self, cells):
            assert "cell_type" not in cells.obs
            return np.full((cells.n_obs, len(self.classes_)), 1 / len(self.classes_))

    class Curious(Probe):
        leaking_recipes = ()
        sees_scored_cells = True  # says so, but is not declared by recipe
"""


@pytest.mark.parametrize(
    ("model", "recipe", "n_given"),
    [("Probe", "published", 80), ("Probe", "clean", 0), ("Probe", None, 0), ("Curious", "published", 0)],
)
def test_scored_cells_are_given_to_declared_leaking_recipes_alone(model, recipe, n_given, small, plug_in, tmp_path):
    name = f"{plug_in(PROBE)}:{model}"
    small.write_h5ad(tmp_path / "small.h5ad")
    asked = {"split": "authors", "overrides": {name: {"recipe": recipe}}}
    (task,) = Grid("leak", "quick", str(tmp_path / "small.h5ad"), name, **asked).tasks()
    assert run_task(task) == ""
    table = records.read("leak", committed=False)
    assert table.loc[table["metric"] == "given", "value"].tolist() == [n_given]
    assert set(table["sees_scored_cells"]) == {yes_no(n_given > 0)}
    assert set(table["recipe"]) == {recipe or "clean"}


@every_model
def test_no_model_of_this_table_leaks_by_default(name):
    spec = describe(name)
    assert not spec.sees_scored_cells or spec.recipe == "published"


# Controls


@pytest.fixture(scope="module")
def baron() -> tuple[AnnData, AnnData]:
    """Donor 1 against the others: unbalanced, 1,670 training and 1,937 scored cells."""
    adata = load("baron")
    rows = split(adata, "held_out:human1")
    return adata[rows.train].copy(), adata[rows.test].copy()


def test_majority_reaches_the_share_of_the_most_frequent_training_label(baron):
    train, scored = baron
    most_frequent = train.obs["cell_type"].value_counts().idxmax()
    model = create(describe("majority")).fit(train, seed=0)
    assert set(model.predict(without_labels(scored))) == {most_frequent}
    assert accuracy(model, scored) == (labels(scored) == most_frequent).mean()
    shares = train.obs["cell_type"].value_counts(normalize=True)
    np.testing.assert_allclose(model.predict_proba(scored)[0], shares[model.classes_])


def test_random_reaches_the_expected_agreement_within_four_standard_errors(baron):
    train, scored = baron
    p = train.obs["cell_type"].value_counts(normalize=True).reindex(labels(scored)).fillna(0).to_numpy()  # per cell
    n_seeds = 20
    found = np.mean([accuracy(create(describe("random")).fit(train, seed=s), scored) for s in range(n_seeds)])
    standard_error = np.sqrt((p * (1 - p)).sum() / n_seeds) / len(p)
    assert abs(found - p.mean()) < 4 * standard_error
    assert standard_error < 0.005


def test_random_draws_every_label_with_its_training_frequency(baron):
    train, scored = baron
    model = create(describe("random")).fit(train, seed=1)
    drawn = model.predict_proba(scored).mean(axis=0)
    expected = train.obs["cell_type"].value_counts(normalize=True)[model.classes_].to_numpy()
    assert (np.abs(drawn - expected) < 4 * np.sqrt(expected * (1 - expected) / scored.n_obs) + 1e-12).all()


def test_shuffled_labels_find_nothing_on_balanced_types(sides):
    train, scored = sides
    found = [accuracy(quick("shuffled_labels").fit(train, seed=s), scored) for s in range(12)]
    majority = accuracy(create(describe("majority")).fit(train, seed=0), scored)
    chance = 1 / len(set(labels(train)))
    standard_error = np.std(found, ddof=1) / np.sqrt(len(found))
    assert abs(np.mean(found) - chance) < 4 * standard_error
    assert np.mean(found) < majority + 4 * standard_error
    assert standard_error < 0.05


# Looking models up


@pytest.fixture
def plug_in(tmp_path, monkeypatch):
    """Write a module outside the project and return its name."""
    folder = tmp_path / "outside"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))

    def _plug_in(source: str) -> str:
        name = f"plug_in_{abs(hash(str(folder)))}"
        Path(folder, f"{name}.py").write_text(dedent(source))
        return name

    return _plug_in


PLAIN = """
    import numpy as np

    class Prior:
        def __init__(self, strength=1.0, steps=3, names=("a", "b"), shout=False, *, device="cpu"):
            self.given = strength, steps, names, shout, device

        def fit(self, train, *, seed, validation=None):
            assert validation is None
            self.classes_, counts = np.unique(train.obs["cell_type"].astype(str), return_counts=True)
            self.prior = counts / counts.sum()
            return self

        def predict_proba(self, cells):
            return np.tile(self.prior, (cells.n_obs, 1))

    class NoPredict:
        def fit(self, train, *, seed, validation=None):
            return self
"""


def test_every_name_of_the_table_is_found_and_declares_its_options():
    for name in MODELS:
        spec = describe(name)
        assert spec.variant == spec.cls.variants[0]
        assert spec.recipe == spec.cls.recipes[0]
        assert set(spec.cls.leaking_recipes) <= set(spec.cls.recipes)
        assert spec.cls.__doc__
        assert create(spec).config == spec.cls.Config(**spec.hyperparameters)


def test_plain_class_is_found_by_import_path_and_run_with_its_own_hyperparameters(plug_in, small, tmp_path):
    name = f"{plug_in(PLAIN)}:Prior"
    spec = describe(name, {"strength": 2, "names": ["c"], "shout": True, "device": "cuda"})
    assert create(spec).given == (2.0, 3, ("c",), True, "cuda")
    small.write_h5ad(tmp_path / "small.h5ad")
    (task,) = Grid("plain", "quick", str(tmp_path / "small.h5ad"), name, overrides={name: {"strength": 2}}).tasks()
    assert run_task(task) == ""
    assert '"strength":2.0' in task.trial.hyperparameters
    table = records.read("plain", committed=False)
    assert table.loc[table["metric"] == "accuracy", "value"].between(0, 0.2).all()


def test_entry_point_of_an_installed_package_is_found(plug_in, tmp_path):
    module = plug_in(PLAIN)
    info = tmp_path / "outside" / "other_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: other-package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[bench.models]\nprior = {module}:Prior\nknn = {module}:Prior\n")
    assert find("prior").__name__ == "Prior"
    assert find("knn").__name__ == "KNN"  # a name of the project cannot be taken over


def test_unknown_model_lists_near_and_valid_names():
    with pytest.raises(BenchError, match=r"'l1_logistics'\. Did you mean 'l1_logistic' or .*import path.*majority"):
        find("l1_logistics")
    with pytest.raises(BenchError, match="Unknown model ':KNN'"):
        find(":KNN")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("no_such_module:Model", "cannot be imported"),
        ("bench.models.spec:Spek", r"Unknown class in bench\.models\.spec 'Spek'. Did you mean 'Spec'"),
        ("bench.models.registry:", r"Unknown class in bench\.models\.registry ''"),
    ],
)
def test_wrong_import_path_says_what_is_expected(name, said):
    with pytest.raises(BenchError, match=said):
        find(name)


def test_class_without_the_two_verbs_is_refused(plug_in):
    with pytest.raises(BenchError, match="has no method predict_proba;"):
        find(f"{plug_in(PLAIN)}:NoPredict")
    with pytest.raises(BenchError, match="has no method fit and no predict_proba;"):
        find("pathlib:Path")


@pytest.mark.parametrize(
    ("name", "overrides", "message"),
    [
        ("knn", {"n_neighbours": 3}, r"of knn 'n_neighbours'\. Did you mean 'n_neighbors'.*n_components"),
        ("l1_logistic", {"C": [1]}, r"hyper-parameter of l1_logistic 'C'.*Cs, device, folds"),
        ("majority", {"folds": 3}, r"hyper-parameter of majority 'folds'\. Valid: device, recipe, weights"),
        ("knn", {"n_neighbors": "many"}, r"knn\.n_neighbors='many' should be of type int, as its default 15"),
        ("knn", {"n_neighbors": 2.5}, r"n_neighbors=2\.5 should be of type int"),
        ("knn", {"n_neighbors": True}, r"n_neighbors=True should be of type int"),
        ("knn", {"genes": 3}, r"genes=3 should be of type str"),
        ("l1_logistic", {"Cs": 0.1}, r"Cs=0\.1 should be a list, as its default"),
        ("l1_logistic", {"Cs": [0.1, "1"]}, r"Cs='1' should be of type float"),
        ("knn@deep", {}, r"variant of knn 'deep'\. Valid: default"),
        ("knn", {"recipe": "published"}, r"recipe of knn 'published'\. Valid: clean"),
    ],
)
def test_wrong_choice_is_an_error_that_lists_the_right_ones(name, overrides, message):
    with pytest.raises(BenchError, match=message):
        describe(name, overrides)


def test_choices_keep_the_type_of_their_default():
    spec = describe("l1_logistic", {"Cs": [1, 10], "folds": 3.0})
    assert spec.hyperparameters["Cs"] == (1.0, 10.0)
    assert [type(C) for C in spec.hyperparameters["Cs"]] == [float, float]
    assert type(spec.hyperparameters["folds"]) is int


def test_option_left_empty_is_the_default():
    assert describe("knn", {"recipe": None, "weights": None, "device": None}) == describe("knn")


def test_constructor_refuses_unknown_variants_and_recipes():
    for choice in ({"variant": "deep"}, {"recipe": "secret"}):
        with pytest.raises(BenchError, match="of KNN"):
            find("knn")(**choice)


def test_weights_for_a_model_that_takes_none_are_refused(plug_in):
    spec = describe(f"{plug_in(PLAIN)}:Prior")
    assert isinstance(spec, Spec)
    with pytest.raises(BenchError, match="takes no weights"):
        create(replace(spec, weights="model.safetensors"))
