"""An embedding in a file of pancreas cells: the right value, from obsm and from a table; ``BENCH_CASES`` names it."""

import os
from pathlib import Path

import pandas as pd
import pytest
from anndata import read_h5ad
from click.testing import CliRunner
from in_process import run_task

from bench.cli import main
from bench.protocol import records
from bench.protocol.trials import Grid

CASES = Path(os.environ.get("BENCH_CASES") or "no_cases")
pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason="BENCH_CASES names no folder of cases")
FILE = str(CASES / "embedding_in_obsm.h5ad")


@pytest.mark.slow  # the whole grid of C
def test_the_probe_of_an_embedding_has_the_right_accuracy_wherever_it_lies(tmp_path, monkeypatch):
    monkeypatch.setattr("bench.protocol.place.committed_folder", lambda: tmp_path / "committed")
    cells = read_h5ad(FILE)
    vectors = pd.DataFrame(cells.obsm["X_emb"], cells.obs_names).sample(frac=1, random_state=0)
    vectors.to_csv(tmp_path / "X_emb.csv")
    models = ["embedding@X_emb", f"embedding@{tmp_path / 'X_emb.csv'}"]
    (in_obsm,), (in_table,) = (Grid("cases", "quick", FILE, model).tasks() for model in models)
    assert in_obsm.trial.key == in_table.trial.key
    assert run_task(in_table) == ""
    assert records.read("cases").query("metric == 'accuracy'")["value"].item() == pytest.approx(0.979, abs=5e-4)


def test_what_is_in_obsm_is_listed_with_the_next_command():
    said = CliRunner().invoke(main, ["data", FILE]).output
    assert "  obsm     X_emb 240 x 10\n" in said
    assert f"""bench run few_shot_pbmc -p dataset {FILE} -p models '["l1_logistic", "embedding@X_emb"]'""" in said
