"""Recipe optimum of L1 logistic regression: never above liblinear, certified, and the protocol of the published one."""

import joblib
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from bench.core.errors import BenchError
from bench.datasets import load
from bench.models import create, describe, sample
from bench.models.baselines import l1_optimum
from bench.models.baselines.l1_logistic import L1Logistic, L1LogisticConfig, decision_values, folds_of
from bench.models.baselines.l1_optimum import solver
from bench.models.baselines.l1_optimum.newton import quadratic
from bench.models.baselines.l1_optimum.scratch import Scratch
from bench.models.baselines.l1_optimum.solver import GAP, paths
from bench.models.conformance import check
from bench.models.contract import labels_of
from bench.preprocess import features
from bench.report.growth import Measure, alone

CS = list(L1LogisticConfig().Cs)
FEW = L1LogisticConfig(Cs=(0.01, 0.1, 1.0))


def problem(name: str, n_cells: int):
    """Return columns with a constant one, and types, of cells drawn from a data set; genes seen in them alone."""
    adata = load(name)
    adata = adata[np.sort(np.random.default_rng(0).permutation(adata.n_obs)[:n_cells])]
    X = features(adata)
    return l1_optimum.with_constant(X[:, X.getnnz(axis=0) > 0]), labels_of(adata)


@pytest.fixture(scope="module")
def cells():
    return problem("hao", 250)


@pytest.fixture(scope="module")
def small_sides(small):
    return sample.sides(small)


def sides_of(y: np.ndarray, name: str) -> np.ndarray:
    return np.where(y == name, 1.0, -1.0)


def path(X, sign: np.ndarray, Cs: list[float]):
    """Return the solutions of one problem."""
    return (solution for (solution,) in paths(X, [sign], Cs))


def objective(X, w: np.ndarray, sign: np.ndarray, C: float) -> float:
    return np.abs(w).sum() + C * np.logaddexp(0, -sign * (X @ w)).sum()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pbmc_facs", "hao", "baron"])
def test_no_objective_is_above_liblinears_at_its_finest(name):
    X, y = problem(name, 200)
    types, counts = np.unique(y, return_counts=True)
    sign = sides_of(y, types[counts.argmax()])
    exact = X.astype(np.float64)
    for C, solution in zip(CS, path(X, sign, CS), strict=True):
        liblinear = LogisticRegression(
            l1_ratio=1.0, C=C, solver="liblinear", tol=1e-8, max_iter=300, random_state=0
        ).fit(exact[:, :-1].tocsr(), sign)
        theirs = np.append(liblinear.coef_[0], liblinear.intercept_)
        assert objective(exact, solution.w, sign, C) <= objective(exact, theirs, sign, C) * (1 + 1e-6)


def test_the_gap_bounds_the_distance_from_any_dual_point_that_is_allowed(cells):
    """A dual objective at an allowed point is below every objective: that of the solution's own is as close as said."""
    X, y = cells
    sign, exact = sides_of(y, "NK cells"), X.astype(np.float64).toarray()
    for C, solution in zip(CS, path(X, sign, CS), strict=True):
        f = exact @ solution.w
        np.testing.assert_allclose(solution.f, f, rtol=0, atol=1e-9)
        wrong = 1 / (1 + np.exp(sign * f))
        dual = wrong / max(np.abs(exact.T @ (C * wrong * sign)).max(), 1)
        bound = -C * (dual * np.log(dual) + (1 - dual) * np.log1p(-dual)).sum()
        found = objective(exact, solution.w, sign, C)
        assert -1e-12 <= (found - bound) / found <= GAP
        assert (found - bound) / found == pytest.approx(solution.gap, rel=1e-3, abs=1e-12)


def test_cells_that_are_left_out_count_for_nothing_but_have_values(cells):
    X, y = cells
    kept = np.random.default_rng(1).random(len(y)) < 0.7
    sign = np.where(kept, sides_of(y, "Monocytes"), 0)
    rows = l1_optimum.with_constant(X[kept][:, :-1])
    exact = X.astype(np.float64)
    for C, one, other in zip(CS, path(X, sign, CS), path(rows, sign[kept], CS), strict=True):
        of_kept = [objective(exact[kept], solution.w, sign[kept], C) for solution in (one, other)]
        assert of_kept[0] == pytest.approx(of_kept[1], rel=2 * GAP)
        np.testing.assert_allclose(one.f, exact @ one.w, rtol=0, atol=1e-9)


def test_a_solution_does_not_depend_on_the_problems_beside_it(cells):
    X, y = cells
    signs = [sides_of(y, name) for name in ("B cells", "T cells CD8", "NK cells", "Monocytes")]
    together = list(zip(*paths(X, signs, CS), strict=True))
    for sign, beside in zip(signs, together, strict=True):
        for one, other in zip(path(X, sign, CS), beside, strict=True):
            np.testing.assert_array_equal(one.w, other.w)


@pytest.mark.parametrize("Cs", [[1000.0], [0.1, 1000.0], [1.0, 3.0, 1000.0], [1e-6, 1000.0]])
def test_the_optimum_does_not_depend_on_the_path_to_it(cells, Cs):
    X, y = cells
    sign, exact = sides_of(y, "T cells CD8"), X.astype(np.float64)
    *_, expected = path(X, sign, CS[:7])
    *others, found = path(X, sign, Cs)
    assert len(others) == len(Cs) - 1
    assert objective(exact, found.w, sign, 1000) == pytest.approx(objective(exact, expected.w, sign, 1000), rel=2 * GAP)


def test_a_quadratic_ends_where_no_coordinate_misses_its_condition():
    """Half as many rows as columns: its curvature is singular but for a little, as where C is large."""
    rng = np.random.default_rng(0)
    A = rng.normal(size=(20, 40))
    H, slope, w = A.T @ A + 1e-9 * np.eye(40), 30 * rng.normal(size=40), rng.normal(size=40)
    slope = H @ rng.normal(size=40) + rng.uniform(-1, 1, 40)
    u = quadratic(H, slope, w, 1e-9, Scratch())
    left = slope - H @ (u - w)
    assert 0 < np.count_nonzero(u) < 40
    np.testing.assert_allclose(left[u != 0], np.sign(u[u != 0]), rtol=0, atol=1e-8)
    assert np.abs(left[u == 0]).max() <= 1 + 1e-8


@pytest.mark.slow
def test_accuracies_of_the_folds_are_those_of_fits_on_each(cells):
    X, y = cells
    Cs, folds = [0.01, 1.0], folds_of(y, 5)
    found = l1_optimum.cross_validated(X, y, Cs, folds)
    for number, (train, test) in enumerate(folds):
        for row, most in enumerate(([0.01], Cs)):
            model = l1_optimum.fitted(l1_optimum.with_constant(X[train][:, :-1]), y[train], most)
            labels = model.classes_[decision_values(model, X[test][:, :-1]).argmax(axis=1)]
            assert found[row, number] == (labels == y[test]).mean()


def test_a_type_that_a_fold_lacks_is_not_predicted_there(cells):
    X, y = cells
    y = y.copy()
    y[0] = "A first"  # one cell, so that four folds train on it and one does not
    lacking = [(train, test) for train, test in folds_of(y, 5) if 0 in test]
    accuracy = l1_optimum.cross_validated(X, y, [1e-6], lacking)  # no class has any term: the first of those there wins
    assert accuracy[0, 0] == (y[lacking[0][1]] == np.unique(y)[1]).mean() > 0


def test_two_types_are_one_problem_and_one_is_none(small):
    train, scored = sample.sides(small[small.obs["cell_type"].isin(["B cells", "NK cells"])].copy())
    model = L1Logistic(FEW, recipe="optimum").fit(train, seed=0)
    values = decision_values(model.classifier_, model._features(scored))
    np.testing.assert_array_equal(values[:, 0], -values[:, 1])
    assert (model.predict(scored) == scored.obs["cell_type"]).mean() > 0.9
    alone = train[train.obs["cell_type"] == "B cells"].copy()
    assert set(L1Logistic(FEW, recipe="optimum").fit(alone, seed=0).predict(scored)) == {"B cells"}


@pytest.mark.slow
def test_a_model_of_the_recipe_keeps_every_promise(small_sides):
    spec = describe("l1_logistic", {"recipe": "optimum", "Cs": [0.01, 0.1, 1.0]})
    assert [name for name, reason in check(spec, *small_sides) if reason] == []


@pytest.mark.slow
def test_both_recipes_choose_alike_where_liblinear_reaches_the_optimum(small_sides):
    """Up to C = 1; the finest tolerance, so that the same problems have the same solutions."""
    train, scored = small_sides
    exact = L1LogisticConfig(Cs=FEW.Cs, tol=1e-8, max_iter=10_000)
    published, optimum = (L1Logistic(exact, recipe=name).fit(train, seed=0) for name in ("published", "optimum"))
    np.testing.assert_array_equal(published.cv_accuracy_, optimum.cv_accuracy_)
    assert optimum.C_ == published.C_
    np.testing.assert_allclose(optimum.predict_proba(scored), published.predict_proba(scored), rtol=0, atol=1e-3)
    assert optimum.diagnostics_ == {"chosen_C": optimum.C_, "duality_gap": pytest.approx(0, abs=GAP)}


@pytest.mark.slow
def test_threads_change_no_digit(small_sides):
    train, scored = small_sides
    serial = L1Logistic(FEW, recipe="optimum").fit(train, seed=0)
    with joblib.parallel_config(n_jobs=2):
        threads = L1Logistic(FEW, recipe="optimum").fit(train, seed=0)
    np.testing.assert_array_equal(threads.cv_accuracy_, serial.cv_accuracy_)
    np.testing.assert_array_equal(threads.predict_proba(scored), serial.predict_proba(scored))


@pytest.mark.slow
def test_search_and_fit_take_at_most_four_matrices_of_memory():
    row = alone(Measure("l1_logistic", "hao", 8000, overrides={"recipe": "optimum", "Cs": [0.01, 0.1]}))
    assert 0 < row["memory_mb"] < 4 * row["matrix_mb"]


def test_an_optimum_that_is_not_reached_is_an_error(cells, monkeypatch):
    X, y = cells
    monkeypatch.setattr(solver, "MOST_SETS", 1)
    with pytest.raises(BenchError, match=r"at C=.* of its optimum after 1 working sets.*recipe 'published'"):
        list(path(X, sides_of(y, "T cells CD8"), [1.0]))


def test_the_default_is_the_published_recipe():
    assert describe("l1_logistic").recipe == "published"
    assert create(describe("l1_logistic", {"recipe": "optimum"})).recipe == "optimum"
