"""What records of several networks say in a sentence: one text over all tiers and data sets, best tier first.

Runs on all training cells count.  As in `bench.report.sentences`, where nothing is recorded the text says so.
"""

from collections.abc import Mapping, Sequence

import pandas as pd

from bench.report.figures.runs import complete, runs_of
from bench.report.figures.style import PLAIN, TIERS, series_of
from bench.report.requested import seeds_of
from bench.report.sentences import NOTHING, by_data, source_in_words, tier_in_words
from bench.report.tables.effects import HIGHER, LOWER


def best_of(records: pd.DataFrame, models: Sequence[str], base: str) -> str:
    """Return the best of some models and another one: ``quick tier, hao: 0.91 (scGPT, best of 5) against 0.97``.

    Parameters
    ----------
    records
        What `bench.report.plain.asked` returns, so that a model has one setting.
    models
        Names; their plain variants count.
    base
        Name of the other one, likewise.
    """
    said = []
    for where, runs in _by_data(records, list(PLAIN)):
        means = runs.groupby("model")["value"].mean()
        found = means.reindex(models).dropna()
        if len(found) and base in means:
            name = series_of(found.idxmax(), "")
            said.append(f"{where}: {found.max():.3f} ({name}, best of {len(found)}) against {means[base]:.3f}")
    return _joined(said)


def between(records: pd.DataFrame, models: Sequence[str], variants: Mapping[str, str]) -> str:
    """Return lowest and highest mean of models by variant, such as ``quick tier, hao: 0.6 to 0.9 as probes``.

    Parameters
    ----------
    records, models
        As `best_of` takes them.
    variants
        What to call each variant, in the order of the sentence.
    """
    said = []
    for where, runs in _by_data(records[records["model"].isin(models)], list(variants)):
        means = runs.groupby(["variant", "model"])["value"].mean()
        ends = [(name, means[variant]) for variant, name in variants.items() if variant in means.index]
        said.append(f"{where}: " + ", ".join(f"{_ends(of, '.3f')} {name}" for name, of in ends))
    return _joined(said)


def gains(apart: pd.DataFrame, ending: str) -> str:
    """Return what models gain over one variant: ``quick tier, hao: -0.02 to +0.10, higher for 2 of 5, lower for 0``.

    Parameters
    ----------
    apart
        Of `bench.report.tables.own_variants`, one metric.
    ending
        Of the names of the variant's series, such as ``no pretraining``.
    """
    rows = apart.reset_index()
    rows = rows[rows["compared"].str.endswith(ending)]
    said = []
    for source, of in rows.groupby("", sort=False):
        higher, lower = (sum(of["says"] == verdict) for verdict in (HIGHER, LOWER))
        shown = f"higher for {higher} of {len(of)}, lower for {lower}"
        said.append(f"{source_in_words(source)}: {_ends(of['difference'], '+.3f')}, {shown}")
    return _joined(said)


def recorded(records: pd.DataFrame, requests: Mapping[str, dict], tier: str, models: Sequence[str]) -> str:
    """Return how much of a request is recorded, such as ``baron 7 of 20 arms, with 1 to 3 of 3 seeds; kang none``.

    Parameters are those of `bench.report.requested.seeds_of`.
    """
    said = []
    for dataset, of in seeds_of(records, requests, tier, models).groupby("dataset", sort=False):
        there = of.loc[of["seeds"] > 0, "seeds"]
        found = f"{len(there)} of {len(of)} arms, with {_ends(there, 'g')} of {of['asked'].max()} seeds"
        said.append(f"{dataset} {found if len(there) else 'none'}")
    return _joined(said)


def explained(records: pd.DataFrame, budgets: pd.DataFrame) -> str:
    """Return what pretrainings explain beyond genes, such as ``stand-in tier 3 to 38 %, quick tier 13 to 56 %``.

    Parameters
    ----------
    records
        Those of weights that are named in it count.
    budgets
        Of `bench.report.budgets.kept`.
    """
    said = []
    for tier in TIERS:
        used = records.loc[records["tier"] == tier, "weights_hash"]
        shares = 100 * budgets.loc[budgets["identity"].isin(used), "explained"].dropna()
        if len(shares):
            said.append(f"{tier_in_words(TIERS[tier])} {_ends(shares, '.0f')} %")
    return ", ".join(said) or NOTHING


def _by_data(records: pd.DataFrame, variants: list[str]):
    """Yield tier and data in words, and the accuracies of these variants on them."""
    runs = complete(runs_of(records[records["variant"].isin(variants) & records["metric"].eq("accuracy")]))
    yield from by_data(runs)


def _ends(numbers: pd.Series, style: str) -> str:
    """Return the lowest and the highest number, or the one that is both."""
    return " to ".join(dict.fromkeys(format(end, style) for end in (numbers.min(), numbers.max())))


def _joined(said: list[str]) -> str:
    return "; ".join(said) or NOTHING
