"""The multilayer perceptron: which cells choose the epoch, and that they do."""

import numpy as np
import pytest

from bench.models.baselines import mlp
from bench.models.baselines.mlp import MLP, MLPConfig, held_out_cells
from bench.models.contract import labels_of, without_labels


def test_held_out_cells_leave_one_of_each_type():
    y = np.array(["rare", "two", "two", *["many"] * 97])
    for seed in range(20):
        held_out = held_out_cells(y, seed)
        assert held_out.sum() == 10
        assert set(y[~held_out]) == set(y)
    assert not held_out_cells(np.array(["a", "b", "c"]), 0).any()


def test_the_epoch_of_the_smallest_loss_is_kept_and_training_stops_after_it(sides, monkeypatch):
    losses = iter([3.0, 2.0, 2.5, 2.5, 9.0])
    monkeypatch.setattr(mlp, "log_loss", lambda *_: next(losses))
    stopped = MLP(MLPConfig(tuned=False, patience=2)).fit(sides[0], seed=0)
    assert next(losses) == 9.0  # the fifth epoch was never trained
    monkeypatch.setattr(mlp, "log_loss", lambda *_: 0.0)
    only, cells = MLP(MLPConfig(tuned=False, epochs=1)).fit(sides[0], seed=0), without_labels(sides[1])
    losses = iter([1.0, 0.5])
    monkeypatch.setattr(mlp, "log_loss", lambda *_: next(losses))
    two = MLP(MLPConfig(tuned=False, epochs=2)).fit(sides[0], seed=0).predict_proba(cells)
    np.testing.assert_array_equal(stopped.predict_proba(cells), two)
    assert np.abs(only.predict_proba(cells) - two).max() > 1e-3


@pytest.mark.parametrize("epochs", [1, 20])
def test_without_held_out_cells_all_epochs_are_trained(epochs, sides):
    train, _ = sides
    few = train[np.unique(labels_of(train), return_index=True)[1]].copy()
    model = MLP(MLPConfig(tuned=False, epochs=epochs)).fit(few, seed=0)
    assert len(model._classifier.loss_curve_) == epochs
