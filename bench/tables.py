"""Tables of the book: tidy records in, a readable DataFrame or its HTML out."""

import pandas as pd

from bench.errors import BenchError
from bench.figures import TIERS, label_of, published_panels, rank, runs_of
from bench.statistics import t_interval


def few_shot(records: pd.DataFrame, published: dict[str, pd.DataFrame], metric: str) -> pd.DataFrame:
    """Return the mean over runs, rows source x model, columns share of the training cells.

    From three runs on it comes with half of its 95 % t interval; of two the interval would be wider than the axis.
    """
    ours = runs_of(records)
    ours = ours.assign(source=ours["tier"].map(TIERS) + ": " + ours["dataset"])
    theirs = [runs.assign(source=title) for title, runs in published_panels(published).items()]
    runs = pd.concat([*theirs, ours], ignore_index=True)
    runs = runs[runs["metric"] == metric]
    order = [
        *published_panels(published),
        *(f"{tier}: {name}" for tier in TIERS.values() for name in sorted(set(ours["dataset"]))),
    ]
    cells = runs.groupby(["source", "series", "fraction"], sort=False)["value"].agg(_summary)
    table = cells.unstack("fraction").sort_index(axis=1).fillna("–")
    table.columns = [f"{100 * fraction:g} %" for fraction in table.columns]
    n = runs.groupby(["source", "series", "fraction"]).size().groupby(["source", "series"]).agg(["min", "max"])
    table["runs"] = n.apply(lambda row: "–".join(str(k) for k in dict.fromkeys(row)), axis=1)
    table.index.names = ["", "model"]
    return table.sort_index(level=[0, 1], key=lambda names: names.map(order.index if names.name == "" else rank))


def mean_of(runs: pd.DataFrame, metric: str = "accuracy", **where) -> float:
    """Return the mean of a metric over the runs for which each given column has the given value, as glue in prose."""
    for column, value in where.items():
        runs = runs[runs[column] == value]
    runs = runs[(runs["metric"] == metric) & (runs["class"] == "")]
    if runs.empty:
        raise BenchError(f"No run with {metric} and {where} to average; see: bench records")
    return float(runs["value"].mean())


def per_class(records: pd.DataFrame, tier: str, dataset: str, fraction: float = 1.0) -> pd.DataFrame:
    """Return F1 and support per cell type (rows) and model (columns) at one fraction, mean over seeds."""
    rows = records[(records["tier"] == tier) & (records["dataset"] == dataset) & (records["fraction"] == fraction)]
    rows = rows[(rows["status"] == "ok") & rows["metric"].isin(["f1", "support"])]
    f1 = rows[rows["metric"] == "f1"].pivot_table(index="class", columns="model", values="value", sort=False)
    support = rows[rows["metric"] == "support"].groupby("class")["value"].first().astype(int)
    f1 = f1.rename(columns=label_of)
    return f1[sorted(f1, key=rank)].assign(cells=support).sort_values("cells", ascending=False)


def cost(records: pd.DataFrame) -> pd.DataFrame:
    """Return median seconds and peak memory of one fit with its prediction at the largest fraction."""
    runs = runs_of(records).drop_duplicates(["tier", "key"])
    runs = runs[runs["fraction"] == runs.groupby(["tier", "dataset"])["fraction"].transform("max")]
    by = runs.groupby(["tier", "dataset", "series"], sort=False)[["n_train", "seconds", "peak_memory_mb"]]
    table = by.median().rename(columns={"n_train": "training cells", "peak_memory_mb": "peak memory (MB)"})
    return table.sort_index(level=2, key=lambda names: names.map(rank), sort_remaining=False).sort_index(
        level=[0, 1], sort_remaining=False, kind="stable"
    )


def datasets(records: pd.DataFrame) -> pd.DataFrame:
    """Return size, depth and split of the data sets that were described, one row each."""
    columns = ["n_cells", "n_genes", "n_types", "n_batches", "median_counts", "median_genes", "n_train", "n_test"]
    table = records.pivot_table(index=["tier", "dataset", "split"], columns="metric", values="value", sort=False)
    return table.reindex(columns=columns).rename(columns=lambda name: name.removeprefix("n_").replace("_", " "))


def sources() -> pd.DataFrame:
    """Return licence, origin of the labels and files of every data set, from the code that reads them."""
    from bench.datasets.load import DATASETS, find

    rows = {}
    for dataset in map(find, DATASETS):
        files = ", ".join(source.name for source in dataset.sources)
        checks = {_check(source) for source in dataset.sources}
        rows[dataset.name] = (dataset.title, dataset.label_origin, dataset.licence, files, ", ".join(sorted(checks)))
    return pd.DataFrame.from_dict(rows, "index", columns=["title", "labels", "licence", "files", "verified by"])


def provenance() -> pd.DataFrame:
    """Return how many trials the records hold, what they took and which commits made them, by experiment and data."""
    from bench.records import read

    trials = read().drop_duplicates(["experiment", "tier", "key"])
    return trials.groupby(["experiment", "tier", "dataset"], sort=True).agg(
        trials=("key", "size"),
        failed=("status", lambda status: int((status != "ok").sum())),
        own=("origin", lambda origin: int((origin == "own").sum())),
        hours=("seconds", lambda seconds: seconds.sum() / 3600),
        commits=("commit", lambda commits: ", ".join(dict.fromkeys(commits))),
    )


def versions() -> list[str]:
    """Return the distinct sets of package versions that made the records."""
    from bench.records import read

    return sorted(set(read()["versions"]))


def failures(records: pd.DataFrame) -> pd.DataFrame:
    """Return the trials that failed, with their reasons; empty where none did."""
    failed = records[records["status"] != "ok"].drop_duplicates(["tier", "key"])
    return failed[["tier", "dataset", "model", "fraction", "seed", "status"]].reset_index(drop=True)


def show(table: pd.DataFrame, digits: int = 3):
    """Return a table as the book shows it: repeated names once, long text wrapped, wide tables in a scrolling box."""
    from IPython.display import HTML

    flat = table.rename_axis(columns=None).reset_index().rename(columns={"index": ""})
    repeated = [flat.iloc[:, : level + 1].duplicated() for level in range(table.index.nlevels - 1)]
    for level, rows in enumerate(repeated):
        flat.isetitem(level, flat.iloc[:, level].mask(rows, ""))
    text = flat.select_dtypes("object").astype(str).map(len).to_numpy().max(initial=0) > 40
    html = flat.to_html(
        index=False,
        border=0,
        na_rep="–",
        classes=f"bench-table bench-index-{table.index.nlevels}" + " bench-text" * bool(text),
        float_format=lambda value: f"{value:,.{digits}f}",
    )
    return HTML(f'<div class="bench-table-box" tabindex="0" role="region" aria-label="table">{html}</div>')


def _check(source) -> str:
    if source.sha256:
        return "SHA-256"
    return "git blob SHA-1" if source.git_blob else "cells and types"


def _summary(values: pd.Series) -> str:
    if len(values) < 3:
        return f"{values.mean():.3f}"
    interval = t_interval(values.to_numpy())
    return f"{interval.mean:.3f} ± {interval.half_width:.3f}"
