"""Models of other people on 240 pancreas cells: right numbers, or one sentence; ``BENCH_CASES`` names their folder."""

import os
from pathlib import Path

import pytest
from click.testing import CliRunner
from in_process import run_task

from bench.cli import main
from bench.protocol import records
from bench.protocol.runner import run
from bench.protocol.trials import Grid

CASES = Path(os.environ.get("BENCH_CASES") or "no_cases")
pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason="BENCH_CASES names no folder of cases")
ISLETS = str(CASES / "islets.h5ad")


@pytest.fixture(autouse=True)
def models_on_path(monkeypatch, tmp_path):
    for folder in (CASES, CASES / "models"):
        monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setattr("bench.protocol.place.committed_folder", lambda: tmp_path / "committed")


def scores(*models: str, **more) -> dict[tuple[str, str], float]:
    """Return the values of trials in this process by model and metric."""
    for task in Grid("cases", "quick", ISLETS, list(models), **more).tasks():
        assert run_task(task) == ""
    rows = records.read("cases")
    return rows[rows["class"] == ""].set_index(["model", "metric"])["value"].to_dict()


@pytest.mark.slow
def test_a_model_that_normalises_in_place_is_scored_like_one_that_copies():
    found = scores("inplace:InPlace", "inplace:Copies")
    for metric in ("accuracy", "macro_f1", "brier"):
        assert found["inplace:InPlace", metric] == found["inplace:Copies", metric]
    assert found["inplace:InPlace", "accuracy"] == pytest.approx(0.979, abs=5e-4)


def test_rejected_cells_are_wrong_and_said():
    found = scores("unassigned:Rejects")
    assert found["unassigned:Rejects", "accuracy"] == pytest.approx(3 / 48)
    assert found["unassigned:Rejects", "abstained"] == pytest.approx(45 / 48)


def test_settings_with_a_factory_or_without_a_default_are_used():
    found = scores("cfg:Factory", "cfg:Required", overrides={"cfg:Required": {"n_hidden": 4}})
    assert found["cfg:Factory", "accuracy"] == found["cfg:Required", "accuracy"] > 0.9


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
def test_what_the_system_kills_or_cannot_be_made_is_a_failed_record_beside_the_others(jobs, warm):
    run(Grid("cases", "quick", ISLETS, ["killed:Killed", "needs_a_file:Needs", "majority", "knn"]), jobs=jobs)
    status = records.read("cases").groupby("model")["status"].first()
    assert status["killed:Killed"].startswith("failed: the process was killed by SIGKILL")
    assert status["needs_a_file:Needs"].startswith(
        "failed: FileNotFoundError: [Errno 2] No such file or directory: 'mo"
    )
    assert status["majority"] == status["knn"] == "ok"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("asked", "code", "words"),
    [
        (["killed:Killed"], 1, "types          MISS  While this was tried: the process was killed by SIGKILL"),
        (["needs_a_file:Needs"], 1, "types          MISS  the constructor raised FileNotFoundError: [Errno 2] No such"),
        (["cfg:Required"], 2, "bench: Model 'cfg:Required' needs n_hidden, which has no default"),
        (["cfg:Required", "-p", "n_hidden", "4"], 0, "all promises kept"),
        (["rounds_differently:GpuLike"], 0, "all promises kept"),
        (["unassigned:Rejects"], 0, "note                 43 of 43 cells are given no type"),
        (["v1:MyModel"], 0, "note                 24% of its own training cells are right, 24% by chance"),
    ],
)
def test_check_answers_with_a_sentence(asked, code, words, warm):
    result = CliRunner().invoke(main, ["check", *asked, "--data", ISLETS])
    assert (result.exit_code, words in result.output) == (code, True), result.output
