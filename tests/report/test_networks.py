"""What records of several networks say in a sentence, and what is missing of a request: by hand on made-up records."""

import pandas as pd
import pytest
from made_up import row, table_of

from bench.report import networks, tables
from bench.report.requested import seeds_of

MODELS = ["scbert", "scgpt"]
ARMS = [*MODELS, "scbert@probe", "scgpt@probe"]
REQUEST = {"standin": {"dataset": ["pbmc_facs", "kang"], "models": ARMS, "seeds": [0, 1, 2], "overrides": {}}}


def of(model, variant, values, metric="accuracy", **more):
    """Return a row per seed."""
    return [row(model, variant, seed, metric, value, **more) for seed, value in enumerate(values)]


@pytest.fixture
def runs() -> pd.DataFrame:
    rows = of("scgpt", "pretrained", [0.7, 0.9]) + of("scbert", "pretrained", [0.7])
    rows += of("l1_logistic", "default", [0.95]) + of("scgpt", "probe", [0.6]) + of("scbert", "probe", [0.65])
    rows += of("scgpt", "pretrained", [0.99], fraction=0.1) + of("scgpt", "no_pretraining", [0.99])
    rows += of("scgpt", "random_probe", [0.5])
    quick = {"tier": "quick", "dataset": "hao"}
    rows += of("scbert", "pretrained", [0.5], **quick) + of("l1_logistic", "default", [0.4], **quick)
    return table_of(rows)


@pytest.fixture
def as_committed(monkeypatch):
    """Made-up records count as the project's own."""
    monkeypatch.setattr("bench.report.plain.usual", lambda records: records)


def test_the_best_network_stands_against_another_model_best_tier_first(runs):
    said = networks.best_of(runs, MODELS, "l1_logistic")
    assert said.split("; ") == [
        "stand-in tier, pbmc_facs: 0.800 (scGPT, best of 2) against 0.950",
        "quick tier, hao: 0.500 (scBERT, best of 1) against 0.400",
    ]
    assert networks.best_of(runs, MODELS, "knn") == networks.best_of(runs[:0], MODELS, "knn") == "not recorded yet"


def test_lowest_and_highest_are_of_models_and_of_variants_that_are_there(runs):
    names = {"probe": "as probes", "random_probe": "at random", "pca": "otherwise"}
    said = networks.between(runs, MODELS, names)
    assert said == "stand-in tier, pbmc_facs: 0.600 to 0.650 as probes, 0.500 at random"
    assert networks.between(runs[:0], MODELS, names) == "not recorded yet"


def test_gains_are_counted_by_their_verdicts():
    index = ["", "compared", "training cells", "metric"]
    rows = {
        ("Stand-in: kang", "scGPT, no pretraining", 1.0, "accuracy"): (0.1, "higher"),
        ("Stand-in: kang", "scBERT, no pretraining", 1.0, "accuracy"): (-0.05, "open"),
        ("Stand-in: kang", "scBERT, probe", 1.0, "accuracy"): (0.9, "higher"),
        ("Quick: hao", "scGPT, no pretraining", 1.0, "accuracy"): (-0.2, "lower"),
    }
    apart = pd.DataFrame(rows.values(), pd.MultiIndex.from_tuples(rows, names=index), ["difference", "says"])
    assert networks.gains(apart, "no pretraining") == (
        "stand-in tier, kang: -0.050 to +0.100, higher for 1 of 2, lower for 0; "
        "quick tier, hao: -0.200, higher for 0 of 1, lower for 1"
    )
    assert networks.gains(apart[:0], "no pretraining") == "not recorded yet"


def test_what_pretrainings_learned_is_told_of_the_weights_that_records_began_with():
    weights = {"standin": ["a", "b", "c"], "quick": ["d"]}
    rows = [row("scgpt", "", 0, "accuracy", 0.5, tier=tier, weights_hash=w) for tier, of in weights.items() for w in of]
    rows += [row("l1_logistic", "", 0, "accuracy", 0.5, tier="paper", weights_hash="")]
    shares = {"a": 0.033, "b": 0.38, "c": float("nan"), "d": 0.126, "unused": 0.9}
    budgets = pd.DataFrame({"identity": list(shares), "explained": list(shares.values())})
    assert networks.explained(table_of(rows), budgets) == "stand-in tier 3 to 38 %, quick tier 13 %"
    assert networks.explained(table_of(rows[-1:]), budgets) == networks.NOTHING


def test_of_a_request_none_some_and_all_is_told(runs, as_committed):
    there = runs[runs["tier"] == "standin"]
    some = seeds_of(there, REQUEST, "standin", ARMS)
    assert list(some["seeds"]) == [1, 2, 1, 1, 0, 0, 0, 0] and set(some["asked"]) == {3}
    said = networks.recorded(there, REQUEST, "standin", ARMS)
    assert said == "pbmc_facs 4 of 4 arms, with 1 to 2 of 3 seeds; kang none"
    assert networks.recorded(there[:0], REQUEST, "standin", ARMS) == "pbmc_facs none; kang none"
    more = {"standin": REQUEST["standin"] | {"models": [*ARMS, "scgpt@random_probe"]}}
    table = tables.requested(there, more, "standin", more["standin"]["models"], first="fine-tuned")
    assert list(table) == ["fine-tuned", "probe", "probe of random weights"]
    assert list(table.loc["pbmc_facs", "scGPT"]) == ["2", "1", "1"]
    assert list(table.loc["kang", "scBERT"]) == ["none", "none", "–"]


def test_failed_runs_and_other_settings_are_not_what_was_asked_for(runs, as_committed):
    there = runs[runs["tier"] == "standin"]
    asked = {"standin": REQUEST["standin"] | {"overrides": {"scbert": {"lr": 1e-4}, "scgpt": {"lr": 0.5}}}}
    other = there.assign(hyperparameters='{"lr": 0.1}')
    failed = there.assign(status="failed: out of memory")
    assert seeds_of(there, asked, "standin", ["scbert"])["seeds"].tolist() == [1, 0]
    for wrong in (other, failed):
        assert seeds_of(wrong, asked, "standin", ["scbert"])["seeds"].sum() == 0
