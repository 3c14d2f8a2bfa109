"""The trials that a chapter asks for: a grid, checked as a whole before any of them runs."""

import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from anndata import AnnData

from bench.core.errors import Faults
from bench.datasets import Request, described, loaded
from bench.datasets.notes import say
from bench.datasets.twins import warnings
from bench.models import describe
from bench.models.spec import Spec
from bench.protocol import gpus, room, wellformed
from bench.protocol.pairs import SPLIT, Pair, paired
from bench.protocol.planning import LEFT_OUT, is_excused, is_planning
from bench.protocol.possible import Draws, check_model, check_values, possible_splits
from bench.protocol.trial import Task, Trial, here, of_model
from bench.protocol.vectors import Given, given, undeclared


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
    maps: bool = False  # of embeddings, on all training cells; see bench.protocol.maps

    def __post_init__(self):
        for name in ("dataset", "models", "fractions", "seeds", "drop"):
            value = getattr(self, name)
            if not isinstance(value, (list, tuple)):  # one name stands for a list of one
                object.__setattr__(self, name, [value])
        faults = Faults()
        wellformed.check(self, faults)
        if faults.said:  # all that is wrong is said at once
            with suppress(TypeError, AttributeError):  # of what is said to be of another kind
                self._specs(faults)
                for name in self.dataset:
                    with faults.noted():
                        described(self._request(name))
        faults.raised()

    def tasks(self) -> list[Task]:
        """Return one task per trial, small fractions first; data sets are loaded to know their content.

        What cannot be run is said, all of it before weights are fetched or made, and left out.

        Raises
        ------
        BenchError
            If nothing is left; while a plan is made, if anything is left out that it does not go on without.
        """
        faults = Faults()
        specs = self._specs(faults)
        data = [self._data(name, specs, faults) for name in self.dataset]
        data = [found for found in data if found and found.n_train]
        left = [spec for spec in specs if any((spec.name, spec.variant) in found.given for found in data)]
        if not is_excused(faults):
            if is_planning() or not left:
                faults.raised()
            self._say(faults)
        ready = left if is_planning() else self._ready(left)
        models = [(spec, of_model(spec)) for spec in ready]
        tasks = [task for found in data for task in self._of_data(found, models)]
        return list({task.trial.key: task for task in tasks}.values())  # what is asked for twice is run once

    def _say(self, faults: Faults) -> None:
        for sentence in faults.said:
            print(f"{self.experiment} ({self.tier}){LEFT_OUT}{sentence}", file=sys.stderr)

    def _specs(self, faults: Faults) -> list[Spec]:
        """Return the models with their overrides, those of a variant last."""
        specs = []
        for model in self.models:
            of_model, of_variant = (self.overrides.get(name, {}) for name in (model.partition("@")[0], model))
            with faults.noted(str(model).partition("@")[0]):  # what is said of all variants is said once
                spec = gpus.placed(describe(model, of_model | of_variant))
                if not is_planning():
                    check_model(spec)
                specs.append(spec)
        return specs

    def _ready(self, specs: list[Spec]) -> list[Spec]:
        """Return the models with weights that are on this machine; one whose weights cannot be had is left out."""
        ready, faults = [], Faults()
        for spec in specs:
            with faults.noted(spec.name):
                ready.append(here(spec, self.tier))
        if not ready:
            faults.raised()
        self._say(faults)
        for sentence in dict.fromkeys(filter(None, map(undeclared, ready))):
            print(sentence, file=sys.stderr)
        return ready

    def _request(self, name: str) -> Request:
        return Request(name, self.label, self.batch, self.layer, self.symbols, tuple(self.drop))

    def _data(self, name: str, specs: list[Spec], faults: Faults) -> "_Data | None":
        """Return a data set with what can be run on it, or nothing where it cannot be read."""
        request, where = self._request(name), Path(name).name
        with faults.noted(where):
            pair = paired(request, self.query)
            dataset, adata = described(pair.reference), loaded(pair.reference)
            named = [self.split] if isinstance(self.split, str) else self.split or [dataset.split]
            stratified = dataset.published_subset == "stratified"
            whole = {SPLIT: np.arange(adata.n_obs)} if pair.query else None
            splits = whole or possible_splits(adata, named, faults)
            if not pair.query and "notes" in adata.uns["bench"]:  # of a file, which nobody has looked at
                say(name, warnings(adata, splits))
            draws = Draws(adata, self.subset, stratified, self.seeds[0])
            choices = [
                (fraction, split)
                for fraction in sorted(self.fractions)
                for split, train in splits.items()
                if draws.possible(fraction, split, train, faults)
            ]
            reading = pair.reference.reading(adata) | pair.columns
            ways = self._given(adata, specs, pair, {split for _, split in choices}, faults) if choices else {}
            n_train = {(fraction, split): round(fraction * len(splits[split])) for fraction, split in choices}
            return _Data(pair, adata, reading, n_train, ways)
        return None

    def _given(
        self, adata: AnnData, specs: list[Spec], pair: Pair, splits: set[str], faults: Faults
    ) -> dict[tuple[str, str], Given]:
        """Return how a data set is read for each model; one whose counts or vectors it has not is left out."""
        found, where = {}, Path(adata.uns["bench"]["name"]).name
        for spec in specs:
            with faults.noted(where):
                check_values(spec, adata)
                found[spec.name, spec.variant] = given(spec, pair, splits)
        return found

    def _of_data(self, data: "_Data", models: list[tuple[Spec, dict[str, str]]]) -> Iterator[Task]:
        models = [(*one, data.given[name]) for one in models if (name := (one[0].name, one[0].variant)) in data.given]
        for ((fraction, split), n_train), (spec, model, way) in product(data.n_train.items(), models):
            pair, needed = data.pair, room.needed(spec, data.adata, n_train)
            shared = (Path(pair.reference.name).name, data.adata.uns["bench"]["hash"], split, self.subset)
            # At 100 % nothing is drawn: models without randomness of their own need one fit, not one per seed.
            once = fraction == 1 and not spec.is_stochastic
            for seed in self.seeds[:1] if once else self.seeds:
                drawn = {"fraction": float(fraction), "seed": int(seed), "query_hash": pair.query_hash}
                trial = Trial(*shared, **model | way.fields, **drawn)
                mapped = self.maps and fraction == 1 and spec.is_embedding
                what = (trial, self.experiment, self.tier, way.source, spec, data.reading, way.query, mapped)
                yield Task(*what, needed=needed)


@dataclass(frozen=True)
class _Data:
    """A data set that is there, and what can be run on it."""

    pair: Pair
    adata: AnnData
    reading: dict[str, str]
    n_train: dict[tuple[float, str], int]  # by share of the training cells and split: about how many they are
    given: dict[tuple[str, str], Given]  # by model and variant; those that can run on it
