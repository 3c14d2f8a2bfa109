"""Calibration, abstention and cost: against hand computation and independent references, and what the page says."""

import re
from pathlib import Path

import jupytext
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from made_up import row, table_of
from sklearn.metrics import accuracy_score

from bench.core.errors import BenchError
from bench.protocol import records
from bench.report import figures, tables
from bench.report.figures.panels import EXPERIMENTS
from bench.report.figures.pareto import front
from bench.statistics import calibration, metrics
from bench.statistics.confidence import confidence as confidence_of
from bench.statistics.confidence import ece
from bench.statistics.predictions import Predictions

PAGE = Path(__file__).parents[2] / "chapters" / "calibration_and_cost.md"
TEXT = PAGE.read_text(encoding="utf-8")


def said_of(confidence, right) -> Predictions:
    """Return predictions of two types with the given confidence, 0.5-1, of which some are right."""
    confidence, right = np.asarray(confidence, dtype=float), np.asarray(right, dtype=bool)
    return Predictions(np.where(right, "a", "b"), np.column_stack([confidence, 1 - confidence]), np.array(["a", "b"]))


def drawn(n=20_000, honest=1.0, seed=0) -> Predictions:
    """Return cells that are right as often as the model says, to the power given."""
    rng = np.random.default_rng(seed)
    confidence = rng.uniform(0.5, 1, n)
    return said_of(confidence, rng.random(n) < confidence**honest)


@pytest.fixture(scope="module")
def committed():
    everything = pd.concat([records.read(name, own=False) for name in EXPERIMENTS], ignore_index=True)
    return figures.on_panels_of(everything)


@pytest.fixture(scope="module")
def runs(committed):
    return figures.complete_runs(committed)


@pytest.fixture
def said(runs):
    return figures.predictions_of(runs)


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def test_bins_of_an_honest_model_lie_on_the_diagonal_and_their_intervals_cover_it():
    bins = calibration.per_bin([drawn()])
    assert (bins["right"] - bins["confidence"]).abs().max() < 0.04
    assert bins["cells"].sum() == 20_000 and len(bins) == 8  # from 0.5 on, of fifteen
    many = [calibration.per_bin([drawn(3000, seed=seed)]) for seed in range(60)]
    inside = np.mean([((b["low"] <= b["confidence"]) & (b["confidence"] <= b["high"])).mean() for b in many])
    assert 0.92 < inside < 0.98


def test_a_boastful_model_lies_below_the_diagonal():
    bins = calibration.per_bin([drawn(honest=3)])
    assert (bins["right"] < bins["confidence"]).all()


def test_wilson_interval_is_the_textbook_one_and_counts_each_cell_once():
    one = said_of([0.9] * 10, [1] * 8 + [0] * 2)
    bins = calibration.per_bin([one])
    # Wilson 1927 for 8 of 10 at z = 1.96: 0.4902 to 0.9433
    assert bins[["low", "high"]].to_numpy().ravel().round(4).tolist() == [0.4902, 0.9433]
    pd.testing.assert_frame_equal(calibration.per_bin([one, one, one]), bins)


def test_error_is_the_metric_and_survives_how_predictions_are_kept():
    predictions = drawn(500, honest=2)
    assert calibration.error(predictions) == pytest.approx(ece(predictions), abs=2e-3)
    votes = np.random.default_rng(0).integers(8, 16, 300) / 15
    exact = said_of(votes, np.random.default_rng(1).random(300) < votes**2)
    rounded = said_of(votes.astype(np.float16), exact.predicted == exact.truth)
    assert calibration.error(rounded) == pytest.approx(calibration.error(exact), abs=5e-4)


@pytest.mark.slow
def test_error_of_kept_predictions_is_the_recorded_one(runs, said):
    recorded = runs.groupby(["panel", "series"])["ece"].mean()
    for key, several in said.items():
        found = np.mean([calibration.error(run) for run in several])
        assert found == pytest.approx(recorded[key], abs=3e-3), key
        assert len(several) == ((runs["panel"] == key[0]) & (runs["series"] == key[1])).sum()


def test_kept_cells_by_hand():
    predictions = said_of([0.9, 0.8, 0.8, 0.7], [1, 1, 0, 0])
    curve = calibration.kept(predictions)
    assert curve["share"].tolist() == [0.25, 0.75, 1.0]  # the two equally confident cells go together
    assert curve["accuracy"].tolist() == pytest.approx([1, 2 / 3, 1 / 2])
    assert calibration.area(predictions) == pytest.approx(np.mean([1, 1.5 / 2, 2 / 3, 2 / 4]))
    assert calibration.share_kept([predictions], 0.6)[0] == 0.75
    assert calibration.share_kept([predictions], 0.5)[0] == 1
    assert calibration.share_kept([said_of([0.9, 0.8], [0, 1])], 0.6)[0] == 0
    other = said_of([0.9, 0.8, 0.7, 0.6], [1, 1, 1, 1])
    for several in ([predictions], [predictions, other]):
        assert calibration.largest_share(several, 0.6) == calibration.share_kept(several, 0.6)[0]


@pytest.mark.slow
def test_curves_end_at_the_accuracy_and_agree_with_scikit_learn(said):
    for several in said.values():
        curve = calibration.kept(several[0])
        assert curve["share"].iloc[-1] == 1
        assert curve["accuracy"].iloc[-1] == pytest.approx(metrics.accuracy(several[0]))
        middle = curve.iloc[len(curve) // 2]
        sure = confidence_of(several[0])[0] >= middle["threshold"]
        ours = accuracy_score(several[0].truth[sure], several[0].predicted[sure])
        assert middle["accuracy"] == pytest.approx(ours) and middle["share"] == pytest.approx(sure.mean())


def test_share_kept_has_an_interval_that_covers_the_true_share():
    # right as often as said, uniform from 0.5 to 1: the mean of the surest share s is 1 - s / 4
    share, low, high = calibration.share_kept([drawn(4000)], 0.9, n_resamples=200)
    assert low < 0.4 < high and high - low < 0.2 and share == pytest.approx(0.4, abs=0.06)
    assert calibration.share_kept([drawn(4000)] * 3, 0.9, n_resamples=200) == pytest.approx((share, low, high))


def test_front_by_hand():
    cost, score = [1, 2, 3, 2, 4], [0.5, 0.7, 0.7, 0.6, 0.9]
    assert front(cost, score).tolist() == [True, True, False, False, True]
    assert front([1, 1], [0.5, 0.5]).all()  # equals do not beat each other


def test_panels_never_mix_tiers_data_or_splits_and_a_trial_counts_once(runs, committed):
    for columns in ("tier", "dataset", "split"):
        assert (runs.groupby("panel")[columns].nunique() == 1).all()
    assert not runs.duplicated(["panel", "key"]).any()
    assert not runs.duplicated(["panel", "series", "seed"]).any()  # so that a series is one setting
    assert not runs["series"].str.contains("(", regex=False).any()
    raw = committed[committed["metric"] == "accuracy"].drop_duplicates(["tier", "key"]).set_index(["tier", "key"])
    assert (
        runs.set_index(["tier", "key"])["accuracy"]
        .eq(raw["value"].reindex(runs.set_index(["tier", "key"]).index))
        .all()
    )
    assert {"Stand-in: kang, stimulated held out", "Stand-in: baron, human1 held out"} <= set(runs["panel"])


def test_settings_of_one_experiment_stay_apart_and_failures_are_left_out():
    rows = [row("scbert", "pretrained", 0, "accuracy", 0.8, {"lr": lr}) for lr in (0.1, 0.2)]
    rows += [row("knn", "default", 0, "accuracy", 0.7, fraction=0.5)]
    rows += [row("l1_logistic", "default", 0, "accuracy", np.nan, status="failed: why")]
    runs = figures.complete_runs(table_of(rows))
    assert runs["series"].tolist() == ["scBERT (lr=0.1)", "scBERT (lr=0.2)"]
    with pytest.raises(BenchError, match="No run on all training cells"):
        figures.complete_runs(table_of(rows[2:]))


@pytest.mark.slow
def test_figures_draw_every_model_and_refuse_to_draw_nothing(runs, said):
    standin = runs[runs["tier"] == "standin"]
    kept = figures.predictions_of(standin)
    shown = [axis for axis in figures.reliability(kept).axes if axis.get_visible()]
    assert len(shown) == len(kept)
    assert sum("ECE" in axis.get_title(loc="left") for axis in shown) == len(kept)
    curves = [axis for axis in figures.abstention(kept).axes if axis.get_visible()]
    assert [axis.get_title(loc="left") for axis in curves] == list(dict.fromkeys(panel for panel, _ in kept))
    costs = figures.pareto(standin)
    assert len(costs.axes) == 2 * standin["panel"].nunique()
    assert all(axis.get_xscale() == "log" for axis in costs.axes)
    for draw in (figures.reliability, figures.abstention):
        with pytest.raises(BenchError, match="No predictions are kept"):
            draw({})
    with pytest.raises(BenchError, match="other than the controls"):
        figures.pareto(standin[standin["control"]])


@pytest.mark.slow
def test_pale_points_are_those_behind_the_front(runs):
    quick = runs[runs["tier"] == "quick"]
    table = tables.fronts(quick)
    points = [
        line for axis in figures.pareto(quick).axes for line in axis.lines if line.get_marker() not in ("", "None")
    ]
    pale = sum(line.get_alpha() < 1 for line in points)
    assert pale == (table[["front, seconds", "front, memory"]] == "no").to_numpy().sum() > 0
    assert len(points) == 2 * len(table)


@pytest.mark.slow
def test_what_the_title_and_the_takeaways_say_holds_for_the_committed_records(runs, said):
    costed = runs[runs["experiment"] != "embeddings"]
    first = "L1 logistic regression"
    assert "simple methods come near L1 logistic regression for less" in TEXT
    kang = tables.fronts(costed).loc["Stand-in: kang, stimulated held out"]
    kang = kang.assign(seconds=kang["seconds"].str.replace(",", "").astype(float))
    near = kang[kang["accuracy"] > kang.loc[first, "accuracy"] - 0.01].drop(first)
    assert (near["seconds"] < kang.loc[first, "seconds"] / 3).all() and len(near)
    linear, neighbours = (tables.on_every_front(runs, model) for model in ("l1_logistic", "knn"))
    assert "No recorded model is both cheaper than L1 logistic regression and as accurate" in TEXT
    assert linear[linear.index.str.startswith("Stand-in")].mean() > 0.5  # how many, the page says
    assert linear.index.tolist() == list(runs["panel"].unique())
    assert not tables.on_every_front(runs, "not_run").any()
    some = tables.fronts(runs).xs("k nearest neighbours", level="model")[["front, seconds", "front, memory"]]
    assert neighbours[some.index].tolist() == (some == "yes").all(axis=1).tolist()
    assert "leaving unsure cells out helps every model" in TEXT
    left = tables.abstention(said)
    assert (left["area under the curve"] > left["accuracy, all cells"]).all()
    gap = tables.calibration(runs, said)["confidence - accuracy"].dropna()
    assert (gap > 0).mean() > 0.5 and abs(gap.min()) < gap.max()


def test_a_trial_that_was_timed_twice_has_two_ends():
    timed = {("few_shot_pbmc", "a"): 9.0, ("liver", "a"): 14.0, ("liver", "b"): 20.0, ("few_shot_pbmc", "b"): 19.0}
    rows = []
    for (experiment, key), seconds in timed.items():
        more = {"experiment": experiment, "seconds": seconds}
        rows.append(row("l1_logistic", "default", 0, "accuracy", 0.9, **more) | {"key": key})
    rows.append(row("knn", "default", 0, "accuracy", 0.9, seconds=99.0))
    assert tables.seconds_again(table_of(rows), "l1_logistic").tolist() == [9.0, 14.0]


def test_every_glued_number_is_made_and_no_digit_is_typed(runs, said):
    used = set(re.findall(r"\{glue:text\}`trust-([\w-]+)", TEXT))
    made = set(re.findall(r'^say\("trust-([\w-]+)"', TEXT, re.MULTILINE))
    assert made == used and len(used) == 49
    for tier, n_panels, n_known in (("standin", 4, 6), ("quick", 3, 1)):
        of_tier = runs[runs["tier"] == tier]
        gaps = tables.calibration(of_tier, said)["confidence - accuracy"].dropna()
        assert len(tables.on_every_front(of_tier, "l1_logistic")) == n_panels
        assert len(gaps) >= n_known and np.isfinite(gaps).all()
    prose = "\n".join(cell.source for cell in jupytext.read(PAGE).cells if cell.cell_type == "markdown")
    prose = re.sub(r"```bash.*?```", "", prose, flags=re.DOTALL).replace("```", "")
    prose = prose.replace("L1 logistic regression", "")  # a name
    prose = re.sub(r"\{[\w:]+\}`[^`]*`|`[^`]*`|\]\([^)]*\)|fig-[\w-]+", "", prose)
    assert re.findall(r"\d", prose) == []
