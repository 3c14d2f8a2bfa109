"""The budget of the baselines: what is drawn, how often is fitted, who wins, and what is done where nothing can be."""

import numpy as np
import pytest
from sklearn.dummy import DummyClassifier

from bench.core.errors import BenchError
from bench.models.baselines import tuning
from bench.models.baselines.tuning import FOLDS, MOST_CELLS, MOST_SETTINGS, chosen, drawn, folds

TYPES = np.repeat(["a", "b", "c"], [7000, 2999, 1])


def cells(y: np.ndarray) -> np.ndarray:
    """Return one feature: the place of the cell."""
    return np.arange(len(y))[:, None]


class Recorder:
    """Fits a constant, as good as the setting says, and keeps what it was given."""

    def __init__(self):
        self.fits, self.prepared = [], []

    def fit(self, X, y, setting):
        self.fits.append((setting, X.ravel().tolist()))
        return DummyClassifier(strategy="constant", constant=setting["answer"]).fit(X, y)

    def prepare(self, X, y):
        self.prepared.append(X.ravel().tolist())
        return tuning.as_given(X, y)


def test_three_thousand_cells_are_drawn_in_proportion_and_every_type_stays():
    found = drawn(TYPES, seed=0)
    assert len(found) == MOST_CELLS == 3000 and (np.diff(found) > 0).all()
    counts = dict(zip(*np.unique(TYPES[found], return_counts=True), strict=True))
    assert counts["c"] == 1 and abs(counts["a"] - 2100) < 3 and abs(counts["b"] - 900) < 3
    np.testing.assert_array_equal(drawn(TYPES, seed=0), found)
    assert (drawn(TYPES, seed=1) != found).mean() > 0.5
    assert drawn(TYPES[:50], seed=0).tolist() == list(range(50))  # all, where they are few
    many = np.arange(3500).astype(str)
    assert len(drawn(many, seed=0)) == MOST_CELLS  # more types than cells


def test_the_budget_is_eight_settings_on_three_folds_of_the_drawn_cells():
    recorder, settings = Recorder(), [{"answer": "b"}] + [{"answer": "a"}] * (MOST_SETTINGS - 1)
    choice = chosen(settings, recorder.fit, cells(TYPES), TYPES, seed=0, prepare=recorder.prepare)
    assert choice.setting is settings[1]  # "a" is right most often; the first of equals
    assert (choice.n_cells, choice.n_fits) == (3000, 24) == (3000, len(recorder.fits))
    assert len({place for _, places in recorder.fits for place in places}) <= 3000
    assert len(recorder.prepared) == FOLDS
    assert sorted(recorder.prepared) == sorted({tuple(places): places for _, places in recorder.fits}.values())
    assert choice.diagnostics().keys() == {"tuning_cells", "tuning_fits", "tuning_s"}  # a text is no figure
    assert choice.diagnostics()["tuning_s"] > 0


def test_a_cell_is_held_out_once_and_a_rare_type_misses_from_some_folds():
    y = np.array(["a"] * 6 + ["b"] * 4 + ["c"])
    parts = folds(y, seed=0)
    assert sorted(np.concatenate([test for _, test in parts])) == list(range(11))
    assert all(not set(train) & set(test) for train, test in parts)
    assert sum("c" not in y[train] for train, _ in parts) == 1


@pytest.mark.parametrize(
    "y",
    [
        np.array(["a"] * 9),  # nothing to decide
        np.array(["a", "b", "c", "c"]),  # no type has a cell for each fold
        np.array(["a"]),
    ],
)
def test_the_default_is_taken_where_nothing_can_be_searched(y):
    recorder = Recorder()
    choice = chosen([{"answer": "x", "C": 2}, {"answer": "a", "C": 3}], recorder.fit, cells(y), y, seed=0)
    assert not recorder.fits
    assert choice.diagnostics() == {"chosen_C": 2.0, "tuning_cells": 0.0, "tuning_fits": 0.0, "tuning_s": 0.0}


def test_untuned_or_a_single_setting_is_not_searched():
    recorder, y = Recorder(), np.array(["a", "b"] * 9)
    settings = [{"answer": "a"}, {"answer": "b"}]
    assert chosen(settings, recorder.fit, cells(y), y, seed=0, tuned=False).setting is settings[0]
    assert chosen(settings[1:], recorder.fit, cells(y), y, seed=0).setting is settings[1]
    assert not recorder.fits


def test_a_fold_whose_training_part_has_one_type_asks_for_no_fit():
    y = np.array(["a"] * 5 + ["b"])
    recorder = Recorder()
    choice = chosen([{"answer": "b"}, {"answer": "a"}], recorder.fit, cells(y), y, seed=0, prepare=recorder.prepare)
    assert choice.setting == {"answer": "a"}
    assert len(recorder.fits) == 4 and len(recorder.prepared) == 2


@pytest.mark.parametrize("settings", [[], [{"answer": "a"}] * 9])
def test_settings_beyond_the_budget_are_refused(settings):
    y = np.array(["a", "b"] * 9)
    with pytest.raises(BenchError, match=f"{len(settings)} settings .* budget of a baseline is 8: give it 1 to 8,"):
        chosen(settings, Recorder().fit, cells(y), y, seed=0, tuned=False)
