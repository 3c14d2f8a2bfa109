"""Committed trials run once more, each with its verdict, in lines to read or as a table; nothing is recorded."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from bench.core.errors import BenchError
from bench.core.interrupts import interrupts_delivered
from bench.core.workers import Lost, answers
from bench.protocol import records
from bench.protocol.attempt import Result, failed
from bench.protocol.columns import COLUMNS, called
from bench.protocol.engine import WARM
from bench.protocol.rerun.comparing import MADE_BY, compared, labels_differ, reasons
from bench.protocol.rerun.finding import Run, task_of

NAMED = ["experiment", "tier", "dataset", "model", "variant", "fraction", "seed", "key"]


@dataclass(frozen=True, eq=False)
class Verdict:
    """A committed trial and what became of it when it was run again."""

    trial: pd.Series  # the first row of its record
    again: dict[str, Any] = field(default_factory=dict)  # likewise, of the second run
    metrics: pd.DataFrame = field(default_factory=pd.DataFrame)  # see `bench.protocol.rerun.comparing.compared`
    labels_differ: float = np.nan  # share of the scored cells with another type, 0-1
    failure: str = ""  # why there is no second run

    @property
    def is_equal(self) -> bool:
        """Whether all values and labels came out again."""
        if self.failure or self.labels_differ > 0:
            return False
        return bool((self.metrics["equal"] == self.metrics["values"]).all())

    @property
    def reasons(self) -> list[str]:
        """What was not the same when the two were made."""
        return [] if self.failure else reasons(self.trial, self.again)


def verdicts(trials: pd.DataFrame, jobs: int = 1) -> Iterator[Verdict]:
    """Yield a verdict for each trial as it ends, first for those that cannot be run here.

    Parameters
    ----------
    trials
        As `bench.protocol.rerun.finding.committed` returns them.
    jobs
        Trials at a time, each in a process of its own; -1 for one per core.
    """
    from joblib import cpu_count

    runs: dict[str, tuple[pd.Series, Run]] = {}
    for _, trial in trials.iterrows():
        try:
            runs[trial["key"]] = trial, task_of(trial)
        except BenchError as error:
            yield Verdict(trial, failure=str(error))
    n_workers = min(cpu_count() if jobs == -1 else jobs, len(runs))
    tasks = [run for _, run in runs.values()]
    with interrupts_delivered(), closing(answers(_run, tasks, n_workers, WARM)) as ended:
        for (task, _), answer in ended:
            result = failed(task, str(answer)) if isinstance(answer, Lost) else answer
            yield _verdict(runs[task.trial.key][0], result)


def _run(run: Run) -> Result:
    task, work = run
    return work(task)


def _verdict(trial: pd.Series, result: Result) -> Verdict:
    if result.failure:
        return Verdict(trial, failure=result.failure)
    rows = records.read(trial["experiment"], own=False)
    recorded = rows[(rows["tier"] == trial["tier"]) & (rows["key"] == trial["key"])]
    metrics = compared(recorded, pd.DataFrame(result.rows, columns=list(COLUMNS)))
    share = labels_differ(trial["experiment"], trial["key"], result)
    return Verdict(trial, result.rows[0], metrics, share)


def said(verdict: Verdict, *, in_full: bool) -> list[str]:
    """Return the lines that tell a verdict: one for the trial, one for each metric that differs, one for the reasons.

    Parameters
    ----------
    verdict
        As `verdicts` yields it.
    in_full
        Name metrics that are equal, and what was different although all are equal, as well.
    """
    trial = verdict.trial
    what = f"{trial['key']}  {trial['experiment']} {trial['tier']}: {called(trial)}"
    if verdict.failure:
        return [f"{what}: not run. {verdict.failure}"]
    lines = [f"{what}: {'equal' if verdict.is_equal else 'differs'}"]
    shown = verdict.metrics if in_full else verdict.metrics.query("equal < values")
    lines += [_line(metric) for metric in shown.to_dict("records")]
    if not np.isnan(verdict.labels_differ) and (in_full or verdict.labels_differ):
        lines.append(f"  {verdict.labels_differ:.2%} of the scored cells have another label")
    if in_full or not verdict.is_equal:
        lines.append(f"  not the same: {', '.join(verdict.reasons) or 'nothing that is recorded'}")
    return lines


def _line(metric: dict[str, Any]) -> str:
    of = f"{metric['equal']} of {metric['values']} values equal; furthest: " if metric["values"] > 1 else ""
    if metric["equal"] == metric["values"]:
        return f"  {metric['metric']:<24}equal" + (f", {metric['values']} values" if of else f", {metric['again']:.6g}")
    if np.isnan(metric["difference"]):
        return f"  {metric['metric']:<24}{of}recorded {metric['recorded']:.6g}, again {metric['again']:.6g}"
    values = f"recorded {metric['recorded']:.6g}, again {metric['again']:.6g}"
    return f"  {metric['metric']:<24}{of}{values}, difference {metric['difference']:+.2g}"


def table_of(found: list[Verdict]) -> pd.DataFrame:
    """Return one row per trial and metric, with what made the record and the second run; what failed has one row."""
    table = pd.concat([_rows(verdict) for verdict in found], ignore_index=True)
    numbers = table.select_dtypes("number").map(lambda value: float(f"{value:.6g}"))
    return table.assign(**numbers).astype({"seed": int})


def _rows(verdict: Verdict) -> pd.DataFrame:
    trial = verdict.trial
    shared = {column: trial[column] for column in NAMED}
    shared |= {"labels_differ": verdict.labels_differ, "failure": verdict.failure}
    for column in MADE_BY:
        shared |= {f"{column}_recorded": trial[column], f"{column}_again": verdict.again.get(column, "")}
    shared["not_the_same"] = ", ".join(verdict.reasons)
    metrics = verdict.metrics if len(verdict.metrics) else pd.DataFrame([{"metric": ""}])
    return metrics.assign(**shared)[[*NAMED, *metrics.columns, *list(shared)[len(NAMED) :]]]
