"""A trial: everything that decides one number, and a key made of it; a grid: the trials a chapter asks for."""

import inspect
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from hashlib import sha256
from itertools import product
from pathlib import Path
from typing import Any

from bench import weights
from bench.core.errors import BenchError, unknown
from bench.core.keys import canonical, digest, settled, settled_of
from bench.datasets import Request, described, loaded
from bench.datasets.splits import SUBSETS, expand
from bench.models import describe
from bench.models.registry import MODELS, Spec
from bench.protocol.columns import yes_no
from bench.protocol.planning import is_planning

PROTOCOL = 1  # raise when splits, features or metrics change the numbers of an unchanged trial
TIERS = ("quick", "standin", "paper")


@dataclass(frozen=True)
class Trial:
    """Data set, split, subset, model and seed of one fit; equal trials have equal keys and are run once."""

    dataset: str  # name, or file name of a user's .h5ad
    dataset_hash: str  # of the checked content
    split: str
    subset: str
    model: str
    variant: str
    recipe: str
    hyperparameters: str  # canonical JSON, defaults included
    weights_hash: str  # empty without weights
    fraction: float
    seed: int
    protocol: str  # of the project and of the model; for a model from outside, of its source

    @property
    def key(self) -> str:
        """16 hex digits over the canonical JSON of all fields."""
        return digest(settled_of(self))


@dataclass(frozen=True)
class Task:
    """A trial and what this machine needs to run it: paths and devices, which are no part of the key."""

    trial: Trial
    experiment: str
    tier: str
    source: Request  # name or path of the data, and how they are read
    spec: Spec
    reading: dict[str, str] = field(default_factory=dict)  # how the data were read, see bench.datasets.request

    @property
    def known(self) -> dict[str, Any]:
        """Columns of the record that are known before anything runs."""
        return self.reading | {"sees_scored_cells": yes_no(self.spec.sees_scored_cells), "device": self.spec.device}

    def here(self) -> "Task":
        """Return the task as this machine can run it, with a file of weights and a device."""
        return replace(self, spec=here(self.spec, self.tier))


def here(spec: Spec, tier: str) -> Spec:
    """Return a model with the device and the weights that it has on this machine, pretrained if need be."""
    if spec.device == "auto":
        from bench.training.device import best  # torch only now

        spec = replace(spec, device=best())
    if tier != "quick" and "precision" in spec.hyperparameters:  # small networks gain nothing
        from bench.training.device import say_what_bf16_does

        say_what_bf16_does(spec.hyperparameters["precision"], spec.device)
    return replace(spec, weights=str(weights.resolve(spec.weights))) if spec.weights else spec


@dataclass(frozen=True)
class Grid:
    """What a chapter asks for: the cross product of its lists, for one experiment at one tier."""

    experiment: str
    tier: str
    dataset: str | list[str]
    models: list[str]  # names, name@variant, or import paths
    fractions: list[float] = field(default_factory=lambda: [1.0])
    seeds: list[int] = field(default_factory=lambda: [0])
    label: str | None = None
    batch: str | None = None
    layer: str | None = None  # see bench.datasets.request
    symbols: str | None = None
    drop: list[str] = field(default_factory=list)  # cell types left out
    query: str | None = None  # a data set or file whose cells are scored, in the place of a split
    split: str | list[str] | None = None  # one or several, see bench.datasets.splits; None: the data set's own
    subset: str = "paired"
    overrides: dict[str, dict[str, Any]] = field(default_factory=dict)  # by model, or by model@variant

    def __post_init__(self):
        for name in ("dataset", "models", "fractions", "seeds", "drop"):
            value = getattr(self, name)
            if not isinstance(value, (list, tuple)):  # one name stands for a list of one
                object.__setattr__(self, name, [value])
        if self.tier not in TIERS:
            raise unknown("tier", self.tier, TIERS)
        named = self.split if isinstance(self.split, (list, tuple)) else [self.split or "random"]
        if not named or not all(isinstance(name, str) for name in named):
            raise BenchError(f"split={self.split!r} should be a name, or a list such as ['random', 'held_out:*'].")
        if self.subset not in SUBSETS:
            raise unknown("subset", self.subset, SUBSETS)
        for name, (kind, example) in _LISTS.items():
            value = getattr(self, name)
            if not value or not all(isinstance(item, kind) and not isinstance(item, bool) for item in value):
                raise BenchError(f"{name}={value!r} should be a list such as {example}.")
        if bad := [fraction for fraction in self.fractions if not 0 < fraction <= 1]:
            raise BenchError(f"fractions={bad!r} should be above 0 and at most 1; 0.1 is ten per cent of the cells.")
        if bad := [seed for seed in self.seeds if seed < 0]:
            raise BenchError(f"seeds={bad!r} should be whole numbers from 0 on.")
        if not isinstance(self.overrides, dict) or not all(isinstance(o, dict) for o in self.overrides.values()):
            raise BenchError(f"overrides={self.overrides!r} should be such as {{'l1_logistic': {{'Cs': [0.1, 1]}}}}.")
        known = {name for model in self.models for name in (model, model.partition("@")[0])}
        for name in set(self.overrides) - known:
            raise unknown("model in overrides", name, known)

    def tasks(self) -> list[Task]:
        """Return one task per trial, small fractions first; data sets are loaded to know their content."""
        specs = self._specs()
        tasks = [task for name in self.dataset for task in self._of_dataset(name, specs)]
        return list({task.trial.key: task for task in tasks}.values())  # what is asked for twice is run once

    def _specs(self) -> list[Spec]:
        """Return the models with their overrides, those of a variant last, and with weights that are on this machine.

        A model whose known weights cannot be had here is left out, and that is said; others can still be run.
        """
        specs, failures = [], []
        for model in self.models:
            of_model, of_variant = (self.overrides.get(name, {}) for name in (model.partition("@")[0], model))
            spec = describe(model, of_model | of_variant)
            try:
                specs.append(spec if is_planning() else here(spec, self.tier))
            except BenchError as error:
                if spec.weights not in (*weights.known(), *weights.pretrained_names()):
                    raise
                failures.append(error)
                print(f"{self.experiment} ({self.tier}): {model} is left out. {error}", file=sys.stderr)
        if not specs:
            raise failures[0]
        return specs

    def _of_dataset(self, name: str, specs: list[Spec]) -> Iterator[Task]:
        request = Request(name, self.label, self.batch, self.layer, self.symbols, tuple(self.drop))
        dataset, adata = described(request), loaded(request)
        named = [self.split] if isinstance(self.split, str) else self.split or [dataset.split]
        for fraction, split, spec in product(sorted(self.fractions), expand(adata, named), specs):
            shared = (Path(name).name, adata.uns["bench"]["hash"], split, self.subset)
            # At 100 % nothing is drawn: models without randomness of their own need one fit, not one per seed.
            once = fraction == 1 and not getattr(spec.cls, "stochastic", True)
            for seed in self.seeds[:1] if once else self.seeds:
                trial = Trial(*shared, *_of_model(spec), float(fraction), int(seed), _protocol(spec))
                yield Task(trial, self.experiment, self.tier, request, spec, request.reading(adata))


_LISTS = {
    "dataset": (str, "['baron', 'kang']"),
    "models": (str, "['l1_logistic', 'knn']"),
    "fractions": ((int, float), "[0.1, 1.0]"),
    "seeds": (int, "[0, 1]"),
}


def _of_model(spec: Spec) -> tuple[str, str, str, str, str]:
    weights_hash = weights.identity_of(spec.weights) if spec.weights else ""
    settings = settled(spec.hyperparameters, getattr(spec.cls, "Config", None))
    return spec.name, spec.variant, spec.recipe, canonical(settings), weights_hash


def _protocol(spec: Spec) -> str:
    if spec.name in MODELS:
        return f"{PROTOCOL}.{spec.cls.protocol}"
    # A model from outside carries no version that we could trust: editing its file makes new trials.
    return f"{PROTOCOL}.{sha256(Path(inspect.getfile(spec.cls)).read_bytes()).hexdigest()[:8]}"
