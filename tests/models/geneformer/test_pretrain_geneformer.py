"""Pretraining of Geneformer: ranks of the cells' own medians, what is hidden, and that a stopped run goes on."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from pretraining import card_of, own_weights, same

from bench.core.errors import BenchError
from bench.datasets import load
from bench.datasets.splits import split
from bench.models.contract import without_labels
from bench.models.geneformer.annotator import Geneformer, GeneformerConfig, vocabulary_of
from bench.models.geneformer.masking import MASK_ID, Draws, eligible, masked
from bench.models.geneformer.objective import GeneformerObjective
from bench.models.geneformer.own_medians import medians_of
from bench.models.geneformer.recipes import RECIPES, GeneformerPretraining
from bench.training import pretrain as module
from bench.training.choice import chosen
from bench.training.pretrain import pretrain
from bench.weights import read

SETTINGS = {"selections": [["hao", ["random"]]], "steps": 8, "n_genes": 50, "max_seq_len": 20, "dim": 16, "depth": 2}
SETTINGS |= {"heads": 2, "hidden": 16, "dropout": 0.2, "batch_size": 16, "micro_batch": 4, "lr": 5e-3}
SMALL = chosen("geneformer", "quick", SETTINGS)[1]
CPU = torch.device("cpu")


@pytest.fixture(autouse=True, scope="module")
def weights(tmp_path_factory):
    """Folder of weights in a cache of this file's own."""
    with own_weights(tmp_path_factory.mktemp("cache")) as folder:
        yield folder


@pytest.fixture(scope="module")
def alone(weights) -> Path:
    """Weights of a run that nothing disturbed."""
    return pretrain("alone", SMALL, checkpoint_s=0)


def objective_of(recipe: GeneformerPretraining) -> GeneformerObjective:
    return GeneformerObjective(recipe, recipe.cells(), CPU)


@pytest.mark.slow
def test_cells_stand_in_the_order_of_their_ranks():
    cells, hao = SMALL.cells(), load("hao")
    train = hao[np.setdiff1d(np.arange(hao.n_obs), split(hao, "random").test)]
    X = train.X.toarray().astype(float)
    scaled = (X / X.sum(axis=1, keepdims=True) * 1e4)[:, train.var_names.get_indexer(cells.genes)]
    medians = np.nanmedian(np.where(scaled > 0, scaled, np.nan), axis=0)
    np.testing.assert_allclose(medians_of(SMALL.selections, tuple(cells.genes)), medians)
    stored = cells.sparse(np.arange(30))
    for row in range(30):
        values = scaled[row] / medians
        order = np.argsort(-values, kind="stable")[: (values > 0).sum()]
        np.testing.assert_array_equal(_genes(stored, row), order)


def _genes(stored, row: int) -> np.ndarray:
    return stored.indices[stored.indptr[row] : stored.indptr[row + 1]]


def test_fifteen_in_a_hundred_are_predicted_and_most_of_them_hidden():
    genes = np.random.default_rng(0).integers(2, 50, 200_000)
    genes[:1000] = 0, *[1] * 999
    shown, where = masked(genes, Draws.of(len(genes), 50, np.random.default_rng(1)))
    assert where.mean() == pytest.approx(0.15, abs=0.003) and not where[:1000].any()
    assert (~eligible(genes)).sum() == 1000
    assert (shown[where] == MASK_ID).mean() == pytest.approx(0.8 + 0.1 / 50, abs=0.005)
    assert (shown[where] == genes[where]).mean() == pytest.approx(0.1 + 0.1 / 50, abs=0.005)
    assert np.array_equal(shown[~where], genes[~where])


@pytest.mark.parametrize("version", ["V1", "V2"])
def test_the_loss_is_the_same_however_a_batch_is_divided(version):
    recipe = replace(SMALL, dropout=0.0, version=version)
    network, rows = objective_of(recipe).network(), np.arange(200)
    losses = []
    for micro_batch in (4, 16):
        objective = objective_of(replace(recipe, micro_batch=micro_batch))
        losses.append(sum(objective.loss(network, part) for part in objective.parts(network, rows, 3)))
    torch.testing.assert_close(*losses)
    first = objective_of(recipe).parts(network, rows, 3)[0].hidden
    assert first.lengths.max() <= 20 and (np.diff(first.lengths) >= 0).all()
    assert first.where.sum() and (version == "V1" or first.true[0] == 2)


@pytest.mark.slow
def test_a_stopped_run_goes_on_to_the_same_bytes(alone, monkeypatch):
    original, calls = module.step, []

    def stops(*arguments):
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return original(*arguments)

    monkeypatch.setattr(module, "step", stops)
    with pytest.raises(KeyboardInterrupt):
        pretrain("stopped", SMALL, checkpoint_s=0)
    monkeypatch.setattr(module, "step", original)
    assert same(pretrain("stopped", SMALL, checkpoint_s=0), alone)


def test_the_weights_say_all_that_a_model_needs_and_are_fine_tuned(alone):
    card = card_of(alone)
    assert (card["model"], card["n_train"] + card["n_validation"], len(card["losses"])) == ("geneformer", 1068, 8)
    assert card["curve"][-1]["loss_of_guess"] > 0
    vocabulary = vocabulary_of(read(alone))
    assert vocabulary.version == "V1" and np.isfinite(vocabulary.medians[2:]).all()
    hao = load("hao")
    parts = split(hao, "random")
    few = hao[np.setdiff1d(np.arange(hao.n_obs), parts.test)[:64]].copy()
    model = Geneformer(GeneformerConfig(epochs=1, warmup_steps=1, lr=1e-3), weights=str(alone)).fit(few, seed=0)
    scored = without_labels(hao[parts.test[:20]].copy())
    assert model.predict_proba(scored).shape == (20, len(model.classes_))
    assert model.audit_.startswith(f"{len(read(alone).tensors)} of {len(read(alone).tensors)} tensors")
    with pytest.raises(BenchError, match="were pretrained on"):
        model.predict_proba(without_labels(few))


def test_recipes_have_the_cells_and_passes_of_the_other_models():
    from bench.models.scgpt.recipes import RECIPES as OTHERS

    for name, recipe in RECIPES.items():
        other = OTHERS[name.replace("geneformer", "scgpt")]
        assert recipe.selections == other.selections and recipe.n_genes == other.n_genes
        assert recipe.steps * recipe.batch_size == other.steps * other.batch_size
    standin = RECIPES["geneformer_standin"]
    sizes = [getattr(standin, name) for name in ("dim", "depth", "heads", "hidden", "max_seq_len", "dropout")]
    assert sizes == [256, 6, 4, 512, 2048, 0.02]  # of V1-10M


@pytest.mark.parametrize("wrong", [{"version": "V3"}, {"max_seq_len": 2}, {"dropout": 1.0}, {"heads": 3}])
def test_a_wrong_setting_is_said(wrong):
    with pytest.raises(BenchError, match=next(iter(wrong))):
        replace(SMALL, **wrong)
