"""Boosted trees: the genes that they see, chosen on training cells."""

import numpy as np
import scipy.sparse as sp
from sklearn.feature_selection import f_classif

from bench.models.baselines.boosted_trees import BoostedTrees, BoostedTreesConfig
from bench.models.baselines.columns import Columns, most_variable
from bench.models.contract import labels_of, without_labels
from bench.preprocess import features

QUICK = BoostedTreesConfig(tuned=False, n_genes=40, rounds=5)


def test_genes_are_those_that_differ_most_between_the_types_of_the_training_cells(sides):
    train, scored = sides
    model = BoostedTrees(QUICK).fit(train, seed=0)
    F = np.nan_to_num(f_classif(features(train).toarray(), labels_of(train))[0])
    assert set(model._ready.columns_) == set(np.argsort(-F)[:40])
    assert (model.predict(without_labels(scored)) == labels_of(scored)).mean() > 0.5


def test_a_gene_that_is_not_chosen_changes_nothing(sides):
    train, scored = sides
    model = BoostedTrees(QUICK).fit(train, seed=0)
    cells = without_labels(scored)
    changed = cells.copy()
    levels = features(cells).toarray()
    chosen = np.isin(np.arange(cells.n_vars), model._ready.columns_)
    changed.X = sp.csr_matrix(np.where(chosen, levels, 0).astype(np.float32))
    for told in (cells, changed):
        told.uns["bench"] = told.uns["bench"] | {"values": "log1p"}
    cells.X = sp.csr_matrix(levels)
    np.testing.assert_array_equal(model.predict_proba(changed), model.predict_proba(cells))


def test_columns_are_scaled_by_the_training_cells():
    X = sp.csr_matrix(np.random.default_rng(0).poisson(1.0, (50, 6)).astype(np.float32) * [[1, 2, 3, 0, 5, 6]])
    scaled = Columns(np.array([0, 3, 4])).scaled(X).transform(X)
    np.testing.assert_allclose(scaled.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(scaled.std(axis=0), [1, 0, 1], rtol=1e-6)
    assert most_variable(X, 2).columns_.tolist() == [4, 5]
    assert most_variable(X, 9).columns_.tolist() == [0, 1, 2, 3, 4, 5]
