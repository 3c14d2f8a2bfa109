"""A reference and a query made of the shared cases: what other people's files look like."""

import os
from pathlib import Path

import pytest
from anndata import read_h5ad

from bench.core.errors import BenchError
from bench.protocol.runner import run_task
from bench.protocol.trials import Grid

CASES = Path(os.environ.get("BENCH_CASES") or "no cases")
pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason="BENCH_CASES names no folder of cases")


def scores(models: list[str], dataset: Path, **choices) -> dict[str, dict[tuple[str, str], float]]:
    """Return accuracy and macro F1 by model."""
    settings = {"overrides": {"l1_logistic": {"Cs": [1.0]}}} if "l1_logistic" in models else {}
    found = {}
    for task in Grid("cases", "quick", str(dataset), models, batch="donor", **settings, **choices).tasks():
        rows = run_task(task).rows
        values = {row["metric"]: row["value"] for row in rows if row["class"] == ""}
        found[task.trial.model] = {metric: values[metric] for metric in ("accuracy", "macro_f1")}
    return found


def test_islets_of_one_donor_as_a_query_have_the_scores_of_that_donor_held_out(tmp_path):
    islets = read_h5ad(CASES / "islets.h5ad")
    donor = str(islets.obs["donor"].iloc[0])
    theirs = (islets.obs["donor"] == donor).to_numpy()
    islets[~theirs].write_h5ad(tmp_path / "reference.h5ad")
    islets[theirs].write_h5ad(tmp_path / "query.h5ad")
    models = ["knn", "l1_logistic"]
    held_out = scores(models, CASES / "islets.h5ad", split=f"held_out:{donor}")
    assert scores(models, tmp_path / "reference.h5ad", query=str(tmp_path / "query.h5ad")) == held_out


def test_a_query_of_another_species_is_refused_with_the_reason():
    with pytest.raises(BenchError, match="differ in case only, as symbols of two species"):
        scores(["majority"], CASES / "donors.h5ad", query=str(CASES / "mouse.h5ad"))
