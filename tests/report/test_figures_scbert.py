"""Figures and tables on scBERT: every run drawn once, intervals right, nothing mixed, what is missing is said.

The record tables are made up from published runs (`made_up`); none of their numbers is a result.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from made_up import RECALLS, ablation_records, class_records, masked_records, row, table_of
from matplotlib.collections import LineCollection

from bench.core.errors import BenchError
from bench.published.scbert import baseline, class_recall, table1, table2, table3
from bench.report import figures, tables
from bench.report.figures.style import look_of
from bench.report.hover import hover
from bench.statistics.intervals import t_interval


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def both(**more):
    return pd.concat([ablation_records(**more), ablation_records(2, 1, tier="quick", dataset="hao")], ignore_index=True)


def panel(figure, row, column, n_columns):
    return [axis for axis in figure.axes if axis.axison][row * n_columns + column]


def dots(axis, size=None):
    """Return the abscissae of markers of one size, or of all."""
    lines = [line for line in axis.lines if line.get_linestyle() == "None"]
    return sorted(float(x) for line in lines if size in (None, line.get_markersize()) for x in line.get_xdata())


def bars(axis):
    segments = [s for c in axis.collections if isinstance(c, LineCollection) for s in c.get_segments()]
    return sorted((float(s[:, 0].min()), float(s[:, 0].max())) for s in segments)


def labels(axis):
    return [text.get_text().replace("\n", " ") for text in axis.get_yticklabels()]


def test_ablation_has_a_block_per_source_a_row_per_variant_and_a_dot_per_run():
    records = both()
    figure = figures.ablation(records, {"Zheng68K, Table 2": table2()})
    assert labels(panel(figure, 0, 0, 4)) == [
        *("Published: Zheng68K, Table 2", "scBERT", "scBERT, no pretraining", "scBERT, no gene2vec")
    ]
    assert labels(panel(figure, 1, 0, 4)) == [
        *("Stand-in: pbmc_facs", "L1 logistic regression", "scBERT", "scBERT, no pretraining", "scBERT, no gene2vec"),
        *("scBERT head on bins", "control: majority"),
    ]
    assert labels(panel(figure, 2, 0, 4))[0] == "Quick: hao"
    assert dots(panel(figure, 0, 0, 4), 3.2) == sorted(table2().query("metric == 'accuracy'")["value"])
    ours = records.query("tier == 'standin' and metric == 'hard_f1' and model != 'majority'")["value"]
    assert dots(panel(figure, 1, 3, 4), 3.2) == pytest.approx(sorted(ours))


def test_ablation_draws_textbook_intervals_from_three_runs_on():
    figure = figures.ablation(both(), {"Zheng68K": table2()}, ["accuracy"])
    arms = table2().query("metric == 'accuracy'").groupby("variant")["value"].agg(list).map(t_interval)
    assert np.allclose(bars(panel(figure, 0, 0, 1)), sorted((i.low, i.high) for i in arms))
    assert len(bars(panel(figure, 1, 0, 1))) == 5 and bars(panel(figure, 2, 0, 1)) == []


def test_every_panel_spans_an_equal_range_and_says_what_lies_outside_of_it():
    figure = figures.ablation(both(), {"Zheng68K": table2()}, ["accuracy", "macro_f1_seen"])
    widths = [np.diff(axis.get_xlim()).item() for axis in figure.axes]
    assert widths == pytest.approx([widths[0]] * 6)
    assert "← 0.20" in [text.get_text() for text in panel(figure, 1, 0, 2).texts]
    for axis in figure.axes:
        low, high = axis.get_xlim()
        assert all(low < x < high for x in dots(axis))


def test_variants_share_the_colour_of_their_model_and_differ_in_marker():
    looks = [look_of(f"scBERT{more}") for more in ("", ", no pretraining", ", no gene2vec", ", shuffled genes")]
    assert len({look.colour for look in looks}) == 1 and len({look.marker for look in looks}) == 4
    with_settings = look_of("scBERT, no gene2vec (lr=0.1)"), look_of("scBERT, no gene2vec (lr=0.2)")
    assert len({*looks, *with_settings}) == 6 and {look.colour for look in with_settings} == {looks[0].colour}
    assert figures.colour_of("scBERT head on bins") != looks[0].colour
    in_order = ["L1 logistic regression", "scBERT (lr=1)", "scBERT, no gene2vec", "scBERT head on bins", "mine:Model"]
    ranks = [figures.rank(series) for series in in_order]
    assert ranks == sorted(set(ranks))


def test_a_metric_that_one_source_lacks_is_said_there_and_one_that_all_lack_raises():
    records = pd.concat([ablation_records(), ablation_records(metrics=["accuracy"], tier="quick")], ignore_index=True)
    figure = figures.ablation(records, {}, ["accuracy", "hard_f1"])
    texts = [[text.get_text() for text in axis.texts if "not" in text.get_text()] for axis in figure.axes]
    assert texts == [[], [], [], ["not defined here"]]
    assert (tables.ablations(records, {}, ["accuracy", "hard_f1"]).loc["Quick: pbmc_facs"].iloc[:, 1] == "–").all()
    without = ablation_records(metrics=["accuracy"])
    for make in (figures.ablation, tables.ablations):
        with pytest.raises(BenchError, match=r"Stand-in: pbmc_facs has hard_f1; leave it out .* Known here: accuracy"):
            make(without, {}, ["accuracy", "hard_f1"])


@pytest.mark.parametrize(
    ("more", "name"),
    [
        ({"settings": {"lr": 0.5}}, "scBERT (lr=0.5)"),
        ({"settings": {"new": True}}, "scBERT (new=True)"),
        ({"weights_hash": "abcdef0123456789"}, "scBERT (weights=abcdef)"),
        ({"recipe": "clean"}, "scBERT (recipe=clean)"),
    ],
)
def test_runs_that_differ_in_one_thing_never_share_a_mean(more, name):
    records = ablation_records(metrics=["accuracy"])
    odd = table_of([row("scbert", "pretrained", 9, "accuracy", 0.1, **more)])
    together = pd.concat([records, odd], ignore_index=True)
    means = tables.ablations(together, {}, ["accuracy"]).loc["Stand-in: pbmc_facs", "Accuracy"]
    assert means[name] == "0.100" and len(means) == 7
    before = tables.ablations(records, {}, ["accuracy"]).loc["Stand-in: pbmc_facs", "Accuracy"]
    assert before["scBERT"] in set(means) and means["scBERT, no gene2vec"] == before["scBERT, no gene2vec"]


def test_part_of_the_training_cells_failures_and_a_new_column_change_nothing():
    records = ablation_records()
    part = row("scbert", "pretrained", 0, "accuracy", 0.0, fraction=0.1)
    failed = row("scbert", "pretrained", 5, "", np.nan, status="failed: NaN loss")
    more = pd.concat([records, table_of([part, failed])], ignore_index=True).assign(weights="91 of 91 tensors")
    table = tables.ablations(more, {})
    assert table.pop("failed").to_dict()["Stand-in: pbmc_facs", "scBERT"] == "1 of 4: NaN loss"
    pd.testing.assert_frame_equal(table, tables.ablations(records, {}))


def test_table_of_ablations_has_the_published_means_with_textbook_intervals():
    table = tables.ablations(both(), {"Zheng68K, Table 1": table1(), "Zheng68K, Table 2": table2()})
    assert list(table.columns) == [*(figures.METRICS[m] for m in ("accuracy", "macro_f1_seen")), *table.columns[2:]]
    first = table.loc["Published: Zheng68K, Table 1"]
    assert first.loc["L1 logistic regression"].tolist() == ["0.811 ± 0.000", "0.707 ± 0.000", "0.848", "0.828", "1–10"]
    assert first.loc["scBERT, as reported by Yang et al."].tolist() == ["–", "–", "0.801", "0.788", "1"]
    assert table.loc[("Published: Zheng68K, Table 2", "scBERT, no gene2vec"), "Accuracy"] == "0.701 ± 0.042"
    assert list(dict.fromkeys(table.index.get_level_values(0)))[2:] == ["Stand-in: pbmc_facs", "Quick: hao"]
    assert "±" not in "".join(table.loc["Quick: hao"].iloc[:, :4].to_numpy().ravel())


def test_cell_types_stand_by_frequency_with_every_run_and_the_published_recall():
    records = class_records()
    figure = figures.per_class(records, "standin", "pbmc_facs", published={"Zheng68K": class_recall()})
    axis = figure.axes[0]
    assert labels(axis)[0] == "CD19+ B  (159)" and labels(axis)[-1] == "CD14+ Monocyte  (33)"
    drawn = records.query("metric == 'recall' and model != 'majority'")
    assert dots(axis, 3) == pytest.approx(sorted(drawn["value"]))
    theirs = class_recall()
    kept = theirs[theirs["class"].isin(drawn["class"])]
    assert len(kept) == 10 and dots(axis, 6) == pytest.approx(sorted(kept["value"]))
    assert "Published: Zheng68K, L1 logistic regression" in [t.get_text() for t in figure.legends[0].texts]


def test_scores_per_cell_type_that_do_not_exist_raise():
    records = class_records(1)
    with pytest.raises(BenchError, match="No scores per cell type of hao"):
        figures.per_class(records, "standin", "hao")
    with pytest.raises(BenchError, match="Unknown metric per cell type 'f2'"):
        figures.per_class(records, "standin", "pbmc_facs", "f2")
    with pytest.raises(BenchError, match="No published cell type"):
        figures.per_class(records, "standin", "pbmc_facs", published={"x": class_recall().assign(**{"class": "alpha"})})


def test_table_per_class_keeps_variants_apart():
    table = tables.per_class(class_records(), "standin", "pbmc_facs", metric="recall")
    assert list(table.columns[1:3]) == ["scBERT", "scBERT, no pretraining"] and table["cells"].is_monotonic_decreasing


def test_masked_has_the_published_numbers_beside_variants_and_baselines():
    records = masked_records()
    published = {"Panglao": table3("panglao"), "Zheng68K": table3("zheng68k")}
    figure = figures.masked(records, published)
    assert labels(panel(figure, 0, 0, 2))[1:] == ["scBERT", "scBERT, no gene2vec", "most common bin of the cell"]
    assert labels(panel(figure, 2, 0, 2))[3:] == [
        *("most common bin of the cell", "most common bin of the gene", "regression on gene and depth")
    ]
    assert dots(panel(figure, 1, 0, 2), 6.5) == pytest.approx([np.mean([0.6806275, 0.6799454]), 0.6806, 0.7882])
    table = tables.masked(records, published)
    assert table.loc[("Published: Panglao", "scBERT")].tolist() == ["0.784", "0.838", "–", "1"]
    assert table.loc[("Published: Zheng68K", "scBERT, no gene2vec")].tolist() == ["0.681", "1.000", "1.000", "1"]
    assert len(table) == 3 + 3 + 5


def test_recall_per_bin_has_a_line_per_model_and_the_share_of_each_bin():
    records = pd.concat([masked_records(), masked_records(2, tier="quick", dataset="hao")], ignore_index=True)
    figure = figures.recall_per_bin(records)
    assert [axis.get_title() for axis in figure.axes] == ["Stand-in: pbmc_facs", "Quick: hao"]
    lines = [line for line in figure.axes[0].lines if line.get_linestyle() != "None"]
    assert len(lines) == len(RECALLS)
    means = records.query("tier == 'standin' and metric == 'recall_bin' and variant == 'no_gene2vec'")
    expected = means.groupby("class")["value"].mean()
    assert any(np.allclose(line.get_ydata(), expected) for line in lines)
    assert figure.axes[0].get_xticklabels()[0].get_text() == "1\n68 %"
    with pytest.raises(BenchError, match="no recall per bin"):
        figures.recall_per_bin(ablation_records())


@pytest.mark.slow
def test_new_models_are_drawn_in_the_hover_chart():
    chart = figures.few_shot_hover(ablation_records(), {"Zheng68K": pd.concat([table2(), baseline()])})
    svg = hover(chart, "test").svg()
    assert figures.MODELS["scbert_head"][1].lower() in svg.lower()
    assert figures.few_shot_hover(ablation_records(), {}) is not None
