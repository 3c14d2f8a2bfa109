"""Predictions of another tool on the shared cases: the scores that they have."""

import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench.cli import main
from bench.protocol import records

CASES = Path(os.environ.get("BENCH_CASES") or "no cases")
pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason="BENCH_CASES names no folder of cases")


def bench(*arguments: str):
    return CliRunner().invoke(main, list(arguments))


@pytest.mark.parametrize("by_table", [True, False])
def test_labels_made_elsewhere_have_the_right_scores(by_table, tmp_path):
    data, splits = str(CASES / "islets.h5ad"), str(tmp_path / "splits.csv")
    where = ("--splits", splits) if by_table else ("--data", data, "--split", "random")
    assert bench("split", data, "--split", "random", "--out", splits).exit_code == 0
    result = bench("score", str(CASES / "predicted_elsewhere.csv"), *where)
    assert result.exit_code == 0, result.stderr
    assert "accuracy 0.917, macro F1 0.941" in result.stdout
    assert "predictions of 192 training cells are left out" in result.stderr and "Unassigned 3" in result.stderr
    rows = records.read(committed=False)
    values = rows[rows["class"] == ""].set_index("metric")["value"]
    assert values["accuracy"] == pytest.approx(0.917, abs=5e-4) and values["macro_f1"] == pytest.approx(0.941, abs=5e-4)
    assert values["abstained"] == pytest.approx(3 / 48)


def test_predictions_of_other_data_are_refused(tmp_path):
    splits = str(tmp_path / "splits.csv")
    assert bench("split", str(CASES / "donors.h5ad"), "--out", splits).exit_code == 0
    result = bench("score", str(CASES / "predicted_elsewhere.csv"), "--splits", splits)
    assert result.exit_code == 2 and "228 of its 240 rows name no cell of the data" in result.stderr
    assert "aside" not in result.stderr  # no change of spelling makes them cells of each other's
    other = ("--splits", splits, "--data", str(CASES / "islets.h5ad"))
    assert "was made of" in bench("score", str(CASES / "predicted_elsewhere.csv"), *other).stderr
