"""Some sixty bad requests: each is one sentence that names the nearest valid name, and nothing is recorded."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from in_process import execute

from bench.cli import main
from bench.core.errors import BenchError
from bench.core.settings import as_type, parse, parse_names
from bench.protocol import notebooks
from bench.protocol.experiments import run_grid
from bench.protocol.parameters import given
from bench.protocol.trials import Grid

WORDS = {  # seen before a kernel starts
    "chapter": (["few_shot_pmbc"], "Unknown chapter 'few_shot_pmbc'. Did you mean 'few_shot_pbmc'"),
    "path of a chapter": (["chapters/new_donor.md"], "Unknown chapter 'new_donor'. Did you mean 'new_donors'"),
    "elsewhere": (["/nowhere/few_shot_pbmc.md"], "No file /nowhere/few_shot_pbmc.md; chapters go by their names"),
    "notebook": (["few_shot_pbmc.ipynb"], "few_shot_pbmc.ipynb is a notebook, a chapter is text"),
    "no trials": (["glossary", "-p", "seeds", "0"], "glossary.md has no parameters, since it runs no trials"),
    "parameter": (["-p", "modles", "knn"], "'modles'. Did you mean 'models'"),
    "parameter of another": (["-p", "max_cells", "9"], "Unknown parameter of few_shot_pbmc.md 'max_cells'"),
    "twice": (
        ["-p", "seeds", "0", "-p", "seeds", "1"],
        "Parameter seeds is given 2 times; several values are one list",
    ),
    "tier": (["-p", "tier", "stanin"], "Unknown tier 'stanin'. Did you mean 'standin'"),
    "list without end": (["-p", "seeds", "[0"], "cannot be read: it lacks a closing ]; a list is written in quotes"),
    "what a shell leaves": (["-p", "models", "[knn,", "majority]"], "Parameter models='[knn,' cannot be read"),
    "comma left out": (["-p", "models", '["knn" "majority"]'], "expected ',' or ']'"),
    "mapping without end": (["-p", "overrides", '{"knn": {"n_neighbors": 3}'], "lacks a closing }"),
    "list in a list": (["-p", "models", "[[knn]]"], "should be a list of names, such as [a, b]"),
    "mapping of names": (["-p", "split", "[held_out: D1]"], "need quotes of their own"),
    "number sign": (["-p", "split", "[held_out:Donor #1]"], """such as '["Donor #1", "Donor: 2"]'"""),
    "no numbers": (["-p", "seeds", "zero"], "seeds='zero' should be a list of numbers"),
    "numbers as text": (["-p", "fractions", "0.1,0.5"], "fractions='0.1,0.5' should be a list of numbers"),
    "per cent": (["-p", "fractions", "10%"], "fractions='10%' should be a list of numbers"),
    "switches as seeds": (["-p", "seeds", "[true]"], "seeds=[True] should be a list of numbers"),
    "not a number": (["-p", "fractions", "[NaN]"], "Parameter fractions='[NaN]' holds NaN"),
    "infinite": (["-p", "overrides", '{"knn": {"n_neighbors": Infinity}}'], "holds Infinity"),
    "key twice": (["-p", "overrides", '{"knn": {}, "knn": {}}'], "holds 'knn' twice; leave one of the two out"),
    "key twice, YAML": (["-p", "overrides", "{knn: {}, knn: {}}"], "holds 'knn' twice; leave one of the two out"),
    "code": (["-p", "overrides", "!!python/object/apply:os.getcwd []"], "cannot be read"),
    "deep": (["-p", "overrides", "[" * 5000], "maximum recursion depth"),
    "jobs": (["-p", "jobs", "two"], "jobs='two' should be a whole number"),
    "part of a job": (["-p", "jobs", "1.5"], "jobs=1.5 should be a whole number"),
    "switch": (["-p", "compute", "maybe"], "compute='maybe' should be true or false"),
    "empty label": (["-p", "label", ""], "label='' is empty; leave it out, or give a name"),
    "empty data set": (["-p", "dataset", " "], "dataset=' ' is empty"),
    "empty among others": (["-p", "models", '["knn", ""]'], "models='' is empty"),
}
GRIDS = {  # seen before anything runs
    "data set": ({"dataset": "haoo"}, "Unknown data set 'haoo'. Did you mean 'hao'"),
    "data sets": ({"dataset": "hao,baron"}, "'hao,baron'. Several are written as a list"),
    "file": ({"dataset": "FOLDER/sounds.h5ad"}, "Did you mean 'sound.h5ad'"),
    "model": ({"models": "l1_logstic"}, "Unknown model 'l1_logstic'. Did you mean 'l1_logistic'"),
    "models": ({"models": "knn,majority"}, "'knn,majority'. Several are written as a list, such as '[a, b]'"),
    "variant": ({"models": "knn@defalt"}, "Unknown variant of knn 'defalt'. Did you mean 'default'"),
    "module": ({"models": "no_such_module:Mine"}, "Model 'no_such_module:Mine' cannot be imported"),
    "class": ({"models": "collections:OrderedDict"}, "has no method fit and no predict_proba"),
    "setting": ({"overrides": '{"knn": {"neighbours": 3}}'}, "'neighbours'. Did you mean 'n_neighbors'"),
    "type of a setting": ({"overrides": '{"knn": {"n_neighbors": "3"}}'}, "knn.n_neighbors='3' should be of type int"),
    "list of a setting": (
        {"models": "l1_logistic", "overrides": "{l1_logistic: {Cs: 1e-1}}"},
        "l1_logistic.Cs=0.1 should be a list, as its default [",
    ),
    "model in overrides": ({"overrides": '{"knnn": {}}'}, "Unknown model in overrides 'knnn'. Did you mean 'knn'"),
    "not asked for": ({"overrides": '{"l1_logistic": {}}'}, "Unknown model in overrides 'l1_logistic'"),
    "overrides as a list": ({"overrides": "[knn]"}, "overrides=['knn'] should be such as"),
    "overrides of nothing": ({"overrides": '{"knn": 3}'}, "overrides={'knn': 3} should be such as"),
    "recipe": ({"overrides": '{"knn": {"recipe": "claen"}}'}, "Unknown recipe of knn 'claen'. Did you mean 'clean'"),
    "device": ({"overrides": '{"knn": {"device": "gpu"}}'}, "device='gpu' is not a device; expected cpu, cuda"),
    "weights": ({"overrides": '{"knn": {"weights": "scbert_quik"}}'}, "'scbert_quik'. Did you mean 'scbert_quick'"),
    "file of weights": ({"overrides": '{"knn": {"weights": "no.safetensors"}}'}, "No weights file no.safetensors"),
    "no weights": (
        {"overrides": '{"knn": {"weights": "FOLDER/sound.h5ad"}}'},
        "sound.h5ad is not a whole safetensors file",
    ),
    "split": ({"split": "randm"}, "Unknown split 'randm'. Did you mean 'random'"),
    "split with a group": ({"split": "random:D1"}, "Unknown split 'random:D1'"),
    "no group": ({"split": "held_out"}, "split='held_out' lacks a group: held_out:GROUP"),
    "group": ({"batch": "donor", "split": "held_out:human5"}, "'human5'. Did you mean 'human4'"),
    "no batch": ({"split": "held_out:human1"}, "needs obs['batch']"),
    "no split": ({"split": "authors"}, "needs obs['split']"),
    "the label as batch": (
        {"batch": "cell_type", "split": "held_out:*"},
        "scores cells of types that no training cell",
    ),
    "label column": ({"label": "celltype"}, "'celltype'. Did you mean 'cell_type'"),
    "batch column": ({"batch": "doner"}, "'doner'. Did you mean 'donor'"),
    "column of no file": (
        {"dataset": "hao", "label": "kind"},
        "label goes with an .h5ad file, and hao is read as it is",
    ),
    "one cell": ({"label": "with_a_rare_one"}, "needs two cells of every type; too few of ['rare']"),
    "subset": ({"subset": "pair"}, "Unknown subset 'pair'. Did you mean 'paired'"),
    "too large a share": ({"fractions": "[0.5, 10]"}, "fractions=[10] should be above 0 and at most 1"),
    "share of none": ({"fractions": "0"}, "fractions=[0] should be above 0"),
    "share that is not drawn": ({"subset": "published", "fractions": "0.01"}, "subset='published' cannot stratify"),
    "no seeds": ({"seeds": "[]"}, "seeds=[] should be a list such as [0, 1]"),
    "seed below zero": ({"seeds": "-1"}, "seeds=[-1] should be whole numbers from 0 on"),
    "large seed": ({"seeds": "4294967296"}, "seeds=[4294967296] should be whole numbers from 0 on, below 2**32"),
    "part of a seed": ({"seeds": "0.5"}, "seeds=[0.5] should be a list such as [0, 1]"),
    "no jobs": ({"jobs": "0"}, "jobs=0 should be a whole number of processes, or -1"),
    "paper's data": ({"tier": "paper"}, "tier='paper' stands for the paper's own data"),
}
ODD = ("1", "0.8", "cell type #2", "major: celltype", "Yes", "2024-01-01", "[final]", "null", "~x", " a")


@pytest.fixture
def here(monkeypatch):
    """Execute the cells that make records in this process, in the place of a kernel."""
    monkeypatch.setattr(notebooks, "run", execute)


@pytest.fixture(scope="module")
def folder(small, tmp_path_factory):
    """A folder with a sound file of 240 cells, donors human1 to human4, and a label column with a type of one cell."""
    folder, adata = tmp_path_factory.mktemp("data"), small.copy()
    del adata.obs["split"]
    adata.obs["donor"] = np.resize(["human1", "human2", "human3", "human4"], adata.n_obs)
    adata.obs["with_a_rare_one"] = np.where(np.arange(adata.n_obs) == 7, "rare", adata.obs["cell_type"].astype(str))
    for name in ODD:
        adata.obs[name] = adata.obs["cell_type"].to_numpy()
    del adata.uns["bench"]
    adata.write_h5ad(folder / "sound.h5ad")
    return folder


def refused(*arguments: str) -> str:
    """Return what ``bench run`` says of a request that it refuses."""
    result = CliRunner().invoke(main, ["run", *arguments])
    assert result.exit_code == 2, result.output
    assert isinstance(result.exception, SystemExit)
    said = "".join(line for line in result.stderr.splitlines(True) if not line.startswith("sound.h5ad: types with"))
    assert said.startswith("bench: ") and "Traceback" not in result.output
    return said


@pytest.mark.parametrize("kind", WORDS)
def test_a_wrong_word_is_seen_before_a_kernel_starts(kind, monkeypatch):
    monkeypatch.setattr(notebooks, "run", lambda *_, **__: pytest.fail("a kernel was started"))
    arguments, sentence = WORDS[kind]
    chapter = ["few_shot_pbmc"] if arguments[0] == "-p" else []
    assert sentence in refused(*chapter, *arguments)


@pytest.mark.parametrize("kind", GRIDS)
def test_a_wrong_request_is_seen_before_anything_runs(kind, here, folder, own_results):
    asked, sentence = GRIDS[kind]
    asked = {"dataset": "FOLDER/sound.h5ad", "models": "knn", "fractions": "1"} | asked
    texts = [text.replace("FOLDER", str(folder)) for pair in asked.items() for text in ("-p", *pair)]
    said = refused("few_shot_pbmc", *texts)
    assert sentence in said
    assert said.count("\n") == 1
    assert not list(own_results.rglob("*.csv"))


def test_all_that_is_wrong_is_said_at_once(here, folder):
    said = refused("few_shot_pbmc", "few_shot_scgpt", "-p", "seeds", "[0", "-p", "jobs", "two", "-p", "sedes", "1")
    assert said.count("\n") == 4
    data, models = json.dumps([f"{folder}/sound.h5ad", "haoo"]), '["knnn", "majority@x"]'
    asked = ["-p", "dataset", data, "-p", "models", models, "-p", "split", "randm", "-p", "fractions", "2"]
    said = refused("few_shot_pbmc", *asked)
    for sentence in ("'knnn'", "variant of majority 'x'", "data set 'haoo'", "split 'randm'", "fractions=[2]"):
        assert sentence in said
    assert said.count("\n") == 5


def test_what_can_run_is_planned_and_the_rest_is_said_with_each_data_set_and_model(folder, capsys):
    found = f"{folder}/sound.h5ad"
    choices = {"split": ["random", "authors", "held_out:human1", "held_out:human9"], "batch": "donor"}
    tasks = Grid("x", "quick", [found, "haoo"], ["knn", "knnn", "majority"], **choices).tasks()
    assert {(task.trial.model, task.trial.split) for task in tasks} == {
        (model, split) for model in ("knn", "majority") for split in ("random", "held_out:human1")
    }
    said = capsys.readouterr().err.splitlines()
    assert [line.partition(":")[0] for line in said] == ["x (quick), left out"] * 4
    for line, part in zip(said, ("'knnn'", "split='authors'", "sound.h5ad: Unknown group", "'haoo'"), strict=True):
        assert part in line


def test_weights_are_not_made_for_a_request_that_cannot_run(monkeypatch):
    monkeypatch.setattr("bench.weights.resolve", lambda _: pytest.fail("weights were made"))
    overrides = {"scbert": {"weights": "scbert_quick"}}
    with pytest.raises(BenchError, match="needs obs"):
        Grid("x", "quick", "hao", ["scbert"], split="authors", overrides=overrides).tasks()


def test_shares_that_are_the_same_cells_are_said(folder, capsys):
    Grid("x", "quick", f"{folder}/sound.h5ad", ["majority"], [0.01, 0.02, 0.5]).tasks()
    first, second = capsys.readouterr().err.splitlines()
    assert "sound.h5ad, random: fraction 0.01 of the 192 training cells is 8 (4.2%), since every type" in first
    assert "fraction 0.02 of the 192 training cells is 8 (4.2%), the same cells as fraction 0.01" in second


@pytest.mark.parametrize("column", ODD)
def test_names_are_names(folder, column):
    asked = given({"label": column, "batch": column, "layer": column, "symbols": column})
    assert set(asked.values()) == {column}
    (task,) = Grid("x", "quick", f"{folder}/sound.h5ad", ["majority"], label=given({"label": column})["label"]).tasks()
    assert task.reading["label"] == column


def test_several_names_are_a_list_in_brackets_unless_a_file_is_called_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "[1].h5ad").touch()
    (tmp_path / "~").mkdir()
    monkeypatch.setenv("HOME", "/home/me")
    texts = {
        "dataset": "[1].h5ad",
        "query": "~/q.h5ad",
        "models": "[knn, 'a:b', 1.0, yes, 2024-01-01]",
        "split": "held_out:Donor: 2 #1",
        "drop": '["\\ud83d\\ude00", 1]',
    }
    assert given(texts) == {
        "dataset": "[1].h5ad",
        "query": "/home/me/q.h5ad",
        "models": ["knn", "a:b", "1.0", "yes", "2024-01-01"],
        "split": "held_out:Donor: 2 #1",
        "drop": ["\U0001f600", "1"],
    }
    assert given({"drop": '["a", true, null, None]'}) == {"drop": ["a", "true", "null", "None"]}
    assert given({"dataset": "[~/a.h5ad, b]"}) == {"dataset": ["/home/me/a.h5ad", "b"]}
    assert given(given(texts)) == given(texts)  # what is read once stays as it is


def test_values_are_those_of_json_and_yaml_1_2():
    values = "[1e-4, 1E3, .5, 1., -2, 010, 1_000, yes, off, 2024-01-01, 1:30, ~, null, None, true, True]"
    numbers = [
        1e-4,
        1000.0,
        0.5,
        1.0,
        -2,
        10,
        "1_000",
        "yes",
        "off",
        "2024-01-01",
        "1:30",
        None,
        None,
        None,
        True,
        True,
    ]
    assert parse("x", values) == numbers
    assert parse("x", '{"lr": 1e-4, "b": [1, 2.0],}') == {"lr": 1e-4, "b": [1, 2.0]}
    assert parse("x", "{l1_logistic:{Cs:[1e-2]}}") == {"l1_logistic": {"Cs": [1e-2]}}  # quotes lost in a shell
    assert parse("x", 3) == 3
    assert parse_names("x", "[0.80, 1]") == ["0.80", "1"]
    assert as_type("lr", parse("lr", "1e-4"), 0.1) == 1e-4
    with pytest.raises(BenchError, match="lr=inf should be of type float"):
        as_type("lr", float("inf"), 0.1)


def test_numbers_that_papermill_makes_of_names_are_names_again():
    tiers = {"quick": {"dataset": "hao", "models": ["majority"]}}
    with pytest.raises(BenchError, match="label goes with an"):
        run_grid("x", tiers, tier="quick", compute="True", label=0)
    assert given({"label": 0, "batch": 0.8}) == {"label": "0", "batch": "0.8"}
    assert given({"seeds": "null", "models": None, "overrides": "~"}) == {}


def test_what_a_run_has_left_out_is_found_in_its_notebook(tmp_path):
    cells = [
        {"name": "stderr", "text": ["x (quick), left out: a: b\n", "x: 1 of 1"]},
        {"name": "stdout", "text": ["c"]},
    ]
    outputs = [cell | {"output_type": "stream"} for cell in cells]
    code = {"cell_type": "code", "execution_count": 1, "metadata": {}, "source": "", "outputs": outputs}
    notebook = {"nbformat": 4, "nbformat_minor": 4, "metadata": {}, "cells": [code, code]}
    (tmp_path / "x.ipynb").write_text(json.dumps(notebook))
    assert notebooks.left_out(tmp_path / "x.ipynb") == ["a: b"]
