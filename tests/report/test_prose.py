"""What a chapter says in a sentence: chosen rows, their mean and their ends, and the name by which text shows it."""

import numpy as np
import pandas as pd
import pytest
from made_up import row, table_of

from bench.report import prose

RUNS = table_of(
    [
        row("scbert", "pretrained", 0, "accuracy", 0.7),
        row("scbert", "pretrained", 1, "accuracy", 0.8),
        row("scbert", "no_pretraining", 0, "accuracy", 0.6),
        row("scbert", "pretrained", 0, "macro_f1", 0.5),
        row("scbert", "pretrained", 0, "recall", 0.1, **{"class": "B"}),
        row("knn", "default", 0, "accuracy", 0.4, tier="quick"),
    ]
)


def test_mean_and_ends_are_of_the_runs_asked_for():
    assert prose.mean_of(RUNS, model="scbert", variant="pretrained") == pytest.approx(0.75)
    assert prose.mean_of(RUNS, "macro_f1", model="scbert") == 0.5
    assert prose.lowest_of(RUNS, model="scbert") == 0.7  # a variant never slips into a model's own runs
    assert prose.lowest_of(RUNS, model="scbert", variant=["pretrained", "no_pretraining"]) == 0.6
    assert prose.lowest_of(RUNS[RUNS["variant"] != "pretrained"], model="scbert") == 0.6
    assert prose.highest_of(RUNS, tier=["standin", "quick"]) == 0.8
    assert prose.values_of(RUNS, tier="quick").tolist() == [0.4]


def test_rows_have_the_value_or_one_of_the_list():
    assert set(prose.rows_of(RUNS, seed=[1, 2])["seed"]) == {1}
    assert len(prose.rows_of(RUNS, model="scbert", variant="pretrained")) == 4
    assert prose.rows_of(RUNS).equals(RUNS)


def test_numbers_of_no_run_or_of_a_cell_type_are_unknown():
    assert np.isnan(prose.mean_of(RUNS, model="nobody"))
    assert np.isnan(prose.mean_of(RUNS, "recall"))
    assert np.isnan(prose.highest_of(RUNS, tier="paper"))


@pytest.mark.parametrize("more", [{"settings": {"lr": 0.5}}, {"dataset_hash": "f" * 16}, {"variant": "default"}])
def test_a_mean_over_what_differs_is_unknown_and_the_ends_are_not(more):
    other = table_of([row("scbert", more.pop("variant", "pretrained"), 5, "accuracy", 0.1, **more)])
    together = pd.concat([RUNS, other], ignore_index=True)
    assert np.isnan(prose.mean_of(together, model="scbert", tier="standin"))
    assert prose.lowest_of(together, model="scbert", tier="standin") == 0.1


def test_a_number_that_is_not_known_is_shown_as_a_dash(monkeypatch):
    from bench.report.book.dashes import formatted

    given = {}
    monkeypatch.setattr("myst_nb.glue", lambda name, value, display: given.update({name: repr(value)}))
    prose.say("unknown", float("nan"))
    prose.say("known", 0.25)
    assert [formatted(given[name], ".1f") for name in given] == ["–", "0.2"]


@pytest.mark.parametrize(("value", "text"), [(np.float64(0.5), "0.5"), (np.int64(3), "3"), (3, "3"), ("no", "'no'")])
def test_say_hands_over_plain_numbers_and_text_and_shows_nothing(monkeypatch, value, text):
    given = {}
    monkeypatch.setattr("myst_nb.glue", lambda name, value, display: given.update({name: (repr(value), display)}))
    prose.say("a-number", value)
    assert given == {"a-number": (text, False)}
