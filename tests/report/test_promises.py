"""The audit page's tables: every check with its verdict on one model, and what is said of each refused class."""

import sys
from pathlib import Path

import pytest

from bench.datasets import sample
from bench.models.conformance import CHECKS
from bench.report import tables


@pytest.fixture(scope="module")
def cells():
    """Return drawn cells, a part to train on and a part to score, with the page's models importable."""
    folder = str(Path(__file__).parents[2] / "chapters")
    sys.path.insert(0, folder)
    yield sample.sides(sample.drawn())
    sys.path.remove(folder)


def test_a_verdict_for_every_promise(cells):
    table = tables.promises("nearest_centroid:NearestCentroid", cells, "mine")
    assert list(table.index) == list(CHECKS)
    assert set(table["mine"]) == {"kept"}
    broken = tables.promises("refused_models:Logits", cells, "mine")["mine"]
    assert broken["types"] == "kept" and "Apply softmax" in broken["probabilities"]


def test_a_refusal_for_each_class_of_the_module_alone(cells):
    import refused_models

    table = tables.refusals(refused_models, cells)
    assert refused_models.NearestCentroid.__name__ not in table.index  # imported there
    assert {"NoProbabilities", "Logits"} < set(table.index)
    assert (table["check"] != "").all()
    assert table.loc["Logits", "check"] == "probabilities"
