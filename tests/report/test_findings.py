"""The findings: their numbers against PROTOCOL, hand computation and simulation, and what the page says in words."""

import re
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from made_up import ablation_records, row, table_of
from matplotlib.collections import LineCollection
from scipy import stats

from bench.core.errors import BenchError
from bench.published import few_shot
from bench.report import figures, findings, tables
from bench.report.findings.intervals import table2_runs
from bench.report.findings.runs import EPOCHS
from bench.statistics.intervals import equivalence, published_interval, t_interval

PAGE = (Path(__file__).parents[2] / "chapters" / "findings.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def facts():
    return findings.facts()


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


@pytest.mark.slow
def test_every_number_of_the_page_is_one_of_the_facts_and_every_fact_is_finite(facts):
    used = set(re.findall(r"\{glue:text\}`findings-([^:`]+)", PAGE))
    on_the_page = {"pair-correlation", "pair-rows", "pair-narrower"}
    assert used - set(facts) == on_the_page
    assert len(used) > 60 and all(np.isfinite(float(value)) for value in facts.values())


def test_every_finding_of_the_summary_has_a_section():
    linked = re.findall(r"^\| \{ref\}`[^<]+<(finding-\w+)>`", PAGE, flags=re.MULTILINE)
    assert re.findall(r"^\((finding-\w+)\)=$", PAGE, flags=re.MULTILINE) == linked and len(linked) == 12


def test_four_tests_are_stale_and_no_verdict_changes(facts):
    tests = findings.stale_tests()
    stale = tests["printed is off by"] > 1e-3
    assert stale.sum() == facts["stale"] == 4  # the heading says four
    assert set(tests.index[stale].get_level_values("metric")) == {"Accuracy", "Macro F1 (as published)"}
    assert tests["printed is off by"][~stale].max() < 1e-4
    for limit in (0.05, 0.01):
        assert (tests["p, printed"] < limit).equals(tests["p, recomputed"] < limit)
    assert (tests["p, printed"] < 0.05).equals(tests["p, Holm"] < 0.05)


@pytest.mark.slow
def test_published_intervals_cover_as_often_as_a_simulation_says():
    runs = np.random.default_rng(0).normal(size=(20_000, 10))
    covered = [abs(interval.mean) < interval.half_width for interval in map(published_interval, runs)]
    assert findings.published_coverage() == pytest.approx(np.mean(covered), abs=0.005)
    assert findings.published_coverage() == pytest.approx(0.9396, abs=2e-4)


def test_intervals_of_refits_are_the_published_ones_and_those_of_cells_binomial():
    table = findings.refits()
    # PROTOCOL 1.7: +- .0001, .0008, .0002; 1.1: ten fits from 0.8111 to 0.8119
    assert table.loc[["MS", "pancreas", "myeloid"], "± over refits"].round(4).tolist() == [0.0001, 0.0008, 0.0002]
    assert table.loc["Zheng68K", "± over refits"] == pytest.approx(0.000175, abs=1e-6)
    draws = np.random.default_rng(0).binomial(13_690, 0.8115, 100_000) / 13_690
    low, high = np.quantile(draws, [0.025, 0.975])
    assert 2 * table.loc["Zheng68K", "± over scored cells"] == pytest.approx(high - low, rel=0.03)
    assert table["scored cells"].tolist() == [13_690, 13_468, 4_218, 3_430]
    assert table["times as wide"].tolist() == [37, 58, 6, 73]


def test_penalties_are_those_of_the_protocol():
    table = findings.penalties()["C of the runs"]
    assert table["Zheng68K", "all shares"] == "0.1" and table["MS", "10 %"] == "1, 10, 100, 100, 1000"
    assert table["liver", "100 %"] == "10, 100, 100" and len(table) == 7


def test_half_of_figure_2_rests_on_equal_variances(facts):
    table = findings.figure2_tests()
    runs = few_shot("zheng68k").query("fraction == 0.75 and metric == 'accuracy'")
    arms = [runs.loc[runs["model"] == model, "value"] for model in ("scbert", "l1_logistic")]
    raw = [stats.ttest_ind(*arms, equal_var=equal).pvalue for equal in (True, False)]
    assert table.loc[(0.75, "accuracy"), "p, printed"] == pytest.approx(raw[0], rel=1e-2)
    pooled, welch = (table.loc[(0.75, "accuracy"), name] for name in ("pooled, Holm", "Welch, Holm"))
    assert raw[0] < pooled < 0.05 < welch and raw[1] < 0.05
    assert [facts[f"few-{name}"] for name in ("tests", "printed", "pooled", "welch")] == [8, 6, 6, 3]


def test_the_choice_of_an_epoch_adds_no_more_than_the_bound():
    n, p = 13_690, np.mean(table2_runs("accuracy")["pretrained"])
    said = np.random.default_rng(0).binomial(n, p, size=(20_000, EPOCHS)) / n  # epochs equally good, other cells each
    assert (said.max(axis=1) - p).mean() == pytest.approx(findings.selection_bound(), abs=1e-4)
    worse = p - np.linspace(0, 0.05, EPOCHS)  # epochs that differ: the chosen one is over-rated by less
    said = np.random.default_rng(1).binomial(n, worse, size=(20_000, EPOCHS)) / n
    chosen = said.argmax(axis=1)
    assert (said[np.arange(len(said)), chosen] - worse[chosen]).mean() < findings.selection_bound()


def test_slow_runs_are_those_of_the_protocol_and_groups_stay_apart(facts):
    table = findings.families()
    assert table["slow"].to_dict() == {"scBERT": 2, "scBERT, no pretraining": 4, "scBERT, no gene2vec": 4}
    slow = table2_runs("accuracy")["no_gene2vec"][["1000", "2000", "3000", "4000"]]
    assert table.loc["scBERT, no gene2vec", "mean of the slow"] == pytest.approx(slow.mean())
    assert facts["fast-gap"] < 0.2 * (facts["full-all"] - facts["bare-all"])  # mostly a difference in how many are slow
    assert facts["genes-fast-mean"] < facts["full-fast-mean"] and facts["genes-slow-mean"] < facts["full-slow-mean"]
    assert facts["slow-fisher"] == pytest.approx(stats.fisher_exact([[2, 8], [4, 6]]).pvalue)


def test_macro_f1_falls_as_one_more_label_explains(facts):
    table = findings.baseline_over_shares()
    f1, accuracy = (table.xs(name, level=1) for name in ("Macro F1 (as published)", "Accuracy"))
    assert f1.loc["pancreas"].round(4).tolist() == [0.7755, 0.7431, 0.7207, 0.7150, 0.7183]  # PROTOCOL 1.7
    assert f1.loc["myeloid"].idxmax() == "25 %" and accuracy.loc["myeloid"].is_monotonic_increasing
    assert np.ptp(accuracy.loc["pancreas"]) < 0.004
    assert facts["f1-diluted"] == pytest.approx(facts["f1-last"], abs=0.01)


def test_checkpoints_evaluated_twice_differ_by_whole_cells():
    table = findings.evaluated_twice()
    assert table["difference in cells"].tolist() == [6, 2, -2]
    assert table["for Table 1"].round(6).tolist() == [0.788824, 0.759313, 0.780862]  # PROTOCOL 3.1
    gaps = (table["for Figure 2"] - table["for Table 1"]) * 13_690
    assert (gaps - gaps.round()).abs().max() < 1e-6


def test_weights_are_those_of_the_network():
    table = findings.trained_weights()  # tests/test_scbert.py counts the same in the network itself
    assert table["weights"].to_dict() == {"classifier": 8_724_180, "last layer": 834_000, "final norm": 400}
    assert table["weights"].sum() == 9_558_580 and table["share"].sum() == pytest.approx(1)


def test_equivalence_of_table_2_is_not_shown_and_pairs_are_the_shared_seeds(facts):
    found = findings.equivalences()
    assert len(found) == 8 and not any(test.shown for test in found.values())
    paired = found["Accuracy", "shared seeds"]
    assert paired.n == (7, 7) and paired.paired and found["Accuracy", "all runs"].n == (10, 10)  # PROTOCOL 1.3
    full, bare = (table2_runs("accuracy")[name] for name in ("pretrained", "no_pretraining"))
    seeds = ["1000", "2000", "3000", "4000", "2021", "2022", "2023"]
    again = equivalence(full[seeds], bare[seeds], 0.01, paired=True)
    assert again == paired
    assert full.drop(seeds).mean() > bare.drop(seeds).mean() + 0.02  # the other three runs make the difference
    assert facts["tost-all-high"] == pytest.approx(facts["lead"] / 2, rel=0.1)  # "about half of the lead"
    assert findings.equivalences(margin=0.06)["Accuracy", "all runs"].shown


@pytest.mark.slow
def test_runs_needed_have_the_power_that_is_asked_for():
    a, b = np.random.default_rng(0).normal(0, 0.02, (2, 10))
    rng, sds = np.random.default_rng(1), (a.std(ddof=1), b.std(ddof=1))
    n = findings.runs_needed(a, b)
    shown = [equivalence(*(rng.normal(0, sd, n) for sd in sds), 0.01).shown for _ in range(1500)]
    assert np.mean(shown) == pytest.approx(0.8, abs=0.04)


def test_the_equivalence_figure_draws_every_interval_and_the_margin():
    found = findings.equivalences()
    axis = figures.equivalence(found, "scBERT", "full minus without").axes[0]
    bars = [s for c in axis.collections if isinstance(c, LineCollection) for s in c.get_segments()]
    drawn, expected = sorted((s[0, 0], s[1, 0]) for s in bars), sorted((t.low, t.high) for t in found.values())
    assert np.array(drawn) == pytest.approx(np.array(expected))
    band = next(patch for patch in axis.patches if patch.get_label() == "margin ± 0.01").get_extents()
    assert axis.transData.inverted().transform(band.get_points())[:, 0] == pytest.approx([-0.01, 0.01])
    assert axis.get_yticklabels()[0].get_text() == "Accuracy" and len(axis.get_yticks()) == 4


def test_the_equivalence_table_has_the_numbers_of_the_tests():
    found = findings.equivalences()
    table = tables.equivalences(found)
    for key, test in found.items():
        expected = [test.n[0], test.difference, test.low, test.high, test.p, test.smallest_margin]
        assert table.loc[key].tolist() == expected
    assert tables.equivalences({("x", "y"): equivalence([1, 2, 3], [1, 2], 1)})["runs"].item() == "3, 2"


def paired_records(shared: float, own: float, n_seeds: int = 6) -> pd.DataFrame:
    """Return two models at a tenth of the cells whose luck is partly shared."""
    rng, rows = np.random.default_rng(0), []
    luck = rng.normal(0, shared, n_seeds)
    for model, mean in (("l1_logistic", 0.8), ("knn", 0.7), ("random", 0.1)):
        rows += [
            row(model, "default", seed, "accuracy", mean + luck[seed] + rng.normal(0, own), fraction=0.1)
            for seed in range(n_seeds)
        ]
    return table_of(rows).assign(subset="paired")


def test_pairing_compares_both_designs_by_hand():
    records = paired_records(0.02, 0.002)
    a, b = (records.loc[records["model"] == model, "value"].to_numpy() for model in ("knn", "l1_logistic"))
    found = tables.pairing(records, {}).loc[("Stand-in: pbmc_facs", "k nearest neighbours", "10 %")]
    low, high = stats.ttest_ind(a, b, equal_var=False).confidence_interval()
    assert found["difference"] == pytest.approx((a - b).mean())
    assert found["± paired"] == pytest.approx(t_interval(a - b).half_width)
    assert found["± unpaired"] == pytest.approx((high - low) / 2)
    assert found["correlation"] == pytest.approx(np.corrcoef(a, b)[0, 1]) and found["seeds"] == 6
    assert found["± paired"] < found["± unpaired"] / 3  # shared luck is what pairing removes


def test_pairing_takes_printed_seeds_and_leaves_out_what_cannot_be_paired():
    printed = few_shot("ms").query("origin == 'printed'")
    nothing = paired_records(0.02, 0.002).assign(subset="published")
    table = tables.pairing(nothing, {"MS": printed})
    assert list(table.index) == [("Published: MS", "scGPT", "10 %")] and table["seeds"].item() == 5
    wide = printed.query("metric == 'accuracy'").pivot(index="run", columns="model", values="value")
    assert table["difference"].item() == pytest.approx((wide["scgpt"] - wide["l1_logistic"]).mean())
    for records in (nothing, paired_records(0.02, 0.002, n_seeds=2), ablation_records()):
        with pytest.raises(BenchError, match="No model shares 3 seeds with 'l1_logistic'"):
            tables.pairing(records, {})
