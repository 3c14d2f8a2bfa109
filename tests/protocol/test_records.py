"""Records survive a round trip, two writers, failures, foreign files, unwritable folders and full disks."""

import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from forked import Script

from bench.core.errors import BenchError
from bench.protocol import engine, reading, records, runner
from bench.protocol.trials import Grid
from bench.statistics.predictions import Predictions

pytestmark = pytest.mark.usefixtures("warm")

VARYING = ["seconds", "peak_memory_mb"]  # cost differs between runs of one trial, and nothing else does
GRID = """
import sys
from bench.protocol.runner import run
from bench.protocol.trials import Grid
run(Grid("few_shot", "quick", "hao", ["majority", "random", "knn"], [0.1, 0.5], [0, 1]), jobs=int(sys.argv[1]))
"""
needs_mount = pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")


def row(key="0" * 16, **values) -> dict:
    trial = {"experiment": "few_shot", "tier": "quick", "dataset": "hao", "dataset_hash": "ab", "split": "random"}
    model = {"model": "knn", "variant": "default", "recipe": "clean", "hyperparameters": "{}", "weights_hash": ""}
    trial |= {"subset": "paired", "protocol": "1.1", "fraction": 0.5, "seed": 0}
    result = {"metric": "accuracy", "class": "", "value": 0.1 + 0.2, "status": "ok"}
    return trial | model | result | {"key": key} | values


def failure(key="0" * 16) -> dict:
    return row(key, metric="", value=np.nan, status="failed: ValueError: too few cells")


def cells_and_predictions(n=5) -> tuple[np.ndarray, Predictions]:
    probabilities = np.random.default_rng(0).dirichlet(np.ones(3), n)
    truth, predicted = np.resize(["B", "T", "rare"], n), np.resize(["T", "NK", "T"], n)
    return np.array([f"c{i}" for i in range(n)]), Predictions(truth, probabilities, ["T", "NK", "B"], predicted)


def parts() -> list[Path]:
    return [p for p in records.own_folder().rglob(".*") if p.is_file()]


def snapshot(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {p.name: (p.stat().st_mtime_ns, p.read_bytes()) for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(autouse=True)
def committed(monkeypatch, tmp_path) -> Path:
    folder = tmp_path / "committed"
    monkeypatch.setattr("bench.protocol.place.committed_folder", lambda: folder)
    folder.mkdir()
    return folder


def commit_rows(folder: Path, *rows: dict, experiment="few_shot") -> None:
    pd.DataFrame(rows, columns=list(records.COLUMNS)).to_csv(folder / f"{experiment}.csv", index=False)


def test_rows_come_back_as_they_were_written():
    rows = [row(), row(metric="f1", value=1.0) | {"class": 'NA, "odd"\tname'}, row(metric="loss", epoch=2, value=1e-9)]
    records.write(rows)
    table = records.read("few_shot")
    assert list(table) == [*records.COLUMNS, "origin"]
    assert table["value"].tolist() == [0.1 + 0.2, 1.0, 1e-9]
    assert table["class"].tolist() == ["", 'NA, "odd"\tname', ""]
    assert table["epoch"].isna().tolist() == [True, True, False]
    assert (table["weights_hash"] == "").all()
    assert table["fraction"].dtype == table["value"].dtype == float


def test_a_record_has_exactly_the_documented_columns():
    records.write([row()])
    header = records.path_of("few_shot", "quick", "0" * 16).read_text().splitlines()[0]
    assert header.split(",") == list(records.COLUMNS)


def test_nothing_recorded_reads_as_an_empty_table_with_all_columns():
    assert list(records.read()) == [*records.COLUMNS, "origin"]


def test_predictions_come_back_with_their_cells_label_and_half_precision_probabilities():
    cells, predictions = cells_and_predictions()
    records.write([row()], cells, predictions)
    kept_cells, kept = records.read_predictions("few_shot", "quick", "0" * 16)
    assert kept_cells.tolist() == cells.tolist()
    assert kept.truth.tolist() == predictions.truth.tolist()  # "rare" is no class of the model
    assert kept.classes.tolist() == ["B", "NK", "T"]
    assert kept.predicted.tolist() == predictions.predicted.tolist()  # not the most probable class
    np.testing.assert_allclose(kept.probabilities, predictions.probabilities, atol=1e-3)
    with np.load(records.path_of("few_shot", "quick", "0" * 16, ".npz"), allow_pickle=False) as file:
        assert file["probabilities"].dtype == np.float16


def test_the_batch_of_scored_cells_is_kept_where_there_is_one():
    truth, probabilities = ["T", "B", "T"], np.eye(2)[[0, 1, 0]]
    for batch in (None, ["D2", "D1", "D2"]):
        said = Predictions(truth, probabilities, ["T", "B"], batch=batch)
        records.write([row("1" * 16 if batch else "2" * 16)], np.array(["a", "b", "c"]), said)
    with_batch, without = (records.read_predictions("few_shot", "quick", key * 16)[1] for key in "12")
    assert with_batch.batch.tolist() == ["D2", "D1", "D2"] and without.batch is None
    assert with_batch.take(np.array([1, 0])).batch.tolist() == ["D1", "D2"]
    with pytest.raises(BenchError, match="batch has 2 names for 3 cells"):
        Predictions(truth, probabilities, ["T", "B"], batch=["D1", "D2"])


def test_missing_predictions_are_named():
    with pytest.raises(BenchError, match="No predictions for trial 0000000000000000"):
        records.read_predictions("few_shot", "quick", "0" * 16)


def test_own_records_take_the_place_of_committed_ones_trial_by_trial(committed):
    commit_rows(committed, row("a", value=1), row("b", value=1), row("a", value=1, tier="standin"))
    records.write([row("a", value=2)])
    table = records.read("few_shot")
    found = set(table[["tier", "key", "value", "origin"]].itertuples(index=False, name=None))
    own, theirs = ("quick", "a", 2, "own"), [("quick", "b", 1, "committed"), ("standin", "a", 1, "committed")]
    assert found == {own, *theirs}
    assert len(table) == 3
    assert set(records.read("few_shot", own=False)["value"]) == {1}
    assert set(records.read("few_shot", committed=False)["value"]) == {2}


def test_committed_records_do_not_count_as_done(committed):
    commit_rows(committed, row("a"))
    assert not records.is_done("few_shot", "quick", "a")


def test_a_failure_is_a_row_without_a_value_and_gives_way_to_a_later_success():
    records.write([failure()])
    (failed,) = records.read("few_shot").to_dict("records")
    assert np.isnan(failed["value"])
    assert failed["status"] == "failed: ValueError: too few cells"
    assert not records.is_done("few_shot", "quick", "0" * 16)
    records.write([row()], *cells_and_predictions())
    assert records.read("few_shot")["status"].tolist() == ["ok"]
    assert records.is_done("few_shot", "quick", "0" * 16)


@pytest.mark.parametrize("second", [[row(value=0.9)], [failure()]], ids=["success", "failure"])
def test_a_successful_record_is_never_overwritten(second):
    records.write([row()], *cells_and_predictions())
    before = snapshot(records.own_folder())
    records.write(second, *cells_and_predictions(9))
    assert snapshot(records.own_folder()) == before


def test_a_killed_writer_leaves_predictions_that_the_next_attempt_replaces():
    cells, predictions = cells_and_predictions()
    records.write([row()], cells, predictions)
    records.path_of("few_shot", "quick", "0" * 16).unlink()  # as if killed between the two files
    records.write([row()], *cells_and_predictions(9))
    assert len(records.read_predictions("few_shot", "quick", "0" * 16)[0]) == 9


DAMAGE = {
    "foreign columns": (lambda text: b"cell,type\n1,T\n", "not a record of this version"),
    "cut within a row": (lambda text: text[: text.rindex(b",")], "not a complete record"),
    "cut within the header": (lambda text: text[:40], "not a record"),
    "cut after the header": (lambda text: text[: text.index(b"\n") + 1], "not a complete record"),
    "empty": (lambda text: b"", "not a record"),
    "zeros after a power cut": (lambda text: bytes(len(text)), "not a record"),
    "text for a number": (lambda text: text.replace(b",0.5,", b",half,"), "not a complete record"),
}


@pytest.fixture
def warned(monkeypatch) -> list[str]:
    """Sentences on files that were left out."""
    sentences = []
    monkeypatch.setattr(reading, "warn_once", sentences.append)
    return sentences


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_or_foreign_file_is_as_good_as_none_and_set_aside_when_its_trial_is_run(kind, warned, committed):
    damage, sentence = DAMAGE[kind]
    records.write([row(), row(metric="macro_f1")])
    path = records.path_of("few_shot", "quick", "0" * 16)
    path.write_bytes(damage(path.read_bytes()))
    content = path.read_bytes()
    assert not records.is_done("few_shot", "quick", "0" * 16)
    assert not records.adopt("another", "quick", "0" * 16)
    records.write([row("b")])
    assert records.read("few_shot")["key"].tolist() == ["b"]
    assert len(warned) == 3 and len(set(warned)) == 1
    assert f"{path} is {sentence}" in warned[0] and "delete" in warned[0]
    records.write([row()])
    assert sorted(records.read("few_shot")["key"]) == ["0" * 16, "b"]
    (aside,) = path.parent.glob("*.aside-*")
    assert aside.read_bytes() == content
    aside.rename(committed / "few_shot.csv")
    with pytest.raises(BenchError, match=sentence):  # a file of the project's own is mended, not left out
        records.read("few_shot")


def test_what_is_left_out_is_said_once(caplog):
    records.write([row(), row(metric="macro_f1")])
    path = records.path_of("few_shot", "quick", "0" * 16)
    path.write_text("")
    assert records.read().empty and records.read("few_shot").empty
    (said,) = caplog.messages
    assert said.startswith(f"Left out: {path} is not a record") and "\n" not in said


def test_columns_that_an_older_record_lacks_are_unknown_and_never_block_the_others():
    texts = [
        "label",
        "batch",
        "layer",
        "symbols",
        "dropped_types",
        "query",
        "query_hash",
        "weights_sha256",
        "processor",
    ]
    numbers = ["genes_wanted", "genes_used", "genes_share", "train_share", "threads"]
    asked = "pretrained_on_scored_cells"
    records.write([row(sees_scored_cells=True)])
    path = records.path_of("few_shot", "quick", "0" * 16)
    older = pd.read_csv(path, dtype=str, keep_default_na=False).drop(columns=[*texts, *numbers, asked])
    older.to_csv(path, index=False)
    records.write([row("b", label="celltype", genes_used=3, sees_scored_cells="no")])
    older, newer = records.read("few_shot").sort_values("key").to_dict("records")
    assert list(older) == [*records.COLUMNS, "origin"]
    assert {older[column] for column in texts} == {""} and np.isnan([older[column] for column in numbers]).all()
    assert (older["sees_scored_cells"], older[asked]) == ("yes", "unknown")
    assert (older["value"], newer["label"], newer["genes_used"]) == (0.1 + 0.2, "celltype", 3)
    assert (newer["sees_scored_cells"], newer[asked]) == ("no", "unknown")
    assert records.is_done("few_shot", "quick", "0" * 16) and records.adopt("another", "quick", "0" * 16)
    assert records.path_of("another", "quick", "0" * 16).read_text().splitlines()[0] == ",".join(records.COLUMNS)


def test_part_files_are_never_read():
    records.write([row()])
    part = records.path_of("few_shot", "quick", "x").with_name(".part-abc")
    part.write_text("half a rec")
    assert len(records.read()) == 1


def test_part_files_of_killed_runs_are_removed_once_they_are_old():
    folder = records.path_of("few_shot", "quick", "x").parent
    folder.mkdir(parents=True)
    (folder / ".part-old").touch()
    os.utime(folder / ".part-old", (time.time() - 86_400,) * 2)
    (folder / ".part-new").touch()  # may belong to a process that is writing it
    records.check_writable()
    assert [p.name for p in parts()] == [".part-new"]


def test_commit_merges_own_records_into_the_committed_ones(committed):
    commit_rows(committed, row("a", value=1), row("b", value=1))
    records.write([row("a", value=2)])
    records.write([row("c", value=2)])
    path = records.commit("few_shot")
    assert path == committed / "few_shot.csv"
    shutil.rmtree(records.own_folder())
    assert records.read("few_shot").set_index("key")["value"].to_dict() == {"a": 2, "b": 1, "c": 2}


def test_commit_of_one_tier_leaves_the_committed_records_of_the_others(committed):
    commit_rows(committed, row("a", value=1), row("b", value=1, tier="standin"))
    records.write([row("a", value=2)])
    records.write([row("b", value=2, tier="standin")])
    records.commit("few_shot", "standin")
    table = records.read("few_shot", own=False)
    assert table.set_index(["tier", "key"])["value"].to_dict() == {("quick", "a"): 1, ("standin", "b"): 2}


def test_commit_keeps_predictions_of_complete_training_sets(committed):
    cells, predictions = cells_and_predictions()
    records.write([row("a", fraction=1.0)], cells, predictions)
    records.write([row("b")], cells, predictions)
    records.commit("few_shot")
    shutil.rmtree(records.own_folder())
    assert records.read_predictions("few_shot", "quick", "a")[0].tolist() == cells.tolist()
    with pytest.raises(BenchError, match="No predictions"):
        records.read_predictions("few_shot", "quick", "b")


def test_commit_without_own_records_says_how_to_make_them():
    with pytest.raises(BenchError, match=r"bench run chapters/few_shot\.md"):
        records.commit("few_shot")


def python(*arguments: str, code: str = GRID, **options) -> subprocess.Popen:
    one_thread = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # else two processes wait for each other
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": os.environ | one_thread}
    return subprocess.Popen([sys.executable, "-c", code, *arguments], **pipes, **options)


def finished(process: subprocess.Popen) -> str:
    return process.communicate(timeout=300)[1]


def script(jobs: str) -> Script:
    """Run the grid in a process of its own as `python` does, which is forked, as its trials are."""
    return Script(GRID, jobs, OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")


def without_cost(table: pd.DataFrame) -> pd.DataFrame:
    return table.drop(columns=VARYING).sort_values(["key", "metric", "class"]).reset_index(drop=True)


@pytest.mark.slow
def test_two_processes_on_the_same_grid_leave_complete_and_equal_records(tmp_path, monkeypatch):
    both = [one.wait() for one in [script(jobs) for jobs in ("1", "2")]]
    assert [done.returncode for done in both] == [0, 0], both
    assert parts() == []
    twice = records.read("few_shot")
    for key in twice["key"].unique():
        _, predictions = records.read_predictions("few_shot", "quick", key)
        accuracy = twice.loc[(twice["key"] == key) & (twice["metric"] == "accuracy"), "value"].item()
        assert (predictions.predicted == predictions.truth).mean() == pytest.approx(accuracy)
    monkeypatch.setenv("BENCH_RESULTS", str(tmp_path / "alone"))
    assert script("1").wait().stderr.count("12 to run") == 1
    once = records.read("few_shot")
    assert once["key"].nunique() == 12
    pd.testing.assert_frame_equal(without_cost(twice), without_cost(once))


def refused() -> str:
    with pytest.raises(BenchError, match="Results cannot be written to") as caught:
        records.check_writable()
    assert "BENCH_RESULTS" in str(caught.value)
    return str(caught.value)


def test_a_folder_under_a_file_is_refused_before_anything_runs(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("BENCH_RESULTS", str(tmp_path / "file" / "results"))
    assert "make it writable" in refused()


@pytest.fixture
def small_disk(own_results):
    """Mount a disk of 256 kB at the user's results; a container may not be allowed to."""
    own_results.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(own_results)], capture_output=True)
    if made.returncode:
        pytest.skip(f"no small disk can be mounted here: {made.stderr.decode().strip()}")
    yield own_results
    subprocess.run(["umount", "-l", str(own_results)], check=True)


@needs_mount
def test_a_read_only_disk_is_refused_before_anything_runs(small_disk):
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    assert "make it writable" in refused()


@needs_mount
def test_a_full_disk_says_what_to_do_keeps_records_and_a_later_run_completes(small_disk):
    records.write([row("a")], *cells_and_predictions())
    before = snapshot(small_disk)
    (small_disk / "ballast").write_bytes(bytes(small_disk.stat().st_blksize * 40))
    with pytest.raises(BenchError, match="free some space or name another folder in BENCH_RESULTS"):
        records.write([row("b")] * 2000)
    assert "free some space" in _fill(small_disk)
    assert parts() == []
    (small_disk / "ballast").unlink()
    assert snapshot(small_disk) == before
    records.check_writable()
    records.write([row("b")])
    assert set(records.read()["key"]) == {"a", "b"}


def _fill(disk: Path) -> str:
    with pytest.raises(OSError, match="No space"), open(disk / "ballast", "ab", buffering=0) as file:
        while file.write(bytes(4096)) == 4096:
            pass
        raise OSError(28, "No space")  # a short write
    return refused()


@pytest.mark.slow
@pytest.mark.parametrize("jobs", ["1", "2"])
def test_a_file_size_limit_in_the_middle_of_a_run_is_one_sentence_and_the_run_can_be_completed(jobs):
    limit = 4096  # bytes: the predictions of `majority` fit, those of `knn` do not
    code = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, resource.RLIM_INFINITY))\n"
    code += "from bench import records; records.check_writable = lambda *_: None\n"  # would refuse at once
    code += "from bench.core.errors import BenchError\ntry:\n    " + GRID.strip().replace("\n", "\n    ")
    code += "\nexcept BenchError as error:\n    sys.exit('sentence: ' + str(error))"
    limited = python(jobs, code=code)
    output = finished(limited)
    assert limited.returncode == 1, output
    assert "sentence: Results cannot be written to" in output
    assert "free some space" in output
    assert parts() == []
    earlier = snapshot(records.own_folder())
    complete = script("1").wait()
    assert complete.stderr.count("to run") == 1
    assert complete.returncode == 0
    after = snapshot(records.own_folder())
    assert {name: after[name] for name in earlier if name.endswith(".csv")} == {
        name: kept for name, kept in earlier.items() if name.endswith(".csv")
    }
    assert records.read()["key"].nunique() == 12
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != limit


def test_a_trial_of_another_experiment_is_taken_over_instead_of_run_again(hao, monkeypatch):
    first, second = (Grid(name, "quick", "hao", "majority") for name in ("first", "second"))
    runner.run(first)
    monkeypatch.setattr(engine, "answers", lambda run, tasks, *_: (pytest.fail("was run again") for _ in tasks))
    runner.run(second)
    one, two = (records.read(name, committed=False) for name in ("first", "second"))
    assert set(two["experiment"]) == {"second"}
    pd.testing.assert_frame_equal(one.drop(columns="experiment"), two.drop(columns="experiment"))
    (key,) = set(two["key"])
    truths = [records.read_predictions(name, "quick", key)[1].truth for name in ("first", "second")]
    np.testing.assert_array_equal(*truths)
    assert not records.adopt("third", "standin", key)  # tiers stay apart
