"""What models take as cells grow: measured in processes of their own, kept, fitted, drawn; and what they declare."""

import runpy
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench.core.errors import BenchError
from bench.datasets import load
from bench.models import describe
from bench.models.registry import FOUNDATION
from bench.models.spec import declared
from bench.report import figures, tables
from bench.report import growth as measuring
from bench.report.growth import COLUMNS, Measure, growth, kept, measured, resampled, slopes, write

CHAPTERS = Path(__file__).parents[2] / "chapters"
SIZES = np.array([1000, 3000, 10_000, 30_000])
LEAST_MATRIX_MB = 30.0  # below it a measurement of memory is of what the process has by chance


@pytest.fixture
def made_up() -> pd.DataFrame:
    """Two models, one of which grows with the square in seconds; nothing of it is a result."""
    rows = []
    for model, setting, power in (("knn", "", 1.0), ("l1_logistic", "optimum, one C", 2.0)):
        for n in SIZES:
            row = (model, setting, n, n // 4, 500 * n, n / 250, 1e-6 * n**power, n / 50, 0.9)
            rows.append(dict(zip(COLUMNS, row, strict=True)))
    return pd.DataFrame(rows)


def test_what_is_written_is_read_again_and_another_file_is_refused(made_up, tmp_path):
    file = write(made_up.to_dict("records"), "kang", "2 cores", tmp_path / "growth.csv")
    table, about = kept(file)
    pd.testing.assert_frame_equal(table, made_up, check_dtype=False)
    assert (about["dataset"], about["machine"]) == ("kang", "2 cores")
    file.write_text("a,b\n1,2\n")
    with pytest.raises(BenchError, match=r"make it with: python chapters/growth\.py"):
        kept(file)


def test_exponents_are_those_of_powers(made_up):
    found = slopes(made_up)
    assert found.loc[("knn", ""), "seconds"] == pytest.approx(1)
    assert found.loc[("l1_logistic", "optimum, one C"), "seconds"] == pytest.approx(2)
    assert found["memory_mb"].tolist() == pytest.approx([1, 1])
    assert slopes(made_up.assign(memory_mb=made_up["memory_mb"] / 1e3))["memory_mb"].isna().all()  # too little to tell
    assert slopes(made_up[made_up["n_train"] < 5000])["seconds"].isna().all()  # two sizes are no trend


def test_cells_are_drawn_and_thinned_with_their_types():
    hao = load("hao")
    cells = resampled(hao, 500)
    assert cells.shape == (500, hao.n_vars)
    assert (cells.X.data == np.round(cells.X.data)).all() and cells.X.data.min() == 1
    assert cells.X.sum() == pytest.approx(0.6 * hao.X.sum() / hao.n_obs * 500, rel=0.1)
    assert set(cells.obs["cell_type"]) <= set(hao.obs["cell_type"])
    np.testing.assert_array_equal(resampled(hao, 500).X.data, cells.X.data)


def test_one_fit_is_measured_beyond_its_cells():
    row = measured(Measure("knn", "hao", 400))
    assert list(row) == COLUMNS
    assert (row["n_train"], row["n_test"]) == (400, 100)
    assert 0 < row["seconds"] < 60 and row["memory_mb"] >= 0 and row["accuracy"] > 0.5
    assert row["matrix_mb"] == pytest.approx(8e-6 * row["values"], rel=0.01)


def test_sizes_that_would_take_too_long_are_left_out(monkeypatch):
    asked = []

    def made(one: Measure) -> dict:
        asked.append(one.n_train)
        return {"seconds": 1e-3 * one.n_train}

    monkeypatch.setattr(measuring, "alone", made)
    assert len(list(growth([Measure("knn", "hao", 0)], SIZES, most_s=12.0))) == 3
    assert asked == [1000, 3000, 10_000]


def test_figure_and_table_of_growth(made_up):
    figure = figures.growth(made_up)
    seconds, memory = figure.axes
    drawn = [line.get_label() for line in seconds.lines]
    assert drawn == ["L1 logistic regression (optimum, one C)", "k nearest neighbours"]
    np.testing.assert_allclose(seconds.lines[1].get_ydata(), 1e-6 * SIZES)
    assert memory.lines[-1].get_label() == "matrix of the training cells"
    table = tables.growth(made_up)
    assert table.loc["k nearest neighbours", "most training cells"] == "30,000"
    assert table.loc["k nearest neighbours", "in matrices"] == pytest.approx(5.0)


def test_what_models_declare_to_take_is_what_was_measured():
    """Of the kept table: what a further matrix costs, so that workers, which each take the same, do not count."""
    table, _ = kept()
    seen = set()
    for (model, setting), part in table.groupby(["model", "setting"]):
        spec = describe(model, {"recipe": "optimum"} if "optimum" in setting else {})
        told = declared(spec.cls, spec.variant, "takes", {})
        if part["matrix_mb"].max() < LEAST_MATRIX_MB or spec.recipe not in told:
            continue
        slope = np.polyfit(part["matrix_mb"], part["memory_mb"], 1)[0]
        assert slope / 1.5 - 0.1 <= told[spec.recipe] <= 1.5 * slope + 0.1, (model, setting, slope)
        seen.add((model, spec.recipe))
    assert {model for model, _ in seen} == set(table["model"]) - set(FOUNDATION)


@pytest.mark.slow
def test_the_script_measures_all_simple_methods_and_networks(monkeypatch):
    asked = []
    monkeypatch.setattr("sys.argv", ["growth.py"])
    monkeypatch.setattr(measuring, "growth", lambda measures, sizes, most_s: asked.extend(measures) or [])
    runpy.run_path(str(CHAPTERS / "growth.py"))
    assert {"majority", "knn", "l1_logistic", "streaming_logistic", "boosted_trees"} <= {one.model for one in asked}
    networks = {one.model: one for one in asked if one.setting == "small, fine-tuned"}
    assert set(networks) == set(FOUNDATION) - {"scbert_head"}
    assert describe("cellplm", networks["cellplm"].overrides).hyperparameters["company"] == "reference"
    assert {one.setting for one in asked if one.model == "l1_logistic"} >= {"published, one C", "optimum, one C"}
