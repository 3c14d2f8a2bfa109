"""What pretrained weights say of hidden expression beside what the genes alone say."""

import json
import math

import pytest
from pretraining import own_weights, small

from bench.core.families import with_part
from bench.training import learned
from bench.training.learned import explained
from bench.training.pretrain import pretrain


@pytest.fixture(autouse=True)
def cache(tmp_path):
    with own_weights(tmp_path) as folder:
        yield folder


@pytest.mark.parametrize("model", [family.name for family in with_part("recipes")])
def test_weights_explain_what_their_card_says_and_nothing_is_known_without_them(model, monkeypatch):
    recipe = small(model, steps=10)
    monkeypatch.setattr(learned, "named", lambda: {"small": recipe})
    assert math.isnan(explained("small"))
    card = json.loads(pretrain("small", recipe).with_suffix(".json").read_text())
    assert explained("small") == pytest.approx(card["curve"][-1]["explained"], rel=1e-5)
