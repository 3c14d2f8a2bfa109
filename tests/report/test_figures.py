"""Figures and tables: nothing that differs is averaged, nothing that failed is drawn, published stays apart."""

import json
import math
import re

import matplotlib.pyplot as plt
import pandas as pd
import pytest
from made_up import row, table_of

from bench.models import MODELS
from bench.protocol.experiments import describe
from bench.protocol.records import read
from bench.protocol.runner import run
from bench.protocol.trials import Grid
from bench.published import few_shot
from bench.report import figures, tables
from bench.report.prose import mean_of


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the run of `recorded` keeps its records and predictions."""
    return tmp_path_factory.mktemp("figures")


@pytest.fixture(scope="module")
def recorded(folder, warm):
    """Records of a real, small run with two settings of one model and one failure."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENCH_RESULTS", str(folder))
        return _run()


def _run():
    shared = {"dataset": "hao", "fractions": [0.1], "seeds": [0, 1, 2]}
    for overrides in ({"n_neighbors": 5}, {"n_neighbors": 15}):
        run(Grid("few", "quick", models=["majority", "knn"], overrides={"knn": overrides}, **shared))
    run(Grid("few", "quick", models=["l1_logistic"], overrides={"l1_logistic": {"folds": 500, "Cs": [1, 2]}}, **shared))
    return read("few", committed=False)


@pytest.mark.slow
def test_two_settings_of_one_model_are_two_series_named_by_what_differs(recorded):
    knn = figures.runs_of(recorded).query("model == 'knn' and metric == 'accuracy'")
    assert set(knn["series"]) == {"k nearest neighbours (n_neighbors=5)", "k nearest neighbours (n_neighbors=15)"}
    for _, group in knn.groupby("series"):
        assert len({json.loads(text)["n_neighbors"] for text in group["hyperparameters"]}) == 1
    assert set(figures.runs_of(recorded).query("model == 'majority'")["series"]) == {"control: majority"}


@pytest.mark.slow
def test_failures_are_listed_and_not_drawn(recorded):
    failed = tables.failures(recorded)
    assert set(failed["model"]) == {"l1_logistic"} and len(failed) == 3
    assert failed["status"].str.contains("500-fold cross-validation needs a class with 500 cells").all()
    assert "l1_logistic" not in set(figures.runs_of(recorded)["model"])
    row = tables.few_shot(recorded, {}, ["accuracy"]).loc["Quick: hao", "L1 logistic regression", "Accuracy"]
    assert row[["10 %", "runs"]].isna().all(), "a dash"
    assert row["failed"].startswith("3 of 3: BenchError: 500-fold cross-validation needs a class with 500 cells")


def test_the_figure_has_a_panel_per_source_and_draws_every_run(recorded):
    figure = figures.few_shot(recorded, {"Zheng68K": few_shot("zheng68k")}, metrics=["accuracy"])
    drawn = {axis.get_title(): axis for axis in figure.axes if axis.get_visible()}
    assert list(drawn) == ["Published: Zheng68K", "Quick: hao"]
    accuracies = recorded.query("metric == 'accuracy'")["value"]
    dots = [y for line in drawn["Quick: hao"].lines if line.get_linestyle() == "None" for y in line.get_ydata()]
    assert sorted(dots) == sorted(accuracies)
    plt.close(figure)


def test_the_hover_chart_holds_the_same_runs(recorded):
    spec = figures.few_shot_hover(recorded, {"Zheng68K": few_shot("zheng68k")}).to_dict()
    values = pd.DataFrame(next(iter(spec["datasets"].values())))
    published = few_shot("zheng68k").query("metric == 'accuracy'")
    ours = recorded.query("metric == 'accuracy'")
    assert len(values) == len(published) + len(ours)
    assert values["source said"].str.startswith(("published", "this project")).all()


def test_table_means_are_those_of_the_records(recorded):
    table = tables.few_shot(recorded, {}, ["accuracy"])
    majority = recorded.query("model == 'majority' and metric == 'accuracy'")["value"]
    assert table.loc[("Quick: hao", "control: majority", "Accuracy"), "10 %"].startswith(f"{majority.mean():.3f} ± ")
    assert mean_of(recorded, model="majority") == pytest.approx(majority.mean())
    assert math.isnan(mean_of(recorded, model="nobody"))


def test_describe_counts_cells_and_goes_on_without_a_data_set_that_cannot_be_had(tmp_path, capsys):
    missing = str(tmp_path / "missing.h5ad")
    table = describe("sizes", {"quick": {"dataset": ["hao", missing]}}, tier="quick", compute=True)
    assert "missing.h5ad" in capsys.readouterr().err
    assert mean_of(table, "n_cells", dataset="hao") == 1336
    per_type = table.query("metric == 'cells_of_type'")
    assert len(per_type) == 11 and per_type["value"].sum() == 1336


def test_every_model_has_a_colour_of_its_own():
    assert set(MODELS) <= set(figures.MODELS)
    assert len({colour for _, colour, _ in figures.MODELS.values()}) == len(figures.MODELS)
    assert figures.colour_of("L1 logistic regression (C=1)") == figures.MODELS["l1_logistic"][1]


def test_every_data_set_states_licence_labels_and_check():
    table = tables.sources()
    assert (table[["labels", "licence", "files", "verified by"]] != "").all(axis=None)


def test_a_name_is_left_out_only_where_the_row_above_stands_for_it():
    index = pd.MultiIndex.from_tuples(
        [
            ("a", "quick", "baron"),
            ("a", "standin", "baron"),
            ("b", "quick", "hao"),
            ("b", "standin", "hao"),
            ("a", "quick", "baron"),
        ],
        names=["experiment", "tier", "dataset"],
    )
    html = tables.show(pd.DataFrame({"trials": range(5)}, index)).data
    cells = re.findall(r"<td>(.*?)</td>", html)
    rows = [cells[i : i + 4] for i in range(0, len(cells), 4)]
    assert rows[:2] == [["a", "quick", "baron", "0"], ["", "standin", "baron", "1"]]
    assert rows[2:4] == [["b", "quick", "hao", "2"], ["", "standin", "hao", "3"]]
    assert rows[4] == ["a", "quick", "baron", "4"]  # which stands further above, too


def test_a_table_outside_the_book_brings_the_style_that_reading_needs(monkeypatch, recorded):
    table = tables.few_shot(recorded, {}, ["accuracy"])
    monkeypatch.delenv("BENCH_BOOK", raising=False)
    assert tables.show(table).data.startswith("<style>")
    monkeypatch.setenv("BENCH_BOOK", "1")
    assert "<style>" not in tables.show(table).data


def test_gaps_say_which_trials_are_ones_own_and_which_tiers_are_missing(recorded):
    said = tables.gaps(recorded.assign(origin="own"), ["quick", "paper"], "knn")
    n = recorded.drop_duplicates(["tier", "key"]).shape[0]
    assert said.startswith(f"{n} of the {n} trials shown are your own")
    assert said.endswith("k nearest neighbours has no records of these tiers yet: paper.")
    assert "your own" not in tables.gaps(recorded.assign(origin="committed"), ["quick"], "knn")
    several = tables.gaps(recorded, ["quick", "paper"], "knn", "l1_logistic", "cellplm").splitlines()[-2:]
    assert several == [
        "k nearest neighbours, L1 logistic regression have no records of these tiers yet: paper.",
        "CellPLM has no records of these tiers yet: quick, paper.",
    ]


def test_the_share_of_cells_without_a_type_is_a_row_where_there_are_some():
    several = [row("knn", "default", seed, "accuracy", 0.5) for seed in (0, 1)]
    assert "Cells given no type" not in str(tables.few_shot(table_of(several), {}, ["accuracy"]))
    several += [row("knn", "default", seed, "abstained", 0.25) for seed in (0, 1)]
    table = tables.few_shot(table_of(several), {}, ["accuracy"]).reset_index()
    assert table.loc[table["metric"] == "Cells given no type", "100 %"].item().startswith("0.25")
