"""Intervals and tests against scipy, hand examples and the published numbers."""

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.weightstats import ttost_ind, ttost_paired

from bench.core.errors import BenchError
from bench.published import per_run, summary
from bench.statistics.intervals import equivalence, holm, published_interval, published_ttest, stars, t_interval, welch


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


def arms(n_a=10, n_b=10, rng=0):
    rng = np.random.default_rng(rng)
    return rng.normal(0.766, 0.02, n_a), rng.normal(0.758, 0.01, n_b)


@pytest.mark.parametrize("paired", [False, True])
@pytest.mark.parametrize("margin", [0.003, 0.01, 0.03])
def test_equivalence_equals_statsmodels(paired, margin):
    a, b = arms()
    p = ttost_paired(a, b, -margin, margin)[0] if paired else ttost_ind(a, b, -margin, margin, usevar="unequal")[0]
    assert equivalence(a, b, margin, paired=paired).p == pytest.approx(p, rel=1e-9)


def test_unpaired_equivalence_by_hand():
    a, b = arms(7, 4)
    parts = np.var(a, ddof=1) / 7, np.var(b, ddof=1) / 4
    error, difference = np.sqrt(sum(parts)), a.mean() - b.mean()
    df = sum(parts) ** 2 / (parts[0] ** 2 / 6 + parts[1] ** 2 / 3)  # Welch & Satterthwaite
    one_sided = [stats.t.sf((difference + 0.02) / error, df), stats.t.cdf((difference - 0.02) / error, df)]
    test = equivalence(a, b, 0.02)
    half_width = stats.t.ppf(0.95, df) * error
    assert test.p == pytest.approx(max(one_sided)) and test.difference == pytest.approx(difference)
    assert (test.low, test.high) == pytest.approx((difference - half_width, difference + half_width))
    assert (test.level, test.n, test.paired) == (0.9, (7, 4), False)


def test_paired_equivalence_by_hand():
    a, b = arms(7, 7)
    d = a - b
    error = d.std(ddof=1) / np.sqrt(7)
    test = equivalence(a, b, 0.02, paired=True, alpha=0.01)
    one_sided = [stats.t.sf((d.mean() + 0.02) / error, 6), stats.t.cdf((d.mean() - 0.02) / error, 6)]
    assert test.p == pytest.approx(max(one_sided))
    assert test.high - test.low == pytest.approx(2 * stats.t.ppf(0.99, 6) * error) and test.level == 0.98


@pytest.mark.slow
@pytest.mark.parametrize("paired", [False, True])
def test_equivalence_is_shown_where_the_interval_lies_within_the_margin(paired):
    said = []
    for seed in range(200):
        a, b = arms(8, 8, seed)
        test = equivalence(a, b, 0.02, paired=paired)
        assert test.shown == (max(-test.low, test.high) < 0.02)
        assert equivalence(a, b, test.smallest_margin, paired=paired).p == pytest.approx(0.05)
        said.append(test.shown)
    assert 0.1 < np.mean(said) < 0.9  # both verdicts occur


@pytest.mark.slow
def test_a_difference_as_large_as_the_margin_is_called_equivalent_in_one_of_twenty():
    rng = np.random.default_rng(0)
    shown = [equivalence(rng.normal(0.03, 0.01, 10), rng.normal(0, 0.01, 10), 0.03).shown for _ in range(2000)]
    assert np.mean(shown) == pytest.approx(0.05, abs=0.015)


def test_equivalence_refuses_margins_and_pairs_that_make_no_sense():
    a, b = arms(10, 7)
    for margin in (0, -0.01, np.nan):
        with pytest.raises(BenchError, match="expected a positive difference"):
            equivalence(a, b, margin)
    with pytest.raises(BenchError, match="10 and 7 paired runs"):
        equivalence(a, b, 0.01, paired=True)
    with pytest.raises(BenchError, match="two or more finite values"):
        equivalence(a, [0.7, np.nan], 0.01)
