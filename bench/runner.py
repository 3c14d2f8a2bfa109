"""Run trials: fit on training cells alone, predict the scored cells, score, record."""

import logging
import os
import platform
import subprocess
import sys
import threading
import time
import traceback
from dataclasses import asdict
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from anndata import AnnData
from joblib import Parallel, delayed, parallel_config
from tqdm import tqdm

from bench import records
from bench.datasets import find, load
from bench.errors import BenchError
from bench.metrics import score
from bench.models import create
from bench.predictions import Predictions
from bench.splits import split, subset
from bench.trials import Grid, Task

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
    missing = [t for t in tasks if not records.is_done(t.experiment, t.tier, t.trial.key)]
    label = f"{grid.experiment} ({grid.tier})"
    recorded = len(tasks) - len(missing)
    print(f"{label}: {recorded} of {len(tasks)} trials recorded, {len(missing)} to run", file=sys.stderr)
    if not missing:
        return
    failed = list(filter(None, tqdm(_outcomes(missing, jobs), total=len(missing), desc=label, unit="trial")))
    if failed:
        print(f"{label}: {len(failed)} of {len(missing)} trials failed, e.g. {failed[0]}", file=sys.stderr)


def _outcomes(tasks: list[Task], jobs: int):
    """Yield the reason of failure or an empty string as trials end."""
    if jobs == 1:
        with parallel_config(n_jobs=-1):
            yield from (run_task(task) for task in tasks)
    else:
        yield from Parallel(n_jobs=jobs, return_as="generator_unordered")(delayed(run_task)(task) for task in tasks)


def run_task(task: Task) -> str:
    """Run and record one trial; return why it failed, or an empty string."""
    cost, rows, cells, predictions = _Cost(), [], None, None
    status = "ok"
    try:
        rows, cells, predictions = _execute(task, cost)
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
            "sees_scored_cells": task.spec.recipe in getattr(task.spec.cls, "leaking_recipes", ()),
            "device": f"{task.spec.device} ({os.cpu_count()} cores)",
            "key": task.trial.key,
            "status": status,
        }
    )
    records.write([shared | row for row in rows], cells, predictions)
    return "" if status == "ok" else f"{task.trial.model}, fraction {task.trial.fraction:g}, {status}"


def _execute(task: Task, cost: "_Cost") -> tuple[list[dict], np.ndarray, Predictions]:
    adata, dataset, trial = load(*task.source), find(*task.source), task.trial
    rows_of = split(adata, trial.split)
    stratified = dataset.published_subset == "stratified"
    chosen = subset(adata, rows_of.train, trial.fraction, trial.seed, trial.subset, stratified)
    train, scored = adata[chosen].copy(), adata[rows_of.test].copy()
    cost.n_train, cost.n_test = train.n_obs, scored.n_obs
    truth = scored.obs["cell_type"].astype(str).to_numpy()
    model = create(task.spec)
    with cost:
        leaks = {"validation": scored} if getattr(model, "sees_scored_cells", False) else {}
        model.fit(train, seed=trial.seed, **leaks)
        cells = without_labels(scored)
        probabilities = np.asarray(model.predict_proba(cells))
        predicted = np.asarray(model.predict(cells)) if hasattr(model, "predict") else None
    predictions = Predictions(truth, probabilities, np.asarray(model.classes_), predicted)
    rows = [{"metric": m, "class": c, "value": v} for m, c, v in score(predictions, dataset.hard_pair)]
    return rows + _diagnostics(model), scored.obs_names.to_numpy(), predictions


def describe_dataset(experiment: str, tier: str, name: str, label: str | None = None, batch: str | None = None) -> None:
    """Record size, depth and composition of a data set: cells per type and batch, median counts and genes per cell."""
    adata, dataset = load(name, label, batch), find(name, label, batch)
    figures = {
        "n_cells": adata.n_obs,
        "n_genes": adata.n_vars,
        "n_types": adata.obs["cell_type"].nunique(),
        "n_batches": adata.obs["batch"].nunique() if "batch" in adata.obs else 0,
        "median_genes": float(np.median(np.diff(adata.X.indptr))),
    }
    if dataset.values == "counts":
        figures["median_counts"] = float(np.median(adata.X.sum(axis=1)))
    sides = split(adata, dataset.split)
    figures |= {"n_train": len(sides.train), "n_test": len(sides.test)}
    rows = [{"metric": metric, "class": "", "value": value} for metric, value in figures.items()]
    for column, metric in (("cell_type", "cells_of_type"), ("batch", "cells_of_batch")):
        counts = adata.obs[column].value_counts() if column in adata.obs else {}
        rows += [{"metric": metric, "class": str(value), "value": n} for value, n in counts.items()]
    digest = adata.uns["bench"]["hash"]
    shared = {"dataset": Path(name).name, "dataset_hash": digest, "split": dataset.split, "key": digest, "status": "ok"}
    shared |= {"experiment": experiment, "tier": tier, "commit": _commit(), "versions": _versions()}
    records.write([shared | row for row in rows])


def without_labels(cells: AnnData) -> AnnData:
    """Return the cells as a model may see them at prediction: expression, genes and batch."""
    obs = cells.obs[[column for column in ("batch",) if column in cells.obs]]
    return AnnData(cells.X, obs=obs.copy(), var=cells.var, uns=dict(cells.uns))


def _diagnostics(model) -> list[dict[str, Any]]:
    rows = []
    for metric, value in getattr(model, "diagnostics_", {}).items():
        if np.ndim(value):
            rows += [{"metric": metric, "class": "", "epoch": i, "value": v} for i, v in enumerate(value, start=1)]
        else:
            rows.append({"metric": metric, "class": "", "value": value})
    return rows


class _Cost:
    """Wall time and peak resident memory of a ``with`` block, of this process and its workers."""

    n_train = n_test = seconds = peak = np.nan

    def __enter__(self):
        self._done, self.peak = threading.Event(), 0
        self._watch = threading.Thread(target=self._sample, daemon=True)
        self._start = time.perf_counter()
        self._watch.start()
        return self

    def __exit__(self, *_):
        self.seconds = time.perf_counter() - self._start
        self._done.set()
        self._watch.join()

    def _sample(self):
        me = psutil.Process()
        while True:
            total = 0
            for process in (me, *me.children(recursive=True)):
                try:
                    total += process.memory_info().rss
                except psutil.NoSuchProcess:
                    continue
            self.peak = max(self.peak, total)
            if self._done.wait(0.05):
                return

    def provenance(self) -> dict[str, Any]:
        """Return the columns of cost and provenance."""
        return {
            "n_train": self.n_train,
            "n_test": self.n_test,
            "seconds": round(self.seconds, 3),
            "peak_memory_mb": round(self.peak / 1e6),
            "commit": _commit(),
            "versions": _versions(),
        }


@lru_cache
def _commit() -> str:
    def git(*words: str) -> str:
        return subprocess.run(["git", "-C", records.ROOT, *words], capture_output=True, text=True, check=True).stdout

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", "bench")
        return git("rev-parse", "--short=12", "HEAD").strip() + ("-dirty" if changed.strip() else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


@lru_cache
def _versions() -> str:
    packages = ["numpy", "scipy", "scikit-learn", "anndata"]
    if "torch" in sys.modules:
        packages.append("torch")
    return "; ".join([f"python {platform.python_version()}", *(f"{name} {version(name)}" for name in packages)])
