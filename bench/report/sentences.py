"""What records say in a sentence: one text over all tiers and data sets, to be set into the prose of a chapter.

Each function takes records and returns text; where nothing is recorded the text says so.
"""

import pandas as pd

from bench.report.figures.runs import complete, runs_of, with_constant
from bench.report.figures.style import PLAIN, series_of

NOTHING = "not recorded yet"


def against(records: pd.DataFrame, model: str, base: str) -> str:
    """Return the mean accuracy of a model and of another one, such as ``quick tier, baron: 0.91 against 0.97``.

    Of each tier and data set the largest share of the training cells counts at which both were run.
    """
    accuracy = records[(records["metric"] == "accuracy") & records["variant"].isin(PLAIN)]
    means = accuracy.groupby(["tier", "dataset", "fraction", "model"])["value"].mean().unstack()
    both = means.reindex(columns=[model, base]).dropna()
    largest = both.groupby(["tier", "dataset"]).tail(1)
    said = []
    for (tier, dataset, _), row in largest.iterrows():
        said.append(f"{_where(tier, dataset)}: {row[model]:.3f} against {row[base]:.3f}")
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
    runs = records[(records["model"] == model) & (records["fraction"] == 1) & (records["metric"] == "accuracy")]
    means = runs.groupby(["tier", "dataset", "variant"])["value"].mean().unstack()
    means = means.reindex(columns=list(names)).dropna(how="all")
    said = []
    for (tier, dataset), row in means.iterrows():
        values = [f"{value:.3f} {names[variant]}" for variant, value in row.dropna().items()]
        said.append(f"{_where(tier, dataset)}: {', '.join(values)}")
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
    counts = runs.groupby(["tier", "dataset", "variant"])["constant"].agg(["sum", "size"])
    said = []
    for (tier, dataset, variant), row in counts.iterrows():
        said.append(f"{_where(tier, dataset)}, {series_of(model, variant)}: {row['sum']:.0f} of {row['size']:.0f}")
    return _joined(said)


def _where(tier: str, dataset: str) -> str:
    return f"{tier} tier, {dataset}"


def _joined(said: list[str]) -> str:
    return "; ".join(said) or NOTHING
