"""What records say in a sentence: one text over all tiers and data sets, best tier first, for the prose of a chapter.

Each function takes records and returns text; where nothing is recorded the text says so.
"""

from collections.abc import Iterator

import pandas as pd

from bench.report.figures.runs import by_source, complete, runs_of, with_constant
from bench.report.figures.style import PLAIN, series_of

NOTHING = "not recorded yet"


def against(records: pd.DataFrame, model: str, base: str) -> str:
    """Return the mean accuracy of a model and of another one: ``quick tier, baron, 50 %: 0.91 against 0.97``.

    Of each tier and data set the largest share of the training cells counts at which both were run.
    """
    runs = _plain(records[records["model"].isin([model, base])])
    said = []
    for where, group in by_data(runs):
        means = group.groupby(["fraction", "model"])["value"].agg(_mean_of_one(group)).unstack()
        both = means.reindex(columns=[model, base]).dropna()
        for share, row in both.tail(1).iterrows():
            said.append(f"{where}, {100 * share:g} %: {row[model]:.3f} against {row[base]:.3f}")
    return _joined(said)


def arms(records: pd.DataFrame, model: str, names: dict[str, str]) -> str:
    """Return the mean accuracy of a model's variants, such as ``quick tier, baron: 0.95 pretrained, 0.90 without``.

    Parameters
    ----------
    records
        Records of one experiment; runs on all training cells count.
    model
        Name of the model.
    names
        What to call each variant, in the order of the sentence.  A variant without runs is left out.
    """
    runs = runs_of(records[(records["model"] == model) & (records["fraction"] == 1)])
    said = []
    for where, group in by_data(runs[runs["metric"] == "accuracy"]):
        means = group.groupby("variant")["value"].agg(_mean_of_one(group)).reindex(list(names)).dropna()
        values = [f"{value:.3f} {names[variant]}" for variant, value in means.items()]
        said += [f"{where}: {', '.join(values)}"] if values else []
    return _joined(said)


def gain_ranges(pairs: pd.DataFrame) -> str:
    """Return smallest and largest mean gain over schedules and settings, such as ``quick: hao 0.010 to 0.250``.

    Parameters
    ----------
    pairs
        Of `bench.report.tables.gained`.
    """
    means = pairs.groupby(["source", "schedule", "setting"], sort=False)["gain"].mean()
    ends = means.groupby("source", sort=False).agg(["min", "max"])
    said = []
    for source, row in ends.iterrows():
        said.append(f"{source[0].lower()}{source[1:]} {row['min']:.3f} to {row['max']:.3f}")
    return _joined(said)


def constant_runs(records: pd.DataFrame, model: str) -> str:
    """Return how many runs say one type for every cell, such as ``quick tier, hao, scGPT: 0 of 8``.

    Parameters
    ----------
    records
        Records of one experiment; runs on all training cells count.
    model
        Name of the model; its variants are told apart.
    """
    runs = complete(with_constant(runs_of(records[records["model"] == model])))
    runs = runs[runs["metric"] == "accuracy"]
    said = []
    for where, group in by_data(runs):
        for variant, of in group.groupby("variant"):
            said.append(f"{where}, {series_of(model, variant)}: {of['constant'].sum():.0f} of {len(of)}")
    return _joined(said)


def _plain(records: pd.DataFrame) -> pd.DataFrame:
    """Return the accuracies of models in their plain variant."""
    runs = runs_of(records)
    return runs[(runs["metric"] == "accuracy") & runs["variant"].isin(PLAIN)]


def by_data(runs: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield tier and data in words, and the runs on them."""
    for source, of in by_source(runs).items():
        yield source_in_words(source), of


def source_in_words(source: str) -> str:
    """Return tier and data in words, ``stand-in tier, baron`` of ``Stand-in: baron``."""
    tier, _, data = source.partition(": ")
    return f"{tier_in_words(tier)}, {data}"


def tier_in_words(tier: str) -> str:
    """Return a tier, as figures call it, in words: ``stand-in tier`` of ``Stand-in``."""
    return f"{tier.lower().removesuffix(' tier')} tier"


def _mean_of_one(runs: pd.DataFrame):
    """Return how values of these runs are averaged: nan where they are of several settings."""
    return lambda values: values.mean() if runs.loc[values.index, "series"].nunique() == 1 else float("nan")


def _joined(said: list[str]) -> str:
    return "; ".join(said) or NOTHING
