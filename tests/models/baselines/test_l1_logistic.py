"""L1 logistic regression: ties and folds of the golden case (values: test_verify), and the rules for choosing C."""

import warnings

import joblib
import numpy as np
import pytest
import scanpy
import scipy.sparse as sp
from sklearn.exceptions import ConvergenceWarning

from bench.core.errors import BenchError
from bench.models.baselines import l1_logistic
from bench.models.baselines.l1_logistic import (
    L1Logistic,
    L1LogisticConfig,
    choose_C,
    cross_validate_C,
    decision_values,
    fitted,
)
from bench.preprocess import align, features, log1p_cp10k

SEED = 0
PRECISE = L1LogisticConfig(tol=1e-8, max_iter=10_000)


@pytest.fixture(scope="module")
def case(golden):
    return golden("lr_liblinear")


@pytest.fixture(scope="module")
def fits(case):
    """One classifier per C, ascending."""
    description, tensors = case
    assert description["hyperparameters"]["random_state"] == SEED
    return [fitted(tensors["input.X"], tensors["input.y"], C, PRECISE, SEED) for C in tensors["input.C"]]


def coefficients(model) -> tuple[np.ndarray, np.ndarray]:
    coef = np.vstack([estimator.coef_ for estimator in model.estimators_])  # (n_classes, n_genes)
    return coef, np.concatenate([estimator.intercept_ for estimator in model.estimators_])


@pytest.mark.slow
def test_ties_give_the_first_class(case, fits):
    description, t = case
    n_tied = description["numerics"]["tied_test_cells_per_C"]
    assert n_tied[0] == len(t["input.X_test"])  # at the smallest C no class has any term
    for i, model in enumerate(fits):
        values = decision_values(model, t["input.X_test"])
        tied = (values == values.max(axis=1, keepdims=True)).sum(axis=1) > 1
        assert tied.sum() == n_tied[i]
        first = model.classes_[values.argmax(axis=1)]
        np.testing.assert_array_equal(first[tied], t["output.prediction"][i][tied])


@pytest.mark.slow
def test_cross_validation_has_the_golden_folds_and_accuracies(case, monkeypatch):
    description, t = case
    folds, config = description["hyperparameters"]["cv_folds"], PRECISE
    assert folds == config.folds
    seen, original = [], l1_logistic._fold_accuracy

    def watch(X, y, C, train, test, *rest):
        seen.append(test)
        assert not np.intersect1d(train, test).size
        return original(X, y, C, train, test, *rest)

    monkeypatch.setattr(l1_logistic, "_fold_accuracy", watch)
    accuracy = cross_validate_C(t["input.X"], t["input.y"], list(t["input.C"]), config, SEED)
    np.testing.assert_allclose(accuracy, t["output.cv_accuracy"], rtol=0, atol=1e-12)
    np.testing.assert_allclose(accuracy.mean(axis=1), t["output.cv_mean_accuracy"], rtol=0, atol=1e-12)
    golden_folds = {tuple(np.flatnonzero(t["output.cv_fold"] == fold)) for fold in range(folds)}
    assert {tuple(test) for test in seen} == golden_folds


def test_smallest_C_wins_ties(monkeypatch):
    scores = {0.1: 0.5, 1.0: 0.8, 10.0: 0.8, 100.0: 0.6}
    monkeypatch.setattr(l1_logistic, "_fold_accuracy", lambda X, y, C, *rest: scores[C])
    y = np.repeat(["a", "b"], 10)
    best, accuracy = choose_C(np.zeros((20, 1)), y, L1LogisticConfig(Cs=(100.0, 1.0, 0.1, 10.0)), SEED)
    assert best == 1.0
    assert accuracy.tolist() == [[scores[C]] * 5 for C in sorted(scores)]  # rows ascend in C whatever the order given


def test_model_without_any_term_predicts_the_first_class_with_equal_probabilities(sides):
    train, scored = sides
    model = L1Logistic(L1LogisticConfig(Cs=(1e-6,))).fit(train, seed=SEED)
    coef, intercept = coefficients(model.classifier_)
    assert not coef.any()
    assert not intercept.any()
    np.testing.assert_allclose(model.predict_proba(scored), 1 / len(model.classes_))
    assert set(model.predict(scored)) == {model.classes_[0]}


def test_single_C_is_used_without_search(sides, monkeypatch):
    monkeypatch.setattr(l1_logistic, "cross_validate_C", lambda *_: pytest.fail("searched"))
    model = L1Logistic(L1LogisticConfig(Cs=(0.1,))).fit(sides[0], seed=SEED)
    assert model.C_ == 0.1
    assert model.cv_accuracy_ is None
    assert model.diagnostics_ == {"chosen_C": 0.1}


def test_search_refits_on_all_training_cells_with_the_chosen_C(sides):
    train, scored = sides
    model = L1Logistic(L1LogisticConfig(Cs=(0.01, 1.0))).fit(train, seed=SEED)
    again = L1Logistic(L1LogisticConfig(Cs=(model.C_,))).fit(train, seed=SEED)
    assert model.cv_accuracy_.shape == (2, 5)
    np.testing.assert_array_equal(model.predict_proba(scored), again.predict_proba(scored))


def test_type_with_fewer_cells_than_folds_is_used_as_published(sides):
    train, scored = sides
    rare = np.flatnonzero(train.obs["cell_type"] == "mDC")[2:]
    train = train[np.setdiff1d(np.arange(train.n_obs), rare)].copy()  # two cells of mDC are left
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = L1Logistic(L1LogisticConfig(Cs=(0.1, 1.0))).fit(train, seed=SEED)
    assert "mDC" in model.classes_
    assert model.predict_proba(scored).shape == (scored.n_obs, 8)


def test_only_where_every_type_is_smaller_than_the_folds_is_it_an_error(sides):
    train, _ = sides
    few = np.flatnonzero(train.obs.groupby("cell_type", observed=True).cumcount() < 4)
    with pytest.raises(BenchError, match=r"5-fold .* needs a class with 5 cells; the largest has 4\. .*'folds'"):
        L1Logistic().fit(train[few].copy(), seed=SEED)
    assert L1Logistic(L1LogisticConfig(folds=4, Cs=(0.1, 1.0))).fit(train[few].copy(), seed=SEED).C_ in (0.1, 1.0)
    assert L1Logistic(L1LogisticConfig(Cs=(0.1,))).fit(train[few].copy(), seed=SEED).C_ == 0.1


def test_two_types_are_one_problem_with_two_columns(sides):
    train, scored = (cells[cells.obs["cell_type"].isin(["B cells", "NK cells"])].copy() for cells in sides)
    model = L1Logistic(L1LogisticConfig(Cs=(0.1, 1.0))).fit(train, seed=SEED)
    values = decision_values(model.classifier_, model._features(scored))
    np.testing.assert_array_equal(values[:, 0], -values[:, 1])
    assert (model.predict(scored) == scored.obs["cell_type"]).mean() > 0.9
    np.testing.assert_array_equal(model.classes_[model.predict_proba(scored).argmax(axis=1)], model.predict(scored))


def test_reaching_the_iteration_limit_is_no_warning(sides):
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        model = L1Logistic(L1LogisticConfig(Cs=(1e4,), max_iter=2)).fit(sides[0], seed=SEED)
    assert max(estimator.n_iter_[0] for estimator in model.classifier_.estimators_) == 2


@pytest.mark.slow
def test_search_and_fit_in_two_processes_equal_those_in_one(hao):
    """With all genes the matrix is large enough for joblib to hand it over as a read-only memory map."""
    train = hao[::3].copy()
    assert train.X.data.nbytes > 1e6
    config = L1LogisticConfig(Cs=(0.01, 0.1))
    serial = L1Logistic(config).fit(train, seed=SEED)
    with joblib.parallel_config(n_jobs=2):
        parallel = L1Logistic(config).fit(train, seed=SEED)
    np.testing.assert_array_equal(parallel.cv_accuracy_, serial.cv_accuracy_)
    np.testing.assert_array_equal(parallel.predict_proba(hao), serial.predict_proba(hao))


@pytest.mark.slow
@pytest.mark.parametrize("base", [2.0, np.e])
def test_features_equal_scanpys_normalisation(hao, base):
    reference = hao.copy()
    scanpy.pp.normalize_total(reference, target_sum=1e4)
    scanpy.pp.log1p(reference, base=base)
    found = features(hao, base=base)
    assert found.dtype == np.float32
    assert found.has_sorted_indices
    np.testing.assert_allclose(found.toarray(), reference.X.toarray(), rtol=0, atol=5e-6)


def test_cell_without_counts_stays_zero():
    X = sp.csr_matrix(np.array([[0, 0], [1, 3]], dtype=np.float32))
    np.testing.assert_allclose(log1p_cp10k(X).toarray(), [[0, 0], np.log2(1 + np.array([2500, 7500]))], rtol=1e-6)


def test_data_without_a_shared_gene_cannot_be_aligned():
    with pytest.raises(BenchError, match=r"No gene in common: the data have \['Cd3d'\]"):
        align(sp.csr_matrix(np.ones((1, 1))), ["Cd3d"], ["CD3D"])
