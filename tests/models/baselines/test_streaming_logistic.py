"""Streaming logistic regression: blocks alone are ever looked at, wherever they come from."""

from dataclasses import replace

import anndata
import numpy as np
import pytest
import scipy.sparse as sp

from bench.models.baselines.streaming_logistic import StreamingLogistic, StreamingLogisticConfig, spread, streamed
from bench.models.contract import labels_of, without_labels
from bench.preprocess import features, log1p_cp10k

UNTUNED = StreamingLogisticConfig(tuned=False, block=50, alphas=(1e-5, 1e-4))


@pytest.mark.slow
@pytest.mark.parametrize("tuned", [False, True])
def test_features_are_made_of_a_block_at_a_time(tuned, sides, monkeypatch):
    train, scored = sides
    made, original = [], StreamingLogistic._features
    monkeypatch.setattr(
        StreamingLogistic, "_features", lambda model, cells: made.append(cells.n_obs) or original(model, cells)
    )
    model = StreamingLogistic(replace(UNTUNED, tuned=tuned)).fit(train, seed=0)
    model.predict_proba(without_labels(scored))
    assert tuned == (train.n_obs in made)  # the cells that the search draws: here all, never more than 3,000
    assert max(made[tuned:]) == UNTUNED.block
    n_blocks = -(-train.n_obs // UNTUNED.block)
    assert len(made) == tuned + n_blocks * (1 + UNTUNED.passes) + -(-scored.n_obs // UNTUNED.block)


def test_size_of_a_block_hardly_matters(sides):
    train, scored = sides
    cells = without_labels(scored)
    small, large = (StreamingLogistic(replace(UNTUNED, block=n)).fit(train, seed=0) for n in (40, 1000))
    assert (small.predict(cells) == large.predict(cells)).mean() > 0.9
    assert (large.predict(cells) == labels_of(scored)).mean() > 0.7


def test_blocks_may_come_from_a_file_that_is_never_read_as_a_whole(sides, tmp_path):
    train, scored = sides
    train.write_h5ad(tmp_path / "train.h5ad")
    y, order = labels_of(train), np.random.default_rng(0).permutation(train.n_obs)
    file = anndata.read_h5ad(tmp_path / "train.h5ad", backed="r")

    def blocks(number):
        for start in range(0, len(y), 40):
            rows = np.sort(order[start : start + 40])
            yield log1p_cp10k(sp.csr_matrix(file.X[rows])), y[rows]

    model = streamed(blocks, np.unique(y), alpha=1e-5, passes=5, seed=0)
    file.file.close()
    assert (model.predict(features(scored)) == labels_of(scored)).mean() > 0.7


def test_genes_are_divided_by_their_standard_deviation_the_least_variable_by_less(small):
    X = features(small)
    blocks = ((X[start : start + 50], None) for start in range(0, small.n_obs, 50))
    deviation = X.toarray().astype(np.float64).std(axis=0)
    expected = np.maximum(deviation, np.quantile(deviation, 0.9))
    found = spread(blocks)
    np.testing.assert_allclose(found / found[0], expected / expected[0], rtol=1e-5)
    np.testing.assert_allclose(((X.toarray() / found) ** 2).sum(axis=1).mean(), 1, rtol=1e-5)


def test_genes_that_are_the_same_in_all_cells_are_no_division_by_zero():
    assert (spread(iter([(sp.csr_matrix((3, 2), dtype=np.float32), None)])) == 1).all()
