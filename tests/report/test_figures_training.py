"""Figures and tables on training: settings apart, best and last epochs, the slow family where the paper has it.

The record tables are made up (`made_up`); none of their numbers is a result.
"""

import json

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from made_up import ablation_records, epoch_records

from bench.core.errors import BenchError
from bench.published.scbert import table2
from bench.report import figures, tables
from bench.report.figures.epochs import SLOW_MARGIN, by_setting, ends_of, slow

SIZES = [{"batch_size": size} for size in (8, 32, 128)]


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def test_sensitivity_takes_runs_equal_in_all_else_at_best_and_last_epoch():
    records = pd.concat([epoch_records(SIZES), epoch_records([{"lr": 0.01}])], ignore_index=True)
    table = tables.sensitivity(records, "batch_size")
    assert table.index.get_level_values("batch_size").tolist() == ["8", "32", "128"] and (table["runs"] == 4).all()
    runs = records.query("metric == 'validation_accuracy'")
    runs = runs[runs["hyperparameters"].map(json.loads).map(lambda s: s["batch_size"] == 8)]
    best, last = runs.groupby("key")["value"].max(), runs[runs["epoch"] == 10].set_index("key")["value"]
    assert table["SD of the best"].iloc[0] == pytest.approx(best.std())
    assert table["last epoch"].iloc[0].startswith(f"{last.mean():.3f} ± ")
    figure = figures.sensitivity(records, "batch_size")
    heights = [y for line in figure.axes[1].lines if line.get_linestyle() == "None" for y in line.get_ydata()]
    assert len(figure.axes) == 2 and len(heights) == 12 and set(last) < set(heights)
    assert figure.axes[0].get_ylim()[0] < min(heights) and figure.axes[0].get_ylim()[1] > max(best)
    assert tables.sensitivity(records, "lr").index.get_level_values("lr").tolist() == ["0.0001", "0.01"]


def test_sensitivity_to_what_never_varies_or_was_not_recorded_raises():
    records = epoch_records(SIZES)
    for setting, message in {"lr": "lr does not vary", "batchsize": "Did you mean 'batch_size'"}.items():
        with pytest.raises(BenchError, match=message):
            figures.sensitivity(records, setting)
    with pytest.raises(BenchError, match="No run recorded validation_loss per epoch; there are: train_loss"):
        figures.sensitivity(records, "batch_size", "validation_loss")
    with pytest.raises(BenchError, match="there are: none"):
        figures.curves(ablation_records())


def test_curves_have_a_line_per_run_and_dash_the_slow_ones():
    figure = figures.curves(epoch_records(n_seeds=5, slow=2))
    for axis in figure.axes:
        lines = [line for line in axis.lines if len(line.get_xdata())]
        assert len(lines) == 5 and sum(line.get_linestyle() == "--" for line in lines) == 2
        assert {line.get_color() for line in lines} == {figures.MODELS["scbert"][1]}
    by_size = figures.curves(epoch_records(SIZES), setting="batch_size")
    names = [text.get_text() for text in by_size.axes[1].get_legend().texts]
    assert names[:3] == ["scBERT, batch_size=8", "scBERT, batch_size=32", "scBERT, batch_size=128"]
    assert len({line.get_color() for line in by_size.axes[0].lines}) == 3


def test_a_loss_that_only_some_tier_recorded_is_said_where_it_is_missing():
    quick = epoch_records(tier="quick").query("metric != 'train_loss'")
    figure = figures.curves(pd.concat([epoch_records(), quick], ignore_index=True))
    texts = [text.get_text() for axis in figure.axes for text in axis.texts]
    assert texts == ["not recorded here"]


def test_the_slow_family_is_cut_at_the_widest_gap_of_each_published_arm():
    values = table2().query("metric == 'accuracy'").groupby("variant")["value"]
    for arm, n_slow in {"pretrained": 2, "no_pretraining": 4, "no_gene2vec": 4}.items():
        ends = values.get_group(arm).sort_values()
        assert slow(ends).sum() == n_slow == np.diff(ends).argmax() + 1
    assert not slow(pd.Series([0.7, 0.7 + 0.9 * SLOW_MARGIN])).any()


def test_the_share_of_slow_runs_is_counted_by_setting_beside_the_published_one():
    table = tables.slow_family(epoch_records(SIZES), {"Zheng68K": table2()})
    assert table.loc["Published: Zheng68K", "slow"].tolist() == [2, 4, 4]
    ours = table.loc["Stand-in: pbmc_facs"]
    assert ours.index.tolist() == [f"scBERT (batch_size={size})" for size in (8, 32, 128)]
    assert (ours["share slow"] == 0.25).all() and (ours["gap"] > 0.1).all()
    none = tables.slow_family(epoch_records(slow=0))
    assert none["slow"].tolist() == [0] and none["gap"].isna().all()
    assert ends_of(by_setting(epoch_records(SIZES), "batch_size"))["n_epochs"].eq(10).all()
