"""Pretraining of CellPLM: what is hidden, a run that is stopped and goes on, and weights that fine-tune."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from pretraining import card_of, own_weights, same

from bench.core.errors import BenchError
from bench.datasets.names import cell_ids, hidden_names
from bench.models import create, describe
from bench.models.cellplm.objective import CellPLMObjective
from bench.models.cellplm.recipes import RECIPES
from bench.models.contract import without_labels
from bench.training import pretrain as module
from bench.training.choice import chosen
from bench.training.pretrain import pretrain, summary
from bench.weights import read, resolve

SETTINGS = {"selections": [["hao", ["random"]]], "steps": 12, "n_genes": 50, "dim": 16, "depth": 1, "heads": 2}
SETTINGS |= {"latent": 8, "dropout": 0.2, "batch_size": 64, "micro_batch": 32, "lr": 5e-3, "divergence_steps": 4}
SMALL = chosen("cellplm", "quick", SETTINGS)[1]


@pytest.fixture(autouse=True, scope="module")
def weights(tmp_path_factory):
    """Folder of weights in a cache of this file's own."""
    with own_weights(tmp_path_factory.mktemp("cache")) as folder:
        yield folder


@pytest.fixture(scope="module")
def made(weights):
    """Weights of a run that nothing disturbed."""
    return pretrain("alone", SMALL, checkpoint_s=0)


@pytest.fixture
def objective(weights):
    return CellPLMObjective(SMALL, SMALL.cells(), torch.device("cpu"))


def test_counts_are_hidden_in_three_quarters_of_the_cells_that_are_kept(objective):
    first, second = objective.parts(objective.network(), np.arange(500), 3)
    assert first.counts.shape == (22, 50)  # 0.7 of 32
    assert first.hide.any(1).sum() == 16  # 0.75 of these
    assert 0.15 < first.hide[first.hide.any(1)].mean() < 0.35
    assert first.share == second.share == 0.5
    assert first.weight == 0.75
    assert not np.array_equal(first.hide, second.hide)
    again = objective.parts(objective.network(), np.arange(500), 3)[0]
    np.testing.assert_array_equal(again.hide, first.hide)
    counts = objective.cells.tokens(np.arange(500)).astype(np.float32)
    assert {row.tobytes() for row in first.counts} <= {row.tobytes() for row in counts}
    assert counts.max() > 255  # more than a byte holds


def test_it_learns_and_says_what(made):
    card = card_of(made)
    assert card["losses"][-1] < card["losses"][0]
    assert card["curve"][-1]["error"] > 0
    assert card["seeds"]["masks"] == SMALL.seed
    assert "explained" in summary(made)[-1]
    told = read(made).metadata
    assert (told["model"], told["library"], told["heads"], told["latent"]) == ("cellplm", "counts", "2", "vae")
    assert len(json.loads(told["genes"])) == 50


def test_a_run_that_is_stopped_goes_on_as_if_nothing_had_been(made, monkeypatch):
    step, done = module.step, []

    def _stopped(*given):
        if len(done) == 5:
            raise KeyboardInterrupt
        done.append(step(*given))
        return done[-1]

    with monkeypatch.context() as patch:
        patch.setattr(module, "step", _stopped)
        with pytest.raises(KeyboardInterrupt):
            pretrain("stopped", SMALL, checkpoint_s=0)
    found = pretrain("stopped", SMALL, checkpoint_s=0)
    assert same(found, made)
    assert card_of(found)["losses"] == card_of(made)["losses"]


@pytest.mark.slow
def test_weights_are_audited_and_fine_tuned(made, sides, hao):
    train = sides[0]
    settings = {"weights": str(made), "epochs": 3, "variable_genes": 0, "least_genes": 0}
    model = create(describe("cellplm", settings)).fit(train, seed=0)
    n = len(model.network_.state_dict())  # a fresh head and a fresh latent layer in the place of two
    assert model.audit_.startswith(f"{n} of {len(read(made).tensors)} tensors")
    assert "not in the module: decoder." in model.audit_
    with pytest.raises(BenchError, match="cells to score were pretrained on"):
        model.predict_proba(without_labels(hao[:300].copy()))
    unseen = hao[~np.isin(cell_ids("hao", hidden_names(hao.obs_names)), np.load(made.with_suffix(".cells.npy")))].copy()
    assert model.predict_proba(without_labels(unseen)).shape == (unseen.n_obs, 8)


def test_recipes_have_the_cells_and_cell_passes_of_the_other_models():
    from bench.models.scgpt.recipes import RECIPES as OTHERS

    for tier in ("quick", "standin"):
        ours, other = RECIPES[f"cellplm_{tier}"], OTHERS[f"scgpt_{tier}"]
        assert (ours.selections, ours.n_genes) == (other.selections, other.n_genes)
        assert ours.steps * ours.batch_size == other.steps * other.batch_size


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"dim": 18}, "dim=18 should be a multiple"),
        ({"dropout": 1.0}, "dropout=1.0 should be at least 0 and below 1"),
        ({"micro_batch": 1, "batch_size": 1}, "no count would be hidden"),
        ({"divergence_steps": 0}, "divergence_steps=0 should be"),
    ],
)
def test_wrong_settings_are_sentences(wrong, said):
    with pytest.raises(BenchError, match=said):
        replace(SMALL, **wrong)


def test_names_of_recipes_are_known_as_weights():
    with pytest.raises(BenchError, match="cellplm_quick"):
        resolve("cellplm_quik")
