"""Pages beside own results, on the files that people really have."""

import os
import sys
from pathlib import Path

import pytest

from bench.protocol import records
from bench.protocol.runner import run
from bench.protocol.trials import Grid
from bench.report import figures, tables

CASES = Path(os.environ.get("BENCH_CASES") or "nowhere")
pytestmark = [
    pytest.mark.skipif(not CASES.is_dir(), reason="BENCH_CASES names no folder of cases"),
    pytest.mark.slow,  # trials run in processes of their own
]
QUICK = {"l1_logistic": {"Cs": [1.0]}}


def recorded(experiment: str, file: str, **more):
    run(Grid(experiment, "quick", dataset=str(CASES / file), **more))
    return records.read(experiment, committed=False)


@pytest.fixture
def models(monkeypatch):
    paths = [str(CASES), str(CASES / "models")]
    monkeypatch.setattr(sys, "path", [*paths, *sys.path])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([*paths, os.environ.get("PYTHONPATH", "")]))


def test_a_model_that_fails_on_unseen_donors_has_dashes_and_the_reason(models):
    asked = {
        "models": ["majority", "needs_all_donors:NeedsAllDonors"],
        "batch": "donor",
        "split": ["random", "held_out:*"],
    }
    runs = recorded("new_donors", "donors.h5ad", **asked)
    table = tables.held_out(runs)
    failed = table.xs("NeedsAllDonors", level=1)["failed"].item()
    assert " of " in failed and failed.count(":") >= 1
    assert table.xs("control: majority", level=1)["groups"].item() == runs["split"].nunique() - 1
    figures.held_out({"accuracy": tables.groups_of(runs)}).canvas.draw()
    assert "–" in tables.show(table).data


def test_shares_that_are_the_same_cells_are_one_column_that_says_so():
    runs = recorded("few_shot_pbmc", "seventy_types.h5ad", models=["majority"], fractions=[0.01, 0.05, 0.1])
    names = list(tables.few_shot(runs, {}, ["accuracy"]).columns)
    assert "1 % and 5 % (the same 13.7 % of the cells: one of each type at least)" in names


def test_two_classes_of_one_name_are_two_rows(models):
    runs = recorded("few_shot_pbmc", "islets.h5ad", models=["v1:MyModel", "v2:MyModel"])
    table = tables.few_shot(runs, {}, ["accuracy"]).droplevel([0, 2])
    assert table["100 %"].to_dict() == {"MyModel of v1": "0.417", "MyModel of v2": "0.979"}
