"""What a setting is worth, and Table 2's tests again; the records are made up (`made_up`), none of them is a result."""

import numpy as np
import pandas as pd
import pytest
from made_up import row, table_of

from bench.core.errors import BenchError
from bench.protocol import records
from bench.published import summary
from bench.published.scbert import SCORES, table2
from bench.report import figures, tables
from bench.statistics.predictions import Predictions

BASE = {"recipe": "published", "stabiliser": "batch"}
SETTINGS = {"clean": {"recipe": "clean"}, "per cell": {"stabiliser": "per_cell"}}


def _runs() -> pd.DataFrame:
    """Return scBERT with seeds 0-3 in its base setting, 0-2 of recipe clean and 0 of another stabiliser, and kNN."""
    batch, per_cell = {"stabiliser": "batch"}, {"stabiliser": "per_cell"}
    rows = [row("scbert", "pretrained", seed, "accuracy", 0.7 + 0.05 * seed, batch) for seed in range(4)]
    rows += [
        row("scbert", "pretrained", seed, "accuracy", 0.69 + 0.05 * seed, batch, recipe="clean") for seed in range(3)
    ]
    rows += [row("scbert", "pretrained", 0, "accuracy", 0.72, per_cell), row("knn", "default", 0, "accuracy", 0.6)]
    table = table_of(rows)
    return table.assign(key=[f"{i:016x}" for i in range(len(table))])


def test_keep_drops_other_settings_of_that_model_alone():
    kept = figures.keep(_runs(), "scbert", **BASE)
    assert kept["model"].value_counts().to_dict() == {"scbert": 4, "knn": 1}
    assert set(kept["recipe"]) == {"published"}
    assert len(figures.keep(_runs(), "scbert", stabiliser="per_cell")) == 2
    with pytest.raises(BenchError, match="Did you mean 'stabiliser'"):
        figures.keep(_runs(), "scbert", stabilizer="batch")


def test_the_best_tier_of_a_model_is_the_paper_s_where_it_is_recorded():
    tiers = {"scbert": ["quick", "paper", "standin"], "knn": ["quick", "standin"]}
    rows = [row(model, "", 0, "accuracy", 0.5, tier=tier) for model, each in tiers.items() for tier in each]
    assert figures.best_tier(table_of(rows), "scbert") == "paper"
    assert figures.best_tier(table_of(rows), "knn") == "standin"
    with pytest.raises(BenchError, match="majority is not recorded at any tier"):
        figures.best_tier(table_of(rows), "majority")


def test_changes_pairs_runs_that_differ_in_nothing_else():
    table = tables.changes(_runs(), "scbert", BASE, SETTINGS, ["accuracy"]).droplevel(0)
    assert table["pairs of runs"].to_dict() == {"clean": 3, "per cell": 1}
    assert table["Accuracy, change"].to_dict() == {"clean": "-0.010 ± 0.000", "per cell": "0.020"}
    assert table["cells that get another label"].isna().all()
    with pytest.raises(BenchError, match=r"No run of scbert under .* has a counterpart"):
        tables.changes(_runs().query("recipe == 'clean'"), "scbert", BASE, SETTINGS)


def test_changes_counts_the_cells_whose_label_changes(own_results):
    runs = _runs()
    runs = runs[(runs["seed"] == 0) & (runs["model"] == "scbert") & (runs["recipe"] == "published")]
    said = {"batch": ["B", "B", "T", "T"], "per_cell": ["B", "T", "T", "T"]}
    for record in runs.drop(columns="origin").to_dict("records"):
        labels = next(said[name] for name in said if f'"{name}"' in record["hyperparameters"])
        probabilities = np.eye(2)[[int(label == "T") for label in labels]]
        predictions = Predictions(np.array(list("BBTT")), probabilities, ["B", "T"])
        records.write([record], np.array(list("abcd")), predictions)
    table = tables.changes(runs, "scbert", BASE, SETTINGS, ["accuracy"])
    assert table["cells that get another label"].tolist() == [0.25]


def test_comparisons_recompute_what_the_protocol_says_was_stale():
    printed = summary()
    table = tables.comparisons(table2(), printed, "scbert", "pretrained", SCORES)
    assert len(table) == 8
    again = printed[printed["statistic"] == "p_recomputed_from_printed"]
    for found in again.itertuples():
        arm = "scBERT, " + found.variant.removeprefix("pretrained vs ").replace("no_", "no ")
        metric = {"accuracy": "Accuracy", "macro_f1": "Macro F1 (as published)"}[found.metric]
        assert table.loc[(arm, metric), "p, recomputed"] == pytest.approx(found.value, rel=1e-3)
        assert table.loc[(arm, metric), "p, printed"] != pytest.approx(found.value, rel=1e-2)
    hard = table.loc[(slice(None), ["Accuracy, hard pair", "F1, hard pair"]), :]
    np.testing.assert_allclose(hard["p, recomputed"], hard["p, printed"], rtol=1e-3)  # these are not stale
    none = table.loc["scBERT, no pretraining", :].loc["Accuracy"]
    assert none["low"] < -0.009 < 0.026 < none["high"]  # the interval of PROTOCOL 1.3 (c)
    assert (table["p, Holm"] >= table["p, recomputed"]).all()
