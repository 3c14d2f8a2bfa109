"""A trial's key holds everything that decides its number, and a wrong request is one sentence before anything runs."""

import json
import os
import subprocess
import sys
from dataclasses import asdict, fields, replace

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from anndata import AnnData, read_h5ad
from forked import Script

from bench import weights
from bench.core.errors import BenchError
from bench.core.places import ROOT
from bench.preprocess import log1p_cp10k
from bench.protocol import experiments, records, runner
from bench.protocol.experiments import recorded, run_grid, with_settings
from bench.protocol.planning import planning
from bench.protocol.trial import Task, Trial
from bench.protocol.trials import Grid

pytestmark = pytest.mark.usefixtures("warm")

PINNED = Trial(
    dataset="hao",
    dataset_hash="0123456789abcdef",
    split="random",
    subset="paired",
    model="l1_logistic",
    variant="default",
    recipe="published",
    hyperparameters='{"Cs":[0.1],"folds":5}',
    weights_hash="",
    fraction=0.1,
    seed=0,
    protocol="1.1",
)
MODEL = """
class Mine:
    def __init__(self, depth=1):
        self.depth = depth
    def fit(self, train, *, seed, validation=None):
        return self
    def predict_proba(self, cells):
        raise ValueError("not today")
"""


@pytest.fixture(autouse=True)
def no_committed_records(monkeypatch, tmp_path):
    monkeypatch.setattr("bench.protocol.place.committed_folder", lambda: tmp_path / "committed")


@pytest.fixture
def mine(tmp_path) -> str:
    """Path of a small file in the form of a user's own: 40 cells, two types, two donors."""
    labels = np.resize(["T", "B"], 40)
    counts = np.random.default_rng(0).poisson(2, (40, 6)).astype(np.float32)
    adata = AnnData(sp.csr_matrix(counts))
    adata.var_names = ["CD3D", "LYZ", "MS4A1", "NKG7", "PPBP", "CD8A"]
    adata.obs["cell_type"], adata.obs["donor"] = labels, np.repeat(["D1", "D2"], 20)
    adata.write_h5ad(tmp_path / "mine.h5ad")
    return str(tmp_path / "mine.h5ad")


def grid(dataset="hao", models="majority", **choices) -> Grid:
    return Grid("few_shot", "quick", dataset, models, **choices)


def keys(*arguments, **choices) -> set[str]:
    return {task.trial.key for task in grid(*arguments, **choices).tasks()}


def test_the_key_of_a_pinned_trial_never_changes():
    assert PINNED.key == "37a3b7c176f9eeb5"


@pytest.mark.slow
def test_equal_trials_have_equal_keys_in_every_process():
    code = "import json, sys\nfrom bench.protocol.trial import Trial\nprint(Trial(**json.loads(sys.argv[1])).key)"
    told = json.dumps(asdict(PINNED))
    environment = os.environ | {"PYTHONHASHSEED": "0", "PYTHONPATH": str(ROOT)}
    started = subprocess.run([sys.executable, "-c", code, told], env=environment, capture_output=True, text=True)
    for done in (started, Script(code, told).wait()):  # the seed of the nursery's hashes is drawn
        assert done.stdout.strip() == PINNED.key, done.stderr


@pytest.mark.parametrize("name", [field.name for field in fields(Trial)])
def test_the_key_depends_on_every_field(name):
    value = getattr(PINNED, name)
    other = value + 1 if isinstance(value, (int, float)) else value + "x"
    assert replace(PINNED, **{name: other}).key != PINNED.key


def test_paths_devices_and_chapters_are_no_part_of_the_key(mine, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    copy = (tmp_path / "mine.h5ad").rename(tmp_path / "elsewhere" / "mine.h5ad")
    there = keys(str(copy))
    copy.rename(mine)
    assert keys(mine) == there
    with planning():  # on a machine without a GPU
        assert keys(mine, overrides={"majority": {"device": "cuda"}}) == there


def test_the_order_of_hyper_parameters_and_lists_for_tuples_do_not_change_the_key(mine):
    one = keys(mine, "l1_logistic", overrides={"l1_logistic": {"Cs": [1], "folds": 3}})
    other = keys(mine, "l1_logistic", overrides={"l1_logistic": {"folds": 3, "Cs": (1.0,)}})
    assert one == other != keys(mine, "l1_logistic")


def test_a_default_that_is_named_makes_no_new_trial(mine):
    assert keys(mine, "knn", overrides={"knn": {"n_neighbors": 15}}) == keys(mine, "knn")


def scbert(path, **more) -> dict:
    return {"overrides": {"scbert": {"weights": str(path)} | more}}


def test_other_weights_make_another_trial_and_their_path_none(mine, tiny_scbert, tmp_path):
    first, second = tiny_scbert("first"), tiny_scbert("second", gene2vec=False)
    moved = tmp_path / "moved.safetensors"
    moved.write_bytes(first.read_bytes())
    assert keys(mine, "scbert", **scbert(first)) == keys(mine, "scbert", **scbert(moved))
    assert keys(mine, "scbert", **scbert(first)).isdisjoint(keys(mine, "scbert", **scbert(second)))
    moved.write_bytes(second.read_bytes())  # under the same name
    assert keys(mine, "scbert", **scbert(moved)) == keys(mine, "scbert", **scbert(second))
    (task,) = grid(mine, "scbert", **scbert(first)).tasks()
    assert task.trial.weights_hash == weights.identity(first)
    assert task.spec.weights == str(first)


def test_weights_that_say_who_they_are_keep_their_trials_when_they_are_made_again(mine, tiny_scbert):
    """A pretraining repeated on another machine differs in the last digits, not in what it is."""
    first = tiny_scbert("said", identity="0123456789abcdef")
    (task,) = grid(mine, "scbert", **scbert(first)).tasks()
    again = tiny_scbert("again", identity="0123456789abcdef", commit="another")
    assert task.trial.weights_hash == "0123456789abcdef"
    assert keys(mine, "scbert", **scbert(again)) == {task.trial.key}


def test_weights_are_named_or_a_path(mine, tiny_scbert, monkeypatch):
    found = tiny_scbert("named")
    asked = []
    monkeypatch.setattr("bench.training.pretrain.pretrained", lambda name: (asked.append(name), found)[1])
    (task,) = grid(mine, "scbert", **scbert("scbert_quick")).tasks()
    assert asked == ["scbert_quick"]
    assert task.spec.weights == str(found)  # a worker need not find them again
    assert keys(mine, "scbert", **scbert(found)) == {task.trial.key}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("scbert_quik", "Unknown weights 'scbert_quik'. Did you mean 'scbert_quick'"),
        (
            "no_such.safetensors",
            "No weights file no_such.safetensors; give a file that is there, or one of scbert_panglao",
        ),
    ],
)
def test_weights_that_are_not_there_are_refused_before_anything_runs(mine, text, sentence, capsys):
    with pytest.raises(BenchError) as caught:
        grid(mine, ["scbert"], **scbert(text)).tasks()
    assert sentence in str(caught.value)
    assert [t.spec.name for t in grid(mine, ["majority", "scbert"], **scbert(text)).tasks()] == ["majority"]
    assert f"few_shot (quick), left out: scbert: {sentence}" in capsys.readouterr().err


def test_overrides_of_a_variant_come_after_those_of_its_model(mine, tiny_scbert):
    both, without = tiny_scbert("with"), tiny_scbert("without", gene2vec=False)
    overrides = {
        "scbert": {"weights": str(both), "epochs": 3, "lr": 0.5},
        "scbert@no_gene2vec": {"weights": str(without), "epochs": 7},
    }
    models = ["scbert", "scbert@pretrained", "scbert@no_pretraining", "scbert@no_gene2vec"]
    tasks = {task.trial.variant: task for task in grid(mine, models, overrides=overrides).tasks()}
    assert list(tasks) == ["pretrained", "no_pretraining", "no_gene2vec"]  # the first two models are one
    for variant, task in tasks.items():
        own = variant == "no_gene2vec"
        assert task.spec.hyperparameters["epochs"] == (7 if own else 3)
        assert task.spec.hyperparameters["lr"] == 0.5
        assert task.trial.weights_hash == weights.identity(without if own else both)


def test_overrides_of_a_variant_that_was_not_asked_for_are_refused(mine):
    with pytest.raises(BenchError, match=r"Unknown model in overrides 'scbert@no_gene2vec'"):
        grid(mine, ["scbert"], overrides={"scbert@no_gene2vec": {}})
    grid(mine, ["scbert@no_gene2vec"], overrides={"scbert": {}, "scbert@no_gene2vec": {}})


def test_changed_cells_make_new_trials_under_the_same_file_name(mine):
    before = keys(mine)
    adata = read_h5ad(mine)
    adata.X[0, 0] += 1
    adata.write_h5ad(mine)
    assert keys(mine).isdisjoint(before)


def test_editing_the_source_of_a_model_from_outside_makes_new_trials(mine, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "my_model.py").write_text(MODEL)
    before = keys(mine, "my_model:Mine")
    assert keys(mine, "my_model:Mine") == before
    (tmp_path / "my_model.py").write_text(MODEL.replace("not today", "never"))
    assert keys(mine, "my_model:Mine").isdisjoint(before)


def test_what_has_changed_between_plan_and_run_is_not_recorded_under_the_old_key(mine, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "my_edited_model.py").write_text(MODEL)
    first, second = grid(mine, "my_edited_model:Mine", fractions=[0.5], seeds=[0, 1]).tasks()
    assert runner.run_task(first).failure == "failed: ValueError: not today"
    (tmp_path / "my_edited_model.py").write_text(f"# edited\n{MODEL}")
    assert runner.run_task(second).failure == "failed: ValueError: not today"  # of the version that was imported
    (edited,) = grid(mine, "my_edited_model:Mine", fractions=[0.5]).tasks()
    assert "files that my_edited_model:Mine imports have changed" in runner.run_task(edited).failure


def test_one_name_or_number_stands_for_a_list_of_one(mine):
    asked = Grid("few_shot", "quick", mine, "majority", 0.5, 3)
    assert (asked.dataset, asked.models, asked.fractions, asked.seeds) == ([mine], ["majority"], [0.5], [3])


def test_a_grid_is_the_cross_product_with_small_fractions_first(mine):
    tasks = grid(mine, ["majority", "random"], fractions=[0.5, 0.2], seeds=[0, 1]).tasks()
    assert [task.trial.fraction for task in tasks] == [0.2] * 4 + [0.5] * 4
    assert len({task.trial.key for task in tasks}) == 8


def test_at_all_training_cells_a_model_without_randomness_has_one_seed(mine, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "my_random_model.py").write_text(MODEL)
    models = ["majority", "knn", "l1_logistic", "random", "shuffled_labels", "my_random_model:Mine"]
    tasks = grid(mine, models, fractions=[1], seeds=[4, 5]).tasks()
    seeds = {model: [task.trial.seed for task in tasks if task.trial.model == model] for model in models}
    assert seeds == {model: [4] if model in models[:3] else [4, 5] for model in models}


def test_what_is_asked_for_twice_is_one_trial(mine):
    tasks = grid([mine, mine], ["random", "random"], fractions=[1, 1.0], seeds=[0, 0]).tasks()
    assert len(tasks) == 1
    assert isinstance(tasks[0], Task)


WRONG = {
    "tier": ({"tier": "quik"}, "Unknown tier 'quik'. Did you mean 'quick'?"),
    "subset": ({"subset": "pared"}, "Unknown subset 'pared'. Did you mean 'paired'?"),
    "empty models": ({"models": []}, "models=[] should be a list such as ['l1_logistic', 'knn']"),
    "empty fractions": ({"fractions": []}, "fractions=[] should be a list such as [0.1, 1.0]"),
    "empty seeds": ({"seeds": []}, "seeds=[] should be a list such as [0, 1]"),
    "empty data": ({"dataset": []}, "dataset=[] should be a list"),
    "number as model": ({"models": [1]}, "models=[1] should be a list"),
    "text as fraction": ({"fractions": ["ten"]}, "fractions=['ten'] should be a list"),
    "text as seed": ({"seeds": "0"}, "seeds=['0'] should be a list"),
    "half a seed": ({"seeds": [0.5]}, "seeds=[0.5] should be a list"),
    "truth as seed": ({"seeds": [True]}, "seeds=[True] should be a list"),
    "nothing as seed": ({"seeds": [None]}, "seeds=[None] should be a list"),
    "negative seed": ({"seeds": [0, -1]}, "seeds=[-1] should be whole numbers from 0 on"),
    "per cent as fraction": ({"fractions": [10, 0.1]}, "fractions=[10] should be above 0 and at most 1"),
    "no cells": ({"fractions": [0]}, "fractions=[0] should be above 0"),
    "no number": ({"fractions": [float("nan")]}, "fractions=[nan] should be above 0"),
    "overrides as list": ({"overrides": ["Cs"]}, "overrides=['Cs'] should be such as {'l1_logistic'"),
    "overrides without model": ({"overrides": {"Cs": [0.1]}}, "overrides={'Cs': [0.1]} should be such as"),
    "overrides of another": (
        {"overrides": {"majorty": {}}},
        "Unknown model in overrides 'majorty'. Did you mean 'major",
    ),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_grid_says_what_is_expected(kind):
    wrong, sentence = WRONG[kind]
    with pytest.raises(BenchError) as caught:
        Grid(**{"experiment": "few_shot", "tier": "quick", "dataset": "hao", "models": ["majority"]} | wrong)
    assert sentence in str(caught.value)


MISSPELT = {
    "data set": ({"dataset": "haoo"}, "Unknown data set 'haoo'. Did you mean 'hao'"),
    "model": ({"models": ["l1_logstic"]}, "Unknown model 'l1_logstic'. Did you mean 'l1_logistic'"),
    "variant": ({"models": ["majority@defalt"]}, "Unknown variant of majority 'defalt'. Did you mean 'default'"),
    "hyper-parameter": (
        {"models": ["l1_logistic"], "overrides": {"l1_logistic": {"max_itr": 3}}},
        "Unknown hyper-parameter of l1_logistic 'max_itr'. Did you mean 'max_iter'",
    ),
    "recipe": (
        {"models": ["knn"], "overrides": {"knn": {"recipe": "claen"}}},
        "Unknown recipe of knn 'claen'. Did you mean 'clean'",
    ),
    "type": (
        {"models": ["knn"], "overrides": {"knn": {"n_neighbors": "many"}}},
        "knn.n_neighbors='many' should be of type int",
    ),
    "import path": ({"models": ["no_such_module:Mine"]}, "Model 'no_such_module:Mine' cannot be imported"),
    "no model": ({"models": ["collections:OrderedDict"]}, "has no method fit and no predict_proba"),
}


@pytest.mark.parametrize("kind", MISSPELT)
def test_a_misspelt_name_is_refused_before_anything_runs_with_the_nearest_ones(kind):
    wrong, sentence = MISSPELT[kind]
    with pytest.raises(BenchError) as caught:
        grid(**wrong).tasks()
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


TIERS = {
    "quick": {"dataset": "hao", "models": ["majority", "knn"], "overrides": {"knn": {"n_neighbors": 3}}},
    "paper": {"dataset": ["zheng68k"], "models": ["majority"]},
}


@pytest.fixture
def asked(monkeypatch) -> list[tuple[Grid, int]]:
    """Grids that were handed to the runner, which is not called."""
    grids = []
    monkeypatch.setattr(experiments, "run", lambda grid, jobs: grids.append((grid, jobs)))
    monkeypatch.setattr(experiments, "recorded", lambda *_: None)
    return grids


def test_text_as_plain_papermill_hands_it_over_is_read(asked):
    text = {"seeds": "[0, 1]", "fractions": "0.5", "models": "['majority']", "subset": "published", "jobs": "2"}
    run_grid("few_shot", TIERS, tier="quick", compute="True", overrides="{'majority': {}}", **text)
    ((found, jobs),) = asked
    assert (found.seeds, found.fractions, found.models, found.subset) == ([0, 1], [0.5], ["majority"], "published")
    assert found.overrides == {"majority": {}}
    assert jobs == 2


@pytest.mark.parametrize("compute", [False, "False", "false"])
def test_without_compute_nothing_runs(asked, compute):
    run_grid("few_shot", TIERS, tier="quick", compute=compute)
    assert asked == []


def test_text_that_cannot_be_read_names_its_parameter(asked):
    with pytest.raises(BenchError, match=r"Parameter seeds='\[0, 1' cannot be read"):
        run_grid("few_shot", TIERS, tier="quick", compute=True, seeds="[0, 1")


def test_none_keeps_what_the_tier_says(asked):
    run_grid("few_shot", TIERS, tier="quick", compute=True, models=None, seeds=None)
    assert asked[0][0].models == ["majority", "knn"]
    assert asked[0][0].overrides == {"knn": {"n_neighbors": 3}}


def test_settings_are_added_to_one_model_of_every_tier_and_the_tiers_stay_as_they_are():
    before = {tier: dict(grid) for tier, grid in TIERS.items()}
    changed = with_settings(TIERS, "knn", {"n_neighbors": 5, "log_base": 2})
    assert changed["quick"] == before["quick"] | {"overrides": {"knn": {"n_neighbors": 5, "log_base": 2}}}
    assert changed["paper"] == before["paper"] | {"overrides": {"knn": {"n_neighbors": 5, "log_base": 2}}}
    assert with_settings(TIERS, "majority", {})["quick"]["overrides"] == {"knn": {"n_neighbors": 3}, "majority": {}}
    assert before == TIERS
    few = with_settings({"quick": {"seeds": [4, 5, 6]}}, "knn", {}, n_seeds=2)
    assert few["quick"]["seeds"] == [4, 5]


def test_fewer_models_drop_the_tiers_overrides_of_the_others(asked):
    run_grid("few_shot", TIERS, tier="quick", compute=True, models="majority")
    run_grid("few_shot", TIERS, tier="quick", compute=True, models=["knn@default", "random"])
    assert [found.overrides for found, _ in asked] == [{}, {"knn": {"n_neighbors": 3}}]


def test_fewer_models_keep_the_tiers_overrides_of_their_variants(asked):
    of_variant = {"scbert": {"epochs": 2}, "scbert@no_gene2vec": {"epochs": 3}}
    tiers = {"quick": {"dataset": "hao", "models": ["scbert", "scbert@no_gene2vec"], "overrides": of_variant}}
    run_grid("few_shot", tiers, tier="quick", compute=True, models="scbert")
    run_grid("few_shot", tiers, tier="quick", compute=True, models="scbert@no_gene2vec")
    run_grid("few_shot", tiers, tier="quick", compute=True, overrides={"scbert@no_gene2vec": {"lr": 0.1}})
    merged = {"scbert": {"epochs": 2}, "scbert@no_gene2vec": {"epochs": 3, "lr": 0.1}}
    assert [found.overrides for found, _ in asked] == [{"scbert": {"epochs": 2}}, of_variant, merged]


def test_overrides_of_a_model_that_was_not_asked_for_are_refused(asked):
    with pytest.raises(BenchError, match="Unknown model in overrides 'knn'"):
        run_grid("few_shot", TIERS, tier="quick", compute=True, models=["majority"], overrides={"knn": {}})


@pytest.mark.parametrize("dataset", ["hao", ["zheng68k", "hao"], "my.h5ad"])
def test_the_paper_tier_refuses_other_data(asked, dataset):
    with pytest.raises(BenchError, match=r"tier='paper' stands for the paper's own data, not .*use tier='standin'"):
        run_grid("few_shot", TIERS, tier="paper", compute=True, dataset=dataset)
    assert asked == []


def test_the_paper_tier_of_published_weights_alone_takes_any_data_and_no_weights_made_here(asked):
    on_any = {"tier": "paper", "compute": True, "any_data": True, "dataset": "my.h5ad", "models": ["scgpt@probe"]}
    run_grid("five_models", TIERS, **on_any, overrides={"scgpt": {"weights": "scgpt_human"}})
    assert asked[0][0].dataset == ["my.h5ad"]
    with pytest.raises(
        BenchError, match="stands for published weights here, not scgpt_quick, which this project makes"
    ):
        run_grid("five_models", TIERS, **on_any, overrides={"scgpt@probe": {"weights": "scgpt_quick"}})
    assert len(asked) == 1


def test_an_unknown_tier_of_a_chapter_is_named():
    with pytest.raises(BenchError, match=r"Unknown tier 'standin'\. Valid: paper, quick"):
        run_grid("few_shot", TIERS, tier="standin", compute=True)


def test_nothing_recorded_names_the_command_that_records():
    with pytest.raises(BenchError, match=r"bench run chapters/few_shot\.md -p tier standin"):
        recorded("few_shot", "standin")


@pytest.mark.parametrize("jobs", [0, -2, 1.5, "two", None])
def test_a_wrong_number_of_jobs_is_refused(mine, jobs):
    with pytest.raises(BenchError, match="should be a whole number of processes, or -1"):
        runner.run(grid(mine), jobs=jobs)


@pytest.mark.slow
def test_a_model_that_fails_is_a_record_and_the_other_trials_go_on(mine, tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "my_failing_model.py").write_text(MODEL)
    runner.run(grid(mine, ["my_failing_model:Mine", "majority"], fractions=[0.5], seeds=[0, 1]))
    table = records.read("few_shot").drop_duplicates("key")
    failed = table[table["model"] == "my_failing_model:Mine"]
    assert failed["status"].tolist() == ["failed: ValueError: not today"] * 2
    assert failed["value"].isna().all()
    assert (table.loc[table["model"] == "majority", "status"] == "ok").all()
    assert "2 of 4 trials failed" in capsys.readouterr().err
    runner.run(grid(mine, ["my_failing_model:Mine", "majority"], fractions=[0.5], seeds=[0, 1]))
    assert "2 of 4 trials recorded, 2 to run" in capsys.readouterr().err  # failures are tried again


def test_a_model_whose_weights_cannot_be_had_is_left_out_and_that_is_said(monkeypatch, capsys):
    def _missing(text):
        raise BenchError(f"Weights {text} are not in the cache.")

    monkeypatch.setattr("bench.weights.resolve", _missing)
    overrides = {"scbert": {"weights": "scbert_standin"}}
    tasks = Grid("x", "standin", "hao", ["majority", "scbert"], overrides=overrides).tasks()
    assert [task.spec.name for task in tasks] == ["majority"]
    assert "x (standin), left out: scbert: Weights scbert_standin are not in the cache." in capsys.readouterr().err
    with pytest.raises(BenchError, match="not in the cache"):
        Grid("x", "standin", "hao", ["scbert"], overrides=overrides).tasks()


def test_logarithms_that_do_not_say_how_they_were_made_are_seen_before_weights_are_fetched(
    small, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr("bench.weights.resolve", lambda text: pytest.fail(f"{text} was fetched"))
    logs = AnnData(log1p_cp10k(small.X), obs=small.obs[["cell_type"]], var=small.var)
    logs.uns["bench"] = {"values": "log1p"}
    logs.write_h5ad(tmp_path / "logs.h5ad")
    models, overrides = ["geneformer", "cellplm@probe"], {"geneformer": {"weights": "geneformer_v1_10m"}}
    asked = {"label": "cell_type", "overrides": overrides}
    tasks = Grid("x", "standin", str(tmp_path / "logs.h5ad"), ["majority", *models], **asked).tasks()
    assert [task.spec.name for task in tasks] == ["majority"]
    said = capsys.readouterr().err
    assert all(f"{name}: Data set" in said for name in ("geneformer", "cellplm"))
    assert "holds logarithms of an unknown base and total" in said


@pytest.mark.parametrize("changed", ["cells", "vectors"])
def test_a_file_that_changes_during_a_run_gives_no_number(mine, tmp_path, changed):
    cells, vectors = read_h5ad(mine), tmp_path / "vectors.csv"
    table = pd.DataFrame(cells.X.toarray()[:, :3], index=cells.obs_names).add_prefix("v")
    table.to_csv(vectors)
    asked = Grid("mine", "quick", mine, [f"embedding@{vectors}"], overrides={"embedding": {"classifier": "knn"}})
    (task,) = asked.tasks()
    assert not runner.run_task(task).failure
    if changed == "cells":
        cells.X.data[0] += 1
        cells.write_h5ad(mine)
    else:
        (table + 1).to_csv(vectors)
    assert (
        f"{'mine.h5ad' if changed == 'cells' else 'vectors.csv'} has changed since the run"
        in runner.run_task(task).failure
    )
