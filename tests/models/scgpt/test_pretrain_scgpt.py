"""Pretraining of scGPT: what is hidden and what it costs; the loop's promises hold for it as for scBERT."""

import json
import signal
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.sparse as sp
import torch
import torch.nn.functional as F
from click.testing import CliRunner
from forked import Script
from pretraining import COMMAND, KILLED, card_of, files_of, own_weights, run_in_two, run_scripts, same
from safetensors.torch import load_file

from bench.cli import main
from bench.core.errors import BenchError
from bench.datasets import load
from bench.datasets.names import cell_ids, hidden_names
from bench.datasets.splits import split
from bench.models.contract import without_labels
from bench.models.layers.packed import Packed
from bench.models.scgpt import objective as objective_module
from bench.models.scgpt.annotator import ScGPT, ScGPTConfig
from bench.models.scgpt.binning import SPECIAL
from bench.models.scgpt.losses import masked_mse
from bench.models.scgpt.masking import SHARES, Hidden, hide
from bench.models.scgpt.network import HIDDEN_VALUE, Architecture, ScGPTNetwork
from bench.models.scgpt.objective import ScGPTObjective
from bench.models.scgpt.recipes import RECIPES, ScGPTPretraining
from bench.training import genes as genes_module
from bench.training import pretrain as module
from bench.training.blocks import Selection
from bench.training.choice import chosen
from bench.training.genes import of_any
from bench.training.pretrain import best_device, pretrain
from bench.training.recipes import named
from bench.weights import resolve
from bench.weights.card import metadata

pytestmark = pytest.mark.usefixtures("warm")

SETTINGS = {"selections": [["hao", ["random"]]], "steps": 10, "n_genes": 50, "max_seq_len": 17, "dim": 16, "depth": 1}
SETTINGS |= {"heads": 2, "hidden": 16, "dropout": 0.2, "batch_size": 16, "micro_batch": 4, "lr": 5e-3}
SMALL = chosen("scgpt", "quick", SETTINGS)[1]
CPU = torch.device("cpu")
KILLS = [("step", 4), ("save", 3), ("evaluate", 3), ("_finish", 1)]


@pytest.fixture(autouse=True, scope="module")
def weights(tmp_path_factory):
    """Folder of weights in a cache of this file's own."""
    with own_weights(tmp_path_factory.mktemp("cache")) as folder:
        yield folder


@pytest.fixture(scope="module")
def alone(weights) -> Path:
    """Weights of a run that nothing disturbed."""
    return pretrain("alone", SMALL, checkpoint_s=0)


def objective_of(recipe: ScGPTPretraining) -> ScGPTObjective:
    return ScGPTObjective(recipe, recipe.cells(), CPU)


def draw(row: int) -> np.random.Generator:
    return np.random.default_rng([7, row])


# What is hidden


@pytest.fixture(scope="module")
def bins() -> sp.csr_matrix:
    """400 cells of Hao, 50 genes, in an order in which stored genes ascend."""
    return SMALL.cells().sparse(np.arange(400))


@pytest.mark.slow
def test_a_share_of_every_cell_is_hidden(bins):
    hidden = hide(bins, 1000, draw)
    assert (hidden.bins != bins).nnz == 0  # the truth stays
    n_genes = np.diff(bins.indptr)
    n_hidden = np.array([part.sum() for part in np.split(hidden.where, bins.indptr[1:-1])])
    expected = np.stack([np.ceil(share * n_genes) for share in SHARES])
    which = (expected == n_hidden).argmax(0)
    assert (expected == n_hidden).any(0).all()
    assert np.bincount(which[n_genes > 8], minlength=3).min() > 90  # of 400 cells, each share as often


def test_a_long_cell_is_cut_to_a_random_subset(bins):
    hidden = hide(bins, 16, draw)
    np.testing.assert_array_equal(np.diff(hidden.bins.indptr), np.minimum(np.diff(bins.indptr), 16))
    kept = hidden.bins != 0
    assert (bins.multiply(kept) != hidden.bins).nnz == 0  # with the bins that they had
    long = np.flatnonzero(np.diff(bins.indptr) > 32)
    share = kept[long].sum(0).A1 / np.maximum(1, (bins[long] != 0).sum(0).A1)
    common = (bins[long] != 0).sum(0).A1 > 50
    assert share[common].min() > 0.2 and share[common].max() < 0.7  # not the first ones


def test_what_is_hidden_of_a_cell_does_not_depend_on_the_others(bins):
    whole = hide(bins, 16, draw)
    rows = np.array([300, 2, 77])
    some = hide(bins[rows], 16, lambda row: draw(rows[row]))
    for taken in (some, whole.rows(rows)):
        assert (taken.bins != whole.bins[rows]).nnz == 0
        for here, row in enumerate(rows):
            span, other = (slice(*h.bins.indptr[at : at + 2]) for h, at in ((taken, here), (whole, row)))
            np.testing.assert_array_equal(taken.where[span], whole.where[other])


def test_cells_of_no_gene_and_of_one():
    hidden = hide(sp.csr_matrix(np.array([[0, 0, 0], [0, 9, 0], [0, 0, 0]], np.uint8)), 2, draw)
    np.testing.assert_array_equal(hidden.where, [True])


# What it costs


def test_loss_is_the_mean_over_all_hidden_values_of_the_batch():
    recipe = replace(SMALL, dropout=0.0)
    objective, rows = objective_of(recipe), np.arange(200)
    network = objective.network()
    for number in (0, 5):
        losses = [
            sum(o.loss(network, part) for part in o.parts(network, rows, number))
            for o in (objective, objective_of(replace(recipe, micro_batch=16)))
        ]
        torch.testing.assert_close(*losses)  # however the batch is divided
        (part,) = objective_of(replace(recipe, micro_batch=16)).parts(network, rows, number)
        expected = _cell_by_cell(network, part.hidden, objective.cls_id)
        torch.testing.assert_close(losses[0], expected)


def _cell_by_cell(network: ScGPTNetwork, hidden: Hidden, cls_id: int) -> torch.Tensor:
    """Return the loss from cells that are predicted one at a time."""
    found = []
    for row in range(hidden.bins.shape[0]):
        one = hidden.rows(np.array([row]))
        packed = Packed.of(one.bins, cls_id)
        mask = torch.from_numpy(np.concatenate([[False], one.where]))
        shown = replace(packed, bins=packed.bins.masked_fill(mask, HIDDEN_VALUE))
        found.append((*network.masked_values(shown), packed.bins, mask))
    mlm, mvc, truth, mask = (torch.cat(parts) for parts in zip(*found, strict=True))
    return masked_mse(mlm, truth, mask) + masked_mse(mvc, truth, mask)


def test_hidden_values_do_not_reach_the_network():
    objective = objective_of(SMALL)
    network = objective.network().eval()
    (part, *_) = objective.parts(network, np.arange(200), 0)
    other = part.hidden.bins.copy()
    other.data[part.hidden.where] = 51 - other.data[part.hidden.where]
    (*before, truth, where), (*after, other_truth, _) = (
        objective._values(network, hidden) for hidden in (part.hidden, replace(part.hidden, bins=other))
    )
    torch.testing.assert_close(before, after)  # the prediction is the same, the truth is not
    assert (truth != other_truth).equal(where) and where.sum() == part.hidden.where.sum()


def test_every_step_draws_anew_and_can_be_drawn_again():
    objective, rows = objective_of(SMALL), np.arange(1000)
    first, again, later = (objective.parts(None, rows, number) for number in (3, 3, 4))
    assert [len(first), len({part.seed for part in first})] == [4, 4]
    for one, other in zip(first, again, strict=True):
        assert (one.hidden.bins != other.hidden.bins).nnz == 0
        assert np.array_equal(one.hidden.where, other.hidden.where) and one.seed == other.seed
    assert {part.seed for part in first}.isdisjoint(part.seed for part in later)
    lengths = [np.diff(part.hidden.bins.indptr) for part in first]
    assert all((np.diff(one) >= 0).all() for one in lengths)
    assert max(map(max, lengths)) == 16


def test_loss_leaves_the_random_numbers_of_others_alone():
    objective = objective_of(SMALL)
    network = objective.network().train()
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    part = objective.parts(network, np.arange(200), 0)[0]
    losses = [objective.loss(network, part).item() for _ in range(2)]
    assert torch.equal(torch.rand(3), expected)
    assert losses[0] == losses[1] != objective.loss(network.eval(), part).item()  # dropout, the same each time


def test_explained_is_what_is_better_than_the_usual_bins_of_the_genes(monkeypatch):
    objective, rows = objective_of(SMALL), np.arange(100, 140)
    monkeypatch.setattr(objective_module, "N_OTHERS", len(objective.cells))
    network = objective.network().eval()
    with torch.no_grad():
        found, again = (objective_of(replace(SMALL, micro_batch=n)).evaluate(network, rows) for n in (4, 16))
    assert found == pytest.approx(again, rel=1e-5)  # the same masks however many cells at a time
    others = np.delete(objective.cells.tokens(np.arange(len(objective.cells))), rows, axis=0)
    means = np.array([np.mean([25.5, *bins[bins > 0]]) for bins in others.T])
    means = torch.from_numpy(np.append(means, [0] * len(SPECIAL)))
    told = objective.evaluate(SimpleNamespace(masked_values=lambda packed: [means[packed.genes]] * 2), rows)
    assert told["mse"] == pytest.approx(told["mse_of_genes"], rel=1e-6)
    assert told["explained"] == pytest.approx(0, abs=1e-6)
    assert found["mse_of_genes"] == told["mse_of_genes"]
    assert found["explained"] == pytest.approx(1 - found["mse"] / found["mse_of_genes"])
    assert found["loss"] > found["mse"]
    assert "of the genes' usual bins, explained" in objective.told(told)
    assert objective.told({"mse": 2.0, "mse_of_guess": 3.0, "r2": 0.5}) == "squared error 2.0 bins per hidden value"


@pytest.mark.slow
def test_it_learns_on_real_cells_also_on_those_not_trained_on(weights):
    settings = {"selections": [["baron", ["held_out:human1"]]], "steps": 250, "n_genes": 60, "max_seq_len": 65}
    settings |= {"dim": 32, "depth": 1, "heads": 2, "hidden": 32, "dropout": 0.0, "lr": 1e-2}
    card = card_of(pretrain("learns", chosen("scgpt", "quick", settings)[1], checkpoint_s=1e9))
    print(card["losses"][::25], card["curve"], card["seconds"])
    assert np.mean(card["losses"][-20:]) < 0.3 * np.mean(card["losses"][:5])
    assert card["curve"][-1]["explained"] > card["curve"][0]["explained"] + 0.1
    assert card["curve"][-1]["loss"] < 0.9 * card["curve"][0]["loss"]


def test_an_even_start_passes_on_what_it_is_given_and_tells_values_from_the_middle_bin():
    objective = objective_of(replace(SMALL, depth=3, even_start=True))
    network = objective.network().eval()
    (part, *_) = objective.parts(network, np.arange(200), 0)
    packed = Packed.of(part.hidden.bins, objective.cls_id)
    inputs = network.gene_embedding(packed) + network.value_embedding(packed)
    torch.testing.assert_close(network.encode(packed), F.layer_norm(inputs, inputs.shape[1:]), rtol=0, atol=1e-4)
    from_genes, from_cell, truth, _ = objective._values(network, part.hidden)
    plain = objective_of(replace(SMALL, depth=3))._values(network, part.hidden)
    torch.testing.assert_close([from_genes, from_cell, truth], [plain[0] + 25.5, plain[1] + 25.5, plain[2]])
    assert [objective.metadata()["middle"], objective_of(SMALL).metadata()["middle"]] == ["25.5", "0.0"]


@pytest.mark.slow
def test_twelve_layers_fall_together_unless_they_start_evenly(weights):
    """On real cells, within sixty steps: all positions of all cells become one vector, and nothing is learned."""
    settings = {"selections": [["baron", ["held_out:human1"]]], "steps": 60, "n_genes": 60, "max_seq_len": 65}
    settings |= {"dim": 64, "depth": 12, "hidden": 64, "heads": 2, "dropout": 0.0, "lr": 3e-3}
    alike, explained = {}, {}
    for even in (True, False):
        recipe = chosen("scgpt", "quick", settings | {"even_start": even})[1]
        path, objective = pretrain("deep", recipe, checkpoint_s=1e9), objective_of(recipe)
        network = objective.network().eval()
        network.load_state_dict(load_file(path))
        (part, *_) = objective.parts(network, np.arange(200), 0)
        with torch.no_grad():
            encoded = network.encode(Packed.of(part.hidden.bins, objective.cls_id))
        alike[even] = float(encoded.mean(0).square().sum() / encoded.square().sum(1).mean())
        explained[even] = card_of(path)["curve"][-1]["explained"]
    print(alike, explained)
    assert alike[False] > 0.99 and alike[True] < 0.7
    assert explained[False] < 0 < explained[True]


# The loop


@pytest.mark.slow
def test_killed_at_any_moment_the_same_command_gives_the_same_weights(alone, weights):
    (done,) = run_scripts(Script(KILLED, "scgpt", json.dumps(SETTINGS), json.dumps(KILLS)))
    assert [json.loads(line)[0] for line in done.stdout.splitlines()] == [-signal.SIGKILL] * len(KILLS)
    assert files_of("killed", weights) == [".training"]
    assert same(pretrain("killed", SMALL), alone)
    assert files_of("killed", weights) == [".cells.npy", ".json", ".safetensors"]


@pytest.mark.slow
def test_ctrl_c_saves_the_last_step(alone, weights, monkeypatch):
    step, calls = module.step, []

    def interrupted(*args):
        calls.append(1)
        if len(calls) == 4:
            signal.raise_signal(signal.SIGINT)
        return step(*args)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(module, "step", interrupted)
        pretrain("stopped", SMALL, checkpoint_s=1e9)
    (checkpoint,) = weights.glob("stopped-*.training/*")
    assert json.loads(torch.load(checkpoint, weights_only=True)["told"])["step"] == 4
    assert same(pretrain("stopped", SMALL, checkpoint_s=1e9), alone)


@pytest.mark.slow
def test_two_processes_have_the_losses_of_one(alone):
    options = [word for name, value in SETTINGS.items() for word in ("-p", name, json.dumps(value))]
    done, other = run_in_two(COMMAND, "pretrain", "scgpt", *options)
    (path,) = [Path(line[9:]) for line in done.stdout.splitlines() if line.startswith("weights  ")]
    assert "on cells not trained on squared error" in done.stdout
    assert "weights  " not in other.stdout
    assert card_of(path)["processes"] == 2
    np.testing.assert_allclose(card_of(path)["losses"], card_of(alone)["losses"], rtol=1e-5)
    others = load_file(path)
    for name, tensor in load_file(alone).items():
        torch.testing.assert_close(tensor, others[name], rtol=0, atol=1e-3, msg=name)


# The files


def test_file_and_card_say_what_was_done(alone):
    card, cells, told = card_of(alone), SMALL.cells(), metadata(alone)
    assert card["recipe"] == json.loads(json.dumps(asdict(SMALL)))
    assert card["model"] == told["model"] == "scgpt"
    assert told["library"] == "bins"
    assert told["identity"] == card["identity"] == SMALL.identity(cells)
    assert json.loads(told["genes"]) == [*cells.genes, *SPECIAL]
    assert Architecture.of(load_file(alone), int(told["heads"])) == Architecture(53, 16, 1, 2, 16)
    assert set(card["seeds"]) >= {"bins", "dropout", "masks"}
    assert "gene2vec" not in card
    assert [point["step"] for point in card["curve"]] == list(range(1, 11))
    assert np.array_equal(np.load(alone.with_suffix(".cells.npy")), np.sort(cells.ids))
    names = hidden_names(load("hao").obs_names[split(load("hao"), "random").train])
    assert set(cells.ids) == set(cell_ids("hao", names))


def test_weights_annotate_cells_that_were_left_out_and_no_others(alone):
    hao = load("hao")
    parts = split(hao, "random")
    model = ScGPT(ScGPTConfig(epochs=1, lr=1e-3), weights=str(alone)).fit(hao[parts.train[:200]].copy(), seed=0)
    probabilities = model.predict_proba(without_labels(hao[parts.test[:40]]))
    np.testing.assert_allclose(probabilities.sum(1), 1)
    with pytest.raises(BenchError, match=r"1068 of the 1336 cells to score were pretrained on"):
        model.predict_proba(without_labels(hao))


def test_named_weights_are_trained_when_asked_for(weights, monkeypatch):
    monkeypatch.setitem(RECIPES, "scgpt_quick", SMALL)
    path = resolve("scgpt_quick")
    assert path.parent == weights
    assert resolve("scgpt_quick") == path


def test_true_size_is_not_begun_without_a_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(ScGPTPretraining, "cells", None)  # nothing large is fetched to say no
    with pytest.raises(
        BenchError, match=r"Weights scgpt_standin_gpu .* pretrain scgpt --recipe standin_gpu --device cu"
    ):
        resolve("scgpt_standin_gpu")
    assert best_device("scgpt_quick", RECIPES["scgpt_quick"]) == "cpu"


# Recipes


def test_quick_recipe_leaves_out_the_cells_that_chapters_score():
    assert RECIPES["scgpt_quick"].selections == named()["scbert_quick"].selections
    standin = {one.dataset: one.excluded for one in RECIPES["scgpt_standin"].selections}
    assert standin == {
        "pbmc_facs": ("random",),
        "hao": ("random",),
        "baron": ("held_out:human1",),
        "kang": ("held_out:stimulated",),
    }


@pytest.mark.slow
def test_genes_are_those_that_any_data_set_has(monkeypatch):
    selections = (Selection("hao"), Selection("baron"))
    found, sides = of_any(selections), [set(load(name).var_names) for name in ("hao", "baron")]
    assert found == sorted(sides[0] | sides[1])
    assert len(found) > max(map(len, sides))
    monkeypatch.setattr(genes_module, "MAX_GENES", len(found))
    with pytest.raises(BenchError, match=rf"have {len(found):,} genes together, .* fewer than .*; ask for the most va"):
        of_any(selections)
    monkeypatch.setattr(genes_module, "of_any", None)
    assert len(replace(SMALL, n_genes=0, selections=selections[:1]).cells().genes) == len(sides[0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--no-gene2vec"], "gene2vec is a setting of pretraining scbert, scgpt has none; leave it out."),
        (["-p", "stabiliser", "batch"], "Settings of scgpt: batch_size, clip, depth, dim, dropout,"),
        (["-p", "max_seq", "3"], "Unknown setting of pretraining scgpt 'max_seq'. Did you mean 'max_seq_len'?"),
        (["-p", "max_seq_len", "1"], "max_seq_len=1 should be at least 2: a cell's own token and one gene"),
        (["-p", "dropout", "1"], "dropout=1.0 should be at least 0 and below 1"),
        (["-p", "heads", "3"], "dim=64 should be a multiple of heads=3"),
        (["-p", "hidden", "0"], "hidden=0 should be a whole number of at least 1"),
        (
            ["--recipe", "quick_no_gene2vec"],
            "Unknown recipe of scgpt 'quick_no_gene2vec'. Valid: quick, standin, standin_gpu.",
        ),
        (["--data", "baron:held_out:human9"], "human9"),
    ],
)
def test_mistakes_are_sentences(arguments, message):
    result = CliRunner().invoke(main, ["pretrain", "scgpt", *arguments])
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())
