"""Run trials: fit on training cells alone, predict the scored cells, score."""

from contextlib import suppress
from typing import Any

import numpy as np
from anndata import AnnData

from bench.core.errors import BenchError, reason_of
from bench.core.provenance import Cost
from bench.core.unfinished import kept_in
from bench.datasets import described
from bench.datasets.loading import forget
from bench.datasets.sources import cache_folder
from bench.models import create
from bench.models.answers import predictions_of, remarks
from bench.models.contract import labels_of, without_labels
from bench.protocol import records
from bench.protocol.attempt import Result, attempt
from bench.protocol.conditions import conditions, hash_of
from bench.protocol.engine import check_jobs, complete
from bench.protocol.maps import Map, map_of
from bench.protocol.room import LARGE
from bench.protocol.sides import sides_of
from bench.protocol.trial import Task
from bench.protocol.trials import Grid
from bench.statistics.metrics import METRICS, score


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
        If the request is wrong or results cannot be written.  A trial that fails, or whose process dies, is a record,
        not an error.
    """
    check_jobs(jobs)
    cache_folder()  # says now, and not in every trial, that there is none
    records.check_writable(grid.experiment, grid.tier)
    tasks = grid.tasks()
    if any(task.needed > LARGE for task in tasks):
        forget()
    complete(tasks, run_task, f"{grid.experiment} ({grid.tier})", jobs)


def run_task(task: Task) -> Result:
    """Run one trial and return its rows and predictions, to be written by the caller.

    It needs nothing of the process that planned the trial: joblib and dask can call it as it is.
    """
    return attempt(task, _fit_and_score)


def _fit_and_score(task: Task, cost: Cost) -> Result:
    sides, dataset, trial = sides_of(task), described(task.source), task.trial
    train, scored = sides.train, sides.scored  # views: whatever a model is given is a copy of its own
    cost.n_train, cost.n_test = train.n_obs, scored.n_obs
    batch = scored.obs["batch"].astype(str).to_numpy() if "batch" in scored.obs else None
    cells = without_labels(scored.copy())
    task.check_unchanged()
    model = create(task.spec)
    state = cache_folder() / "unfinished" / f"{trial.key}-{hash_of(task.spec.weights)[:8]}.pt"
    with cost, kept_in(state) as kept:
        leaks = {"validation": scored.copy()} if task.spec.sees_scored_cells else {}
        model.fit(train.copy(), seed=trial.seed, **leaks)
        predictions = predictions_of(model, cells, sides.truth, np.unique(labels_of(train)), batch)
    cost.seconds += kept.earlier_s
    rows = [{"metric": m, "class": c, "value": v} for m, c, v in score(predictions, dataset.hard_pair)]
    rows += [{"metric": m, "class": "", "value": v} for m, v in sides.measures.items()]
    told, odd = _diagnostics(model)
    share = {"train_share": round(train.n_obs / sides.n_trainable, 6)}
    columns = share | conditions(model, task.spec, train, cells)
    rows = [columns | row for row in rows + told]
    drawn, missing = _map(model, cells, sides.truth) if task.mapped else (None, [])
    notes = tuple(remarks(predictions) + odd + missing)
    return Result(rows, scored.obs_names.to_numpy(), predictions, names=sides.names, map=drawn, notes=notes)


def _map(model, cells: AnnData, truth: np.ndarray) -> tuple[Map | None, list[str]]:
    """Return the map of an embedding, or why there is none: a number that is known is not lost for a picture."""
    try:
        return map_of(model, cells, truth), []
    except Exception as error:  # whatever an embedding of the user's raises
        reason = str(error) if isinstance(error, BenchError) else reason_of(error)
        return None, [f"there is no map of its embedding: {reason}"]


def _diagnostics(model) -> tuple[list[dict[str, Any]], list[str]]:
    """Return rows of the figures that a model tells of itself, and what is said of those that cannot be recorded."""
    rows, odd = [], []
    for metric, value in getattr(model, "diagnostics_", {}).items():
        values = _numbers(value)
        if values is None or metric in METRICS:
            why = "the name of a metric" if metric in METRICS else "neither a number nor a list of numbers"
            odd.append(f"diagnostics_[{metric!r}] is {why} and is not recorded")
        elif values.ndim:
            rows += [{"metric": metric, "class": "", "epoch": i, "value": v} for i, v in enumerate(values, start=1)]
        else:
            rows.append({"metric": metric, "class": "", "value": float(values)})
    return rows, odd


def _numbers(value: Any) -> np.ndarray | None:
    """Return a figure, or one per epoch, and nothing for anything else."""
    with suppress(Exception):  # whatever an object of the user's raises
        values = np.asarray(value, dtype=np.float64)
        return values if values.ndim < 2 else None
    return None
