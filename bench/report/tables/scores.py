"""Tables of scores: published beside reproduced, one row per source and model, means of equal runs only."""

import pandas as pd

from bench.report.figures import METRICS, published_panels
from bench.report.figures.cell_types import of_types
from bench.report.figures.runs import complete, named, own_panels, with_metrics
from bench.report.figures.shares import share_names
from bench.report.figures.style import natural
from bench.report.tables.failed import with_failed
from bench.statistics.intervals import t_interval

ANNOTATION = ("accuracy", "macro_f1_seen", "hard_accuracy", "hard_f1")
NOTABLE = ("abstained", "contradicted")  # recorded only where there are such cells
MASKED = ("masked_accuracy", "masked_accuracy_all", "predictions_equal_most_common_bin")
MASKED += ("cells_predicting_most_common_bin",)


def few_shot(records: pd.DataFrame, published: dict[str, pd.DataFrame], metrics) -> pd.DataFrame:
    """Return the mean over runs, rows source x model x metric, columns share of the training cells.

    From three runs on it comes with half of its 95 % t interval; of two the interval would be wider than the axis.
    Where a model gave some cells no type, or other labels than its probabilities, the share of those cells is a row.
    A column says what share was asked for where the true one is larger.  A model that failed has the reason.
    """
    runs = _runs(published_panels(published) | own_panels(records))
    metrics = [*metrics, *(name for name in NOTABLE if name in set(runs["metric"]))]
    runs = runs[runs["metric"].isin(metrics)].assign(metric=lambda t: t["metric"].map(metrics.index))
    by = ["source", "series", "metric", "fraction"]
    table = runs.groupby(by, sort=False)["value"].agg(summary_of).unstack("fraction").sort_index(axis=1).fillna("–")
    shares = share_names(runs)
    table.columns = [shares[fraction] for fraction in table.columns]
    table = _finished(table.assign(runs=_counts(runs, by)), runs, records)
    return table.rename(lambda place: METRICS.get(metrics[place], metrics[place]), level="metric")


def ablations(records: pd.DataFrame, published: dict[str, pd.DataFrame], metrics=ANNOTATION) -> pd.DataFrame:
    """Return Table 1 or 2, published beside reproduced: rows source x model, columns metrics, all training cells.

    A cell is the mean, from three runs on with half of its 95 % t interval; a dash stands for a metric that the source
    does not define, or for a model that failed, with the reason.

    Raises
    ------
    BenchError
        If no source has a metric.
    """
    panels = published_panels(published) | own_panels(records)
    runs = _runs(with_metrics({title: complete(panel) for title, panel in panels.items()}, metrics))
    by = ["source", "series", "metric"]
    table = runs.groupby(by, sort=False)["value"].agg(summary_of).unstack("metric").reindex(columns=list(metrics))
    table = table.fillna("–").rename(columns=lambda name: METRICS.get(name, name))
    return _finished(table.assign(runs=_counts(runs, by)), runs, complete(records))


def masked(records: pd.DataFrame, published: dict[str, pd.DataFrame], metrics=None) -> pd.DataFrame:
    """Return Table 3, published beside reproduced, in the form of `ablations`.

    ``metrics`` are by default those of ``masked_pretraining`` that some source has.
    """
    if metrics is None:
        panels = published_panels(published) | own_panels(records)
        there = {metric for panel in panels.values() for metric in set(panel["metric"])}
        metrics = [metric for metric in MASKED if metric in there] or MASKED[:1]
    return ablations(records, published, metrics)


def per_class(
    records: pd.DataFrame, tier: str, dataset: str, fraction: float = 1.0, metric: str = "f1"
) -> pd.DataFrame:
    """Return F1 or recall per cell type (rows) and model (columns) at one fraction, mean over seeds, and support."""
    rows, support = of_types(records, tier, dataset, metric, fraction)
    scores = rows.pivot_table(index="class", columns="series", values="value", sort=False).reindex(support.index)
    cells = support.str.replace(",", "")
    cells = cells.astype(int) if cells.str.fullmatch("[0-9]+").all() else support
    return scores[sorted(scores, key=natural)].assign(cells=cells)


def run_by_run(records: pd.DataFrame, metric: str = "accuracy") -> dict[str, pd.DataFrame]:
    """Return by source a row per model and a column per seed, on all training cells, for `figures.ranking`."""
    panels = own_panels(records[records["metric"] == metric])
    wide = {title: complete(runs).pivot_table("value", "series", "seed") for title, runs in panels.items()}
    return {title: table for title, table in wide.items() if len(table)}


def summary_of(values: pd.Series) -> str:
    """Return a mean as text, from three runs on with half of its 95 % t interval."""
    if len(values) < 3:
        return f"{values.mean():.3f}"
    interval = t_interval(values.to_numpy())
    return f"{interval.mean:.3f} ± {interval.half_width:.3f}"


def in_order(table: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """Return a table by source and series (and more) in the order of the sources in ``runs`` and of the legends."""
    sources, names = list(dict.fromkeys(runs["source"])), sorted(set(runs["series"]), key=natural)
    keys = {"source": sources.index, "series": names.index}
    table = table.sort_index(key=lambda level: level.map(keys[level.name]) if level.name in keys else level)
    return table.rename_axis(index={"source": "", "series": "model"})


def _finished(table: pd.DataFrame, runs: pd.DataFrame, records: pd.DataFrame) -> pd.DataFrame:
    """Return a table of scores in the order of sources and legends, with what failed."""
    rows = named(records)
    failed = rows.loc[rows["status"] != "ok", ["title", "series"]].rename(columns={"title": "source"})
    return in_order(with_failed(table, rows), pd.concat([runs[["source", "series"]], failed]))


def _runs(panels: dict[str, pd.DataFrame]) -> pd.DataFrame:
    if not panels:
        return pd.DataFrame(columns=["source", "series", "metric", "fraction", "value"])
    return pd.concat([runs.assign(source=title) for title, runs in panels.items()], ignore_index=True)


def _counts(runs: pd.DataFrame, by: list[str]) -> pd.Series:
    """Return the number of runs behind the cells of each row, such as ``10`` or ``1–10``; columns are the last key."""
    n = runs.groupby(by).size().groupby(by[:-1]).agg(["min", "max"])
    return n.apply(lambda row: "–".join(str(k) for k in dict.fromkeys(row)), axis=1)
