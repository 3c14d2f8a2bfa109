"""The tuned baselines on real cells: better than the majority, within the budget, with few types and few cells."""

import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from anndata import AnnData
from scipy.special import softmax
from scipy.stats import norm, rankdata
from sklearn.feature_selection import f_classif

from bench.datasets.splits import split
from bench.models import create, describe
from bench.models.baselines.celltypist_recipe import Scaled
from bench.models.baselines.linear_svm import LinearSVM
from bench.models.baselines.rank_linear import explained, ranks
from bench.models.baselines.tuned import Tuned
from bench.models.baselines.tuning import MOST_SETTINGS
from bench.models.contract import without_labels
from bench.models.registry import BASELINES, find
from bench.preprocess import features

TUNED = [name for name in BASELINES if issubclass(find(name), Tuned)]
SMALL = {"celltypist_recipe": {"max_iter": 50}, "streaming_logistic": {"block": 100}}
SMALL |= {"boosted_trees": {"n_genes": 50}, "mlp": {"n_genes": 200, "epochs": 10}}
every_baseline = pytest.mark.parametrize("name", TUNED)


def model(name: str, **more):
    return create(describe(name, SMALL.get(name, {}) | more))


def labels(cells: AnnData) -> np.ndarray:
    return cells.obs["cell_type"].astype(str).to_numpy()


@pytest.fixture(scope="module")
def few(hao) -> tuple[AnnData, AnnData]:
    """120 training cells of 11 types, all genes, and the scored cells."""
    rows = split(hao, "random")
    return hao[np.random.default_rng(0).choice(rows.train, 120, replace=False)].copy(), hao[rows.test].copy()


@pytest.mark.slow
@every_baseline
def test_accuracy_on_hao_is_far_above_the_majority_tuned_and_untuned(name, few):
    train, scored = few
    for tuned in (True, False):
        fitted = model(name, tuned=tuned).fit(train, seed=0)
        assert (fitted.predict(without_labels(scored)) == labels(scored)).mean() > 0.6
        fits = fitted.diagnostics_["tuning_fits"]
        assert fits == tuned * 3 * len(fitted.settings()) <= 24
        assert fitted.diagnostics_["tuning_cells"] == tuned * 120


@every_baseline
def test_the_budget_is_kept_and_stated(name):
    baseline = model(name)
    assert 1 < len(baseline.settings()) <= MOST_SETTINGS
    assert f"{len(baseline.settings())} settings x 3 folds on at most 3,000 training cells" in find(name).__doc__
    assert baseline.config.tuned


@every_baseline
def test_one_type_is_given_to_every_cell(name, sides):
    train, scored = sides
    fitted = model(name).fit(train[labels(train) == "mDC"].copy(), seed=0)
    assert fitted.classes_.tolist() == ["mDC"]
    np.testing.assert_array_equal(fitted.predict_proba(without_labels(scored)), np.ones((scored.n_obs, 1)))
    assert fitted.diagnostics_["tuning_fits"] == 0


@pytest.mark.slow
@every_baseline
@pytest.mark.parametrize("counts", [(1, 1), (1, 1, 1), (5, 1), (4, 2, 1)])
def test_types_of_one_cell_are_learnt(name, counts, sides):
    train, scored = sides
    types = np.unique(labels(train))
    rows = [np.flatnonzero(labels(train) == type_)[:n] for type_, n in zip(types, counts, strict=False)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fitted = model(name).fit(train[np.concatenate(rows)].copy(), seed=0)
        probabilities = fitted.predict_proba(without_labels(scored))
    assert fitted.classes_.tolist() == types[: len(counts)].tolist()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)
    assert len(set(fitted.predict(without_labels(train)))) > 1


def test_the_temperature_of_the_svm_calibrates_and_changes_no_label(few):
    train, scored = few
    fitted = model("linear_svm", tuned=False).fit(train, seed=0)
    assert isinstance(fitted, LinearSVM)
    known = np.isin(labels(scored), fitted.classes_)
    cells, true = without_labels(scored[known]), np.searchsorted(fitted.classes_, labels(scored)[known])
    probabilities, machine = fitted.predict_proba(cells), fitted._classifier
    values = machine.machine.decision_function(features(cells))
    np.testing.assert_array_equal(probabilities.argmax(axis=1), values.argmax(axis=1))
    np.testing.assert_allclose(probabilities, softmax(machine.scale * values, axis=1))
    loss = [-np.log(p[np.arange(len(true)), true]).mean() for p in (probabilities, softmax(values, axis=1))]
    assert loss[0] < loss[1] - 0.1


def test_ranks_are_those_of_all_genes_and_sharing_equal_values():
    rng = np.random.default_rng(0)
    X = rng.poisson(0.7, (6, 40)).astype(np.float32)
    X[0] = 0
    X[1] += 1  # no zero at all
    found = ranks(sp.csr_matrix(X)).toarray()
    z = norm.ppf(np.apply_along_axis(rankdata, 1, X) / 41)
    zero = np.where((X == 0).any(axis=1), np.where(X == 0, z, np.inf).min(axis=1), norm.ppf(0.5 / 41))
    np.testing.assert_allclose(found, z - zero[:, None], atol=1e-12)
    np.testing.assert_allclose(ranks(sp.csr_matrix(np.log1p(X) / 3)).toarray(), found)  # any logarithm, any library


def test_genes_are_ordered_as_by_analysis_of_variance(small):
    X = ranks(features(small))
    share = explained(X, labels(small))
    F, _ = f_classif(X.toarray(), labels(small))
    varies = np.isfinite(F)
    np.testing.assert_array_equal(np.argsort(-share[varies]), np.argsort(-F[varies]))
    assert (share[~varies] == 0).all()


def test_scaling_is_that_of_dense_values_but_for_the_mean(small):
    X = features(small)[:, :200]
    dense = X.toarray().astype(np.float64)
    mean, deviation = dense.mean(axis=0), dense.std(axis=0)
    deviation[deviation == 0] = 1
    expected = np.minimum((dense - mean) / deviation, 10) + mean / deviation
    found = Scaled().fit(X).transform(X)
    np.testing.assert_allclose(found.toarray(), expected, atol=1e-4)
    assert found.nnz == X.nnz
