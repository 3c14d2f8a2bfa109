"""A trial: everything that decides one number, and a key made of it."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bench import weights
from bench.core.errors import BenchError
from bench.core.keys import added, canonical, digest, settled, settled_of
from bench.datasets import Request
from bench.datasets.loading import file_of
from bench.models.origin import is_ours, origin_of, said
from bench.models.origin.settings import settings_of
from bench.models.spec import Spec
from bench.protocol import gpus
from bench.protocol.columns import yes_no
from bench.protocol.planning import is_planning

PROTOCOL = 1  # raise when splits, features or metrics change the numbers of an unchanged trial
_IMPORTED: dict[tuple[type, str], str] = {}  # versions of models from outside as this process first met them


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
    protocol: str  # of the project and of the model; for a model from outside, of what it imports
    query_hash: str = added("")  # of the checked content of other data that are scored, in the place of a split
    predictions_hash: str = added("")  # of what another tool has predicted; empty for models that run here

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
    query: Request | None = None  # the data that are scored, where they are no part of the source
    mapped: bool = False  # whether a map of the embedding is kept, see bench.protocol.maps
    needed: float = 0.0  # bytes of memory, see bench.protocol.room

    @property
    def known(self) -> dict[str, Any]:
        """Columns of the record that are known before anything runs."""
        return self.reading | {"sees_scored_cells": yes_no(self.spec.sees_scored_cells), "device": self.spec.device}

    @property
    def files(self) -> list[str]:
        """Paths of the files of this machine that it reads: data, vectors, weights."""
        asked = [request for request in (self.source, self.query) if request]
        read = [str(file_of(request)) for request in asked] + [name for request in asked for name in request.obsm]
        return [path for path in (*read, self.spec.weights) if path and Path(path).is_file()]

    def moved(self, places: Mapping[str, str]) -> "Task":
        """Return the task on a machine where these files have other paths."""
        named = {name: getattr(self.spec, name) for name in ("weights", "variant")}  # the latter may name vectors
        spec = replace(self.spec, **{name: places.get(path, path) for name, path in named.items()})
        return replace(self, source=_moved(self.source, places), query=_moved(self.query, places), spec=spec)

    def check_unchanged(self) -> None:
        """Raise a BenchError if this process has imported another version of the model than the key was made of."""
        cls = self.spec.cls
        vouched_for = self.trial.protocol == f"{PROTOCOL}.{getattr(cls, 'protocol', None)}"
        if vouched_for or cls.__module__ == "__main__":  # the latter is sent as it is
            return
        model = cls, self.trial.hyperparameters  # which may name functions in other files
        if model not in _IMPORTED:
            _IMPORTED[model] = f"{PROTOCOL}.{origin_of(self.spec).digest}"
        if _IMPORTED[model] != self.trial.protocol:
            raise BenchError(f"files that {self.spec.name} imports have changed since the run began; run it again.")

    def here(self) -> "Task":
        """Return the task as this machine can run it, with a file of weights and a device."""
        return replace(self, spec=here(self.spec, self.tier))


def _moved(request: Request | None, places: Mapping[str, str]) -> Request | None:
    if request is None:
        return None
    obsm = tuple(places.get(name, name) for name in request.obsm)
    return replace(request, name=places.get(request.name, request.name), obsm=obsm)


def here(spec: Spec, tier: str) -> Spec:
    """Return a model with the device and the weights that it has on this machine, pretrained if need be."""
    if spec.device == "auto":
        spec = replace(spec, device=gpus.best())
    if tier != "quick" and "precision" in spec.hyperparameters:  # small networks gain nothing
        from bench.training.device import say_what_bf16_does

        say_what_bf16_does(spec.hyperparameters["precision"], spec.device)
    return replace(spec, weights=str(weights.resolve(spec.weights))) if spec.weights else spec


def of_model(spec: Spec) -> dict[str, str]:
    """Return the fields of a trial that are a model's."""
    weights_hash = weights.identity_of(spec.weights) if spec.weights else ""
    fields = {"model": spec.name, "variant": spec.called, "recipe": spec.recipe, "weights_hash": weights_hash}
    settings = settled(spec.hyperparameters, getattr(spec.cls, "Config", None))
    if is_ours(spec):
        version = spec.cls.protocol
    else:  # it carries no version that we could trust: editing its files makes new trials
        origin, given = origin_of(spec), settings_of(spec)
        settings, version = {name: given.values[name] for name in settings}, origin.digest
        for sentence in [] if is_planning() else said(spec, origin, given):
            print(sentence, file=sys.stderr)
    return fields | {"hyperparameters": canonical(settings), "protocol": f"{PROTOCOL}.{version}"}
