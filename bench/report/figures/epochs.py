"""From records per epoch to one row per run: where it ended, how good it was at best, and which runs are slow.

The paper's Figure 5 speaks of two families of curves, fast and high or slow and low, without a definition.  Here a run
is slow if it ends more than `SLOW_MARGIN` below the best end of the same series.  With 0.035 this cuts each arm of the
paper's Table 2 at its widest gap: 2 of 10 pretrained, 4 of 10 without pretraining, 4 of 10 without gene2vec.
"""

import json

import pandas as pd

from bench.core.errors import BenchError, unknown
from bench.report.figures.runs import NAMES, complete, named, runs_of, with_constant
from bench.report.figures.settings import as_number, parsed
from bench.report.figures.sources import SETTINGS

SLOW_MARGIN = 0.035  # in validation accuracy


def epochs_of(records: pd.DataFrame, metrics=("validation_accuracy",)) -> pd.DataFrame:
    """Return the rows per epoch of the runs on all training cells, with ``series`` as in `runs_of`.

    Raises
    ------
    BenchError
        If one of the metrics was recorded per epoch by no run.
    """
    rows = records[(records["status"] == "ok") & records["epoch"].notna() & (records["class"] == "")]
    rows = complete(rows)
    there = set(rows["metric"])
    if missing := [metric for metric in metrics if metric not in there]:
        raise BenchError(
            f"No run recorded {', '.join(missing)} per epoch; there are: {', '.join(sorted(there)) or 'none'}. "
            "Models that are trained by epochs record them: choose one, or leave the metric out."
        )
    return named(rows[rows["metric"].isin(list(metrics))])


def ends_of(records: pd.DataFrame, metric: str = "validation_accuracy") -> pd.DataFrame:
    """Return one row per run with its value at the ``best`` and the ``last`` epoch, higher is better."""
    rows = epochs_of(records, [metric]).sort_values("epoch")
    runs = rows.groupby(["tier", "key"], sort=False)
    first = runs.nth(0).set_index(["tier", "key"])
    return first.assign(best=runs["value"].max(), last=runs["value"].last(), n_epochs=runs["epoch"].max()).reset_index()


def scores_of(records: pd.DataFrame, metric: str = "accuracy") -> pd.DataFrame:
    """Return one row per run on all training cells with its score on the scored cells and ``constant``.

    ``constant`` is as in `bench.report.figures.runs.with_constant`.

    Raises
    ------
    BenchError
        If no run recorded the metric.
    """
    runs = with_constant(complete(runs_of(records)))
    if not (runs["metric"] == metric).any():
        raise BenchError(f"No run on all training cells recorded {metric}; see: bench records")
    return runs[runs["metric"] == metric].reset_index(drop=True)


def slow(ends: pd.Series, margin: float = SLOW_MARGIN) -> pd.Series:
    """Return which of the runs of one series are slow, from their accuracies in the end; see the module."""
    return ends < ends.max() - margin


def by_setting(records: pd.DataFrame, setting: str) -> pd.DataFrame:
    """Return the records among which one hyper-parameter varies while all else is the same.

    The column ``setting`` holds its value; ``hyperparameters`` no longer do, so that series are named without it.

    Raises
    ------
    BenchError
        If no model has this hyper-parameter, it is not a number, or it never varies.
    """
    rows = records[records["status"] == "ok"]
    chosen = {text: parsed(text) for text in set(rows["hyperparameters"])}
    if setting not in (known := {name for settings in chosen.values() for name in settings}):
        raise unknown("hyper-parameter", setting, known)
    rows = rows[rows["hyperparameters"].map(lambda text: setting in chosen[text])]
    rows = rows.assign(
        setting=rows["hyperparameters"].map(lambda text: as_number(chosen[text][setting])).astype(float),
        hyperparameters=rows["hyperparameters"].map(
            lambda text: json.dumps({k: v for k, v in chosen[text].items() if k != setting}, sort_keys=True)
        ),
    )
    rows = rows[rows["setting"].notna()]
    varied = rows[rows.groupby([*NAMES, *SETTINGS], dropna=False)["setting"].transform("nunique") > 1]
    if varied.empty:
        raise BenchError(f"{setting} does not vary as a number while all else is equal; run it at two values or more.")
    return varied
