"""Tables on training: a hyper-parameter against accuracy, and the family of slow runs."""

import pandas as pd

from bench.report.figures import published_panels
from bench.report.figures.epochs import SLOW_MARGIN, by_setting, ends_of, slow
from bench.report.figures.runs import by_source
from bench.report.tables.scores import in_order, summary_of


def sensitivity(records: pd.DataFrame, setting: str, metric: str = "validation_accuracy") -> pd.DataFrame:
    """Return a metric at the best and the last epoch: rows source x model x value of one hyper-parameter.

    Means come with half of their 95 % t interval from three seeds on; the SD over seeds (n - 1) stands apart, since the
    paper's claim on the batch size is about spread.

    Raises
    ------
    BenchError
        If the hyper-parameter is unknown or never varies, or the metric was not recorded per epoch.
    """
    runs = _with_source(by_source(ends_of(by_setting(records, setting), metric)))
    groups = runs.groupby(["source", "series", "setting"])
    table = pd.DataFrame(
        {
            "best epoch": groups["best"].agg(summary_of),
            "last epoch": groups["last"].agg(summary_of),
            "SD of the best": groups["best"].std(),
            "SD of the last": groups["last"].std(),
            "runs": groups.size(),
        }
    )
    table = in_order(table, runs).rename_axis(index={"setting": setting})
    return table.rename(index="{:g}".format, level=setting)


def slow_family(
    records: pd.DataFrame, published: dict[str, pd.DataFrame] | None = None, margin: float = SLOW_MARGIN
) -> pd.DataFrame:
    """Return the share of runs that end more than ``margin`` below the best run of the same series.

    Parameters
    ----------
    records
        Records with ``validation_accuracy`` per epoch; the last epoch counts.
    published
        Tables of `bench.published.scbert` by title.  The paper prints no last epochs: the best one counts.
    margin
        In accuracy.  Why 0.035: see `figures.epochs`.  With few scored cells chance alone exceeds it (n = 268:
        one standard error is about 0.03).

    Returns
    -------
    Rows source x model; ``gap`` is the distance from the best slow to the worst other run, missing where none is slow.

    Raises
    ------
    BenchError
        If no run recorded the validation accuracy per epoch.
    """
    theirs = {
        title: runs[(runs["metric"] == "accuracy") & (runs["fraction"] == 1)].assign(last=lambda t: t["value"])
        for title, runs in published_panels(published or {}).items()
    }
    runs = _with_source(theirs | by_source(ends_of(records)))
    table = runs.groupby(["source", "series"])["last"].apply(lambda ends: _families(ends, margin)).unstack()
    return in_order(table.astype({"runs": int, "slow": int}), runs)


def _families(ends: pd.Series, margin: float) -> pd.Series:
    is_slow = slow(ends, margin)
    gap = ends[~is_slow].min() - ends[is_slow].max()  # missing where one of the families is empty
    described = {"runs": len(ends), "slow": is_slow.sum(), "share slow": is_slow.mean(), "gap": gap}
    return pd.Series(described | {"lowest": ends.min(), "highest": ends.max()})


def _with_source(panels: dict[str, pd.DataFrame]) -> pd.DataFrame:
    return pd.concat([runs.assign(source=title) for title, runs in panels.items()], ignore_index=True)
