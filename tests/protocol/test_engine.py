"""A model may end its process as it likes: that is a failed record, and the grid around it is as if undisturbed."""

import pickle
import re
from contextlib import nullcontext

import pandas as pd
import pytest
from click.testing import CliRunner
from in_process import run_task

from bench.cli import main
from bench.protocol import attempt, engine, records, runner
from bench.protocol.runner import run
from bench.protocol.trials import Grid

MODELS = """
import os, signal, sys, time, warnings

class Base:
    def fit(self, train, *, seed, validation=None):
        self.end()
    def predict_proba(self, cells):
        raise AssertionError("never asked")

class Killed(Base):
    def end(self): os.kill(os.getpid(), signal.SIGKILL)
class Ended(Base):
    def end(self): os.kill(os.getpid(), signal.SIGTERM); time.sleep(99)
class Left(Base):
    def end(self): os._exit(3)
class Exits(Base):
    def end(self): sys.exit("no licence")
class Raises(Base):
    def end(self): print("begun"); warnings.warn("odd cells"); raise RuntimeError("not\\n today")
class Interrupts(Base):
    def end(self): raise KeyboardInterrupt
class Orphans(Base):  # what it has started holds its end of the connection
    def end(self): os.fork() == 0 and time.sleep(99); os.kill(os.getpid(), signal.SIGKILL)
class Speechless(Base):
    def end(self): sys.stdout.close(); raise type("Mute", (BaseException,), {"__str__": lambda self: 1 / 0})
"""
REASONS = {
    "Killed": "failed: the process was killed by SIGKILL (the system kills so where memory runs out)",
    "Left": "failed: the process ended itself with exit code 3",
    "Exits": "failed: SystemExit: no licence",
    "Raises": "failed: RuntimeError: not today",
    "Interrupts": "failed: KeyboardInterrupt",
    "Orphans": "failed: the process was killed by SIGKILL (the system kills so where memory runs out)",
    "Speechless": "failed: Mute",
}
COST = ["seconds", "peak_memory_mb", "threads"]


@pytest.fixture(autouse=True)
def no_committed_records(monkeypatch, tmp_path):
    monkeypatch.setattr("bench.protocol.place.committed_folder", lambda: tmp_path / "committed")


@pytest.fixture
def deadly(tmp_path, monkeypatch) -> list[str]:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "my_deadly_models.py").write_text(MODELS)
    return [f"my_deadly_models:{name}" for name in REASONS]


def content(folder, monkeypatch) -> pd.DataFrame:
    monkeypatch.setenv("BENCH_RESULTS", str(folder))
    table = records.read("deaths").drop(columns=COST)
    return table.sort_values(["key", "metric", "class"]).reset_index(drop=True)


def check_logs(failed: pd.DataFrame, folder) -> None:
    """What a trial has printed, where it ran and why it failed stands in a log, and the command says where."""
    (raised,) = failed[failed["model"] == "my_deadly_models:Raises"].to_dict("records")
    file = folder / "deaths" / "quick" / f"{raised['key']}.log"
    log = file.read_text()
    assert re.match(r"my_deadly_models:Raises on small.h5ad, 100 %, seed 0\n.* UTC, on .*, process \d+, [\d.]+ s", log)
    assert log.index("failed: RuntimeError") < log.index("begun\n") < log.index("UserWarning: odd cells")
    assert log.index("odd cells") < log.index("Traceback") and log.endswith("RuntimeError: not\n today\n\n")
    (killed,) = failed[failed["model"] == "my_deadly_models:Killed"].to_dict("records")
    assert (file.with_stem(killed["key"])).read_text() == f"{REASONS['Killed']}\n"
    shown = CliRunner().invoke(main, ["records", "deaths"]).output
    assert f"{REASONS['Raises']}\n  what it printed: {file}\n" in shown


def test_what_somebody_has_ended_is_said_and_is_no_failure_of_the_model(deadly, small, tmp_path, own_results, capfd):
    file = tmp_path / "small.h5ad"
    small.write_h5ad(file)
    run(Grid("deaths", "quick", str(file), ["my_deadly_models:Ended", "majority"]))
    assert set(records.read("deaths")["model"]) == {"majority"}
    said = capfd.readouterr().err
    assert "my_deadly_models:Ended on small.h5ad, 100 %, seed 0 was not finished: the process was killed by SIG" in said
    assert "trials failed" not in said


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
def test_deaths_in_the_middle_of_a_grid_are_failed_records_and_nothing_is_lost_or_doubled(
    jobs, deadly, small, tmp_path, own_results, monkeypatch, capfd, caplog, warm
):
    file, quiet = tmp_path / "small.h5ad", ["majority", "random", "knn"]
    small.write_h5ad(file)
    run(Grid("deaths", "quick", str(file), ["majority", *deadly, "random", "knn"]), jobs=jobs)
    table = content(own_results, monkeypatch)
    failed = table[table["status"] != "ok"]
    assert dict(zip(failed["model"], failed["status"], strict=True)) == dict(zip(deadly, REASONS.values(), strict=True))
    assert set(failed["dataset"]) == {"small.h5ad"}
    assert failed["value"].isna().all() and failed[["metric", "class"]].eq("").all(axis=None)
    assert "7 of 10 trials failed, e.g. my_deadly_models:" in capfd.readouterr().err
    assert f"my_deadly_models:Killed on small.h5ad, 100 %, seed 0, {REASONS['Killed']}" in caplog.messages
    (said,) = [message for message in caplog.messages if "my_deadly_models:Raises on small.h5ad" in message]
    assert said.endswith("RuntimeError: not\n today\n") and "in end" in said
    check_logs(failed, own_results)

    monkeypatch.setenv("BENCH_RESULTS", str(tmp_path / "alone"))
    for task in Grid("deaths", "quick", str(file), quiet).tasks():
        assert run_task(task) == ""
    alone = content(tmp_path / "alone", monkeypatch)
    pd.testing.assert_frame_equal(table[table["status"] == "ok"].reset_index(drop=True), alone, check_dtype=False)

    monkeypatch.setenv("BENCH_RESULTS", str(own_results))
    run(Grid("deaths", "quick", str(file), [*quiet, deadly[3]]), jobs=jobs)
    assert "3 of 4 trials recorded, 1 to run" in capfd.readouterr().err  # what failed is tried again, and nothing else


def test_a_trial_that_fails_before_its_fit_is_a_record(small, tmp_path):
    small.write_h5ad(tmp_path / "small.h5ad")
    (task,) = Grid("deaths", "quick", str(tmp_path / "small.h5ad"), "majority").tasks()
    (tmp_path / "small.h5ad").unlink()
    assert run_task(task).startswith("failed: BenchError: Unknown file in")
    (row,) = records.read("deaths").to_dict("records")
    assert pd.isna(row["seconds"]) and pd.isna(row["peak_memory_mb"]) and row["model"] == "majority"


@pytest.mark.parametrize("jobs", [1, 2])
def test_what_failed_before_is_tried_after_all_that_was_not_tried_yet(jobs, small, tmp_path, monkeypatch):
    small.write_h5ad(tmp_path / "small.h5ad")
    tasks = Grid("deaths", "quick", str(tmp_path / "small.h5ad"), ["majority", "random", "knn"], [0.5, 1.0]).tasks()
    for task in (tasks[0], tasks[5]):
        attempt.failed(task, "no licence").write()
    begun = []
    monkeypatch.setattr(engine, "answers", lambda run, missing, *_: (begun.extend(missing), iter(()))[1])
    monkeypatch.setattr(engine, "closing", nullcontext)
    engine.complete(tasks, runner.run_task, "deaths", jobs)
    expected = [1, 2, 3, 4, 0, 5] if jobs == 1 else [3, 4, 1, 2, 5, 0]  # several: longest first
    assert begun == [tasks[place] for place in expected]


def test_a_task_and_its_result_can_be_sent_anywhere_and_nothing_is_written_where_it_runs(small, tmp_path, own_results):
    small.write_h5ad(tmp_path / "small.h5ad")
    (task,) = Grid("deaths", "quick", str(tmp_path / "small.h5ad"), "majority").tasks()
    result = pickle.loads(pickle.dumps(runner.run_task(pickle.loads(pickle.dumps(task)))))
    assert not own_results.exists() and result.failure == ""
    result.write()
    assert set(records.read("deaths")["key"]) == {task.trial.key}
    cells, said = records.read_predictions("deaths", "quick", task.trial.key)
    assert cells.tolist() == result.cells.tolist() and said.predicted.tolist() == result.predictions.predicted.tolist()
