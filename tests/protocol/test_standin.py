"""The stand-in tier in order of worth: what counts as done, what is planned, and what ends it."""

import json
import os
import signal
import time
from types import SimpleNamespace

import pandas as pd
import pytest
from click.testing import CliRunner
from forked import Script

from bench.cli import main
from bench.core.errors import BenchError
from bench.protocol import durations, notebooks, records, standin
from bench.protocol.durations import Durations
from bench.protocol.standin import Step, ending_in, plan, run, steps
from bench.protocol.trial import Trial
from bench.training.pace import Pace

SMALL = {"dataset": "hao", "models": ["majority", "random"], "fractions": [0.5, 1.0], "seeds": [0, 1]}
KILLED = """
import os, signal, sys
from bench.protocol import engine, standin
standin.steps = lambda: [standin.Step("small", "few_shot_pbmc", PARAMETERS)]
write, done = engine.Result.write, []
def counted(self):
    write(self)
    done.append(1)
    if len(done) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
engine.Result.write = counted
standin.run(print)
"""


@pytest.fixture
def small(monkeypatch, warm):
    """One step of seven trials that take no time: the majority is fitted once for all cells."""
    monkeypatch.setattr(standin, "steps", lambda: [Step("small", "few_shot_pbmc", SMALL)])


def test_every_step_names_a_chapter_and_parameters_that_it_has():
    found = steps()
    assert len({step.title for step in found}) == len(found) > 8
    for step in found:
        notebooks.check_parameters(step.chapter, step.parameters)
    assert found[0].parameters["models"][-2:] == ["scgpt", "scgpt@no_pretraining"]


@pytest.mark.parametrize("text", ["- titel: x\n  chapter: y", "[1, 2]"])
def test_a_file_of_another_shape_is_a_sentence(text, tmp_path, monkeypatch):
    monkeypatch.setattr(standin, "ROOT", tmp_path)
    with pytest.raises(BenchError, match=r"standin\.yml is not there"):
        steps()
    (tmp_path / "chapters").mkdir()
    (tmp_path / "chapters" / "standin.yml").write_text(text)
    with pytest.raises(BenchError, match="should be a list of entries with title, chapter and parameters"):
        steps()


@pytest.mark.slow
def test_a_plan_runs_nothing_and_what_is_run_is_done(small, own_results):
    (left,) = plan()
    assert (left.n_trials, len(left.missing)) == (7, 7)
    assert not [*own_results.rglob("*.csv")]
    said = []
    run(said.append)
    assert said[0] == "1. small: 7 of 7 trials to run"
    assert said[1] == "majority on hao, 50 %, seed 0, 1 of 7; to the end of this step: 7 of unknown length"
    assert len(said) == 8
    assert {path.parent.relative_to(own_results).as_posix() for path in own_results.rglob("*.csv")} == {
        "few_shot_pbmc/standin"
    }
    assert not plan()[0].missing


@pytest.mark.slow
def test_a_step_whose_data_cannot_be_had_is_left_out_and_that_is_said(small, monkeypatch):
    steps = [Step("none", "few_shot_pbmc", SMALL | {"dataset": "no.h5ad", "label": "type"}), *standin.steps()]
    monkeypatch.setattr(standin, "steps", lambda: steps)
    assert [bool(one.reason) for one in plan()] == [True, False]
    said = []
    run(said.append)
    assert said[0].startswith("1. none: left out. ") and "no.h5ad" in said[0]
    assert said[1] == "2. small: 7 of 7 trials to run"
    assert "1. none: cannot be planned. " in CliRunner().invoke(main, ["standin", "--plan"]).output


@pytest.mark.slow
def test_trials_of_another_experiment_are_taken_over(small, monkeypatch):
    run(lambda _: None)
    monkeypatch.setattr(standin, "steps", lambda: [Step("same", "few_shot_scgpt", SMALL)])
    said = []
    run(said.append)
    assert said == ["1. same: 0 of 7 trials to run"]


@pytest.mark.parametrize("cell", ["%matplotlib inline", "1 / 0"])
def test_a_chapter_that_cannot_be_executed_here_is_a_sentence(cell, tmp_path):
    begin, end = "```{code-cell} ipython3\n", "\n```\n"
    head = "---\nkernelspec: {display_name: x, name: python3}\n---\n# T\n"
    cells = [":tags: [parameters]\n\ncompute = False", cell, "compute"]
    (tmp_path / "mine.md").write_text(head + "".join(begin + source + end for source in cells))
    with pytest.raises(BenchError, match=r"mine\.md cannot be planned: (SyntaxError|ZeroDivisionError)"):
        notebooks.trials_of(str(tmp_path / "mine.md"), {})


@pytest.mark.slow
def test_committed_trials_count_as_done_here_alone(small, own_results, tmp_path, monkeypatch):
    run(lambda _: None)
    monkeypatch.setattr("bench.protocol.place.committed_folder", lambda: tmp_path / "committed")
    records.commit("few_shot_pbmc")
    monkeypatch.setenv("BENCH_RESULTS", str(tmp_path / "others"))
    assert not plan()[0].missing


@pytest.mark.slow
def test_killed_it_goes_on_with_the_next_trial(small, own_results, warm):
    assert Script(KILLED.replace("PARAMETERS", repr(SMALL))).wait().returncode == -signal.SIGKILL
    assert len(plan()[0].missing) == 4
    run(lambda _: None)
    assert not plan()[0].missing


# Which trials are done


def task(seed: int, weights_hash="w", fraction=1.0, weights=None, **settings) -> SimpleNamespace:
    settings = json.dumps({"epochs": 5, "trainable": "all"} | settings)
    trial = Trial("baron", "d", "s", "paired", "m", "v", "r", settings, weights_hash, fraction, seed, "1.1")
    return SimpleNamespace(trial=trial, experiment="x", tier="standin", spec=SimpleNamespace(weights=weights))


def known(*made: tuple[SimpleNamespace, str], **more) -> pd.DataFrame:
    rows = [{"experiment": "x", "key": one.trial.key, "weights_sha256": sha} for one, sha in made]
    return pd.DataFrame(rows, columns=["experiment", "key", "weights_sha256"]).assign(**more)


def done(tasks, *made) -> list[int]:
    keys = standin._done(tasks, known(*made))
    return [one.trial.seed for one in tasks if one.trial.key in keys]


@pytest.fixture
def here(monkeypatch):
    monkeypatch.setattr(standin, "_here", lambda: {"here"})


def test_seeds_made_with_one_file_of_weights_are_done_wherever_it_is(here):
    tasks = [task(0), task(1)]
    assert done(tasks, (tasks[0], "there"), (tasks[1], "there")) == [0, 1]


def test_seeds_made_with_another_file_are_not_completed_with_this_one(here):
    tasks = [task(0), task(1), task(2)]
    assert done(tasks, (tasks[0], "there")) == []
    assert done(tasks, (tasks[0], "there"), (tasks[1], "here")) == [1]
    assert done(tasks, (tasks[0], "here")) == [0]
    assert done(tasks, (tasks[0], "there"), (tasks[1], "here"), (tasks[2], "here")) == [1, 2]


@pytest.mark.filterwarnings("error")
def test_where_there_are_no_own_results_the_committed_ones_are_known_without_a_warning(own_results):
    found = standin.recorded()
    assert len(found) and set(found["origin"]) == {"committed"}
    assert found["n_train"].dtype == "float64"


def test_models_without_weights_are_done_one_by_one(here):
    tasks = [task(0, ""), task(1, "")]
    assert done(tasks, (tasks[0], "")) == [0]


def test_a_trial_made_with_other_weights_gives_way(monkeypatch, own_results):
    row = {"experiment": "x", "tier": "standin", "dataset": "d", "metric": "accuracy", "class": "", "key": "k"}
    row |= {"status": "ok", "value": 0.1, "weights_sha256": "there"}
    for changes, expected in (({}, 0.1), ({"value": 0.2}, 0.1), ({"value": 0.3, "weights_sha256": "here"}, 0.3)):
        records.write([row | changes])
        assert records.read("x", committed=False)["value"].item() == expected


# How long it takes

SIDES = {"dataset": "baron", "split": "s", "subset": "paired"}


def test_times_come_from_what_ran_on_this_processor(monkeypatch):
    monkeypatch.setattr(durations, "processor", lambda device: {"cpu": "this one", "cuda": ""}[device])
    rows = SIDES | {"model": "m", "variant": "v", "hyperparameters": '{"epochs":10}'}
    rows |= {"n_train": 100, "fraction": 0.5, "seconds": 2000.0}
    there = Durations(known((task(0), ""), **rows, processor="this one"))
    assert there.of(task(1)) == pytest.approx(5 * 200 * 2.0)  # epochs, cells, seconds a cell
    assert there.of(task(1, fraction=0.1)) == pytest.approx(5 * 20 * 2.0)
    for other in ("another one", ""):  # the latter is unknown
        assert pd.isna(Durations(known((task(0), ""), **rows, processor=other)).of(task(1)))


def test_where_nothing_like_it_ran_the_pretraining_of_its_weights_tells():
    rows = SIDES | {"model": "n", "variant": "", "hyperparameters": "", "n_train": 200.0, "fraction": 1.0}
    elsewhere = known((task(0), ""), **rows, seconds=1.0, processor="another one")
    paces = {"some": Pace(step_s=96.0, n_cells=32, n_left=0, depth=6)}
    found = Durations(elsewhere, paces)
    assert found.of(task(1, weights="some")) == pytest.approx(5 * 200 * 3.0)
    assert pd.isna(found.of(task(1, weights="others")))
    last = {"weights": "some", "trainable": "last_layer"}  # kept as they are, the others go through it once
    assert found.of(task(1, **last, redraw=False)) == pytest.approx((1 / 3 + 5 / 6) * 200 * 3.0)
    for other in (last, last | {"redraw": True}, last | {"trainable": "head"}, last | {"trainable": None}):
        assert pd.isna(found.of(task(1, **other)))
    larger = elsewhere.assign(split="another", n_train=900.0)
    assert Durations(pd.concat([elsewhere, larger]), paces).of(task(1, weights="some")) == 5 * 200 * 3.0
    assert pd.isna(Durations(larger, paces).of(task(1, weights="some")))


@pytest.mark.slow
def test_the_command_tells_its_plan(small, monkeypatch):
    said = CliRunner().invoke(main, ["standin", "--plan"])
    assert said.exit_code == 0, said.output
    assert " 1. small: 7 of 7 trials to run, 7 of unknown length" in said.output
    run(lambda _: None)
    assert " 1. small: done" in CliRunner().invoke(main, ["standin", "--plan"]).output


# What ends it


def test_after_its_time_it_ends_as_after_a_ctrl_c_but_without_an_error():
    said = []
    begun = time.monotonic()
    with ending_in(0.2 / 3600, said.append):
        time.sleep(60)
    assert time.monotonic() - begun < 30
    assert said == ["The time is up. Finished trials are recorded; the same command goes on from the last epoch."]


def test_a_ctrl_c_before_is_one():
    with pytest.raises(KeyboardInterrupt), ending_in(1, print):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(60)
    with ending_in(None, print):
        pass


@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("BENCH_MIRROR"), reason="the data of the tier are large downloads")
def test_the_whole_tier_can_be_planned_without_weights():
    left = plan()
    assert len(left) == len(steps())
    assert sum(one.n_trials for one in left) > 100
    assert left[0].weights == ["scgpt_standin"] or not left[0].missing
