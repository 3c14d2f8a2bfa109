"""Nothing that a reader sees is averaged over two of anything: each way to differ, through each table and figure."""

import re

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from made_up import row, table_of

from bench.protocol import reading
from bench.report import figures, overview, prose, sentences, tables
from bench.report.figures.names import names_of
from bench.report.figures.pareto import of_models
from bench.report.figures.runs import runs_of
from bench.report.figures.style import _LOOKS, is_known, look_of
from bench.report.masked import against_baselines, bins

LOW, HIGH = 0.2, 0.8  # the two values; their mean must stand nowhere
MEAN = f"{(LOW + HIGH) / 2:.3f}"
TWO = {
    "dataset_hash": ("a" * 16, "b" * 16),
    "label": ("kind", "cell_type"),
    "layer": ("X", "raw"),
    "symbols": ("var_names", "feature_name"),
    "dropped_types": ("[]", '["B cells"]'),
    "query": ("", "query.h5ad"),
    "query_hash": ("c" * 16, "d" * 16),
    "protocol": ("1.aaaaaaaa", "1.bbbbbbbb"),
    "recipe": ("published", "clean"),
    "subset": ("paired", "published"),
    "weights_hash": ("", "e" * 16),
    "hyperparameters": ('{"C":1}', '{"C":2}'),
    "variant": ("default", "pretrained"),
    "model": ("v1:MyModel", "v2:MyModel"),
}
KNOWN = {
    "label": "cell_type",
    "layer": "X",
    "symbols": "var_names",
    "dropped_types": "[]",
    "query": "",
    "query_hash": "",
}
FEW = ("dataset_hash", "hyperparameters", "model")  # of each kind one, where drawing takes a while


def two(column: str, metric: str = "accuracy", model: str = "outside:MyModel", seeds=(0, 1), **more) -> pd.DataFrame:
    """Return runs that differ in one column alone, low under its first value and high under the second."""
    rows = []
    for value, number in zip(TWO[column], (LOW, HIGH), strict=True):
        for seed in seeds:
            told = KNOWN | {"model": model, "variant": "default", "hyperparameters": "{}"} | more | {column: value}
            name, variant = told.pop("model"), told.pop("variant")
            of = row(name, variant, seed, metric, number, **told) | {"seconds": number, "peak_memory_mb": number}
            rows.append(of | {"key": f"{column}/{value}/{seed}/{of['split']}/{of['fraction']}"})
    return table_of(rows)


def both(table: pd.DataFrame) -> bool:
    """Return whether a table says the two values, and nowhere their mean."""
    text = table.to_string(float_format="{:.3f}".format)
    return f"{LOW:.3f}" in text and f"{HIGH:.3f}" in text and MEAN not in text


@pytest.mark.slow
@pytest.mark.parametrize("column", TWO)
def test_scores_of_two_kinds_stand_in_two_rows(column):
    runs = two(column)
    assert both(tables.few_shot(runs, {}, ["accuracy"]))
    assert both(tables.ablations(runs, {}, ["accuracy"]))
    assert both(tables.collapse(runs, {}))
    assert both(tables.masked(two(column, "masked_accuracy"), {}))
    assert both(tables.cost(runs))
    assert both(tables.coverage(runs.assign(genes_share=runs["value"])))
    of_types = two(column, "f1", **{"class": "B cells"})
    assert both(tables.per_class(of_types, "standin", "pbmc_facs"))


@pytest.mark.parametrize("column", TWO)
def test_groups_held_out_are_told_apart_in_the_same_way(column):
    runs = pd.concat([two(column, split="random"), two(column, split="held_out:D1")], ignore_index=True)
    assert both(tables.held_out(runs))
    assert both(pd.concat(tables.groups_of(runs)))
    assert both(tables.per_group(runs))


@pytest.mark.parametrize("column", TWO)
def test_sentences_never_say_the_mean_of_two_kinds(column):
    runs = two(column)
    where = {} if column == "model" else {"model": "outside:MyModel"}
    assert np.isnan(prose.mean_of(runs, **where))
    base = [row("knn", "default", 0, "accuracy", 0.1, **KNOWN | {column: v}) for v in TWO[column] if column in KNOWN]
    other = table_of(base or [row("knn", "default", 0, "accuracy", 0.1, **KNOWN)])
    together = pd.concat([runs, other], ignore_index=True)
    names = {"default": "plain", "pretrained": "pretrained"}
    for model in dict.fromkeys(runs["model"]):
        assert MEAN not in sentences.against(together, model, "knn")
        assert MEAN not in sentences.arms(runs, model, names)


@pytest.mark.parametrize("column", TWO)
def test_differences_and_costs_are_of_one_kind_each(column):
    runs = two(column)
    base = table_of([row("knn", "default", seed, "accuracy", 0.1) for seed in (0, 1)])
    for name in KNOWN:
        base[name] = KNOWN[name]
    bases = [base] if column not in (*KNOWN, "dataset_hash") else [base.assign(**{column: v}) for v in TWO[column]]
    apart = tables.effects(pd.concat([runs, *bases], ignore_index=True), {}, ["accuracy"], to="k nearest neighbours")
    assert sorted(apart["difference"].round(3)) == [0.1, 0.7]
    complete = figures.complete_runs(runs.assign(fraction=1.0))
    assert sorted(of_models(complete)["accuracy"]) == [LOW, HIGH]
    assert both(tables.calibration(complete.assign(ece=complete["accuracy"]), {}))


@pytest.mark.parametrize("column", TWO)
def test_masked_positions_and_training_are_told_apart(column):
    if column not in ("variant", "model"):
        network = pd.concat(
            [two(column, m, model="scbert", variant="pretrained") for m in ("masked_accuracy", "masked_accuracy_se")],
            ignore_index=True,
        )
        base = [row("mode_per_gene", "default", 0, m, 0.1, **KNOWN) for m in ("masked_accuracy", "masked_accuracy_se")]
        many = [
            table_of(base).assign(**({column: v} if column in (*KNOWN, "dataset_hash") else {})) for v in TWO[column]
        ]
        found = against_baselines(pd.concat([network, *many], ignore_index=True).drop_duplicates(), "standin")
        assert set(found["accuracy"]) == {LOW, HIGH}
    epochs = two(column, "validation_accuracy", epoch=1.0)
    assert both(tables.slow_family(epochs))


@pytest.mark.slow
@pytest.mark.parametrize("column", FEW)
def test_figures_draw_two_kinds_with_two_looks(column):
    runs = two(column, seeds=(0,))
    for figure in (
        figures.few_shot(runs, {}, ["accuracy"]),
        figures.ablation(runs, {}, ["accuracy"]),
        figures.per_class(two(column, "recall", **{"class": "B cells"}), "standin", "pbmc_facs"),
        figures.recall_per_bin(two(column, "recall_bin", **{"class": "1"})),
        figures.held_out({"accuracy": tables.groups_of(two(column, split="held_out:D1"))}),
    ):
        figure.canvas.draw()
        heights = {
            round(float(v), 3)
            for axis in figure.axes
            for line in axis.lines
            for v in (*line.get_xdata(), *line.get_ydata())
        }
        assert {LOW, HIGH} <= heights and float(MEAN) not in heights
        plt.close(figure)
    spec = figures.few_shot_hover(runs, {}).to_dict()
    values = pd.DataFrame(next(iter(spec["datasets"].values())))
    assert len(values[["panel", "series"]].drop_duplicates()) == 2


def test_names_are_made_longer_until_they_differ():
    pairs = [
        ("a.v1:MyModel", "default"),
        ("b.v1:MyModel", "default"),
        ("mine:scGPT", "default"),
        ("scgpt", "pretrained"),
    ]
    names = names_of([*pairs, ("scGPT", ""), ("x:Only", "default"), ("x:Only", "pretrained")])
    assert [names[pair] for pair in pairs] == ["MyModel of a.v1", "MyModel of b.v1", "scGPT of mine", "scGPT"]
    assert names["scGPT", ""] == "model scGPT"
    assert len(set(names.values())) == len(names) and not is_known(names["mine:scGPT", "default"])
    looks = [look_of(name) for name in names.values()]
    assert len(set(looks)) == len(looks)


def test_forty_models_and_many_settings_have_forty_looks_and_more():
    _LOOKS.clear()
    names = [f"Model{n}" for n in range(40)] + [f"L1 logistic regression (Cs=[{n}])" for n in range(12)]
    assert len({look_of(name) for name in [*names, "L1 logistic regression"]}) == 53


def test_names_of_any_content_are_one_line_that_can_be_drawn():
    odd = "$x^ <script>alert(1)</script> | {a} _b_\n" + 300 * "long"
    runs = pd.concat(
        [two("dataset_hash", model=f"m:{odd}{n}", dataset=f"{odd}{n}") for n in range(2)], ignore_index=True
    )
    figure = figures.few_shot(runs.assign(label=odd), {}, ["accuracy"])
    figure.canvas.draw()
    titles = [axis.get_title() for axis in figure.axes if axis.get_visible()]
    assert len(set(titles)) == 4 and max(map(len, titles)) < 200
    plt.close(figure)
    shown = tables.show(tables.few_shot(runs, {}, ["accuracy"])).data
    assert "<script>" not in shown and len(re.findall("0.800", shown)) == 2


def test_the_true_share_of_the_training_cells_is_shown_and_the_same_cells_count_once():
    rows = [
        row("knn", "default", seed, "accuracy", 0.5 + seed / 10, fraction=share, train_share=0.1367, n_train=70)
        for seed in range(3)
        for share in (0.01, 0.05)
    ]
    rows += [row("knn", "default", seed, "accuracy", 0.9, fraction=0.1, train_share=0.099) for seed in range(3)]
    runs = table_of(rows).assign(key=[str(n) for n in range(9)])
    table = tables.few_shot(runs, {}, ["accuracy"])
    names = ["10 %", "1 % and 5 % (the same 13.7 % of the cells: one of each type at least)"]
    assert list(table.columns) == [*names, "runs"]
    assert table["runs"].iloc[0] == "3"
    figure = figures.few_shot(runs, {}, ["accuracy"])
    assert "the same 13.7 % of the\ncells" in figure.axes[0].get_xlabel() or "13.7" in figure.axes[0].get_xlabel()
    plt.close(figure)


@pytest.mark.slow
def test_the_overview_takes_no_mean_over_settings():
    runs = two("hyperparameters", model="l1_logistic", experiment="few_shot_pbmc")
    numbers = overview.numbers(runs)
    here = numbers[numbers["here"].notna()]
    assert set(here["here"]) == {LOW, HIGH} and set(here["setting"]) == {"C=1", "C=2"}
    found = overview.comparisons(runs)
    assert found.loc[found["tier"] != "published", "value"].isna().all()


def test_a_failure_and_a_value_that_is_no_number_take_the_place_of_nothing(monkeypatch):
    committed = two("model").assign(origin="committed")
    failed = committed.assign(origin="own", status="failed: no")
    nothing = committed.assign(origin="own", value=np.nan)
    for own in (failed, nothing):
        kept = reading.without_superseded(pd.concat([own, committed], ignore_index=True))
        assert len(runs_of(kept)) == len(committed)


def test_bins_of_other_cells_are_other_columns():
    runs = pd.concat(
        [two("hyperparameters", "support_bin", **{"class": str(n)}) for n in range(1, 6)], ignore_index=True
    )
    runs["hyperparameters"] = runs["hyperparameters"].replace(
        {'{"C":1}': '{"held_out":"a"}', '{"C":2}': '{"held_out":"b"}'}
    )
    assert len(bins(runs, pd.Series(np.full(6, 1 / 6))).columns) == 5


@pytest.mark.parametrize("column", ["dataset_hash", "label", "weights_hash", "protocol", "query", "subset"])
def test_training_and_gains_of_two_kinds_stand_in_two_rows(column):
    arms = [(arm, lr) for arm in ("pretrained", "no_pretraining") for lr in (1, 2)]
    parts = []
    for metric, epoch in (("accuracy", np.nan), ("validation_accuracy", 1.0)):
        for variant, lr in arms:
            more = {"variant": variant, "hyperparameters": f'{{"lr":{lr},"batch":8}}', "epoch": epoch}
            runs = two(column, metric, model="scgpt", **more)
            value = runs["value"] if variant == "pretrained" else 0.0
            parts.append(runs.assign(value=value, key=runs["key"] + f"{variant}{lr}"))
    runs = pd.concat(parts, ignore_index=True)
    assert both(tables.sensitivity(runs, "lr"))
    pretrained = runs[runs["variant"] == "pretrained"]
    twice = pretrained[pretrained["hyperparameters"].str.contains('"lr":2')].assign(value=lambda t: 2 * t["value"])
    once = pretrained[pretrained["hyperparameters"].str.contains('"lr":1')]
    changed = tables.changes(pd.concat([once, twice]), "scgpt", {"lr": 1}, {"lr 2": {"lr": 2}}, ["accuracy"])
    assert both(changed)
    if column != "weights_hash":  # the arms themselves differ in their weights
        assert both(tables.gains(runs, "scgpt", "lr", {"as published": {"batch": 8}}))


def test_a_tier_that_nobody_knows_is_left_out():
    runs = pd.concat([two("model"), two("label").assign(tier="huge")], ignore_index=True)
    assert set(figures.complete_runs(runs)["tier"]) == {"standin"}
