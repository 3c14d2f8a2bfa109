"""Embeddings without a network: each against scikit-learn's, fitted on training cells alone, under any classifier."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.decomposition import PCA
from sklearn.random_projection import GaussianRandomProjection

from bench.core.errors import BenchError
from bench.datasets.splits import split
from bench.models import create, describe
from bench.models.contract import without_labels
from bench.models.projection import PROJECTIONS
from bench.preprocess import features

CHEAP = {"classifier": "nearest_centroid"}


@pytest.fixture(scope="module")
def sides(hao):
    rows = split(hao, "random")
    return hao[rows.train].copy(), hao[rows.test].copy()


def fitted(variant, train, seed=0, **settings):
    return create(describe(f"projection@{variant}", CHEAP | settings)).fit(train, seed=seed)


def embedded(variant, sides, **settings):
    train, scored = sides
    return fitted(variant, train, **settings).embed(without_labels(scored))


@pytest.mark.parametrize(("variant", "width"), [("pca", 50), ("variable_genes", 500), ("random_directions", 200)])
def test_each_has_its_width_by_default_and_another_one_by_override(variant, width, sides):
    assert describe(f"projection@{variant}").hyperparameters["n_dimensions"] == width
    assert embedded(variant, sides, n_dimensions=7).shape == (sides[1].n_obs, 7)


def test_components_are_those_of_the_training_cells(sides):
    few = sides[0][:150].copy(), sides[1]
    train, scored = (features(cells).toarray() for cells in few)
    expected = PCA(5, svd_solver="full").fit(train).transform(scored)
    assert_allclose(np.abs(embedded("pca", few, n_dimensions=5)), np.abs(expected), atol=1e-2)  # signs are free


def test_variable_genes_are_log_values_of_genes_chosen_on_training_cells(sides):
    train, scored = (features(cells).toarray() for cells in sides)
    genes = np.sort(np.argsort(-train.var(axis=0), kind="stable")[:20])
    assert_allclose(embedded("variable_genes", sides, n_dimensions=20), scored[:, genes], atol=1e-5)


def test_random_directions_are_those_of_the_seed_and_see_no_cell(sides):
    train, scored = sides
    expected = GaussianRandomProjection(9, random_state=3).fit(features(train)).transform(features(scored))
    found = fitted("random_directions", train, seed=3, n_dimensions=9)
    assert_allclose(found.embed(scored), expected, atol=1e-4)
    assert_allclose(
        fitted("random_directions", train[:40].copy(), 3, n_dimensions=9).embed(scored), expected, atol=1e-4
    )
    assert [describe(f"projection@{name}").is_stochastic for name in PROJECTIONS] == [False, False, True]
    assert all(describe(f"projection@{name}").is_embedding for name in PROJECTIONS)


@pytest.mark.parametrize("variant", PROJECTIONS)
def test_labels_have_no_part_in_the_embedding(variant, sides):
    train, scored = sides
    other = train.copy()
    other.obs["cell_type"] = np.roll(train.obs["cell_type"].to_numpy(), 7)
    same = (fitted(variant, cells, n_dimensions=5).embed(scored) for cells in (train, other))
    assert_allclose(*same)


@pytest.mark.slow
@pytest.mark.parametrize("variant", PROJECTIONS)
def test_a_linear_classifier_on_each_is_far_above_the_majority(variant, sides):
    train, scored = sides
    model = fitted(variant, train, classifier="l1_logistic", Cs=[0.1])
    assert (model.predict(without_labels(scored)) == scored.obs["cell_type"].to_numpy()).mean() > 0.42


def test_fewer_genes_or_cells_than_dimensions_are_taken_as_they_are(sides):
    train, scored = sides[0][:12, :30].copy(), sides[1][:, :30].copy()
    assert [fitted(name, train).embed(scored).shape[1] for name in ("pca", "variable_genes")] == [11, 30]


def test_an_unknown_classifier_is_said():
    with pytest.raises(BenchError, match="Unknown classifier 'svm'"):
        describe("projection@pca", {"classifier": "svm"})
