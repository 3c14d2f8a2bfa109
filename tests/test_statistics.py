"""Intervals and tests against scipy, hand examples and the published numbers."""

import numpy as np
import pytest
from scipy import stats

from bench.errors import BenchError
from bench.published import per_run, summary
from bench.statistics import holm, published_interval, published_ttest, stars, t_interval, welch


def runs(variant: str, metric: str) -> np.ndarray:
    table = per_run()
    table = table[table.experiment.isin(["table1_table2_finetune", "table2_ablation"])]
    return table[table.variant.eq(variant) & table.metric.eq(metric)].value.to_numpy()


@pytest.mark.parametrize("level", [0.9, 0.95])
@pytest.mark.parametrize("n", [2, 3, 10])
def test_t_interval_equals_scipy(n, level):
    values = np.random.default_rng(n).normal(0.7, 0.02, size=n)
    low, high = stats.t.interval(level, n - 1, loc=values.mean(), scale=stats.sem(values))
    interval = t_interval(values, level)
    assert (interval.low, interval.high) == pytest.approx((low, high))


@pytest.mark.parametrize("variant", ["pretrained", "no_gene2vec", "no_pretraining"])
@pytest.mark.parametrize("metric", ["accuracy", "macro_f1", "hard_accuracy", "hard_f1"])
def test_published_interval_reproduces_table_2(variant, metric):
    table = summary()
    table = table[table.experiment.eq("table1_table2") & table.variant.eq(variant) & table.metric.eq(metric)]
    published = table.set_index("statistic").value
    values = runs(variant, metric)
    assert len(values) == 10
    interval = published_interval(values)
    assert interval.mean == pytest.approx(published["mean"], abs=5e-7)
    assert interval.half_width == pytest.approx(published["ci95_halfwidth"], abs=5e-7)


def test_published_interval_uses_the_papers_constant_and_population_sd():
    values = runs("pretrained", "accuracy")
    assert published_interval(values).half_width == pytest.approx(np.std(values) / np.sqrt(10) * 2.262, rel=1e-12)
    assert t_interval(values).half_width / published_interval(values).half_width == pytest.approx(1.0542, abs=2e-4)
    expected = np.std(values[:3]) / np.sqrt(3) * stats.t.ppf(0.975, 2)
    assert published_interval(values[:3]).half_width == pytest.approx(expected)


@pytest.mark.parametrize("interval", [published_interval, t_interval])
@pytest.mark.parametrize("values", [[0.7], [], [0.7, np.nan], [[0.7, 0.8]]])
def test_intervals_refuse_too_few_or_failed_runs(interval, values):
    with pytest.raises(BenchError, match="two or more finite values"):
        interval(values)


def test_t_tests_by_hand():
    a, b = [1.0, 2.0, 3.0, 4.0], [2.0, 4.0, 6.0]
    pooled = (3 * np.var(a, ddof=1) + 2 * np.var(b, ddof=1)) / 5
    t = -1.5 / np.sqrt(pooled * (1 / 4 + 1 / 3))
    assert published_ttest(a, b).statistic == pytest.approx(t)
    assert published_ttest(a, b).pvalue == pytest.approx(2 * stats.t.sf(-t, 5))
    assert welch(a, b).statistic == pytest.approx(-1.5 / np.sqrt(np.var(a, ddof=1) / 4 + np.var(b, ddof=1) / 3))


def test_welch_of_table_1_as_in_the_protocol():
    table = per_run()
    baseline = table[table.experiment.eq("table1_lr") & table.metric.eq("accuracy")].value
    test = welch(runs("pretrained", "accuracy"), baseline)
    assert test.statistic == pytest.approx(-7.6, abs=0.05) and test.pvalue == pytest.approx(3e-5, rel=0.2)


def test_holm_by_hand():
    # sorted 0.005, 0.01, 0.03, 0.04 times 4, 3, 2, 1, then made monotone
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.6]) == pytest.approx([1.0, 1.0])
    assert len(holm([])) == 0
    with pytest.raises(BenchError, match=r"expected all in \[0, 1\]"):
        holm([0.1, np.nan])


def test_stars_at_their_limits():
    assert [stars(p) for p in (1e-4, 1.01e-4, 1e-3, 1e-2, 0.05, 0.0501)] == ["****", "***", "***", "**", "*", "ns"]
