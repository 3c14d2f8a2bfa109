"""How long a pretraining will take: measured on one micro-batch of a step, or told by what was trained."""

import json
from types import SimpleNamespace

import pytest
from pretraining import own_weights, small

from bench.core.families import families, with_part
from bench.training import pace
from bench.training.pace import Pace, pace_of
from bench.training.pretrain import pretrain


@pytest.fixture(autouse=True)
def cache(tmp_path):
    with own_weights(tmp_path) as folder:
        yield folder


def recipe_of(model: str, monkeypatch):
    recipe = small(model, micro_batch=4)
    monkeypatch.setattr(pace, "named", lambda: {"small": recipe})
    return recipe


@pytest.mark.parametrize("model", [family.name for family in with_part("recipes")])
def test_before_the_first_step_one_micro_batch_tells_and_leaves_nothing_behind(model, monkeypatch, cache):
    recipe_of(model, monkeypatch)
    seen, objective = [], families()[model].load("objective")
    loss = objective.loss
    monkeypatch.setattr(objective, "loss", lambda self, network, part: seen.append(part) or loss(self, network, part))
    monkeypatch.setattr(pace, "time", SimpleNamespace(perf_counter=iter([0, 9, 20, 22]).__next__))
    found = pace_of("small")
    assert found == Pace(step_s=4 * 2, n_cells=16, n_left=3, depth=1)  # four of them make a step
    assert found.left_s == 3 * 8
    assert len(seen) == 2 and seen[0] is seen[1]
    assert not [*cache.rglob("*.safetensors")] and not [*cache.rglob("unfinished/*")]


def test_weights_that_are_there_tell_how_long_a_step_took(monkeypatch):
    path = pretrain("small", recipe_of("scgpt", monkeypatch))
    seconds = json.loads(path.with_suffix(".json").read_text())["seconds"]
    found = pace_of("small")
    assert found == Pace(seconds / 3, 16, 0, 1)
    assert (found.cell_s, found.left_s) == (seconds / 3 / 16, 0)
