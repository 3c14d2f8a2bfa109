"""Differences between models: intervals and p values that belong together, corrected by tier, and their figures."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from scipy import stats
from statsmodels.stats.multitest import multipletests

from bench.core.errors import BenchError
from bench.protocol import records
from bench.published import few_shot, scbert
from bench.report import effects, figures, tables
from bench.report.effects import Effect
from bench.report.tables.effects import HIGHER, LOWER, OPEN, SAME
from bench.statistics.bootstrap import paired_bootstrap
from bench.statistics.intervals import MARGIN, equivalence, published_ttest

LR = "L1 logistic regression"
TEXT = ' bench-text">'  # the end of a table's classes: its columns stand to the left


def runs(values) -> pd.DataFrame:
    return pd.DataFrame({"value": values})


@pytest.fixture(scope="module")
def pbmc() -> pd.DataFrame:
    return records.read("few_shot_pbmc", own=False)


@pytest.fixture(scope="module")
def apart(pbmc) -> pd.DataFrame:
    return tables.effects(pbmc, {"Zheng68K": few_shot("zheng68k")}, to=LR)


def test_published_runs_are_compared_by_welch():
    rng = np.random.default_rng(0)
    a, b = rng.normal(0.8, 0.02, 6), rng.normal(0.78, 0.05, 9)
    found, reference = effects.of_published(runs(a), runs(b)), stats.ttest_ind(a, b, equal_var=False)
    assert found.interval(0.95) == pytest.approx(tuple(reference.confidence_interval()))
    assert found.differs() == pytest.approx(reference.pvalue)
    assert found.same(0.05) == pytest.approx(equivalence(a, b, 0.05).p)
    assert found.interval(0.9) == pytest.approx((equivalence(a, b, 0.05).low, equivalence(a, b, 0.05).high))


def test_one_fit_against_many_and_one_against_one():
    many = np.array([0.70, 0.74, 0.75, 0.76])
    found = effects.of_published(runs([0.8]), runs(many))
    assert found.differs() == pytest.approx(stats.ttest_1samp(many, 0.8).pvalue)
    lone = effects.of_published(runs([0.8]), runs([0.7]))
    assert lone.value == pytest.approx(0.1)
    assert np.isnan([*lone.interval(0.95), lone.differs(), lone.same(0.01), lone.above(0), lone.below(0)]).all()


def test_runs_that_agree_to_the_last_digit_are_the_same():
    found = effects.of_published(runs([0.8, 0.8, 0.8]), runs([0.8, 0.8, 0.8]))
    assert found.same(0.01) < 1e-6 and found.differs() == 1


def test_a_bootstrap_has_the_p_value_of_its_interval(pbmc):
    rows = pbmc[(pbmc["tier"] == "standin") & (pbmc["fraction"] == 1) & (pbmc["metric"] == "accuracy")]
    a, b = (figures.runs_of(rows[rows["model"] == model]) for model in ("l1_logistic", "knn"))
    found = effects.of_runs(a, b)
    assert found.how == "bootstrap over cells"
    for level in (0.5, 0.9, 0.95):
        low, high = found.interval(level)
        step = 1e-9  # accuracies of resamples take few values, so that a border holds many of them
        assert found.above(low - step) <= (1 - level) / 2 + 0.001 and found.above(low + step) >= (1 - level) / 2
        assert found.below(high + step) <= (1 - level) / 2 + 0.001 and found.below(high - step) >= (1 - level) / 2
    assert found.differs() == pytest.approx(2 / 2001), "no resample crosses zero: the estimate itself counts as one"


def test_of_several_seeds_the_widest_counts():
    narrow, wide = stats.norm(0.02, 0.001), stats.norm(0.02, 0.02)
    found = Effect(0.02, "", (narrow, wide))
    assert found.interval(0.95) == Effect(0.02, "", (wide,)).interval(0.95)
    assert found.differs() == Effect(0.02, "", (wide,)).differs() > 0.05 > Effect(0.02, "", (narrow,)).differs()


def test_seeds_and_cells_add_up(monkeypatch):
    cells = pd.DataFrame({"seed": range(4), "value": [0.80, 0.82, 0.81, 0.83], "key": "k", "experiment": "e"})
    cells = cells.assign(tier="quick", dataset="hao", series="a", metric="accuracy", fraction=0.5)
    other = cells.assign(value=[0.70, 0.75, 0.71, 0.72], series="b")
    alone = effects.of_runs(cells, other)
    assert alone.how == "t over 4 seeds"
    rng = np.random.default_rng(0)
    draws = effects.Resamples("cell", rng.normal(0.1, 0.03, 2000))
    monkeypatch.setattr(effects, "_bootstraps", lambda *_: [draws] * 4)
    both = effects.of_runs(cells, other)
    assert both.how == "t over 4 seeds and cells"
    error = np.hypot(stats.sem(cells["value"] - other["value"]), 0.03)
    assert both.interval(0.95)[1] - both.value == pytest.approx(stats.t.ppf(0.975, 3) * error, rel=0.05)
    assert effects.of_runs(cells[:2], other[2:]).how == "no seed in common"


@pytest.mark.slow
def test_rows_are_corrected_within_a_tier_and_say_what_follows(apart):
    tiers = apart.index.get_level_values(0).str.partition(":").get_level_values(0)
    for _, group in apart[apart["p, Holm"].notna()].groupby(tiers[apart["p, Holm"].notna()]):
        assert (group["p, Holm"] <= 1).all() and len(group) > 1
    published = apart.loc["Published: Zheng68K"]
    theirs = few_shot("zheng68k").query("metric == 'accuracy' and fraction == 0.5")
    a, b = (theirs.loc[theirs["model"] == model, "value"] for model in ("scbert", "l1_logistic"))
    row = published.loc["scBERT", 0.5, "accuracy"]
    assert row["difference"] == pytest.approx(a.mean() - b.mean())
    raw = [
        stats.ttest_ind(*(g["value"] for _, g in of.groupby("model")), equal_var=False).pvalue
        for _, of in few_shot("zheng68k").groupby(["fraction", "metric"])
    ]
    assert sorted(published["p, Holm"]) == pytest.approx(sorted(multipletests(raw, method="holm")[1]))
    assert (apart.loc[apart["says"].isin([HIGHER, LOWER]), "p, Holm"] < 0.05).all()
    assert apart.loc[apart["low"].isna(), "says"].eq(OPEN).all()
    assert published_ttest(a, b).pvalue < 0.001 < row["p, Holm"], "pooled and uncorrected, as the paper prints it"


@pytest.mark.slow
def test_models_beside_their_own_variants_are_one_family():
    five = records.read("five_models", own=False)
    five = five[five["model"].isin(["scgpt", "geneformer"]) & (five["tier"] == "quick")]
    together = tables.own_variants(five, ["accuracy"])
    arms = dict(tuple(figures.runs_of(five[five["metric"] == "accuracy"]).groupby("series")))
    pairs = [(model, arm) for model in ("scGPT", "Geneformer") for arm in arms if arm.startswith(f"{model},")]
    found = {arm: effects.of_runs(arms[model], arms[arm]) for model, arm in pairs}
    assert set(together.index.get_level_values("compared")) == set(found) and len(together) == len(found) == 6
    found = [found[arm] for arm in together.index.get_level_values("compared")]
    assert together["difference"].tolist() == pytest.approx([effect.value for effect in found])
    expected = multipletests([effect.differs() for effect in found], method="holm")[1]
    assert together["p, Holm"].tolist() == pytest.approx(expected.tolist())
    with pytest.raises(BenchError, match="No model is recorded beside a variant of its own"):
        tables.own_variants(five[five["variant"] == "pretrained"])


def test_the_same_is_said_only_within_the_margin(pbmc):
    rows = pbmc[(pbmc["model"] == "l1_logistic") & (pbmc["tier"] == "standin")]
    twin = rows.assign(model="knn", value=rows["value"] + np.where(rows["seed"] % 2, MARGIN, -MARGIN) / 50)
    found = tables.effects(pd.concat([rows, twin]), {}, ["accuracy"], to=LR)
    few = found[found["by"].str.startswith("t over")]
    assert len(few) and few["says"].eq(SAME).all()


@pytest.mark.slow
def test_directions_and_what_is_left_out(pbmc, apart):
    turned = tables.effects(pbmc, {}, of=LR)
    assert "control" not in "".join(apart.index.get_level_values("compared"))
    for key in turned.index:
        assert turned.loc[key, "difference"] == pytest.approx(-apart.loc[key, "difference"])
        assert (turned.loc[key, "low"], turned.loc[key, "high"]) == pytest.approx(
            (-apart.loc[key, "high"], -apart.loc[key, "low"]), nan_ok=True, abs=0.01
        )
    with pytest.raises(BenchError, match=r"series to compare with.*scGPT"):
        tables.effects(pbmc, {}, to="scGPT")


def test_hard_scores_have_an_interval_over_cells(pbmc):
    found = tables.effects(pbmc, {}, ["hard_accuracy", "hard_f1"], to=LR)
    whole = found.loc["Stand-in: pbmc_facs", "k nearest neighbours", 1.0]
    assert whole["by"].eq("bootstrap over cells").all() and whole["low"].notna().all()
    key = pbmc.query("tier == 'standin' and fraction == 1 and metric == 'hard_f1'").drop_duplicates("model")
    key = key.set_index("model")["key"]
    said = [records.read_predictions("few_shot_pbmc", "standin", key[model])[1] for model in ("knn", "l1_logistic")]
    again = paired_bootstrap(*said, "hard_f1", hard_pair=("CD8+ Cytotoxic T", "CD8+/CD45RA+ Naive Cytotoxic"))
    assert tuple(whole.loc["hard_f1", ["low", "high"]]) == pytest.approx((again.low, again.high))


def test_a_mark_is_filled_where_the_corrected_test_says_so():
    table = tables.effects(records.read("scbert_ablations", own=False)[:0], {"T": scbert.table2()}, of="scBERT")
    figure = figures.effects(table, "full minus the arm")
    marks = {}
    for axis, metric in zip(figure.axes, table.index.unique("metric"), strict=True):
        for line in axis.lines:
            if len(line.get_xdata()) == 1:
                marks[metric, round(float(line.get_xdata()[0]), 9)] = to_hex(line.get_markerfacecolor())
    assert len(marks) == len(table)
    for (*_, metric), row in table.iterrows():
        hollow = marks[metric, round(row["difference"], 9)] == "#ffffff"
        assert hollow == (row["says"] in (OPEN, SAME))
    plt.close(figure)


@pytest.mark.slow
def test_panels_stand_in_a_line_a_tier_if_they_are_many(pbmc, apart):
    theirs = {name: few_shot(name) for name in ("zheng68k", "ms", "hpancreas")}
    figure = figures.few_shot(pbmc, theirs, ["accuracy"])
    lines = {}
    for axis in figure.axes:
        if axis.get_visible():
            lines.setdefault(axis.get_subplotspec().rowspan.start, []).append(axis.get_title().partition(":")[0])
    assert [set(line) for line in lines.values()] == [{"Published"}, {"Stand-in"}, {"Quick"}]
    plt.close(figure)
    figure = figures.effect_curves(apart)
    assert len(figure.axes) == 6, "three sources stand in one line for each metric"
    plt.close(figure)


def test_readers_see_names_and_percent(apart):
    shown = tables.effect_sizes(apart)
    assert ("Published: Zheng68K", "scBERT", "10 %", "Accuracy") in shown.index
    assert shown["p, Holm"].map(type).eq(str).all()
    assert shown["difference"].str.fullmatch(r"[+-]\d\.\d{3}").all()
    alone = tables.effect_sizes(apart.xs(1.0, level="training cells", drop_level=False))
    assert "training cells" not in alone.index.names


def test_a_long_name_of_a_model_turns_no_number_to_the_left_but_long_text_does(apart):
    shown = tables.effect_sizes(apart)
    names = shown.rename({"scBERT": "scBERT, " + "a name that goes on " * 3}, level=1)
    assert TEXT not in tables.show(names).data
    assert TEXT in tables.show(shown.assign(by="a text that goes on " * 3)).data
