"""What the chapter calls: score weights and baselines where that is not recorded, and return the records."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from joblib import Parallel, delayed
from tqdm import tqdm

from bench import records
from bench.errors import BenchError, unknown
from bench.experiments import recorded
from bench.masked.cells import VARIANTS, Rows, Weights, held_out, to_fit, tokens_of
from bench.notebooks import parse
from bench.trials import TIERS, Trial, canonical

PROTOCOL = "1.1"  # raise when the numbers of an unchanged trial change
BASELINES = {"mode_per_cell": "published", "mode_per_gene": "", "gene_depth_regression": ""}  # recipe, or what it fits
PANGLAO = "panglao"  # beginning of the file name of the paper's own data, which no data set of the project reads


@dataclass(frozen=True)
class Masked:
    """What a chapter asks for at one tier."""

    dataset: str | list[str]  # names or paths; labels are not needed
    weights: dict[str, str]  # variant -> name or path
    seeds: list[int] = field(default_factory=lambda: [2021])  # of the masks; 2021 as published
    max_cells: int = 1000  # scored, of each data set
    batch_size: int = 1  # cells that share the stabiliser; 1 as published
    device: str = "cpu"

    def __post_init__(self):
        for name in ("dataset", "seeds"):
            value = getattr(self, name)
            if not isinstance(value, (list, tuple)):  # one stands for a list of one
                object.__setattr__(self, name, [value])
        for name in ("max_cells", "batch_size"):
            if not _whole(getattr(self, name)) or getattr(self, name) < 1:
                raise BenchError(f"{name}={getattr(self, name)!r} should be a whole number of cells, at least 1.")
        if not self.seeds or not all(_whole(seed) and seed >= 0 for seed in self.seeds):
            raise BenchError(f"seeds={self.seeds!r} should be a list of whole numbers from 0 on, such as [2021].")
        if not self.dataset or not all(isinstance(name, (str, Path)) for name in self.dataset):
            raise BenchError(f"dataset={self.dataset!r} should be a list of names or paths, such as ['hao', 'baron'].")
        if isinstance(self.weights, (str, Path)):
            object.__setattr__(self, "weights", {"pretrained": self.weights})
        if not isinstance(self.weights, Mapping) or not self.weights:
            raise BenchError(f"weights={self.weights!r} should be such as {{'pretrained': 'scbert_quick'}}.")
        for variant in self.weights:
            if variant not in VARIANTS:
                raise unknown("variant in weights", variant, VARIANTS)


@dataclass(frozen=True)
class Task:
    """A trial and what this machine needs to run it, which is no part of the key."""

    trial: Trial
    experiment: str
    tier: str
    scored: Rows
    batch: int
    device: str
    weights: Path | None = None  # of a network
    fit: Rows | None = None  # of a baseline
    n_train: float = float("nan")


def masked_grid(
    experiment: str, tiers: Mapping[str, dict], *, tier: str, compute: bool, jobs: int = 1, **choices: Any
) -> pd.DataFrame:
    """Score masked positions of held-out cells at one tier where that is not recorded; return all tiers' records.

    Every variant's weights and three baselines are scored on each data set with the masks of each seed; see
    `bench.masked.score` for the metrics and `bench.masked.cells` for the cells.  Weights that were pretrained in this
    project add their curve of training: ``epoch`` counts its evaluations.

    Parameters
    ----------
    experiment
        Name of the chapter.
    tiers
        For each tier the fields of `Masked`: dataset, weights, seeds, max_cells, batch_size, device.
    tier
        The tier to run.
    compute
        False, as in the book, reads records only.
    jobs
        Trials at a time; -1 for one per core.
    choices
        Fields that take the place of the tier's own; None keeps the tier's.  Text is read as YAML.

    Raises
    ------
    BenchError
        If a choice is wrong, weights or data cannot be had, or nothing is recorded: with the command that makes it.
        A trial that fails is a record, not an error.
    """
    if tier not in tiers:
        raise unknown("tier", tier, tiers)
    chosen = {name: parse(name, value) for name, value in choices.items() if value is not None}
    for name in chosen:
        if name not in Masked.__dataclass_fields__:
            raise unknown("choice", name, Masked.__dataclass_fields__)
    request, usual = Masked(**tiers[tier] | chosen), Masked(**tiers[tier]).dataset
    foreign = [d for d in request.dataset if d not in usual and not Path(d).name.lower().startswith(PANGLAO)]
    if tier == "paper" and foreign:
        raise BenchError(
            f"tier='paper' stands for the paper's own data, not {', '.join(foreign)}; use tier='standin' for other data."
        )
    if tier not in TIERS:
        raise unknown("tier", tier, TIERS)
    if parse("compute", compute):
        _run(experiment, tier, request, parse("jobs", jobs))
    return recorded(experiment, tier)


def tasks(experiment: str, tier: str, request: Masked) -> list[Task]:
    """Return one task per trial; weights are fetched or pretrained, and the cells' tokens written, to know them."""
    found = [Weights.of(variant, name) for variant, name in request.weights.items()]
    shared = {"experiment": experiment, "tier": tier, "device": request.device}
    planned = [
        task(seed=seed)
        for dataset in request.dataset
        for given in found
        for task in _of_weights(dataset, given, request, shared)
        for seed in request.seeds
    ]
    return list({task.trial.key: task for task in planned}.values())  # baselines of equal weights are equal


def _of_weights(dataset: str, given: Weights, request: Masked, shared: dict):
    """Yield what makes a task of a seed: for the network, and for each baseline."""
    cells = tokens_of(dataset, given)
    split, rows = held_out(cells, given.seen())
    recipe, fit = to_fit(given, cells, rows)
    scored = Rows.of(cells, rows[: request.max_cells])
    of_data = (cells.datasets[0], cells.card["selections"][0]["hash"], split)
    settings = {"held_out": scored.name}
    trained = len(fit.rows) if recipe == "pretraining_cells" else float("nan")
    trial = partial(_trial, of_data, ("scbert", given.variant, "published"), given.identity)
    of_network = settings | {"batch_size": request.batch_size}
    yield partial(
        _task, partial(trial, of_network), shared, scored, request.batch_size, weights=given.path, n_train=trained
    )
    for name, peeks in BASELINES.items():
        more = {"positions": given.positions} | ({} if peeks else {"fitted_on": fit.name})
        trial = partial(_trial, of_data, (name, "default", peeks or recipe), "", settings | more)
        n_train = float("nan") if peeks else len(fit.rows)
        yield partial(_task, trial, shared, scored, 64, fit=fit, n_train=n_train)


def _trial(of_data: tuple, of_model: tuple, weights_hash: str, settings: dict, seed: int) -> Trial:
    name, digest, split = of_data
    model, variant, recipe = of_model
    return Trial(
        *(Path(name).name, digest, split, "", model, variant, recipe, canonical(settings), weights_hash),
        *(1.0, seed, PROTOCOL),
    )


def _task(trial, shared: dict, scored: Rows, batch: int, *, seed: int, **of_model) -> Task:
    return Task(trial(seed), shared["experiment"], shared["tier"], scored, batch, shared["device"], **of_model)


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
