"""``bench predictions``: the labels of a trial as a table that other tools read, found by the beginning of its key."""

import io

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from anndata import AnnData
from click.testing import CliRunner

from bench.cli import main
from bench.protocol import records
from bench.protocol.runner import run_task
from bench.protocol.trials import Grid
from bench.statistics.predictions import UNLABELLED, Predictions

KEYS = ("1a" * 8, "1b" * 8, "2c" * 8)
CELLS = np.array(["AAAC-1", 'a "quoted", name', "two\nlines", "carriage\rreturn", "ünï", "007"])
CLASSES = np.array(["B, naive", 'T "helper"', "mono"])


@pytest.fixture(autouse=True)
def committed(monkeypatch, tmp_path):
    folder = tmp_path / "committed"
    monkeypatch.setattr("bench.protocol.place.committed_folder", lambda: folder)
    monkeypatch.chdir(tmp_path)
    return folder


def bench(*arguments: str):
    return CliRunner().invoke(main, ["predictions", *arguments])


def predictions(truth=None) -> Predictions:
    p = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.2, 0.2, 0.6]])
    return Predictions(CLASSES[[0, 1, 2, 0, 1, 1]] if truth is None else truth, np.tile(p, (2, 1)), CLASSES)


def record(key: str, said: Predictions | None = None, names=None, experiment="first", **more) -> None:
    row = {"experiment": experiment, "tier": "quick", "dataset": "mine.h5ad", "split": "random", "model": "knn"}
    row |= {"metric": "accuracy", "class": "", "value": 0.5, "key": key, "status": "ok", "fraction": 1, "seed": 0}
    said = predictions() if said is None else said
    records.write([row | {"variant": "default"} | more], CELLS, said, names)


def read(text: str | bytes) -> pd.DataFrame:
    return pd.read_csv(io.BytesIO(text) if isinstance(text, bytes) else io.StringIO(text))


def test_labels_with_confidence_and_truth_are_written(tmp_path):
    record(KEYS[0])
    result = bench(KEYS[0], "--out", "labels.csv")
    assert result.exit_code == 0 and result.stdout == ""
    assert (
        f"6 cells of mine.h5ad, split random, labelled by knn trained on mine.h5ad (trial {KEYS[0]})" in result.stderr
    )
    table = pd.read_csv(tmp_path / "labels.csv", dtype={"cell": str})
    assert list(table) == ["cell", "predicted", "confidence", "truth"]
    assert table["cell"].tolist() == CELLS.tolist()
    assert table["predicted"].tolist() == CLASSES[[0, 1, 2, 0, 1, 2]].tolist()
    assert table["truth"].tolist() == CLASSES[[0, 1, 2, 0, 1, 1]].tolist()
    assert table["confidence"].to_numpy() == pytest.approx(np.tile([0.7, 0.8, 0.6], 2), abs=1e-3)


def test_all_probabilities_go_to_standard_output():
    record(KEYS[0])
    result = bench("1A1", "--probabilities")  # the beginning of a key, in any case
    table = read(result.stdout_bytes)
    shown = table[[f"probability of {label}" for label in CLASSES]]
    assert shown.sum(axis=1).to_numpy() == pytest.approx(np.ones(6), abs=2e-3)
    assert (shown.max(axis=1) == table["confidence"]).all()


def test_a_query_without_labels_has_no_truth():
    record(KEYS[0], predictions(np.full(6, UNLABELLED)), query="query.h5ad")
    result = bench(KEYS[0])
    assert list(read(result.stdout_bytes)) == ["cell", "predicted", "confidence"]
    assert "6 cells of query.h5ad, labelled by" in result.stderr


def test_repeated_names_are_those_of_the_file(tmp_path):
    labels = np.resize(["T", "B"], 40)
    counts = np.random.default_rng(0).poisson(2, (40, 6)).astype(np.float32)
    adata = AnnData(
        sp.csr_matrix(counts), obs=pd.DataFrame({"cell_type": labels}, index=["AAAC-1"] * 20 + ["CCC"] * 20)
    )
    adata.var_names = ["CD3D", "LYZ", "MS4A1", "NKG7", "PPBP", "CD8A"]
    adata.write_h5ad("mine.h5ad")
    (task,) = Grid("own", "quick", "mine.h5ad", "majority").tasks()
    run_task(task).write()
    result = bench(task.trial.key[:6])
    table = read(result.stdout_bytes)
    assert set(table["cell"]) == {"AAAC-1", "CCC"} and table["unique_cell"].is_unique
    assert "unique_cell tells them apart" in result.stderr
    assert table["unique_cell"].str.startswith(tuple(table["cell"])).all()


def test_a_key_that_is_not_clear_is_answered_with_those_that_are():
    for key in KEYS:
        record(key)
    assert "2 trials begin with '1': 1a1a1a1a1a1a1a1a (knn on mine.h5ad), 1b" in bench("1").stderr
    assert f"Did you mean {KEYS[2]}?" in bench("2c2c2d").stderr
    result = bench("zz")
    assert result.exit_code == 2 and "bench predictions lists those that have some" in result.stderr


def test_trials_without_predictions_say_why():
    record("f" * 16, status="failed: no memory")
    assert f"Trial {'f' * 16} (knn on mine.h5ad) failed: no memory" in bench("ff").stderr
    record(KEYS[1])
    records.path_of("first", "quick", KEYS[1], ".npz").unlink()
    assert "run first for this model and data set to make them" in bench("1b").stderr


def test_own_results_come_before_committed_ones(own_results, committed):
    record(KEYS[0])
    records.commit("first")
    assert read(bench("1a").stdout_bytes)["confidence"].iloc[0] == pytest.approx(0.7, abs=1e-3)
    records.path_of("first", "quick", KEYS[0]).unlink()
    records.path_of("first", "quick", KEYS[0], ".npz").unlink()
    assert len(read(bench("1a").stdout_bytes)) == 6  # the committed one
    record("1a" * 7 + "00", experiment="second")
    assert "trial 1a1a1a1a1a1a1a00" in bench("1a").stderr


def test_without_a_key_the_trials_are_listed():
    assert "No trial has predictions yet" in bench().stderr
    record(KEYS[0], query="other.h5ad", variant="small")
    record("f" * 16, status="failed: no memory")
    lines = bench().stdout.splitlines()
    assert lines[0].split()[:3] == ["key", "experiment", "tier"] and len(lines) == 2
    shown = f"{KEYS[0]} first quick mine.h5ad random other.h5ad knn small 1 0 0.500"
    assert lines[1].split() == shown.split()


def test_files_are_not_overwritten_unless_asked(tmp_path):
    record(KEYS[0])
    file = tmp_path / "labels.csv"
    file.write_text("mine")
    result = bench("1a", "--out", "labels.csv")
    assert result.exit_code == 2 and "labels.csv exists and stays as it is" in result.stderr
    assert file.read_text() == "mine"
    assert bench("1a", "--out", "labels.csv", "--overwrite").exit_code == 0
    assert len(pd.read_csv(file)) == 6
    assert "is a folder; name a file in it" in bench("1a", "--out", str(tmp_path)).stderr
    assert "is no folder; make it first" in bench("1a", "--out", "nowhere/labels.csv").stderr
    assert sorted(path.name for path in tmp_path.glob("*.csv")) == ["labels.csv"]
