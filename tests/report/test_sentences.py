"""Texts that chapters set into their prose: counted and averaged by hand on made-up records."""

import pandas as pd
from made_up import row, table_of

from bench.report import sentences


def of(model, variant, values, metric="accuracy", **more):
    """Return a row per seed."""
    return [row(model, variant, seed, metric, value, **more) for seed, value in enumerate(values)]


def test_a_model_is_set_against_another_at_the_largest_share_that_both_have():
    rows = of("scgpt", "pretrained", [0.5, 0.7], fraction=0.1) + of("l1_logistic", "default", [0.9], fraction=0.1)
    rows += of("scgpt", "no_pretraining", [0.1], fraction=0.1)  # another arm
    rows += of("l1_logistic", "default", [0.99])  # all training cells, where scGPT was not run
    rows += of("scgpt", "pretrained", [0.8], tier="quick", dataset="hao")
    rows += of("l1_logistic", "default", [0.7], tier="quick", dataset="hao")
    rows += of("l1_logistic", "default", [0.2], metric="macro_f1", tier="quick", dataset="hao")
    said = sentences.against(table_of(rows), "scgpt", "l1_logistic")
    assert said == "stand-in tier, pbmc_facs, 10 %: 0.600 against 0.900; quick tier, hao, 100 %: 0.800 against 0.700"
    assert sentences.against(table_of(rows), "scgpt", "knn") == "not recorded yet"


def test_arms_stand_in_the_order_asked_for_and_those_without_runs_are_left_out():
    rows = of("scgpt", "no_pretraining", [0.3, 0.5]) + of("scgpt", "pretrained", [0.9])
    rows += of("scgpt", "pretrained", [0.1], fraction=0.5) + of("scgpt", "scratch_tuned", [0.6])
    rows += of("scgpt", "other", [0.6], tier="quick")  # nothing to say of this tier
    names = {"pretrained": "pretrained", "no_pretraining": "without", "shuffled_genes": "shuffled"}
    said = sentences.arms(table_of(rows), "scgpt", names)
    assert said == "stand-in tier, pbmc_facs: 0.900 pretrained, 0.400 without"
    assert sentences.arms(table_of(rows), "scbert", names) == "not recorded yet"


def test_gains_are_averaged_over_seeds_before_their_ends_are_taken():
    pairs = pd.DataFrame({"source": ["Quick: hao"] * 4, "schedule": ["a", "a", "b", "b"], "gain": [0, 0.2, 0.5, 0.3]})
    assert sentences.gain_ranges(pairs.assign(setting=1.0)) == "quick: hao 0.100 to 0.400"


def test_constant_runs_are_those_that_predict_one_type():
    rows = []
    for variant, types in {"pretrained": [9, 9], "no_pretraining": [1, 9]}.items():
        rows += of("scgpt", variant, [0.5, 0.5]) + of("scgpt", variant, types, metric="predicted_types")
    said = sentences.constant_runs(table_of(rows), "scgpt")
    assert said == ("stand-in tier, pbmc_facs, scGPT, no pretraining: 1 of 2; stand-in tier, pbmc_facs, scGPT: 0 of 2")
    assert sentences.constant_runs(table_of(rows), "scbert") == "not recorded yet"
