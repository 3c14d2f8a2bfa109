"""What a chapter calls: run what its parameters ask for, and return every record of the experiment."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.core.errors import BenchError, unknown
from bench.core.places import to_run
from bench.core.provenance import commit, versions
from bench.datasets import Request, described, loaded
from bench.datasets.splits import split
from bench.protocol import records, share
from bench.protocol.parameters import TIERS, given
from bench.protocol.planning import is_planning
from bench.protocol.runner import run
from bench.protocol.trials import Grid
from bench.weights import pretrained_names

PARTS = ("label", "batch", "layer", "symbols")  # of a request for data, each one name


def run_grid(
    experiment: str,
    tiers: Mapping[str, dict],
    *,
    tier: str,
    compute: bool,
    jobs: int = 1,
    any_data: bool = False,
    **choices: Any,
) -> pd.DataFrame:
    """Run the trials of one tier where they are not recorded, and return the records of all tiers.

    Parameters
    ----------
    experiment
        Name of the chapter.
    tiers
        For each tier what `bench.protocol.trials.Grid` needs: dataset, models, fractions, seeds ...
    tier
        The tier to run.
    compute
        False, as in the book, reads records only.
    jobs
        Trials at a time; see `bench.protocol.runner.run`.
    any_data
        Whether the tier ``paper`` stands for published weights alone, and takes any data; elsewhere it stands for the
        paper's own data.
    choices
        Fields of the grid that take the place of the tier's own; None keeps the tier's.  Overrides are merged with the
        tier's, setting by setting.  Text is read as `bench.protocol.parameters.given` does, because papermill's own
        command line hands lists over as text.

    Raises
    ------
    BenchError
        If a choice is wrong, or nothing is recorded: with the command that makes the records.
    """
    if tier not in tiers:
        raise unknown("tier", tier, tiers)
    chosen = given(choices | {"compute": compute, "jobs": jobs})
    compute, jobs = chosen.pop("compute", False), chosen.pop("jobs", 1)
    grid = Grid(experiment, tier, **_merged(tiers[tier], chosen))
    if tier == "paper":
        _check_weights(grid) if any_data else _check_data(grid, tiers[tier])
    if compute:
        run(grid, jobs=jobs)
    return recorded(experiment, tier)


def _check_data(grid: Grid, own: dict[str, Any]) -> None:
    """Raise a BenchError where other data than the paper's are asked for."""
    foreign = {*grid.dataset, *filter(None, [grid.query])} - set(Grid(grid.experiment, grid.tier, **own).dataset)
    if foreign:
        raise BenchError(
            f"tier='paper' stands for the paper's own data, not {', '.join(sorted(foreign))}; "
            "use tier='standin' for other data."
        )


def _check_weights(grid: Grid) -> None:
    """Raise a BenchError where weights of this project are asked for in the place of published ones."""
    asked = {str(settings["weights"]) for settings in grid.overrides.values() if "weights" in settings}
    if made_here := sorted(asked & set(pretrained_names())):
        raise BenchError(
            f"tier='paper' stands for published weights here, not {', '.join(made_here)}, which this project makes; "
            "use tier='standin' for those."
        )


def with_settings(
    tiers: Mapping[str, dict], model: str, settings: dict[str, Any], n_seeds: int | None = None
) -> dict[str, dict]:
    """Return the tiers of a chapter with other settings of one model, to run it once more.

    Parameters
    ----------
    tiers
        As for `run_grid`.
    model
        Name, with its variant where it has one in the tiers' overrides.
    settings
        Recipe and hyper-parameters by name, in the place of the tiers' own.
    n_seeds
        Keep this many of each tier's seeds, the first ones; None keeps all.
    """
    changed = {}
    for tier, grid in tiers.items():
        own = grid.get("overrides", {})
        changed[tier] = grid | {"overrides": own | {model: own.get(model, {}) | settings}}
        if n_seeds is not None:
            changed[tier]["seeds"] = grid["seeds"][:n_seeds]
    return changed


def describe(experiment: str, tiers: Mapping[str, dict], *, tier: str, compute: bool, **choices: Any) -> pd.DataFrame:
    """Record size, depth and composition of data sets, as `run_grid` records trials."""
    if tier not in tiers:
        raise unknown("tier", tier, tiers)
    chosen = given(choices | {"compute": compute})
    names = (tiers[tier] | chosen)["dataset"]
    if chosen.get("compute"):
        records.check_writable()
        drop = chosen.get("drop", ())
        drop = (drop,) if isinstance(drop, str) else tuple(drop)
        for name in [names] if isinstance(names, str) else names:
            try:
                _describe(experiment, tier, Request(name, *(chosen.get(part) for part in PARTS), drop))
            except BenchError as error:  # some files cannot be fetched everywhere; the other sets can be described
                print(f"{name}: {error}", file=sys.stderr)
    return recorded(experiment, tier)


def _describe(experiment: str, tier: str, source: Request) -> None:
    adata, dataset = loaded(source), described(source)
    sides = split(adata, dataset.split)
    values = {
        "n_cells": adata.n_obs,
        "n_genes": adata.n_vars,
        "n_types": adata.obs["cell_type"].nunique(),
        "n_batches": adata.obs["batch"].nunique() if "batch" in adata.obs else 0,
        "median_genes": np.median(np.diff(adata.X.indptr)),
        "median_counts": np.median(np.asarray(adata.X.sum(axis=1))) if dataset.values == "counts" else np.nan,
        "n_train": len(sides.train),
        "n_test": len(sides.test),
    }
    rows = [{"metric": metric, "class": "", "value": value} for metric, value in values.items()]
    for column, metric in (("cell_type", "cells_of_type"), ("batch", "cells_of_batch")):
        counts = adata.obs[column].value_counts() if column in adata.obs else {}
        rows += [{"metric": metric, "class": str(group), "value": n} for group, n in counts.items()]
    digest = adata.uns["bench"]["hash"]
    shared = {"experiment": experiment, "tier": tier, "dataset": Path(source.name).name, "dataset_hash": digest}
    shared |= {"split": dataset.split, "key": digest, "status": "ok", "commit": commit(), "versions": versions()}
    shared |= source.reading(adata)
    records.write([shared | row for row in rows])


def recorded(experiment: str, tier: str = TIERS[0]) -> pd.DataFrame:
    """Return the records of an experiment; without any at that tier, raise with the command that makes them."""
    table = records.read(experiment)
    complete = not is_planning() and share.chosen() is None  # a share of a grid may be empty
    if complete and not (table["tier"] == tier).any():
        raise BenchError(
            f"Nothing is recorded for {experiment} at tier {tier!r}. "
            f"Make the records with: {to_run(experiment, f'-p tier {tier}')}"
        )
    return _scored(table)


def _scored(table: pd.DataFrame) -> pd.DataFrame:
    """Return records without trials on a query that has no labels: there is nothing to show of them."""
    trial = ["tier", "key"]
    scored = table.loc[table["metric"] == "accuracy", trial]
    without = (table["query"] != "") & (table["status"] == "ok")
    without &= ~pd.MultiIndex.from_frame(table[trial]).isin(pd.MultiIndex.from_frame(scored))
    return table[~without].reset_index(drop=True)


def _merged(of_tier: dict[str, Any], chosen: dict[str, Any]) -> dict[str, Any]:
    """Return a tier's choices with the user's in their place, overrides merged setting by setting.

    The tier's overrides of models that the user did not ask for are left out.
    """
    instead = {"split"} if "query" in chosen else set()  # of a split that the tier names, not of one that the user does
    merged = {name: value for name, value in of_tier.items() if name not in instead} | chosen
    models = merged["models"] if isinstance(merged["models"], list) else [merged["models"]]
    asked = {name for model in map(str, models) for name in (model, model.partition("@")[0])}
    overrides = {name: settings for name, settings in of_tier.get("overrides", {}).items() if name in asked}
    own = chosen.get("overrides", {})
    if not isinstance(own, dict) or not all(isinstance(settings, dict) for settings in own.values()):
        return merged  # the grid says what is wrong
    return merged | {"overrides": overrides | {name: overrides.get(name, {}) | own[name] for name in own}}
