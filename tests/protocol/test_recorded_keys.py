"""What is recorded is found again: keys and identities of weights are today what they were when records were made."""

from dataclasses import fields
from functools import cache
from pathlib import Path

import jupytext
import pandas as pd
import pytest

from bench import weights
from bench.datasets import load
from bench.models.registry import MODELS
from bench.protocol import notebooks, records, runner
from bench.protocol.trials import Trial
from bench.report.masked import grid as masked
from bench.training.recipes import named

CHAPTERS = Path(__file__).parents[2] / "chapters"
EXPERIMENTS = sorted(path.stem for path in (CHAPTERS / "results").glob("*.csv"))
OF_TRIALS = [name for name in EXPERIMENTS if name != "data"]
OUTSIDE = "nearest_centroid:NearestCentroid"  # the audit page's model
WHOLE = {"fraction": float, "seed": int}


@cache
def committed(experiment: str) -> pd.DataFrame:
    """Return one row of each committed trial."""
    return records.read(experiment, own=False).drop_duplicates(["tier", "key"])


@cache
def identity(recipe: str) -> str:
    """Return by what trials know the weights of a recipe of this project, without making them."""
    return named()[recipe].identity(named()[recipe].cells())


def test_trials_of_every_experiment_and_of_all_kinds_of_models_are_committed():
    models = {model for experiment in OF_TRIALS for model in committed(experiment)["model"]}
    assert len(EXPERIMENTS) == 12 and set(MODELS) | {OUTSIDE} <= models


@pytest.mark.parametrize("experiment", OF_TRIALS)
def test_the_key_of_a_record_is_that_of_its_own_columns(experiment):
    table = committed(experiment)
    names = [field.name for field in fields(Trial)]
    trials = [Trial(**row) for row in table[names].astype(WHOLE).to_dict("records")]
    assert [trial.key for trial in trials] == table["key"].tolist()


def test_the_key_of_a_description_is_the_content_of_the_data_set():
    quick = committed("data").query("tier == 'quick'").set_index("dataset")["key"]
    assert {name: load(name).uns["bench"]["hash"] for name in quick.index} == quick.to_dict()


def test_identities_of_quick_weights_are_those_recorded():
    table = pd.concat([committed(experiment) for experiment in OF_TRIALS])
    recorded = set(table.loc[table["tier"] == "quick", "weights_hash"]) - {""}
    assert recorded == {identity(name) for name in named() if "_quick" in name}


@pytest.fixture
def planned(monkeypatch) -> list:
    """Tasks that chapters plan; none is run, and no weights are made."""
    found = []
    for module in (runner, masked):
        monkeypatch.setattr(module, "complete", lambda tasks, *_: found.extend(tasks))
    monkeypatch.setattr(weights, "resolve", lambda name: name)
    monkeypatch.setattr(weights, "identity", identity)
    monkeypatch.setattr(masked.Weights, "of", masked.Weights.planned)
    monkeypatch.setattr(masked, "_record_curve", lambda *_: None)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("experiment", OF_TRIALS)
def test_what_a_chapter_asks_for_at_the_quick_tier_is_recorded(experiment, planned, monkeypatch):
    monkeypatch.chdir(CHAPTERS)  # beside the audit page's model
    monkeypatch.syspath_prepend(CHAPTERS)
    names, asked = {}, {"compute": True, "tier": "quick"}
    for cell in jupytext.read(notebooks.find(experiment)).cells:
        if cell.cell_type == "code" and not planned:
            exec(cell.source, names)
            names |= {name: value for name, value in asked.items() if name in names}
    keys, table = {task.trial.key for task in planned}, committed(experiment)
    assert keys and keys <= set(table.loc[table["tier"] == "quick", "key"])
    if experiment == "audit":
        assert OUTSIDE in {task.trial.model for task in planned}
