"""Figures and tables on scGPT: collapsed runs are marked and counted, schedules kept apart, gains paired by seed.

The record tables are made up (`made_up`), the published points are not; none of the former is a result.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from made_up import ablation_records, row, table_of

from bench.core.errors import BenchError
from bench.published import few_shot, scgpt
from bench.report import figures, tables
from bench.report.figures.runs import own_panels
from bench.statistics.intervals import t_interval

FIXED, SHUFFLED = {"shuffle": False, "warmup_steps": 0}, {"shuffle": True, "warmup_steps": 60}
SCHEDULES = {"as published": FIXED, "shuffled, warm-up": SHUFFLED}
RATES = (1e-4, 1e-3, 1e-2)


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def scores(variant, seed, settings, value, types, **more):
    """Return the rows of one run that the figures look at."""
    settings = {"epochs": 30, "lr": 1e-3} | FIXED | settings
    values = {"accuracy": value, "macro_f1_seen": value - 0.1, "predicted_types": types, "best_epoch": 7 + seed}
    rows = [row("scgpt", variant, seed, metric, v, settings, **more) for metric, v in values.items()]
    for epoch in (1, 2, 3):
        curve = {"validation_accuracy": value * (1 - 0.5**epoch), "train_loss": 0.5**epoch}
        rows += [row("scgpt", variant, seed, m, v, settings, epoch=epoch, **more) for m, v in curve.items()]
    return rows


def scheduled(n_seeds=3, schedules=(FIXED, SHUFFLED), **more):
    """Return runs in which pretraining gains 0.1 + 0.01 per seed, and 0.6 where the other arm collapses."""
    rows = []
    for schedule in schedules:
        for rate in RATES:
            for seed in range(n_seeds):
                collapsed = rate == 1e-2 and schedule is FIXED
                value = 0.2 if collapsed else 0.7 - 0.01 * seed
                rows += scores("pretrained", seed, schedule | {"lr": rate}, 0.8, 9, **more)
                rows += scores("no_pretraining", seed, schedule | {"lr": rate}, value, 1 if collapsed else 8, **more)
    return table_of(rows)


def ablated(n_seeds=4, n_constant=3, **more):
    rows = [r for s in range(n_seeds) for r in scores("pretrained", s, {}, 0.9 - 0.01 * s, 9, **more)]
    for seed in range(n_seeds):
        constant = seed < n_constant
        rows += scores("no_pretraining", seed, {}, 0.1 if constant else 0.6, 1 if constant else 5, **more)
    majority = {"accuracy": 0.1, "macro_f1_seen": 0.01, "predicted_types": 1}
    return table_of(rows + [row("majority", "default", 0, metric, value, **more) for metric, value in majority.items()])


def published():
    return {"MS": pd.concat([scgpt.baseline("ms"), scgpt.supplementary_figure6("ms")])}


def drawn(axis, marker, size=None):
    lines = [line for line in axis.lines if line.get_marker() == marker and line.get_linestyle() == "None"]
    return sorted(float(x) for line in lines if size in (None, line.get_markersize()) for x in line.get_xdata())


def counts(axis):
    return [text.get_text() for text in axis.texts if text.get_text().startswith("×")]


def test_collapsed_runs_are_crosses_and_counted_but_a_control_is_not():
    figure = figures.ablation(ablated(), published(), ["accuracy", "macro_f1_seen"])
    theirs, ours = figure.axes[:2], figure.axes[2:]
    points = scgpt.supplementary_figure6("ms").query("constant")
    assert len(points) == 18 and len(drawn(theirs[0], "x")) == 9
    for axis, metric in zip(theirs, ("accuracy", "macro_f1"), strict=True):
        assert drawn(axis, "x") == sorted(points[points["metric"] == metric]["value"])
    assert counts(theirs[0]) == [] and counts(theirs[1]) == ["× 7 of 10", "× 2 of 10"]
    assert drawn(ours[0], "x") == [0.1] * 3 and counts(ours[1]) == ["× 3 of 4"]
    assert drawn(ours[0], "v", 3.2) == [0.6]  # the run that did not collapse keeps its marker
    assert "counted on the right" in figure.get_supxlabel()


def test_without_a_collapse_nothing_speaks_of_it():
    figure = figures.ablation(ablated(n_constant=0), {}, ["accuracy"])
    assert drawn(figure.axes[0], "x") == [] and counts(figure.axes[0]) == [] and figure.get_supxlabel() == ""
    unknown = ablated().query("metric != 'predicted_types'")  # records from before this metric
    assert drawn(figures.ablation(unknown, {}, ["accuracy"]).axes[0], "x") == []


def test_whether_a_run_is_constant_is_known_from_its_own_predictions_alone():
    runs = own_panels(ablated())["Stand-in: pbmc_facs"].query("metric == 'accuracy'")
    assert runs.query("variant == 'no_pretraining'").sort_values("seed")["constant"].tolist() == [1, 1, 1, 0]
    assert own_panels(ablation_records())["Stand-in: pbmc_facs"]["constant"].isna().all()


def test_table_of_collapse_counts_and_says_what_the_others_reach():
    table = tables.collapse(ablated(), published())
    theirs, ours = table.loc["Published: MS"], table.loc["Stand-in: pbmc_facs"]
    assert theirs["one type for every cell"].tolist() == ["–", "0 of 10", "7 of 10", "2 of 10"]
    assert theirs["epochs"].tolist() == ["–", "20", "30", "30"] and set(theirs["best epoch"]) == {"–"}
    rest = scgpt.supplementary_figure6("ms").query("variant == 'no_pretraining' and metric == 'accuracy'")
    rest = t_interval(rest.query("not constant")["value"].to_numpy())
    others = theirs.loc["scGPT, no pretraining", "accuracy of the others"]
    assert others == f"{rest.mean:.3f} ± {rest.half_width:.3f}"
    assert ours.loc["scGPT, no pretraining"].tolist() == ["3 of 4", "0.600", "30", "7–10"]
    all_constant = tables.collapse(ablated(n_constant=4), {}).loc["Stand-in: pbmc_facs"]
    assert all_constant.loc["scGPT, no pretraining"].tolist()[:2] == ["4 of 4", "–"]


def test_table_of_collapse_joins_that_of_scores_row_by_row():
    records, names = ablated(), ["accuracy"]
    joined = tables.ablations(records, published(), names).join(tables.collapse(records, published()))
    assert len(joined) == 7 and not joined.isna().any().any()
    assert len(tables.collapse(records.iloc[:0], published())) == 4


def test_schedules_have_a_column_each_and_a_row_per_source():
    records = pd.concat([scheduled(), scheduled(2, tier="quick", dataset="hao")], ignore_index=True)
    figure = figures.schedules(records, "scgpt", "lr", SCHEDULES)
    assert [axis.get_title() for axis in figure.axes[:2]] == list(SCHEDULES)
    assert [axis.get_ylabel().partition("\n")[0] for axis in figure.axes[::2]] == ["Stand-in: pbmc_facs", "Quick: hao"]
    for axis, n_crosses in zip(figure.axes, (3, 0, 2, 0), strict=True):
        assert drawn(axis, "x") == [1e-2] * n_crosses
        means = [line for line in axis.lines if line.get_linestyle() not in ("None", "")]
        assert [len(line.get_xdata()) for line in means] == [3, 3]
    names = [text.get_text() for text in figure.legends[0].texts]
    assert names == ["scGPT", "scGPT, no pretraining", "the same type for every cell"]


def test_a_schedule_that_no_run_has_is_left_out_and_none_at_all_raises():
    only = figures.schedules(scheduled(schedules=[FIXED]), "scgpt", "lr", SCHEDULES)
    assert [axis.get_title() for axis in only.axes] == ["as published"]
    some = pd.concat([scheduled(), scheduled(schedules=[FIXED], tier="quick")], ignore_index=True)
    texts = [
        [text.get_text() for text in axis.texts] for axis in figures.schedules(some, "scgpt", "lr", SCHEDULES).axes
    ]
    assert texts == [[], [], [], ["not recorded here"]]
    with pytest.raises(BenchError, match="No run of scgpt was made under slow; run the chapter"):
        figures.schedules(scheduled(), "scgpt", "lr", {"slow": {"warmup_steps": 7}})
    with pytest.raises(BenchError, match="Did you mean 'warmup_steps'"):
        figures.schedules(scheduled(), "scgpt", "lr", {"slow": {"warmup_step": 7}})
    with pytest.raises(BenchError, match="recorded f2"):
        figures.schedules(scheduled(), "scgpt", "lr", SCHEDULES, "f2")


def test_gains_of_pretraining_are_paired_by_seed():
    pairs = tables.gained(scheduled(), "scgpt", "lr", SCHEDULES)
    assert len(pairs) == 18 and pairs.query("setting == 0.001")["gain"].round(6).tolist() == [0.1, 0.11, 0.12] * 2
    odd = scheduled().query("not (variant == 'no_pretraining' and seed == 2)")
    assert set(tables.gained(odd, "scgpt", "lr", SCHEDULES)["seed"]) == {0, 1}
    table = tables.gains(scheduled(), "scgpt", "lr", SCHEDULES)
    assert table.columns.tolist() == list(SCHEDULES)
    assert table.index.get_level_values("lr").tolist() == ["0.0001", "0.001", "0.01"]
    expected = t_interval(np.array([0.1, 0.11, 0.12]))
    assert table.loc[("Stand-in: pbmc_facs", "0.001"), "as published"] == f"0.110 ± {expected.half_width:.3f}"
    assert table.loc[("Stand-in: pbmc_facs", "0.01")].tolist() == [
        "0.600 ± 0.000",
        f"0.110 ± {expected.half_width:.3f}",
    ]
    with pytest.raises(BenchError, match="No seed of scgpt has runs with and without pretraining"):
        tables.gains(scheduled().query("variant == 'pretrained'"), "scgpt", "lr", SCHEDULES)


def test_curves_of_variants_are_shades_of_their_model_with_their_own_markers():
    records = ablated(n_constant=1)
    figure = figures.curves(records)
    lines = [line for line in figure.axes[0].lines if len(line.get_xdata())]
    colours, markers = {line.get_color() for line in lines}, {line.get_marker() for line in lines}
    assert len(lines) == 8 and len(colours) == 2 and markers == {".", "v"}
    hues = {tuple(np.argsort(plt.matplotlib.colors.to_rgb(colour))) for colour in colours}
    own = tuple(np.argsort(plt.matplotlib.colors.to_rgb(figures.MODELS["scgpt"][1])))
    assert hues == {own}  # of the model's hue, lighter or darker
    assert sum(line.get_linestyle() == "--" for line in lines) == 1  # the collapsed one


def test_variants_of_scgpt_have_names_and_looks_of_their_own():
    from bench.report.figures.style import look_of

    names = [figures.series_of("scgpt", v) for v in ("pretrained", "no_pretraining", "scratch_tuned")]
    assert names == ["scGPT", "scGPT, no pretraining", "scGPT, tuned from scratch"]
    looks = [look_of(name) for name in [*names, figures.series_of("scgpt", "no_pretraining_frozen_embeddings")]]
    assert len({look.colour for look in looks}) == 1 and len({look.marker for look in looks}) == 4
    assert {look.marker for look in looks} <= set(figures.VEGA_SHAPES)


def test_models_are_compared_at_every_share_as_the_paper_printed_it():
    sets = {"MS": "ms", "pancreas": "hpancreas", "myeloid": "myeloid"}
    runs = {name: few_shot(key) for name, key in sets.items()}
    table = tables.models_compared(runs, scgpt.printed_tests(), "scgpt", "l1_logistic")
    assert table.index.get_level_values(1).tolist() == ["10 %", "25 %", "50 %", "75 %", "100 %"] * 3
    assert table.loc[("MS", "10 %"), "p, printed"] == pytest.approx(5.5e-11, rel=0.01)
    assert (table.loc["MS", "difference"] > 0).all() and (table.loc["myeloid", "difference"] < 0).all()
    assert (table["p, Holm"] >= table["p, recomputed"]).all() and (table["low"] < table["high"]).all()
    ratio = np.log10(table["p, recomputed"] / table["p, printed"])  # digitised points: the same order of magnitude
    assert ratio.abs().max() < 1


def test_p_values_are_shown_with_two_digits_and_nothing_else_is_touched():
    tests = pd.DataFrame({"difference": [0.12345], "p, printed": [5.4999e-11], "p, Holm": [0.98765]})
    shown = tables.short_p(tests)
    assert shown[["p, printed", "p, Holm"]].iloc[0].tolist() == ["5.5e-11", "0.99"]
    assert shown["difference"].tolist() == [0.12345] and tests["p, Holm"].tolist() == [0.98765]


def test_costs_of_many_settings_stand_in_the_order_of_the_legends():
    table = tables.cost(scheduled())
    rates = [name.partition("lr=")[2].partition(",")[0] for name in table.index.get_level_values("model")]
    assert len(rates) == 12 and [float(rate) for rate in rates] == [r for r in RATES for _ in range(2)] * 2
    assert table.index.get_level_values("model")[0].startswith("scGPT (lr=0.0001")
