"""Every experiment chapter runs from start to end on tiny grids: with bench, with the plain tools, with own data."""

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
import yaml
from click.testing import CliRunner
from jupytext.cli import jupytext

from bench.cli import main
from bench.core.errors import BenchError
from bench.protocol import notebooks, records, runner
from bench.protocol.trials import Grid

pytestmark = pytest.mark.usefixtures("warm")

ROOT = Path(__file__).parents[2]
TOC = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
PARTS = ("The paper's experiments", "Beyond the paper")
CHAPTERS = [Path(c["file"]).name for p in TOC["parts"] if p["caption"] in PARTS for c in p["chapters"]]
EXPERIMENTS = [name for name in CHAPTERS if "models" in notebooks.known_parameters(name)]  # others have own tests
TINY = {
    "dataset": "hao",
    "split": "random",
    "models": ["majority", "l1_logistic"],
    "fractions": [0.2, 1.0],
    "seeds": [0],
    "overrides": {"l1_logistic": {"Cs": [0.1]}},
}
HEADER = "---\nkernelspec: {display_name: Python 3, language: python, name: python3}\n---\n\n"
FAILING = """
class Mine:
    def fit(self, train, *, seed, validation=None):
        raise ValueError("too few cells for this method")

    def predict_proba(self, cells):
        pass
"""


def chapter(folder: Path, code: str, parameters: str = "compute = False") -> str:
    cell = "```{code-cell} ipython3\n"
    path = folder / "temporary.md"
    path.write_text(f"{HEADER}{cell}:tags: [parameters]\n\n{parameters}\n```\n\n{cell}{code}\n```\n")
    return str(path)


def bench(*arguments: str):
    return CliRunner().invoke(main, list(arguments))


def given(parameters: dict) -> list[str]:
    return [word for name, value in parameters.items() for word in ("-p", name, str(value))]


def own(experiment: str) -> pd.DataFrame:
    return records.read(experiment, committed=False)


def pictures(path: Path) -> int:
    outputs = [o for cell in nbformat.read(path, 4).cells for o in cell.get("outputs", [])]
    return sum("image/png" in output.get("data", {}) for output in outputs)


@pytest.mark.slow
@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_an_experiment_runs_from_start_to_end_and_records_what_was_asked_for(experiment, own_results):
    output = notebooks.run(experiment, TINY)
    assert output == own_results / "notebooks" / f"{experiment}-quick.ipynb"
    assert pictures(output) >= 1
    table = own(experiment)
    trials = table.drop_duplicates("key")
    asked = {(model, fraction) for model in TINY["models"] for fraction in TINY["fractions"]}
    assert set(trials[["model", "fraction"]].itertuples(index=False, name=None)) == asked
    assert len(trials) == 4
    assert set(trials["status"]) == {"ok"}
    assert set(trials["tier"]) == {"quick"}
    accuracy = table[table["metric"] == "accuracy"].set_index(["model", "fraction"])["value"]
    assert accuracy["l1_logistic", 1.0] > accuracy["majority", 1.0] + 0.3
    for key in trials["key"]:
        assert len(records.read_predictions(experiment, "quick", key)[0]) == trials["n_test"].iloc[0]


@pytest.mark.slow
def test_records_alone_are_made_without_a_figure():
    assert pictures(notebooks.run("liver", TINY, records_only=True)) == 0
    assert len(own("liver").drop_duplicates("key")) == 4


@pytest.mark.slow
def test_the_plain_tools_write_the_same_records(tmp_path, monkeypatch):
    tools, folder = Path(sys.executable).parent, tmp_path / "plain"
    folder.mkdir()
    text, notebook = ROOT / "chapters" / "few_shot_pbmc.md", folder / "few_shot_pbmc.ipynb"
    assert jupytext(["--to", "ipynb", str(text), "-o", str(notebook)]) == 0  # the command of that name
    asked = given(TINY | {"compute": True})
    environment = os.environ | {"PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"}
    papermill = [tools / "papermill", notebook, "out.ipynb", *asked]
    process = subprocess.run(papermill, cwd=folder, env=environment, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    assert pictures(folder / "out.ipynb") >= 1
    plain = own("few_shot_pbmc")
    monkeypatch.setenv("BENCH_RESULTS", str(tmp_path / "direct"))
    runner.run(Grid("few_shot_pbmc", "quick", **TINY))
    cost = ["seconds", "peak_memory_mb"]
    pd.testing.assert_frame_equal(plain.drop(columns=cost), own("few_shot_pbmc").drop(columns=cost))


@pytest.mark.slow
def test_own_cells_with_a_group_held_out_and_an_own_model_that_fails(hao, tmp_path, monkeypatch):
    cells = hao[np.arange(0, hao.n_obs, 2), :800].copy()
    cells.obs = pd.DataFrame({"kind": cells.obs["cell_type"].astype(str)}, index=cells.obs_names)
    cells.obs["person"] = np.resize(["D1", "D2", "D3"], cells.n_obs)
    del cells.uns["bench"]
    cells.write_h5ad(tmp_path / "mine.h5ad")
    (tmp_path / "my_failing_model.py").write_text(FAILING)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    mine = {"dataset": tmp_path / "mine.h5ad", "label": "kind", "batch": "person", "split": "held_out:D1"}
    models = {"models": ["majority", "my_failing_model:Mine"], "fractions": [1.0], "seeds": 0}
    result = bench("run", "few_shot_pbmc", *given(mine | models))
    assert result.exit_code == 0, result.output
    assert "1 of 2 trials failed, e.g. my_failing_model:Mine on mine.h5ad, 100 %, seed 0" in result.stderr
    trials = own("few_shot_pbmc").drop_duplicates("key").set_index("model")
    assert trials.loc["my_failing_model:Mine", "status"] == "failed: ValueError: too few cells for this method"
    assert np.isnan(trials.loc["my_failing_model:Mine", "value"])
    assert trials.loc["majority", "status"] == "ok"
    assert set(trials["dataset"]) == {"mine.h5ad"}
    assert set(trials["split"]) == {"held_out:D1"}
    assert trials.loc["majority", "n_test"] == (cells.obs["person"] == "D1").sum()
    page = (records.own_folder() / "notebooks" / "few_shot_pbmc-quick.ipynb").read_text()
    assert "too few cells for this method" in page


def test_a_misspelt_parameter_is_refused_before_any_of_the_chapters_runs(tmp_path, own_results):
    first = chapter(tmp_path, "open('ran', 'w')", "seeds = None")
    result = bench("run", first, "data", "-p", "seeds", "[0]")
    assert result.exit_code == 2
    assert "Unknown parameter of data.md 'seeds'" in result.stderr
    result = bench("run", first, "-p", "sedes", "[0]")
    assert result.exit_code == 2
    assert "Unknown parameter of temporary.md 'sedes'. Did you mean 'seeds'? Valid: seeds." in result.stderr
    assert not own_results.exists()
    assert not (own_results / "notebooks").exists()


def test_an_unknown_chapter_is_refused_with_the_nearest_one():
    with pytest.raises(BenchError, match=r"Unknown chapter 'few_shot_pmbc'\. Did you mean 'few_shot_pbmc'"):
        notebooks.run("few_shot_pmbc")


@pytest.mark.slow
def test_a_chapter_that_raises_is_one_sentence_and_keeps_its_traceback(tmp_path, own_results):
    result = bench("run", chapter(tmp_path, "def ratio():\n    return 1 / 0\nratio()"))
    kept = own_results / "notebooks" / "temporary-page.ipynb"
    assert result.exit_code == 2
    assert f"bench: temporary.md stopped: ZeroDivisionError: division by zero\n(traceback in {kept})\n" in result.stderr
    assert "Traceback" not in result.stderr
    outputs = [o for cell in nbformat.read(kept, 4).cells for o in cell.get("outputs", [])]
    assert any("ratio" in "".join(output.get("traceback", [])) for output in outputs)


@pytest.mark.slow
def test_a_chapter_without_records_names_the_command_that_makes_them(tmp_path):
    code = "from bench.protocol.experiments import run_grid\n"
    code += "run_grid('temporary', {'quick': {'dataset': 'hao', 'models': 'majority'}}, tier='quick', compute=compute)"
    result = bench("run", chapter(tmp_path, code), "-p", "compute", "False")
    assert result.exit_code == 2
    assert "bench: Nothing is recorded for temporary at tier 'quick'." in result.stderr
    assert "bench run chapters/temporary.md -p tier quick" in result.stderr


@pytest.mark.slow
def test_results_that_cannot_be_written_stop_the_command_before_a_kernel_starts(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("BENCH_RESULTS", str(tmp_path / "file" / "results"))
    result = bench("run", chapter(tmp_path, "open('ran', 'w')"))
    assert result.exit_code == 2
    assert result.stderr.startswith("bench: Results cannot be written to ")
    assert result.stderr.count("\n") == 1


@pytest.mark.slow
def test_bench_run_computes_and_a_book_build_does_not(tmp_path):
    assert notebooks.known_parameters("few_shot_pbmc")["compute"] is False
    output = notebooks.run(chapter(tmp_path, "assert compute is True"))
    assert output.exists()
