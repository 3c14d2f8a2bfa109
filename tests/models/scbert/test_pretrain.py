"""Pretraining: the same after every kill, in two processes as in one, on no cell that is scored later, and told."""

import json
import os
import resource
import signal
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from forked import Script
from pretraining import BENCH, KILLED, TORCHRUN, card_of, files_of, own_weights, run_in_two, run_scripts, same
from safetensors.torch import load_file

from bench.cli import main
from bench.core.errors import BenchError
from bench.datasets import load
from bench.datasets.names import cell_ids, hidden_names, overlap
from bench.datasets.splits import split
from bench.models.contract import without_labels
from bench.models.scbert import objective as scbert_objective
from bench.models.scbert.annotator import ScBERT, ScBERTConfig
from bench.models.scbert.objective import ScBERTObjective
from bench.models.scbert.recipes import QUICK, RECIPES
from bench.training import pretrain as module
from bench.training import stop
from bench.training.blocks import Selection
from bench.training.choice import chosen, selection
from bench.training.pretrain import pretrain, pretrained
from bench.training.store import Cells
from bench.weights import identity, resolve

pytestmark = pytest.mark.usefixtures("warm")

SETTINGS = {"selections": [["hao", ["random"]]], "steps": 12, "n_genes": 50, "dim": 16, "depth": 1, "heads": 2}
SETTINGS |= {"dim_head": 8, "n_features": 16, "batch_size": 16, "micro_batch": 8, "lr": 5e-3}
SMALL = chosen("scbert", "quick", SETTINGS)[1]
OPTIONS = [word for name, value in SETTINGS.items() for word in ("-p", name, json.dumps(value))]


@pytest.fixture(autouse=True, scope="module")
def weights(tmp_path_factory):
    """Folder of weights in a cache of this file's own."""
    with own_weights(tmp_path_factory.mktemp("cache")) as folder:
        yield folder


@pytest.fixture(scope="module")
def alone(weights) -> Path:
    """Weights of a run that nothing disturbed."""
    return pretrain("alone", SMALL, checkpoint_s=0)


KILLS = [("save", 1), ("step", 1), ("step", 4), ("save", 3), ("replace", 2), ("evaluate", 3), ("_finish", 1)]
KILLS += [("replace", 2), ("replace", 4), ("replace", 5), ("replace", 6), ("rmtree", 1), ("rmtree", 2)]


@pytest.mark.slow
def test_killed_at_any_moment_the_same_command_gives_the_same_weights(alone, weights):
    (done,) = run_scripts(Script(KILLED, "scbert", json.dumps(SETTINGS), json.dumps(KILLS)))
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert [code for code, _ in told] == [-signal.SIGKILL] * (len(KILLS) - 1) + [0]
    for (name, n), (_, files) in zip(KILLS, told, strict=True):
        assert (".safetensors" in files) == (name == "rmtree"), (name, n)  # none before it is whole
        assert files == sorted(files) and set(files) <= {".cells.npy", ".json", ".safetensors", ".training"}
    (path,) = weights.glob("killed-*.safetensors")
    assert same(path, alone)
    assert files_of("killed", weights) == [".cells.npy", ".json", ".safetensors"]


@pytest.fixture
def terminated():
    """Let SIGTERM, which schedulers send, end a test and not the process."""

    def end(*_):
        raise SystemExit(143)

    before = signal.signal(signal.SIGTERM, end)
    yield end
    signal.signal(signal.SIGTERM, before)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "outcome"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])
def test_a_signal_saves_the_last_step(number, outcome, alone, weights, monkeypatch, terminated):
    step, calls, before = module.step, [], signal.getsignal(signal.SIGINT)

    def interrupted(*args):
        calls.append(1)
        if len(calls) == 5:
            signal.raise_signal(number)
            signal.raise_signal(number)  # torchrun passes it on to who has had it already
        return step(*args)

    monkeypatch.setattr(module, "step", interrupted)
    with pytest.raises(outcome):
        pretrain(number.name, SMALL, checkpoint_s=1e9)
    (checkpoint,) = weights.glob(f"{number.name}-*.training/*")
    assert json.loads(torch.load(checkpoint, weights_only=True)["told"])["step"] == 5
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == [before, terminated]
    monkeypatch.setattr(module, "step", step)
    monkeypatch.setattr(scbert_objective, "gene2vec", None)  # the vectors are in the checkpoint
    assert same(pretrain(number.name, SMALL, checkpoint_s=1e9), alone)


def test_an_impatient_ctrl_c_acts_at_once(weights, monkeypatch):
    monkeypatch.setattr(stop, "IMPATIENT_S", -1.0)
    monkeypatch.setattr(module, "step", lambda *_: [signal.raise_signal(signal.SIGINT) for _ in range(2)])
    with pytest.raises(KeyboardInterrupt):
        pretrain("impatient", SMALL, checkpoint_s=1e9)
    (checkpoint,) = weights.glob("impatient-*.training/*")
    assert json.loads(torch.load(checkpoint, weights_only=True)["told"])["step"] == 0


def test_ctrl_c_of_the_command_is_a_sentence(monkeypatch):
    step = module.step
    monkeypatch.setattr(module, "step", lambda *args: signal.raise_signal(signal.SIGINT) or step(*args))
    result = CliRunner().invoke(main, ["pretrain", "scbert", *OPTIONS, "-p", "seed", "77"])
    assert result.exit_code == 130
    assert "bench: interrupted; what was trained is saved, the same command goes on from there." in result.output


TWO_CALLERS = """
import json, os, sys
from bench.training import pretrain as module
from bench.training.choice import chosen

step, done = module.step, []
module.step = lambda *args: done.append(1) or step(*args)
path = module.pretrain("both", chosen("scbert", "quick", json.loads(sys.argv[1]))[1], checkpoint_s=0)
print(json.dumps([len(done), path.name]))
"""


@pytest.mark.slow
def test_of_two_callers_at_once_one_waits(alone, weights):
    said = run_scripts(*(Script(TWO_CALLERS, json.dumps(SETTINGS)) for _ in range(2)))
    told = [json.loads(one.stdout) for one in said]
    assert sum("Another process is training both-" in one.stderr for one in said) == 1
    assert sorted(n for n, _ in told) == [0, SMALL.steps]
    assert told[0][1] == told[1][1]
    assert same(weights / told[0][1], alone)


PROCESS = """
import json, os, sys
from bench.core import atomic
from bench.models.layers import performer
from bench.training import pretrain as module
from bench.training.choice import chosen

performer.REDRAW_INTERVAL = 4
write = atomic.write
def told(path, *args, **more):
    with open(sys.argv[3], "a") as file:
        file.write(os.environ.get("RANK", "alone") + chr(10))
    return write(path, *args, **more)
atomic.write = told
module.pretrain(sys.argv[2], chosen("scbert", "quick", json.loads(sys.argv[1]))[1], checkpoint_s=0)
"""


@pytest.mark.slow
def test_two_processes_have_the_losses_of_one(alone, weights, tmp_path):
    settings, log = json.dumps(SETTINGS | {"micro_batch": 4}), tmp_path / "writers"  # four parts: sums in other orders
    run_scripts(Script(PROCESS, settings, "one", log))
    run_in_two(PROCESS, settings, "two", log)
    (one,), (two,) = weights.glob("one-*.safetensors"), weights.glob("two-*.safetensors")
    writers = log.read_text().split()
    assert set(writers) == {"alone", "0"}  # of two processes the first one writes
    assert writers.count("alone") == writers.count("0")
    losses = [np.array(card_of(path)["losses"]) for path in (one, two)]
    weight = "performer.net.layers.0.0.fn.to_q.weight"
    apart = float((load_file(one)[weight] - load_file(two)[weight]).abs().max())
    print("largest difference of losses", np.abs(losses[0] - losses[1]).max(), "of query weights", apart)
    assert len(losses[0]) == SMALL.steps
    np.testing.assert_allclose(*losses, rtol=0, atol=1e-5)
    assert [card_of(path)["processes"] for path in (one, two)] == [1, 2]
    tensors, others, undisturbed = load_file(one), load_file(two), load_file(alone)
    for name, tensor in tensors.items():
        torch.testing.assert_close(tensor, others[name], rtol=0, atol=1e-4, msg=name)
        if name.endswith("projection_matrix"):
            assert torch.equal(tensor, others[name])
            assert not torch.equal(tensor, undisturbed[name])  # drawn again in the course of the run
    assert tensors["performer.calls_since_last_redraw"] == SMALL.steps % 5


@pytest.mark.slow
def test_torchrun_of_the_command_with_more_processes_than_work(weights):
    options = [*OPTIONS, "-p", "micro_batch", "16", "-p", "seed", "5"]
    (done,) = run_scripts(Script(TORCHRUN, BENCH, "pretrain", "scbert", *options))
    assert done.stdout.count("weights  ") == 1
    assert "Only 1 of 2 processes have work" in done.stdout + done.stderr
    (path,) = [Path(line[9:]) for line in done.stdout.splitlines() if line.startswith("weights  ")]
    expected = pretrain("idle", replace(SMALL, micro_batch=16, seed=5))
    np.testing.assert_allclose(card_of(path)["losses"], card_of(expected)["losses"], rtol=0, atol=1e-5)


def test_a_second_call_finds_the_file(alone, weights, monkeypatch):
    monkeypatch.setattr(module, "_train", None)
    before = alone.stat()
    assert pretrain("alone", SMALL) == alone
    assert alone.stat().st_mtime_ns == before.st_mtime_ns
    assert identity(alone) == card_of(alone)["identity"]


@pytest.mark.slow
def test_identity_depends_on_settings_and_cells(alone):
    cells = SMALL.cells()
    found = {replace(SMALL, **one).identity(cells) for one in ({}, {"lr": 1e-3}, {"seed": 1}, {"gene2vec": False})}
    for other in ((Selection("hao"),), (Selection("hao", ("random",)), Selection("baron"))):
        recipe = replace(SMALL, selections=other)
        found.add(recipe.identity(recipe.cells()))
    assert len(found) == 6
    assert card_of(alone)["identity"] == SMALL.identity(cells)
    assert alone.name == f"alone-{SMALL.identity(cells)[:8]}.safetensors"


def test_card_says_what_was_done(alone):
    card, cells = card_of(alone), SMALL.cells()
    assert card["recipe"] == json.loads(json.dumps(asdict(SMALL)))
    assert set(card["seeds"].values()) == {SMALL.seed}
    (data,) = card["cells"]
    assert data["hash"] == load("hao").uns["bench"]["hash"]
    assert (data["dataset"], data["excluded"], data["n_cells"]) == ("hao", ["random"], len(cells))
    assert card["n_train"] + card["n_validation"] == len(cells)
    assert len(card["losses"]) == SMALL.steps
    assert [point["step"] for point in card["curve"]][-1] == SMALL.steps
    assert all(0 <= point["accuracy"] <= 1 and np.isfinite(point["loss"]) for point in card["curve"])
    assert card["seconds"] > 0 and "CPU cores" in card["hardware"] and card["commit"]
    assert "torch" in card["versions"]
    assert card["gene2vec"].items() >= {"method": "gene2vec", "n_cells": card["n_train"], "dim": SMALL.dim}.items()
    assert np.array_equal(np.load(alone.with_suffix(".cells.npy")), np.sort(cells.ids))


def test_loss_falls_on_real_cells_also_on_those_not_trained_on(alone):
    card = card_of(alone)
    print(card["losses"], card["curve"])
    assert np.mean(card["losses"][-3:]) < np.mean(card["losses"][:3]) - 0.3
    assert card["curve"][-1]["loss"] < card["curve"][0]["loss"] - 0.2


def test_explained_is_what_is_better_than_the_usual_classes_of_the_genes(weights):
    objective, rows = ScBERTObjective(SMALL, SMALL.cells(), torch.device("cpu")), np.arange(100, 140)
    tokens = objective._tokens(rows)
    usual = torch.stack([1 + (tokens == token).sum(0) for token in range(7)], 1).double()
    logits = usual.log()  # a softmax of these is how often there are
    told = objective.evaluate(lambda shown: logits.expand(*shown.shape, 7), rows)
    assert told["loss"] == pytest.approx(told["loss_of_guess"], rel=1e-5)
    assert told["explained"] == pytest.approx(0, abs=1e-5)
    assert "of the genes' usual classes" in objective.told(told)
    assert objective.told({"loss": 1.0, "accuracy": 0.5}) == "loss 1.000, masked accuracy 0.500"


@pytest.mark.slow
def test_a_step_reads_its_own_training_cells_alone(weights, monkeypatch):
    tokens, seen, vectors_of = Cells.tokens, {"step": [], "evaluate": []}, []
    for name in seen:
        original = getattr(module, name)

        def told(*args, name=name, original=original):
            reads = seen[name]
            monkeypatch.setattr(Cells, "tokens", lambda self, rows: reads.append(rows) or tokens(self, rows))
            return original(*args)

        monkeypatch.setattr(module, name, told)
    known = scbert_objective.gene2vec

    def vectors(*args, rows, **more):
        vectors_of.append(rows)
        return known(*args, rows=rows, **more)

    monkeypatch.setattr(scbert_objective, "gene2vec", vectors)
    pretrain("reads", SMALL)
    train, validation = SMALL.cells().split(SMALL.validation_share, SMALL.seed)
    assert [len(rows) for rows in seen["step"]] == [SMALL.batch_size] * SMALL.steps  # however many cells there are
    assert not np.isin(np.concatenate(seen["step"]), validation).any()
    assert np.isin(np.concatenate(seen["evaluate"]), validation).all()
    assert max(map(len, seen["evaluate"])) <= SMALL.batch_size
    (rows,) = vectors_of
    assert set(rows) == set(train)


@pytest.mark.slow
def test_weights_annotate_cells_that_were_left_out_and_no_others(alone):
    hao = load("hao")
    parts = split(hao, "random")
    ids = np.load(alone.with_suffix(".cells.npy"))
    assert overlap(ids, "hao", hidden_names(hao.obs_names[parts.test])) == 0
    assert overlap(ids, "hao", hidden_names(hao.obs_names[parts.train])) == len(parts.train)
    assert set(ids) == set(cell_ids("hao", hidden_names(hao.obs_names[parts.train])))
    model = ScBERT(ScBERTConfig(epochs=1, lr=1e-3), weights=str(alone)).fit(hao[parts.train].copy(), seed=0)
    probabilities = model.predict_proba(without_labels(hao[parts.test]))
    np.testing.assert_allclose(probabilities.sum(1), 1)
    with pytest.raises(BenchError, match=r"1068 of the 1336 cells to score were pretrained on \(alone-.*; pretrain wi"):
        model.predict_proba(without_labels(hao))


def test_diverged_training_stops_and_keeps_the_checkpoint(weights):
    recipe = replace(SMALL, lr=1e30)
    for _ in range(2):
        with pytest.raises(BenchError, match=r"The loss is nan .* at step \d+; lower lr=1e\+30. The last checkpoint"):
            pretrain("diverged", recipe, checkpoint_s=0)
    assert files_of("diverged", weights) == [".training"]
    (checkpoint,) = weights.glob("diverged-*.training/*")
    state = torch.load(checkpoint, weights_only=True)
    assert all(torch.isfinite(tensor).all() for tensor in state["network"].values())


class Malicious:
    """Runs a program when it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("executed",)


def test_a_checkpoint_that_does_not_fit_is_refused(weights, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(module, "step", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        pretrain("foreign", SMALL)
    (checkpoint,) = weights.glob("foreign-*.training/*")
    good = torch.load(checkpoint, weights_only=True)
    other = {**good, "network": {name: tensor[..., None] for name, tensor in good["network"].items()}}
    for content, why in (
        (Malicious(), "UnpicklingError"),
        ({"step": 3}, "KeyError"),
        ({**good, "identity": "0" * 16}, "it says identity 0000000000000000, expected"),
        (other, "Error.s. in loading state_dict"),
    ):
        torch.save(content, checkpoint)
        with pytest.raises(BenchError, match=rf"not a checkpoint of this pretraining \(.*{why}.*delete"):
            pretrain("foreign", SMALL)
    checkpoint.write_bytes(b"PK\x03\x04" + bytes(100))
    with pytest.raises(BenchError, match="is not a checkpoint of this pretraining"):
        pretrain("foreign", SMALL)
    assert not list(tmp_path.glob("executed"))


@pytest.mark.slow
def test_full_disk_is_a_sentence_and_the_checkpoint_stays(alone, weights, monkeypatch):
    step, calls, before = module.step, [], resource.getrlimit(resource.RLIMIT_FSIZE)

    def filling(*args):
        calls.append(1)
        if len(calls) == 4:
            resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
        return step(*args)

    monkeypatch.setattr(module, "step", filling)
    try:
        with pytest.raises(BenchError, match=r"Weights cannot be written to .*. The last checkpoint is kept"):
            pretrain("full", SMALL, checkpoint_s=0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    (checkpoint,) = weights.glob("full-*.training/*")
    assert json.loads(torch.load(checkpoint, weights_only=True)["told"])["step"] == 3
    assert same(pretrain("full", SMALL, checkpoint_s=1e9), alone)


def test_a_cache_that_is_no_folder_is_a_sentence(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(module, "cache_folder", lambda: tmp_path / "file")
    with pytest.raises(BenchError, match=r"Weights cannot be written to .*file/weights: Not a directory"):
        pretrain("nowhere", SMALL)


def test_true_size_is_not_begun_without_a_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(type(SMALL), "cells", None)  # nothing large is fetched to say no
    for options in ("standin_gpu", "standin_gpu_no_gene2vec"):
        name = f"scbert_{options}"
        with pytest.raises(BenchError, match=f"Weights {name} .* bench pretrain scbert --recipe {options} --device cu"):
            pretrained(name)
        with pytest.raises(BenchError, match="takes days without a GPU"):
            resolve(name)


@pytest.mark.slow
def test_named_weights_are_trained_when_asked_for(weights, monkeypatch):
    monkeypatch.setitem(RECIPES, "scbert_quick", SMALL)
    path = resolve("scbert_quick")
    assert path.parent == weights
    assert path.name.startswith("scbert_quick-")
    assert resolve("scbert_quick") == path


BARE = """
import sys
from importlib.machinery import PathFinder

missing, find = set(sys.argv[2].split()), PathFinder.find_spec
PathFinder.find_spec = lambda name, *more: None if name.partition(".")[0] in missing else find(name, *more)

import json
import numpy as np
from bench.datasets import load
from bench.models.scbert.annotator import ScBERT, ScBERTConfig
from bench.datasets.splits import split
from bench.training.choice import chosen
from bench.training.pretrain import pretrain

path = pretrain("bare", chosen("scbert", "quick", json.loads(sys.argv[1]))[1])
hao = load("hao")
parts = split(hao, "random")
model = ScBERT(ScBERTConfig(epochs=1), variant="no_gene2vec", weights=str(path))
model.fit(hao[parts.train][:64].copy(), seed=0)
scored = hao[parts.test][:32]
assert model.embed(scored).shape == (32, 16)
assert model.predict_proba(scored).shape[0] == 32
print(sorted({name.partition(".")[0] for name in sys.modules}))
"""
NOT_NEEDED = "scanpy papermill jupytext altair matplotlib seaborn gensim psutil requests pooch platformdirs click rdata"
NOT_NEEDED += " statsmodels IPython ipykernel jupyter_book vl_convert latex2mathml umap numba dask"


@pytest.mark.slow
def test_training_and_embedding_on_a_bare_machine():
    settings = json.dumps(SETTINGS | {"steps": 2, "gene2vec": False})
    done = subprocess.run([sys.executable, "-c", BARE, settings, NOT_NEEDED], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    told = done.stdout
    print(told)
    assert not set(told.strip("[]\n").replace("'", "").split(", ")) & set(NOT_NEEDED.split())


def bench(*arguments):
    return CliRunner().invoke(main, list(arguments))


def test_command_says_where_everything_is(alone, weights):
    result = bench("pretrain", "scbert", *OPTIONS)
    assert result.exit_code == 0, result.output
    (path,) = weights.glob(f"scbert_own-{SMALL.identity(SMALL.cells())[:8]}.safetensors")
    assert f"weights  {path}\n" in result.output
    assert f"card     {path.with_suffix('.json')}\n" in result.output
    assert "hao 1,068 (without those that random scores)" in result.output
    losses = card_of(alone)["losses"]
    assert f"masked loss {losses[0]:.3f} at first, {losses[-1]:.3f} at last" in result.output
    assert same(path, alone)


def test_gene2vec_of_the_command_is_that_of_pretraining(alone, tmp_path):
    out = tmp_path / "vectors.npy"
    result = bench("gene2vec", "--data", "hao:random", "-p", "n_genes", "50", "--dim", "16", "--out", str(out))
    assert result.exit_code == 0, result.output
    assert "50 genes, 16 dimensions, from 1,014 cells" in result.output
    assert np.array_equal(np.load(out), load_file(alone)["pos_emb.emb.weight"][:-1].numpy())
    assert not load_file(alone)["pos_emb.emb.weight"][-1].any()


@pytest.mark.slow
def test_own_cells(small, sides, tmp_path, weights):
    path = tmp_path / "own.h5ad"
    small.write_h5ad(path)
    options = [word for name in ("n_genes", "dim", "depth", "steps") for word in ("-p", name, str(SETTINGS[name]))]
    result = bench("pretrain", "scbert", "--data", f"{path}:authors", "--no-gene2vec", *options)
    assert result.exit_code == 0, result.output
    assert "160 (without those that authors scores)" in result.output
    file = Path(next(line[9:] for line in result.stdout.splitlines() if line.startswith("weights  ")))
    train, scored = load(str(path)), load(str(path))
    model = ScBERT(ScBERTConfig(epochs=1), variant="no_gene2vec", weights=str(file)).fit(train, seed=0)
    parts = split(scored, "authors")
    assert len(model.predict_proba(without_labels(scored[parts.test]))) == 80
    with pytest.raises(BenchError, match="160 of the 240 cells to score were pretrained on"):
        model.predict_proba(without_labels(scored))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["scbart"], "Unknown model that is pretrained here 'scbart'. Did you mean 'scbert' or 'scgpt'?"),
        (["scbert", "--recipe", "quik"], "Unknown recipe of scbert 'quik'. Did you mean 'quick'?"),
        (["scbert", "-p", "stepps", "3"], "Unknown setting of pretraining scbert 'stepps'. Did you mean 'steps'?"),
        (["scbert", "-p", "lr", "fast"], "lr='fast' should be of type float"),
        (["scbert", "-p", "steps", "0"], "steps=0 should be a whole number of at least 1"),
        (["scbert", "-p", "micro_batch", "9"], "batch_size=32 should be a multiple of micro_batch=9"),
        (["scbert", "-p", "precision", "fp16"], "Unknown precision 'fp16'"),
        (["scbert", "-p", "selections", '[["hao", "random"]]'], "should be a list of data sets, each with the splits"),
        (["scbert", "--label", "type"], "go with cells of your own"),
        (["scbert", "--data", "haoo"], "Unknown data set 'haoo'. Did you mean 'hao'?"),
        (["scbert", "--data", "hao:rendom"], "Unknown split 'rendom'. Did you mean 'random'?"),
        (["scbert", "--device", "tpu"], "device='tpu' is not a device; expected cpu, cuda, cuda:1 or auto"),
    ],
)
def test_mistakes_are_sentences(arguments, message):
    result = bench("pretrain", *arguments)
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_a_sentence():
    assert "torch finds no GPU; use device='cpu'" in bench("pretrain", "scbert", "--device", "cuda").output


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hao", Selection("hao")),
        ("hao:random", Selection("hao", ("random",))),
        ("baron:held_out:human1,random", Selection("baron", ("held_out:human1", "random"))),
        ("/a:b/my.h5ad", Selection("/a:b/my.h5ad", (), "type", "donor")),
        ("my.h5ad:held_out:d1,authors", Selection("my.h5ad", ("held_out:d1", "authors"), "type", "donor")),
    ],
)
def test_data_of_the_command(text, expected):
    assert selection(text, "type", "donor") == expected


def test_settings_have_the_types_of_the_recipe():
    name, recipe = chosen("scbert", "quick", {"lr": "1e-3", "steps": "20.0", "gene2vec": "True", "n_genes": 60})
    assert (name, recipe) == ("scbert_own", replace(QUICK, lr=0.001, steps=20, n_genes=60))
    assert chosen("scbert", "quick", {"gene2vec": "false"}) == (
        "scbert_quick_no_gene2vec",
        RECIPES["scbert_quick_no_gene2vec"],
    )
    text = "[['hao', ['random']], ['my.h5ad', [], 'type', None], 'baron']"
    _, recipe = chosen("scbert", "quick", {"selections": text})
    assert recipe.selections == (Selection("hao", ("random",)), Selection("my.h5ad", (), "type"), Selection("baron"))
