"""Paired bootstraps against scipy and against what they should cover."""

from itertools import count

import numpy as np
import pytest
from scipy import stats
from two_models import HARD, two_models

from bench.core.errors import BenchError
from bench.statistics import bootstrap
from bench.statistics.bootstrap import paired_bootstrap, per_donor, resampled
from bench.statistics.kinds import drawn_kinds
from bench.statistics.metrics import METRICS, evaluate
from bench.statistics.predictions import Predictions

FAST = list(bootstrap.FAST)


@pytest.mark.slow
def test_bootstrap_of_accuracy_equals_scipy():
    a, b = two_models(0)

    def difference(right_a, right_b, axis):
        return right_a.mean(axis=axis) - right_b.mean(axis=axis)

    right = [(p.predicted == p.truth).astype(float) for p in (a, b)]
    reference = stats.bootstrap(
        right, difference, paired=True, n_resamples=20000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    result = paired_bootstrap(a, b, "accuracy", n_resamples=20000)
    assert result.estimate == pytest.approx(right[0].mean() - right[1].mean())
    assert (result.low, result.high) == pytest.approx((reference.low, reference.high), abs=0.003)
    unpaired = np.sqrt(sum(x.var() / len(x) for x in right)) * 2 * 1.96
    assert result.high - result.low < 0.95 * unpaired  # the pairing counts


def mostly_quick():
    """Return `evaluate` that asks scikit-learn, ten times as slow, for the estimates and every 20th resample alone.

    It gives the others what it must have found there, too: cells that count once each, scored as kinds of cells are.
    """
    by_kinds, calls = dict(bootstrap.FAST), count()

    def _evaluate(metric, predictions, hard_pair):
        alone = np.ones((1, len(predictions.truth)))
        value = by_kinds[metric](predictions.truth, predictions.predicted, alone, hard_pair).item()
        if next(calls) // 2 % 20:  # two models are scored on each resample
            return value
        exact = evaluate(metric, predictions, hard_pair)
        assert value == pytest.approx(exact)
        return exact

    return _evaluate


@pytest.mark.slow
@pytest.mark.parametrize("metric", FAST)
@pytest.mark.parametrize("clustered", [False, True])
def test_fast_and_slow_bootstrap_have_the_same_law(monkeypatch, metric, clustered):
    a, b = two_models(2, n_cells=150)
    donors = np.random.default_rng(0).integers(12, size=150).astype(str) if clustered else None
    fast = paired_bootstrap(a, b, metric, n_resamples=2000, clusters=donors, hard_pair=HARD)
    monkeypatch.setattr(bootstrap, "evaluate", mostly_quick())
    monkeypatch.setattr(bootstrap, "FAST", {})
    slow = paired_bootstrap(a, b, metric, n_resamples=1000, clusters=donors, hard_pair=HARD)
    assert slow.estimate == fast.estimate and slow.unit == fast.unit == ("donor" if clustered else "cell")
    width = fast.high - fast.low
    assert (slow.low, slow.high) == pytest.approx((fast.low, fast.high), abs=0.12 * width)


@pytest.mark.parametrize("metric", FAST)
def test_counts_of_kinds_score_like_the_metric_itself(metric):
    a, b = two_models(3, n_cells=60)
    kinds, weights = drawn_kinds(a, b, None, 50, 0)
    for draw, value in zip(weights, bootstrap.FAST[metric](kinds[0], kinds[1], weights, HARD), strict=True):
        truth, predicted = np.repeat(kinds[:2], draw, axis=1)
        hit = (predicted[:, None] == a.classes).astype(float)
        assert value == pytest.approx(evaluate(metric, Predictions(truth, hit, a.classes), HARD))


PER_TYPE = ("f1", "recall")
SCORES = [name for name, metric in METRICS.items() if metric.better != "none" and name not in PER_TYPE]


@pytest.mark.parametrize("metric", SCORES)
def test_every_single_number_has_a_bootstrap(metric):
    a, b = two_models(4, n_cells=200)
    first, again = (paired_bootstrap(a, b, metric, n_resamples=40, hard_pair=HARD) for _ in range(2))
    other = paired_bootstrap(a, b, metric, n_resamples=40, hard_pair=HARD, seed=1)
    assert first == again != other
    assert first.low < first.estimate < first.high
    assert first.estimate == evaluate(metric, a, HARD) - evaluate(metric, b, HARD)


def test_the_same_model_twice_has_no_difference():
    a, _ = two_models(5)
    result = paired_bootstrap(a, a, "macro_f1", n_resamples=100)
    assert (result.estimate, result.low, result.high, len(result.draws)) == (0, 0, 0, 100)


@pytest.mark.slow
def test_interval_covers_the_true_difference_about_95_times_in_100():
    population = two_models(6, n_cells=200_000)
    truth = evaluate("accuracy", population[0]) - evaluate("accuracy", population[1])
    rng, covered = np.random.default_rng(7), 0
    for seed in range(200):
        cells = rng.integers(200_000, size=300)
        a, b = (p.take(cells) for p in population)
        result = paired_bootstrap(a, b, "accuracy", n_resamples=400, seed=seed)
        covered += result.low <= truth <= result.high
    assert 178 <= covered <= 199  # binomial(200, 0.95): 190 +- 4 SD


def test_donor_effects_widen_the_clustered_interval():
    donors = np.repeat(np.arange(20), 30).astype(str)
    right = (np.repeat(np.random.default_rng(0).uniform(size=20), 30) > 0.5).astype(float)  # whole donors fail
    truth = np.where(np.arange(600) % 2, "a", "b")
    hit = (truth[:, None] == ["a", "b"]).astype(float)
    a = Predictions(truth, np.where(right[:, None] > 0, hit, 1 - hit), ["a", "b"])
    b = Predictions(truth, 1 - hit, ["a", "b"])
    cells, clusters = (paired_bootstrap(a, b, "accuracy", clusters=c) for c in (None, donors))
    assert clusters.estimate == cells.estimate and clusters.unit == "donor"
    assert (clusters.high - clusters.low) / (cells.high - cells.low) == pytest.approx(np.sqrt(30), rel=0.15)


def test_fewer_than_ten_donors_cannot_be_resampled():
    a, b = two_models(8)
    donors = np.arange(400) % 9
    with pytest.raises(BenchError, match=r"9 distinct donors; .* at least 10\. Show one value per donor"):
        paired_bootstrap(a, b, "accuracy", clusters=donors)
    assert paired_bootstrap(a, b, "accuracy", clusters=np.arange(400) % 10, n_resamples=10).unit == "donor"
    table = per_donor(a, donors, "accuracy")
    assert list(table.columns) == ["donor", "n_cells", "value"] and table.n_cells.sum() == 400
    mask = donors == 3
    assert table.set_index("donor").value["3"] == np.mean(a.predicted[mask] == a.truth[mask])


def test_a_donor_without_the_hard_types_has_no_hard_value():
    a, _ = two_models(9)
    donors = np.where(np.isin(a.truth, HARD), "has", "lacks")
    values = per_donor(a, donors, "hard_accuracy", HARD).set_index("donor").value
    assert np.isnan(values["lacks"]) and values["has"] == evaluate("hard_accuracy", a, HARD)


def test_bootstrap_refuses_other_cells_and_per_class_metrics():
    a, b = two_models(10)
    with pytest.raises(BenchError, match="a has 400 cells and b 399"):
        paired_bootstrap(a, b.take(np.arange(399)), "accuracy")
    with pytest.raises(BenchError, match="differ in"):
        paired_bootstrap(a, b.take(np.arange(400)[::-1]), "accuracy")
    with pytest.raises(BenchError, match="one value per cell type"):
        paired_bootstrap(a, b, "f1")
    with pytest.raises(BenchError, match="Unknown metric"):
        paired_bootstrap(a, b, "auc")
    with pytest.raises(BenchError, match="one per cell"):
        paired_bootstrap(a, b, "accuracy", clusters=["d"])
    with pytest.raises(BenchError, match="1 cells have no donor"):
        per_donor(a, [None, *["d"] * 399], "accuracy")


@pytest.mark.parametrize("draw", [paired_bootstrap, resampled])
@pytest.mark.parametrize("metric", ["hard_accuracy", "hard_f1"])
def test_a_hard_metric_without_its_pair_is_refused(draw, metric):
    a, b = two_models(5, n_cells=60)
    with pytest.raises(BenchError, match="needs two hard types that both occur in the truth"):
        draw(a, b, metric, n_resamples=10, hard_pair=("nobody", "has them"))


def test_resamples_are_those_of_the_bootstrap():
    a, b = two_models(6, n_cells=200)
    np.testing.assert_array_equal(resampled(a, b, "macro_f1").draws, paired_bootstrap(a, b, "macro_f1").draws)
