"""The findings of the re-analysis: evidence computed from the paper's own numbers, a table for each, no record needed.

What the paper does not print and follows from its numbers is called derived on the page.
"""

import numpy as np
from scipy import stats

from bench.published import per_run, scbert, scgpt, summary
from bench.report.figures.epochs import SLOW_MARGIN, slow
from bench.report.figures.style import METRICS, series_of
from bench.report.findings.intervals import (
    MARGIN,
    equivalences,
    figure2_tests,
    published_coverage,
    refits,
    runs_needed,
    stale_tests,
    table2_runs,
    widths,
)
from bench.report.findings.runs import (
    EPOCHS,
    PANCREAS_TYPES,
    baseline_over_shares,
    evaluated_twice,
    families,
    penalties,
    selection_bound,
    trained_weights,
)

__all__ = [
    "baseline_over_shares",
    "equivalences",
    "evaluated_twice",
    "facts",
    "families",
    "figure2_tests",
    "penalties",
    "published_coverage",
    "refits",
    "runs_needed",
    "selection_bound",
    "stale_tests",
    "trained_weights",
    "widths",
]


def facts() -> dict[str, float]:
    """Return the numbers that the page says in a sentence, by finding."""
    return _of_intervals() | _of_equivalence() | _of_choices() | _of_families() | _of_collapse() | _of_networks()


def _of_intervals() -> dict[str, float]:
    tests, fits = stale_tests(), refits().loc["Zheng68K"]
    off, best = tests["printed is off by"], tests["p, Holm"].idxmin()
    return {
        "stale": (off > 1e-3).sum(),
        "stale-tests": len(tests),
        "stale-off": 100 * off.max(),
        "stale-holm": tests["p, Holm"].lt(0.05).sum(),
        "stale-significant": tests["p, printed"].lt(0.05).sum(),
        "stale-lowest": tests.loc[best, "p, Holm"],
        "coverage": 100 * published_coverage(),
        "level": 95,
        "narrower": 100 * (1 - (widths()["± as published"] / widths()["± with n − 1"]).mean()),
        "intervals": (summary()["statistic"] == "ci95_halfwidth").sum(),
        "refit-range": np.ptp(scbert.baseline().query("metric == 'accuracy'")["value"]),
        "refit-interval": fits["± over refits"],
        "refit-cells": fits["± over scored cells"],
        "refit-ratio": fits["times as wide"],
    }


def _of_equivalence() -> dict[str, float]:
    found = {"all": equivalences()["Accuracy", "all runs"], "paired": equivalences()["Accuracy", "shared seeds"]}
    lead = refits().loc["Zheng68K", "mean accuracy"] - widths().loc["scBERT", "mean accuracy"]
    arms = [table2_runs("accuracy")[variant] for variant in ("pretrained", "no_pretraining")]
    numbers = {"margin": MARGIN, "share-of-lead": 100 * MARGIN / lead, "runs-needed": runs_needed(*arms)}
    numbers |= {"runs-needed-fast": runs_needed(*(values[~slow(values)] for values in arms))}
    numbers |= {"shown": sum(test.shown for test in equivalences().values()), "tests": len(equivalences())}
    for name, test in found.items():
        numbers |= {f"{name}-difference": test.difference, f"{name}-low": test.low, f"{name}-high": test.high}
        numbers |= {f"{name}-p": test.p, f"{name}-margin": test.smallest_margin, f"{name}-runs": test.n[0]}
    return {f"tost-{name}": value for name, value in numbers.items()}


def _of_choices() -> dict[str, float]:
    searched = per_run().query("metric == 'best_C' and dataset == 'ms'")["value"]
    few = per_run().query("experiment == 'fig2_fewshot' and model == 'scbert' and metric == 'accuracy'")
    few = few.loc[few["fraction"] == 0.1, "value"]
    p = summary().query("experiment == 'fig2_ttest' and metric == 'accuracy' and fraction == 0.1")["value"].item()
    lead = refits().loc["Zheng68K", "mean accuracy"] - widths().loc["scBERT", "mean accuracy"]
    drawn = figure2_tests().lt(0.05).sum()
    counts = {
        "few-tests": len(figure2_tests()),
        "few-printed": drawn["p, printed"],
        "few-pooled": drawn["pooled, Holm"],
    }
    numbers = counts | {
        "few-welch": drawn["Welch, Holm"],
        "penalty-low": searched.min(),
        "penalty-high": searched.max(),
        "epochs": EPOCHS,
    }
    numbers |= {"selection": selection_bound(), "lead": lead, "few-p": p}
    return numbers | {"few-low": few.min(), "few-middle": few.median(), "few-high": few.max()}


def _of_families() -> dict[str, float]:
    arms, numbers = families(), {"slow-margin": SLOW_MARGIN}
    for name, variant in {"full": "pretrained", "bare": "no_pretraining", "genes": "no_gene2vec"}.items():
        row = arms.loc[series_of("scbert", variant)]
        columns = {
            "slow": "slow",
            "all": "mean of all",
            "fast-mean": "mean of the others",
            "slow-mean": "mean of the slow",
        }
        numbers |= {f"{name}-{key}": row[column] for key, column in columns.items()}
    table = [[numbers[f"{arm}-slow"], 10 - numbers[f"{arm}-slow"]] for arm in ("full", "bare")]
    numbers["fast-gap"] = numbers["full-fast-mean"] - numbers["bare-fast-mean"]
    return numbers | {"slow-fisher": stats.fisher_exact(table).pvalue}


def _of_collapse() -> dict[str, float]:
    numbers = {}
    for dataset in scgpt.DATASETS:
        runs = scgpt.supplementary_figure6(dataset).query("metric == 'accuracy'")
        for name, variant in {"scratch": "no_pretraining", "frozen": "no_pretraining_frozen_embeddings"}.items():
            numbers[f"{dataset}-{name}"] = runs.loc[runs["variant"] == variant, "constant"].sum()
    means = {key: scgpt.supplementary_table5(key)["mean"].xs("accuracy", level=1) for key in scgpt.DATASETS}
    gaps = {f"{key}-gap": mean["pretrained"] - mean["no_pretraining"] for key, mean in means.items()}
    return {f"collapse-{name}": value for name, value in (numbers | gaps).items()}


def _of_networks() -> dict[str, float]:
    twice, parts, f1 = (
        evaluated_twice(),
        trained_weights(),
        baseline_over_shares().xs(METRICS["macro_f1_seen"], level=1),
    )
    first, last = f1.loc["pancreas", "10 %"], f1.loc["pancreas", "100 %"]
    return {
        "f1-first": first,
        "f1-last": last,
        "f1-diluted": first * PANCREAS_TYPES / (PANCREAS_TYPES + 1),
        "f1-myeloid-best": f1.loc["myeloid"].max(),
        "f1-myeloid-last": f1.loc["myeloid", "100 %"],
        "types": PANCREAS_TYPES,
        "twice": twice["difference in cells"].abs().max(),
        "twice-accuracy": (twice["for Figure 2"] - twice["for Table 1"]).abs().max(),
        "head": parts.loc["classifier", "weights"],
        "head-share": 100 * parts.loc["classifier", "share"],
        "trained": parts["weights"].sum(),
    }
