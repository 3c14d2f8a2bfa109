"""What a chapter asks for, and the trials that it amounts to: keys come from cells, weights and settings alone."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bench.core.errors import BenchError, unknown
from bench.core.keys import canonical
from bench.protocol.columns import yes_no
from bench.protocol.conditions import hash_of
from bench.protocol.trial import Trial
from bench.report.masked.cells import VARIANTS, Rows, Weights, held_out, to_fit, tokens_of
from bench.weights import resolve
from bench.weights.vocabulary import genes_of

PROTOCOL = "1.1"  # raise when the numbers of an unchanged trial change
FITTED = ("mode_per_gene", "gene_depth_regression")  # baselines that are fitted; mode_per_cell is not
READING = {"label": "none", "batch": "none", "layer": "X", "symbols": "var_names", "dropped_types": "[]"}
BASELINE_BATCH = 64  # cells at a time; no baseline depends on it


@dataclass(frozen=True)
class Request:
    """Cells, weights and masks of one tier."""

    dataset: str | list[str]  # names or paths; labels are not needed
    weights: dict[str, str]  # variant -> name or path; one alone is the pretrained variant
    seeds: list[int] = field(default_factory=lambda: [2021])  # of the masks; 2021 as published
    max_cells: int = 1000  # scored, of each data set
    batch_size: int = 1  # cells that share the network's stabiliser; 1 as published
    device: str = "cpu"
    baselines_only: bool = False  # no network is scored, so that weights of this project need not be pretrained

    def __post_init__(self):
        for name in ("dataset", "seeds"):
            value = getattr(self, name)
            if not isinstance(value, (list, tuple)):  # one stands for a list of one
                object.__setattr__(self, name, [value])
        if isinstance(self.weights, (str, Path)):
            object.__setattr__(self, "weights", {VARIANTS[0]: self.weights})
        for name in ("max_cells", "batch_size"):
            if not _whole(getattr(self, name)) or getattr(self, name) < 1:
                raise BenchError(f"{name}={getattr(self, name)!r} should be a whole number of cells, at least 1.")
        if not isinstance(self.baselines_only, bool):
            raise BenchError(f"baselines_only={self.baselines_only!r} should be True or False.")
        if not self.seeds or not all(_whole(seed) and seed >= 0 for seed in self.seeds):
            raise BenchError(f"seeds={self.seeds!r} should be a list of whole numbers from 0 on, such as [2021].")
        if not self.dataset or not all(isinstance(name, (str, Path)) for name in self.dataset):
            raise BenchError(f"dataset={self.dataset!r} should be a list of names or paths, such as ['hao', 'baron'].")
        if not isinstance(self.weights, Mapping) or not self.weights:
            raise BenchError(f"weights={self.weights!r} should be such as {{'pretrained': 'scbert_quick'}}.")
        for variant in self.weights:
            if variant not in VARIANTS:
                raise unknown("variant in weights", variant, VARIANTS)


@dataclass(frozen=True)
class Task:
    """A trial and what this machine needs to run it, which is no part of the key."""

    trial: Trial
    scored: Rows
    batch: int
    weights: Path | str | None = None  # of a network: a file, or a name of weights that may have to be made first
    fit: Rows | None = None  # of a baseline that is fitted
    n_train: float = float("nan")
    device: str = "cpu"
    experiment: str = ""
    tier: str = ""
    told: dict[str, Any] = field(default_factory=dict)  # more columns of the record

    @property
    def known(self) -> dict[str, Any]:
        """Columns of the record that are known before anything runs."""
        sees = yes_no(self.trial.model == "mode_per_cell")
        more = {"sees_scored_cells": sees, "device": self.device, "weights_sha256": hash_of(self.weights)}
        return READING | self.told | more

    def here(self) -> "Task":
        """Return the task as this machine can run it, with a file of weights and a device."""
        if not self.weights:
            return self
        from bench.training.device import device_of  # torch only now

        return replace(self, weights=resolve(self.weights), device=str(device_of(self.device)))


def tasks(request: Request, given: list[Weights], experiment: str = "", tier: str = "") -> list[Task]:
    """Return one task per trial; baselines that weights share are run once."""
    planned = [
        replace(task, experiment=experiment, tier=tier)
        for dataset in request.dataset
        for weights in given
        for task in _of_weights(dataset, weights, request)
    ]
    return list({task.trial.key: task for task in planned}.values())


def _of_weights(dataset: str, weights: Weights, request: Request) -> Iterator[Task]:
    """Yield the tasks of a network and of the baselines that saw as much as it."""
    cells = tokens_of(dataset, weights)
    split, rows = held_out(cells, weights.seen())
    fits = to_fit(weights, cells, rows)
    scored = Rows.of(cells, rows[: request.max_cells])
    data = {"dataset": cells.datasets[0], "dataset_hash": cells.card["selections"][0]["hash"], "split": split}
    n_train = len(fits[0][2].rows) if fits[0][1] == "pretraining_cells" else float("nan")
    there = set(genes_of(str(dataset)))
    told = {"genes_wanted": len(weights.genes), "genes_used": sum(gene in there for gene in weights.genes)}
    told["pretrained_on_scored_cells"] = "no"  # of baselines; of a network where nobody knows what it has seen:
    unknown_cells = {"pretrained_on_scored_cells": "unknown"} if weights.seen() is None else {}
    for seed in request.seeds:
        settings = {"held_out": scored.name, "batch_size": request.batch_size}
        network = {"model": "scbert", "variant": weights.variant, "recipe": "published"}
        if not request.baselines_only:
            trial = trial_of(seed, settings, **data, **network, weights_hash=weights.identity)
            more = {"n_train": n_train, "device": request.device, "told": told | unknown_cells}
            yield Task(trial, scored, request.batch_size, weights.path or weights.name, **more)
        settings = {"held_out": scored.name, "positions": weights.positions}
        trial = trial_of(seed, settings, **data, model="mode_per_cell", recipe="published")
        yield Task(trial, scored, BASELINE_BATCH, told=told)
        for variant, recipe, fit in fits:
            for name in FITTED:
                more = settings | {"fitted_on": fit.name}
                trial = trial_of(seed, more, **data, model=name, variant=variant, recipe=recipe)
                yield Task(trial, scored, BASELINE_BATCH, fit=fit, n_train=len(fit.rows), told=told)


def trial_of(seed: int, settings: dict[str, Any], *, dataset: str, **more: str) -> Trial:
    """Return a trial on masked positions; it has no labels, hence no subset of training cells."""
    blank = {"subset": "", "variant": "default", "weights_hash": "", "fraction": 1.0, "protocol": PROTOCOL}
    return Trial(**blank | {"dataset": Path(dataset).name, "hyperparameters": canonical(settings), "seed": seed} | more)


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
