"""What is recorded is found again: keys and identities of weights are today what they were when records were made."""

from dataclasses import fields
from functools import cache
from pathlib import Path

import pandas as pd
import pytest

from bench import weights
from bench.datasets import load
from bench.models.registry import MODELS, find
from bench.protocol import notebooks, records
from bench.protocol.trial import Trial
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


def test_trials_of_every_experiment_and_of_all_kinds_of_models_are_committed():
    models = {model for experiment in OF_TRIALS for model in committed(experiment)["model"]}
    needed = {name for name in MODELS if not find(name).packages}  # scANVI needs a package that the lock has not
    assert len(EXPERIMENTS) == 16 and needed | {OUTSIDE} <= models


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
    assert recorded == {weights.identity_of(name) for name in named() if "_quick" in name}


@pytest.mark.slow
@pytest.mark.parametrize("experiment", OF_TRIALS)
def test_what_a_chapter_asks_for_at_the_quick_tier_is_recorded(experiment, monkeypatch):
    monkeypatch.chdir(CHAPTERS)  # beside the audit page's model
    monkeypatch.syspath_prepend(CHAPTERS)
    planned, table = notebooks.trials_of(experiment, {"tier": "quick"}), committed(experiment)
    keys = {task.trial.key for task, _ in planned}
    assert keys and keys <= set(table.loc[table["tier"] == "quick", "key"])
    if experiment == "audit":
        assert OUTSIDE in {task.trial.model for task, _ in planned}
