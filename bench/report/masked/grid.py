"""What the chapter calls: score weights and baselines where that is not recorded, and return the records."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.core.errors import BenchError, unknown
from bench.core.provenance import Cost
from bench.protocol import gpus, records
from bench.protocol.attempt import Result, attempt
from bench.protocol.conditions import hash_of
from bench.protocol.engine import check_jobs, complete
from bench.protocol.experiments import recorded
from bench.protocol.parameters import given
from bench.protocol.planning import is_planning, listed
from bench.protocol.trial import Trial
from bench.report.masked.cells import Weights
from bench.report.masked.request import READING, Request, Task, tasks, trial_of

PANGLAO = "panglao"  # beginning of the file name of the paper's own data, which no data set of the project reads


def masked_grid(
    experiment: str, tiers: Mapping[str, dict], *, tier: str, compute: bool, jobs: int = 1, **choices: Any
) -> pd.DataFrame:
    """Score masked positions of held-out cells at one tier where that is not recorded; return all tiers' records.

    Every variant's weights and the baselines are scored on each data set with the masks of each seed; see
    `score` for the metrics and `cells` for the cells.  Weights that were pretrained in this
    project add their curve of training: ``epoch`` counts its evaluations.

    Parameters
    ----------
    experiment
        Name of the chapter.
    tiers
        For each tier the fields of `Request`: dataset, weights, seeds, max_cells, batch_size, device, baselines_only.
    tier
        The tier to run.
    compute
        False, as in the book, reads records only.
    jobs
        Trials at a time; -1 for one per core.
    choices
        Fields that take the place of the tier's own; None keeps the tier's.  Text is read as `run_grid` does.

    Raises
    ------
    BenchError
        If a choice is wrong, weights or data cannot be had, or nothing is recorded: with the command that makes it.
        A trial that fails is a record, not an error.
    """
    if tier not in tiers:
        raise unknown("tier", tier, tiers)
    chosen = given(choices | {"compute": compute, "jobs": jobs})
    compute, jobs = chosen.pop("compute", False), chosen.pop("jobs", 1)
    for name in chosen:
        if name not in Request.__dataclass_fields__:
            raise unknown("choice", name, Request.__dataclass_fields__)
    request, usual = Request(**tiers[tier] | chosen), Request(**tiers[tier]).dataset
    foreign = [d for d in request.dataset if d not in usual and not Path(d).name.lower().startswith(PANGLAO)]
    if tier == "paper" and foreign:
        raise BenchError(
            f"tier='paper' stands for the paper's own data, not {', '.join(map(str, foreign))}; "
            "use tier='standin' for other data."
        )
    if compute:
        _run(experiment, tier, request, jobs)
    return recorded(experiment, tier)


def _run(experiment: str, tier: str, request: Request, jobs: int) -> None:
    check_jobs(jobs)
    records.check_writable()
    without_weights = request.baselines_only or is_planning()
    if not without_weights:
        from bench.training.device import device_of  # torch only now

        request = replace(request, device=str(device_of(gpus.asked(request.device))))
    find = Weights.planned if without_weights else Weights.of
    given = [find(variant, name) for variant, name in request.weights.items()]
    courses = [] if request.baselines_only else [c for w in given if (c := _course(experiment, tier, w))]
    if is_planning():
        listed(courses, run_course)
    else:
        for course in courses:
            if not records.is_done(experiment, tier, course.trial.key):
                run_course(course).write()
    complete(tasks(request, given, experiment, tier), run_task, f"{experiment} ({tier})", jobs)


def run_task(task: Task) -> Result:
    """Run one trial and return its rows, to be written by the caller."""
    return attempt(task, _scored)


def _scored(task: Task, cost: Cost) -> Result:
    from bench.report.masked.score import score_task  # torch only now

    cost.n_train, cost.n_test = task.n_train, len(task.scored.rows)
    with cost:
        rows, audit = score_task(task)
    return Result([{"weights": audit} | row for row in rows])


@dataclass(frozen=True)
class Course:
    """Loss and masked accuracy in the course of a pretraining of this project: a record that is read from its card."""

    trial: Trial
    experiment: str
    tier: str
    weights: Weights

    def here(self) -> "Course":
        """Return it with the file of weights, pretrained if need be."""
        return replace(self, weights=self.weights.here())


def _course(experiment: str, tier: str, weights: Weights) -> Course | None:
    """Return what is to be recorded of a pretraining; None for weights from elsewhere."""
    if (known := weights.pretraining()) is None:
        return None
    recipe, cells = known
    settings = asdict(replace(recipe, selections=()))
    del settings["selections"]
    data = {"dataset": ", ".join(Path(name).name for name in cells.datasets), "dataset_hash": cells.content}
    model = {"model": "scbert", "variant": weights.variant, "recipe": "pretraining", "weights_hash": weights.identity}
    trial = trial_of(recipe.seed, settings, **data, **model, split="validation_5_percent")
    return Course(trial, experiment, tier, weights)


def run_course(course: Course) -> Result:
    """Return the rows of a pretraining, to be written by the caller."""
    from bench.training.pretrain import N_VALIDATION  # torch only now

    weights, card = course.weights, course.weights.card()
    recipe, cells = weights.pretraining()
    train, validation = (len(rows) for rows in cells.split(recipe.validation_share, recipe.seed))
    shared = asdict(course.trial) | {name: card[name] for name in ("seconds", "commit", "versions")}
    shared |= {"experiment": course.experiment, "tier": course.tier, "key": course.trial.key, "status": "ok"}
    shared |= {"class": ""} | READING | {"sees_scored_cells": "no", "pretrained_on_scored_cells": "no"}
    shared |= {"weights_sha256": hash_of(weights.path), "genes_wanted": len(weights.genes), "device": card["hardware"]}
    shared |= {"n_train": train, "n_test": min(validation, N_VALIDATION)}
    rows, before = [], 0
    for epoch, point in enumerate(card["curve"], start=1):
        trained = float(np.mean(card["losses"][before : point["step"]]))
        values = {"train_loss": trained, "validation_loss": point["loss"], "masked_accuracy": point["accuracy"]}
        rows += [{"metric": metric, "epoch": epoch, "value": value} for metric, value in values.items()]
        before = point["step"]
    return Result([shared | row for row in rows])
