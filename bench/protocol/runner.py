"""Run trials: fit on training cells alone, predict the scored cells, score, record."""

import logging
import os
import sys
import traceback
from dataclasses import asdict
from typing import Any

import numpy as np
from joblib import Parallel, delayed, parallel_config
from tqdm import tqdm

from bench.core.errors import BenchError
from bench.core.interrupts import interrupts_delivered
from bench.core.provenance import Cost
from bench.datasets import find, load
from bench.datasets.splits import split, subset
from bench.models import create
from bench.models.contract import Annotator, without_labels
from bench.protocol import records
from bench.protocol.trials import Grid, Task
from bench.statistics.metrics import score
from bench.statistics.predictions import Predictions

log = logging.getLogger("bench")


def run(grid: Grid, *, jobs: int = 1) -> None:
    """Run the trials of a grid that the user's own results do not hold yet.

    Parameters
    ----------
    grid
        The trials.
    jobs
        Trials at a time, each in a process of its own; -1 for one per core.  With 1, a model may use all cores.

    Raises
    ------
    BenchError
        If the request is wrong or results cannot be written.  A trial that fails is a record, not an error.
    """
    if not isinstance(jobs, int) or jobs == 0 or jobs < -1:
        raise BenchError(f"jobs={jobs!r} should be a whole number of processes, or -1 for one per core.")
    records.check_writable()
    tasks = grid.tasks()
    missing = [t for t in tasks if not _is_recorded(t.experiment, t.tier, t.trial.key)]
    label = f"{grid.experiment} ({grid.tier})"
    recorded = len(tasks) - len(missing)
    print(f"{label}: {recorded} of {len(tasks)} trials recorded, {len(missing)} to run", file=sys.stderr)
    if not missing:
        return
    with interrupts_delivered():
        failed = list(filter(None, tqdm(_outcomes(missing, jobs), total=len(missing), desc=label, unit="trial")))
    if failed:
        print(f"{label}: {len(failed)} of {len(missing)} trials failed, e.g. {failed[0]}", file=sys.stderr)


def _is_recorded(*trial: str) -> bool:
    """Say whether an experiment holds a trial, be it because another one has run it."""
    return records.is_done(*trial) or records.adopt(*trial)


def _outcomes(tasks: list[Task], jobs: int):
    """Yield the reason of failure or an empty string as trials end."""
    if jobs == 1:
        with parallel_config(n_jobs=-1):
            yield from (run_task(task) for task in tasks)
    else:
        tasks = sorted(tasks, key=lambda task: -task.trial.fraction)  # longest first: no core waits at the end
        yield from Parallel(n_jobs=jobs, return_as="generator_unordered")(delayed(run_task)(task) for task in tasks)


def run_task(task: Task) -> str:
    """Run and record one trial; return why it failed, or an empty string."""
    cost, rows, cells, predictions, weights = Cost(), [], None, None, ""
    status = "ok"
    try:
        rows, cells, predictions, weights = _execute(task, cost)
    except Exception as error:
        # Whatever a model raises is a result of this trial; the others go on.
        status = f"failed: {type(error).__name__}: {' '.join(str(error).split())}"[:500]
        log.warning("%s\n%s", status, traceback.format_exc())
        rows = [{"metric": "", "class": "", "value": np.nan}]
    shared = (
        asdict(task.trial)
        | cost.provenance()
        | {
            "experiment": task.experiment,
            "tier": task.tier,
            "sees_scored_cells": task.spec.sees_scored_cells,
            "weights": weights,
            "device": f"{task.spec.device} ({os.cpu_count()} cores)",
            "key": task.trial.key,
            "status": status,
        }
    )
    records.write([shared | row for row in rows], cells, predictions)
    return "" if status == "ok" else f"{task.trial.model}, fraction {task.trial.fraction:g}, {status}"


def _execute(task: Task, cost: Cost) -> tuple[list[dict], np.ndarray, Predictions, str]:
    adata, dataset, trial = load(*task.source), find(*task.source), task.trial
    rows_of = split(adata, trial.split)
    stratified = dataset.published_subset == "stratified"
    chosen = subset(adata, rows_of.train, trial.fraction, trial.seed, trial.subset, stratified)
    train, scored = adata[chosen].copy(), adata[rows_of.test].copy()
    cost.n_train, cost.n_test = train.n_obs, scored.n_obs
    truth = scored.obs["cell_type"].astype(str).to_numpy()
    model = create(task.spec)
    with cost:
        leaks = {"validation": scored} if task.spec.sees_scored_cells else {}
        model.fit(train, seed=trial.seed, **leaks)
        cells = without_labels(scored)
        probabilities = np.asarray(model.predict_proba(cells))
        own = getattr(type(model), "predict", Annotator.predict)
        predicted = None if own is Annotator.predict else np.asarray(model.predict(cells))  # not to infer twice
    batch = scored.obs["batch"].astype(str).to_numpy() if "batch" in scored.obs else None
    predictions = Predictions(truth, probabilities, np.asarray(model.classes_), predicted, batch)
    rows = [{"metric": m, "class": c, "value": v} for m, c, v in score(predictions, dataset.hard_pair)]
    return rows + _diagnostics(model), scored.obs_names.to_numpy(), predictions, getattr(model, "audit_", "")


def _diagnostics(model) -> list[dict[str, Any]]:
    rows = []
    for metric, value in getattr(model, "diagnostics_", {}).items():
        if np.ndim(value):
            rows += [{"metric": metric, "class": "", "epoch": i, "value": v} for i, v in enumerate(value, start=1)]
        else:
            rows.append({"metric": metric, "class": "", "value": value})
    return rows
