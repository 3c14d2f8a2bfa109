"""Models as rows in order, and names at the points of a scatter: nothing is looked up in a legend, nothing covered."""

from itertools import combinations

import matplotlib.pyplot as plt
import pandas as pd
import pytest
from made_up import row, table_of
from matplotlib.text import Text

from bench.report import figures, tables
from bench.report.figures.direct import name_points

LINEAR, NEIGHBOURS = "L1 logistic regression", "k nearest neighbours"


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def rows_of(figure) -> list[str]:
    """Return the names at the rows of a figure, from above."""
    return [text.get_text() for text in figure.axes[0].yaxis.get_ticklabels()]


def scores_of(**values) -> pd.DataFrame:
    """Return a row per model and a column per run."""
    return pd.DataFrame.from_dict({name.replace("_", " "): of for name, of in values.items()}, "index")


def test_models_stand_in_order_of_the_first_score_without_controls():
    table = pd.DataFrame(
        {0: [0.8, 0.9, 0.95, 0.1], 1: [0.9, 0.7, 0.95, 0.1]},
        index=[LINEAR, NEIGHBOURS, "MyModel", "control: majority"],
    )
    figure = figures.ranking({"accuracy": {"Quick: a": table}, "macro_f1": {"Quick: a": table}})
    assert rows_of(figure) == ["Quick: a", "MyModel", LINEAR, NEIGHBOURS]
    assert [axis.get_title() for axis in figure.axes] == ["Accuracy", "Macro F1 (fixed labels)"]
    low, high = figure.axes[0].get_xlim()
    assert low < 0.7 and high > 0.95  # every run can be seen
    assert rows_of(figures.ranking({"error": {"Quick: a": table}}, lowest_first=True))[1] == NEIGHBOURS


def test_a_score_that_a_model_lacks_leaves_its_place_empty():
    error, kept = scores_of(one=[0.1], two=[0.2]), scores_of(two=[90.0])
    figure = figures.ranking({"error": {"a": error}, "kept": {"a": kept}}, lowest_first=True)
    drawn = [len(axis.get_lines()) for axis in figure.axes]
    assert rows_of(figure) == ["a", "one", "two"] and drawn == [2, 1]
    assert "nothing recorded" in figures.ranking({"error": {"a": error[:0]}}).axes[0].texts[0].get_text()


def test_means_over_groups_are_of_the_same_groups():
    def run(model: str, group: str, value: float) -> dict:
        return row(model, "default", 0, "accuracy", value, split=group) | {"key": f"{model} {group}"}

    every = ["held_out:one", "held_out:two"]
    rows = [run(model, group, 0.9) for model in ("l1_logistic", "knn") for group in every]
    rows += [run("l1_logistic", "random", 0.99), run("l1_logistic", "held_out:three", 0.2)]
    rows += [run("mlp", "held_out:one", 1.0), run("majority", "held_out:one", 0.3)]
    (table,) = tables.common_groups(table_of(rows)).values()
    assert list(table) == ["one", "two"] and list(table.index) == [LINEAR, NEIGHBOURS]


def test_a_models_runs_are_a_column_per_seed_on_all_training_cells():
    rows = [row("mlp", "default", seed, "accuracy", 0.8 + seed / 10) | {"key": str(seed)} for seed in (0, 1)]
    rows.append(row("mlp", "default", 0, "accuracy", 0.1, fraction=0.1) | {"key": "few"})
    (table,) = tables.run_by_run(table_of(rows)).values()
    assert table.loc["multilayer perceptron"].tolist() == pytest.approx([0.8, 0.9])


def test_records_of_other_pages_count_on_the_same_data_and_split_alone():
    places = [("liver", "random"), ("baselines", "random"), ("baselines", "held_out:one")]
    table = table_of([row("mlp", "default", 0, "accuracy", 0.9, experiment=e, split=s) for e, s in places])
    assert figures.on_panels_of(table)["split"].tolist() == ["random", "random"]
    assert len(figures.on_panels_of(table, ["baselines"])) == 3


def test_a_trial_of_several_pages_costs_the_least_that_it_took():
    timed = {"few_shot_pbmc": 9.0, "liver": 4.0}
    rows = [row("mlp", "default", 0, "accuracy", 0.9, experiment=name, seconds=s) for name, s in timed.items()]
    (run,) = figures.complete_runs(table_of([of | {"key": "same"} for of in rows])).itertuples()
    assert run.seconds == 4.0


def test_names_cover_neither_each_other_nor_a_mark_and_those_without_room_are_returned():
    figure, axis = plt.subplots(figsize=(4, 2))
    points = [(0.5 + i / 50, 0.5 + i % 3 / 40, f"model number {i}", "black") for i in range(12)]
    axis.set(xlim=(0, 1), ylim=(0, 1))
    figure.draw_without_rendering()
    left_out = name_points(axis, points)
    figure.draw_without_rendering()
    boxes = [Text.get_window_extent(text) for text in axis.texts]  # without the lines to marks
    assert len(boxes) == 12 - len(left_out) >= 3 and left_out
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))
    inside = axis.get_window_extent()
    assert all(inside.x0 <= box.x0 and box.x1 <= inside.x1 for box in boxes)
    marks = [axis.transData.transform(point[:2]) for point in points]
    assert not any(box.contains(*mark) for box in boxes for mark in marks)


def test_every_model_of_a_panel_is_named_at_its_point_or_in_the_legend():
    names = ["l1_logistic", "knn", "mlp", "linear_svm", "l2_logistic", "boosted_trees", "rank_linear", "pca_logistic"]
    rows = [
        row(name, "default", 0, "accuracy", 0.9 + i / 1e4, seconds=10.0 + i / 10, peak_memory_mb=300 + i)
        | {"key": name}
        for i, name in enumerate(names)
    ]
    runs = figures.complete_runs(table_of(rows))
    figure = figures.pareto(runs)
    said = {text.get_text() for text in figure.axes[0].texts}
    said |= {text.get_text() for legend in figure.legends for text in legend.get_texts()}
    assert said == set(runs["series"])
