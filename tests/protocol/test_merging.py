"""``bench records --merge``: another machine's trials become one's own, once each, and contradictions are named."""

import shutil

import numpy as np
import pytest
from click.testing import CliRunner

from bench.cli import main
from bench.core import atomic
from bench.core.errors import BenchError
from bench.protocol import records
from bench.protocol.merging import merge
from bench.statistics.predictions import Predictions

CELLS = np.array(["a", "b"])
SAID = Predictions(np.array(["B", "T"]), None, np.array(["B", "T"]), np.array(["B", "B"]))


@pytest.fixture(autouse=True)
def no_committed_records(monkeypatch, tmp_path):
    monkeypatch.setattr("bench.protocol.place.committed_folder", lambda: tmp_path / "committed")


def key_of(number: int) -> str:
    return f"{number:016x}"


def row(number: int, value: float = 0.5, **more) -> dict:
    trial = {"experiment": "few_shot", "tier": "quick", "dataset": "hao", "model": "knn", "fraction": 0.5, "seed": 0}
    return trial | {"key": key_of(number), "metric": "accuracy", "class": "", "value": value, "status": "ok"} | more


def failure(number: int) -> dict:
    return row(number, np.nan, metric="", status="failed: ValueError: too few cells")


@pytest.fixture
def elsewhere(monkeypatch, tmp_path, own_results):
    """Return a function that records rows in the results of another machine."""

    def write(*rows: dict):
        monkeypatch.setenv("BENCH_RESULTS", str(tmp_path / "elsewhere"))
        for one in rows:
            records.write([one], CELLS, SAID)
        monkeypatch.setenv("BENCH_RESULTS", str(own_results))
        return tmp_path / "elsewhere"

    return write


def values() -> dict[str, float]:
    return records.read().set_index("key")["value"].to_dict()


def test_trials_of_another_machine_are_taken_with_their_predictions_and_none_twice(elsewhere):
    records.write([row(1)])
    folder = elsewhere(row(1), row(2, 0.7))
    for n_taken, n_known in ((1, 1), (0, 2)):
        merged = merge(folder)
        assert (merged.n_taken, merged.n_known, merged.contradictions, merged.odd) == (n_taken, n_known, [], [])
        assert values() == {key_of(1): 0.5, key_of(2): 0.7}
    assert records.read_predictions("few_shot", "quick", key_of(2))[1].predicted.tolist() == ["B", "B"]


def test_a_trial_with_other_values_is_named_and_stays_as_it_is_here(elsewhere):
    records.write([row(1, 0.5, processor="abacus", threads=2)])
    folder = elsewhere(row(1, 0.75, processor="astrolabe", threads=2))
    result = CliRunner().invoke(main, ["records", "--merge", str(folder)])
    assert result.exit_code == 1
    assert result.stdout == f"0 trials taken from {folder}, 1 were here already\n"
    assert f"{key_of(1)}, few_shot knn on hao, 50 %, seed 0: accuracy 0.5 here, 0.75 there" in result.stderr
    assert "Not the same: processor abacus → astrolabe." in result.stderr
    assert values() == {key_of(1): 0.5}


def test_values_that_differ_by_rounding_are_no_contradiction(elsewhere):
    records.write([row(1, 1 / 3)])
    assert merge(elsewhere(row(1, 1 / 3 + 1e-9))).contradictions == []


def test_records_of_one_experiment_that_come_from_two_files_of_the_same_weights_are_named(elsewhere):
    same = {"model": "scgpt", "weights_hash": "f" * 16}
    records.write([row(1, weights_sha256="a" * 64, **same)])
    records.write([row(2, weights_sha256="a" * 64, **same)])
    folder = elsewhere(row(3, weights_sha256="b" * 64, **same), row(4))
    result = CliRunner().invoke(main, ["records", "--merge", str(folder)])
    assert result.exit_code == 0 and result.stdout.startswith("2 trials taken")
    (said,) = result.stderr.splitlines()
    assert said == (
        "bench: do not take their mean: few_shot (quick), scgpt: trials with different files of the same weights, "
        "2 with aaaaaaaa, 1 with bbbbbbbb. Copy the file from one machine's cache to the other's and run those trials "
        "again."
    )
    of_other_weights = row(5, model="scgpt", weights_hash="e" * 16, weights_sha256="c" * 64)
    assert len(merge(elsewhere(of_other_weights)).mixed) == 1  # the two of before


def test_a_failure_gives_way_and_takes_the_place_of_nothing(elsewhere):
    records.write([failure(1)])
    records.write([row(2)])
    merged = merge(elsewhere(row(1, 0.9), failure(2), failure(3)))
    assert (merged.n_taken, merged.n_known) == (2, 1)
    status = records.read().set_index("key")["status"].str.partition(":")[0].to_dict()
    assert status == {key_of(1): "ok", key_of(2): "ok", key_of(3): "failed"}


def test_a_file_that_is_no_record_or_lies_in_another_place_is_named_and_left_out(elsewhere):
    folder = elsewhere(row(1), row(2))
    (folder / "few_shot" / "quick" / f"{key_of(1)}.csv").write_text("half a rec")
    shutil.move(folder / "few_shot" / "quick" / f"{key_of(2)}.csv", folder / "few_shot" / "quick" / f"{key_of(9)}.csv")
    result = CliRunner().invoke(main, ["records", "--merge", str(folder)])
    assert result.exit_code == 0 and result.stdout.startswith("0 trials taken")
    assert f"{key_of(1)}.csv is not a record" in result.stderr
    assert f"says key '{key_of(2)}', and its place '{key_of(9)}'; move it there." in result.stderr


def test_a_merge_that_was_killed_goes_on(elsewhere, monkeypatch):
    folder = elsewhere(row(1), row(2))
    written = []

    def killed(path, *arguments, write=atomic.write, **more):
        if len(written) == 3:  # predictions and record of the first, predictions of the second
            raise KeyboardInterrupt
        written.append(path)
        write(path, *arguments, **more)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(atomic, "write", killed)
        merge(folder)
    assert list(values()) == [key_of(1)]
    assert merge(folder).n_taken == 1 and list(values()) == [key_of(1), key_of(2)]


def test_a_folder_without_records_and_ones_own_are_refused(tmp_path, own_results):
    with pytest.raises(BenchError, match="holds no records; expected EXPERIMENT"):
        merge(tmp_path / "nowhere")
    with pytest.raises(BenchError, match="is where your own results lie"):
        merge(own_results)
