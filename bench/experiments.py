"""What a chapter calls: run what its parameters ask for, and return every record of the experiment."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
import yaml

from bench import records
from bench.errors import BenchError, unknown
from bench.runner import describe_dataset, run
from bench.trials import TIERS, Grid


def run_grid(
    experiment: str, tiers: Mapping[str, dict], *, tier: str, compute: bool, jobs: int = 1, **choices: Any
) -> pd.DataFrame:
    """Run the trials of one tier where they are not recorded, and return the records of all tiers.

    Parameters
    ----------
    experiment
        Name of the chapter.
    tiers
        For each tier what `bench.trials.Grid` needs: dataset, models, fractions, seeds ...
    tier
        The tier to run.
    compute
        False, as in the book, reads records only.
    jobs
        Trials at a time; see `bench.runner.run`.
    choices
        Fields of the grid that take the place of the tier's own; None keeps the tier's.  Text is read as YAML, because
        papermill hands lists over as text.

    Raises
    ------
    BenchError
        If a choice is wrong, or nothing is recorded: with the command that makes the records.
    """
    if tier not in tiers:
        raise unknown("tier", tier, tiers)
    chosen = {name: _parse(value) for name, value in choices.items() if value is not None}
    grid = Grid(experiment, tier, **(tiers[tier] | chosen))
    foreign = set(grid.dataset) - set(Grid(experiment, tier, **tiers[tier]).dataset)
    if tier == "paper" and foreign:
        raise BenchError(
            f"tier='paper' stands for the paper's own data, not {', '.join(sorted(foreign))}; "
            "use tier='standin' for other data."
        )
    if _parse(compute):
        run(grid, jobs=_parse(jobs))
    return recorded(experiment, tier)


def describe(experiment: str, tiers: Mapping[str, dict], *, tier: str, compute: bool, **choices: Any) -> pd.DataFrame:
    """Record size, depth and composition of data sets, as `run_grid` records trials."""
    if tier not in tiers:
        raise unknown("tier", tier, tiers)
    chosen = {name: _parse(value) for name, value in choices.items() if value is not None}
    names = (tiers[tier] | chosen)["dataset"]
    if _parse(compute):
        records.check_writable()
        for name in [names] if isinstance(names, str) else names:
            describe_dataset(experiment, tier, name, chosen.get("label"), chosen.get("batch"))
    return recorded(experiment, tier)


def recorded(experiment: str, tier: str = TIERS[0]) -> pd.DataFrame:
    """Return the records of an experiment; without any at that tier, raise with the command that makes them."""
    table = records.read(experiment)
    if not (table["tier"] == tier).any():
        raise BenchError(
            f"Nothing is recorded for {experiment} at tier {tier!r}. "
            f"Make the records with: bench run chapters/{experiment}.md -p tier {tier}"
        )
    return table


def _parse(value: Any) -> Any:
    return yaml.safe_load(value) if isinstance(value, str) else value
