"""The two recipes of the linear model side by side: the trials that are recorded, and what the other one finds."""

import json
import runpy
from pathlib import Path

import pandas as pd
import pytest
from made_up import TRIAL, table_of

from bench.core.errors import BenchError
from bench.protocol import records
from bench.protocol.engine import Result
from bench.report import recipes, tables

CHAPTERS = Path(__file__).parents[2] / "chapters"
ROW = {"key": "a", "chosen_C": 1.0, "accuracy": 0.95, "macro_f1": 0.7, "duality_gap": 1e-7, "seconds": 3.0}
SCORES = {"chosen_C": 10.0, "accuracy": 0.9, "macro_f1": 0.8}


def trial(key: str, Cs: list[float], experiment: str, seconds: float, **more) -> list[dict]:
    settings = json.dumps({"Cs": Cs, "log_base": 2.0})
    shared = TRIAL | {"model": "l1_logistic", "variant": "default", "seed": 0, "hyperparameters": settings, "key": key}
    shared |= {"experiment": experiment, "seconds": seconds} | more
    return [shared | {"metric": metric, "value": value} for metric, value in SCORES.items()]


@pytest.fixture
def recorded() -> pd.DataFrame:
    """One trial that two experiments have, one without a search and one of few cells; nothing of it is a result."""
    rows = trial("a", [0.1, 1.0], "baselines", 30.0) + trial("a", [0.1, 1.0], "few_shot_pbmc", 20.0)
    return table_of(rows + trial("b", [0.1], "baselines", 5.0) + trial("c", [0.1, 1.0], "x", 5.0, fraction=0.1))


def test_published_trials_with_a_search_on_all_cells_count_once(recorded):
    found = recipes.published(recorded)
    assert found["key"].tolist() == ["a"]
    assert found.loc[0, ["accuracy", "chosen_C", "seconds"]].tolist() == [0.9, 10.0, 20.0]


def test_the_same_trial_is_run_by_the_other_recipe(recorded, monkeypatch):
    asked = []

    def ran(task) -> Result:
        asked.append(task)
        shared = {"status": "ok", "class": "", "seconds": 3.0}
        values = {"accuracy": 0.95, "macro_f1": 0.7, "chosen_C": 1.0, "duality_gap": 1e-7, "ece": 0.1}
        return Result([shared | {"metric": metric, "value": value} for metric, value in values.items()])

    monkeypatch.setattr(recipes, "run_task", ran)
    published = recipes.published(recorded).assign(dataset="hao")
    rows = list(recipes.optimum(published))
    assert rows == [ROW]
    (task,) = asked
    assert (task.trial.dataset, task.trial.split, task.trial.recipe) == ("hao", "random", "optimum")
    assert json.loads(task.trial.hyperparameters)["Cs"] == [0.1, 1.0]
    failed = Result([{"status": "failed: no optimum", "seconds": 0.0}])
    monkeypatch.setattr(recipes, "run_task", lambda _: failed)
    with pytest.raises(BenchError, match="hao, random: failed: no optimum"):
        list(recipes.optimum(published))


def test_differences_are_those_of_one_trial(recorded, tmp_path):
    optimum = recipes.kept(recipes.write([ROW, ROW | {"key": "of none"}], tmp_path / "recipes.csv"))
    table = tables.recipes(recorded, optimum)
    assert len(table) == 1
    (found,) = table.to_dict("records")
    assert found["accuracy, optimum - published"] == pytest.approx(0.05)
    assert found["macro F1, optimum - published"] == pytest.approx(-0.1)
    assert (found["C, published"], found["C, optimum"]) == (10.0, 1.0)
    with pytest.raises(BenchError, match=r"make it with: python chapters/recipes\.py"):
        recipes.kept(tmp_path / "none.csv")


def test_what_is_kept_is_of_committed_trials_and_certified():
    recorded = pd.concat([records.read(name, own=False) for name in ("few_shot_pbmc", "few_shot_scgpt", "baselines")])
    kept = recipes.kept()
    assert set(kept["key"]) <= set(recipes.published(recorded)["key"])
    assert len(kept) >= 3 and kept["duality_gap"].between(0, 1e-6).all()


def test_the_script_takes_committed_trials(monkeypatch):
    asked = []
    monkeypatch.setattr(recipes, "optimum", lambda trials: asked.extend(trials["key"]) or [])
    runpy.run_path(str(CHAPTERS / "recipes.py"))
    assert set(recipes.kept()["key"]) <= set(asked)
