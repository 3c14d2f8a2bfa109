"""Tables on the project itself: its data sets, records, costs and failures."""

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from bench.protocol.records import own_folder
from bench.report.figures import runs_of
from bench.report.figures.runs import by_source
from bench.report.figures.sources import with_titles, without_tier
from bench.report.figures.style import label_of
from bench.report.tables.scores import in_order


def cost(records: pd.DataFrame) -> pd.DataFrame:
    """Return seconds and peak memory of one fit with its prediction at the largest fraction, the least over runs."""
    runs = _with_sources(runs_of(records).drop_duplicates(["tier", "key"]))
    runs = runs[runs["fraction"] == runs.groupby("source")["fraction"].transform("max")]
    table = runs.groupby(["source", "series"], sort=False)[["n_train", "seconds", "peak_memory_mb"]].min()
    table["n_train"] = table["n_train"].round().astype("Int64")
    return in_order(table.rename(columns={"n_train": "training cells", "peak_memory_mb": "peak memory (MB)"}), runs)


def coverage(records: pd.DataFrame) -> pd.DataFrame:
    """Return how many genes each model found of those it looks for by name: rows source x model.

    ``share of counts`` is that of the training cells in the genes used; it depends on which cells were drawn.
    What a record does not know is a dash: a model that takes whatever genes there are, or an older record.
    Where weights or an embedding have seen scored cells before, or may have, a column says so.
    """
    runs = _with_sources(runs_of(records).drop_duplicates(["tier", "key"]))
    groups = runs.groupby(["source", "series"], sort=False)
    columns = {"genes used": ("genes_used", "{:,.0f}"), "of wanted": ("genes_wanted", "{:,.0f}")}
    columns |= {"share of counts": ("genes_share", "{:.3f}")}
    table = pd.DataFrame({name: groups[column].agg(_ends, form) for name, (column, form) in columns.items()})
    seen = groups["pretrained_on_scored_cells"].agg(lambda answers: ", ".join(sorted(set(answers.fillna("unknown")))))
    if (seen != "no").any():
        table["has seen scored cells"] = seen
    return in_order(table, runs)


def _ends(values: pd.Series, form: str) -> str:
    """Return least and most of the values that are known as text, once where they read the same."""
    known = values.dropna()
    return "–".join(dict.fromkeys(form.format(end) for end in (known.min(), known.max()))) if len(known) else "–"


def _with_sources(runs: pd.DataFrame) -> pd.DataFrame:
    """Return runs with the title of their data as ``source``, best tier first."""
    return pd.concat([runs[:0].assign(source=""), *(of.assign(source=title) for title, of in by_source(runs).items())])


def datasets(records: pd.DataFrame) -> pd.DataFrame:
    """Return size, depth and split of the data sets that were described, one row each."""
    columns = ["n_cells", "n_genes", "n_types", "n_batches", "median_counts", "median_genes", "n_train", "n_test"]
    records = with_titles(records, split=False)
    records = records.assign(dataset=without_tier(records["title"]))
    table = records.pivot_table(index=["tier", "dataset", "split"], columns="metric", values="value", sort=False)
    return table.reindex(columns=columns).rename(columns=lambda name: name.removeprefix("n_").replace("_", " "))


def sources() -> pd.DataFrame:
    """Return licence, origin of the labels and files of every data set, from the code that reads them."""
    from bench.datasets.loading import DATASETS, find

    rows = {}
    for dataset in map(find, DATASETS):
        files = ", ".join(source.name for source in dataset.sources)
        checks = {_check(source) for source in dataset.sources}
        rows[dataset.name] = (dataset.title, dataset.label_origin, dataset.licence, files, ", ".join(sorted(checks)))
    return pd.DataFrame.from_dict(rows, "index", columns=["title", "labels", "licence", "files", "verified by"])


def listed(texts: Mapping[str, str], column: str) -> pd.DataFrame:
    """Return a text per name as a table with one column, such as what each column of the records means."""
    return pd.DataFrame.from_dict(texts, "index", columns=[column])


def models() -> pd.DataFrame:
    """Return what each model does and its variants, from the code that does it."""
    from bench.models import MODELS, find

    rows = {}
    for name, model in zip(MODELS, map(find, MODELS), strict=True):
        rows[name] = (model.__doc__.splitlines()[0], ", ".join(model.variants))
    return pd.DataFrame.from_dict(rows, "index", columns=["what it does", "variants"])


def metrics() -> pd.DataFrame:
    """Return what each metric is and which direction is better, from the code that computes it."""
    from bench.statistics.metrics import METRICS

    rows = {}
    for name, metric in METRICS.items():
        rows[name] = (metric.description, metric.better)
    return pd.DataFrame.from_dict(rows, "index", columns=["what it is", "better"])


def arrays(path: Path) -> pd.DataFrame:
    """Return type, shape and first entry of every array in a file of predictions."""
    rows = {}
    with np.load(path, allow_pickle=False) as file:
        for name in file:
            array = file[name]
            rows[name] = (str(array.dtype), str(array.shape), str(array.flat[0]))
    return pd.DataFrame.from_dict(rows, "index", columns=["type", "shape", "first entry"])


def provenance() -> pd.DataFrame:
    """Return how many trials the records hold, what they took and which commits made them, by experiment and data."""
    from bench.protocol.records import read

    trials = read().drop_duplicates(["experiment", "tier", "key"])
    return trials.groupby(["experiment", "tier", "dataset"], sort=True).agg(
        trials=("key", "size"),
        failed=("status", lambda status: int((status != "ok").sum())),
        own=("origin", lambda origin: int((origin == "own").sum())),
        hours=("seconds", lambda seconds: seconds.sum() / 3600),
        commits=("commit", lambda commits: ", ".join(dict.fromkeys(commits))),
    )


def standin() -> pd.DataFrame:
    """Return how many seeds the stand-in tier has of what begins with pretrained weights, by share of training cells.

    The first digits of the SHA-256 tell files of weights apart.
    """
    from bench.protocol.records import read

    runs = read()
    runs = runs_of(runs[(runs["tier"] == "standin") & (runs["metric"] == "accuracy") & (runs["weights_hash"] != "")])
    runs = runs.assign(weights=runs["weights_sha256"].str[:8], share=(100 * runs["fraction"]).map("{:g} %".format))
    shares = [f"{100 * share:g} %" for share in sorted(set(runs["fraction"]))]
    runs = runs.drop_duplicates(["dataset", "key"])
    runs = runs.assign(dataset=without_tier(runs["title"]))
    table = runs.pivot_table("key", ["dataset", "series", "weights"], "share", "count", 0)[shares]
    return table.rename_axis(index=["data", "model", "weights"], columns="seeds, by share of the training cells")


def versions() -> list[str]:
    """Return the distinct sets of package versions that made the records."""
    from bench.protocol.records import read

    return sorted(set(read()["versions"]))


def failures(records: pd.DataFrame) -> pd.DataFrame:
    """Return the trials that failed, with their reasons; empty where none did."""
    failed = records[records["status"] != "ok"].drop_duplicates(["tier", "key"])
    return failed[["tier", "dataset", "model", "fraction", "seed", "status"]].reset_index(drop=True)


def gaps(records: pd.DataFrame, tiers, *models: str) -> str:
    """Return in words which trials are the user's own, which failed, and at which tiers models have no record yet."""
    failed = failures(records)
    text = "No recorded trial failed." if failed.empty else failed.to_string(index=False)
    trials = records.drop_duplicates(["tier", "key"])["origin"]
    if own := int((trials == "own").sum()):
        text = f"{own} of the {len(trials)} trials shown are your own, in {own_folder()}.\n{text}"
    alike = defaultdict(list)
    for model in models:
        there = set(records.loc[records["model"] == model, "tier"])
        alike[tuple(tier for tier in tiers if tier not in there)].append(label_of(model))
    return "\n".join([text, *(_absent(names, absent) for absent, names in alike.items())])


def _absent(names: list[str], tiers: tuple[str, ...]) -> str:
    several = len(names) > 1
    if not tiers:
        return f"{', '.join(names)} {'are' if several else 'is'} recorded at all tiers."
    return f"{', '.join(names)} {'have' if several else 'has'} no records of these tiers yet: {', '.join(tiers)}."


def _check(source) -> str:
    if source.sha256:
        return "SHA-256"
    return "git blob SHA-1" if source.git_blob else "cells and types"
