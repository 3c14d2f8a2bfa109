"""Run trials: fit on training cells alone, predict the scored cells, score."""

from typing import Any

import numpy as np

from bench.core.provenance import Cost
from bench.core.unfinished import kept_in
from bench.datasets import described, loaded
from bench.datasets.sources import cache_folder
from bench.datasets.splits import split, subset
from bench.models import create
from bench.models.contract import Annotator, without_labels
from bench.protocol import records
from bench.protocol.conditions import conditions, hash_of
from bench.protocol.engine import Result, attempt, check_jobs, complete
from bench.protocol.trials import Grid, Task
from bench.statistics.metrics import score
from bench.statistics.predictions import Predictions


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
    records.check_writable()
    complete(grid.tasks(), run_task, f"{grid.experiment} ({grid.tier})", jobs)


def run_task(task: Task) -> Result:
    """Run one trial and return its rows and predictions, to be written by the caller.

    It needs nothing of the process that planned the trial: joblib and dask can call it as it is.
    """
    return attempt(task, _fit_and_score)


def _fit_and_score(task: Task, cost: Cost) -> Result:
    adata, dataset, trial = loaded(task.source), described(task.source), task.trial
    rows_of = split(adata, trial.split)
    stratified = dataset.published_subset == "stratified"
    chosen = subset(adata, rows_of.train, trial.fraction, trial.seed, trial.subset, stratified)
    train, scored = adata[chosen].copy(), adata[rows_of.test].copy()
    cost.n_train, cost.n_test = train.n_obs, scored.n_obs
    truth = scored.obs["cell_type"].astype(str).to_numpy()
    model = create(task.spec)
    state = cache_folder() / "unfinished" / f"{trial.key}-{hash_of(task.spec.weights)[:8]}.pt"
    with cost, kept_in(state) as kept:
        leaks = {"validation": scored} if task.spec.sees_scored_cells else {}
        model.fit(train, seed=trial.seed, **leaks)
        cells = without_labels(scored)
        probabilities = np.asarray(model.predict_proba(cells))
        own = getattr(type(model), "predict", Annotator.predict)
        predicted = None if own is Annotator.predict else np.asarray(model.predict(cells))  # not to infer twice
    cost.seconds += kept.earlier_s
    batch = scored.obs["batch"].astype(str).to_numpy() if "batch" in scored.obs else None
    predictions = Predictions(truth, probabilities, np.asarray(model.classes_), predicted, batch)
    rows = [{"metric": m, "class": c, "value": v} for m, c, v in score(predictions, dataset.hard_pair)]
    share = {"train_share": round(train.n_obs / len(rows_of.train), 6)}
    columns = share | conditions(model, task.spec, train, cells)
    return Result([columns | row for row in rows + _diagnostics(model)], scored.obs_names.to_numpy(), predictions)


def _diagnostics(model) -> list[dict[str, Any]]:
    rows = []
    for metric, value in getattr(model, "diagnostics_", {}).items():
        if np.ndim(value):
            rows += [{"metric": metric, "class": "", "epoch": i, "value": v} for i, v in enumerate(value, start=1)]
        else:
            rows.append({"metric": metric, "class": "", "value": value})
    return rows
