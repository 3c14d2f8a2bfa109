"""Requests for the files of the cases: names are names, and what cannot run is said before anything runs."""

import os
from pathlib import Path

import pytest

from bench.core.errors import BenchError
from bench.protocol.parameters import given
from bench.protocol.runner import run_task
from bench.protocol.trials import Grid

CASES = Path(os.environ.get("BENCH_CASES") or "no cases")
pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason="BENCH_CASES names no folder of cases")


def tasks(file: str, models: str = "majority", **text: str):
    """Return the tasks of a request as the command line hands it over."""
    return Grid("few_shot_pbmc", "quick", str(CASES / file), **given({"models": models} | text)).tasks()


def test_a_label_column_called_0_is_used():
    (task,) = tasks("column_called_0.h5ad", "l1_logistic", label="0", overrides='{"l1_logistic": {"Cs": [1e0]}}')
    accuracy = [row["value"] for row in run_task(task).rows if row["metric"] == "accuracy"]
    assert accuracy == [0.625]


@pytest.mark.parametrize(
    "column", ["1", "0.8", "cell type #2", "major: celltype", "Yes", "2024-01-01", "[final]", "cell_type"]
)
def test_odd_names_of_columns_are_found(column):
    (task,) = tasks("odd_column_names.h5ad", label=column)
    assert task.reading["label"] == column


@pytest.mark.parametrize("split", ["held_out:Donor #1", "held_out:Donor: 2", '["held_out:Donor: 2"]'])
def test_odd_names_of_donors_are_found(split):
    (task,) = tasks("odd_column_names.h5ad", batch="donor", split=split)
    assert task.trial.split in split


def test_what_can_run_beside_a_type_with_one_cell_does(capsys):
    file = "one_cell_of_a_type.h5ad"
    with pytest.raises(BenchError, match="needs two cells of every type"):
        tasks(file)
    both = Grid("few_shot_pbmc", "quick", [str(CASES / file), "hao"], ["majority"]).tasks()
    assert [task.trial.dataset for task in both] == ["hao"]
    found = tasks(file, batch="batch", split="[random, held_out:*]")
    assert len(found) == 4 and all(task.trial.split.startswith("held_out:") for task in found)
    assert capsys.readouterr().err.count("(quick), left out: one_cell_of_a_type.h5ad: The random split") == 2


def test_shares_of_seventy_types_are_said(capsys):
    assert len(tasks("seventy_types.h5ad", fractions="[0.01, 0.05, 0.1]")) == 3
    said = capsys.readouterr().err
    assert "fraction 0.01 of the 512 training cells is 70 (13.7%), since" in said
    assert "fraction 0.05 of the 512 training cells is 70 (13.7%), the same cells as fraction 0.01" in said
