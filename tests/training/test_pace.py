"""How long a pretraining will take: measured on one micro-batch of a step, or told by what was trained."""

import json
from types import SimpleNamespace

import pytest
from pretraining import own_weights

from bench.core.families import families, with_part
from bench.training import pace
from bench.training.choice import chosen
from bench.training.pace import Pace, pace_of
from bench.training.pretrain import pretrain

SETTINGS = {"selections": [["hao", ["random"]]], "steps": 3, "n_genes": 120, "dim": 32, "depth": 1, "heads": 2}
SETTINGS |= {"batch_size": 16, "micro_batch": 4}


@pytest.fixture(autouse=True)
def cache(tmp_path):
    with own_weights(tmp_path) as folder:
        yield folder


def recipe_of(model: str, monkeypatch):
    recipe = chosen(model, "quick", SETTINGS | ({"gene2vec": False} if model == "scbert" else {}))[1]
    monkeypatch.setattr(pace, "named", lambda: {"small": recipe})
    return recipe


@pytest.mark.parametrize("model", [family.name for family in with_part("recipes")])
def test_before_the_first_step_one_micro_batch_tells_and_leaves_nothing_behind(model, monkeypatch, cache):
    recipe_of(model, monkeypatch)
    seen, objective = [], families()[model].load("objective")
    loss = objective.loss
    monkeypatch.setattr(objective, "loss", lambda self, network, part: seen.append(part) or loss(self, network, part))
    monkeypatch.setattr(pace, "time", SimpleNamespace(perf_counter=iter([0, 9, 20, 22]).__next__))
    assert pace_of("small") == Pace(step_s=4 * 2, n_cells=16, n_left=3, depth=1)  # four of them make a step
    assert len(seen) == 2 and seen[0] is seen[1]
    assert not [*cache.rglob("*.safetensors")] and not [*cache.rglob("unfinished/*")]


def test_weights_that_are_there_tell_how_long_a_step_took(monkeypatch):
    path = pretrain("small", recipe_of("scgpt", monkeypatch))
    seconds = json.loads(path.with_suffix(".json").read_text())["seconds"]
    assert pace_of("small") == Pace(seconds / 3, 16, 0, 1)
