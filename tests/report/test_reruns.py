"""A sample of committed trials that was run again: drawn, kept, read, shown; and what the project keeps of one."""

import runpy
from pathlib import Path

import pandas as pd
import pytest
from made_up import TRIAL

from bench.core.errors import BenchError
from bench.core.provenance import processor
from bench.protocol.columns import COLUMNS
from bench.protocol.rerun import finding
from bench.protocol.rerun.repeating import Verdict
from bench.report import reruns, tables

CHAPTERS = Path(__file__).parents[2] / "chapters"
EMPTY = dict.fromkeys(COLUMNS, "")


def trial(key: str, model: str, **more) -> pd.Series:
    named = {"key": key, "model": model, "variant": "default", "seed": 0, "threads": 2, "processor": "another"}
    return pd.Series(EMPTY | TRIAL | named | more)


def metrics(accuracy: float, again: float) -> pd.DataFrame:
    both = {"recorded": accuracy, "again": again, "difference": again - accuracy}
    one = {"metric": "accuracy", "values": 1, "equal": int(accuracy == again)} | both
    return pd.DataFrame(
        [one, {"metric": "f1", "values": 8, "equal": 8, "recorded": 0.5, "again": 0.5, "difference": 0}]
    )


@pytest.fixture
def verdicts() -> list[Verdict]:
    """One trial that came out again, one that did not, one that could not be run; nothing of it is a result."""
    again = {"processor": "this one", "threads": 2}
    return [
        Verdict(trial("1e5", "knn"), again, metrics(0.9, 0.9), 0.0),
        Verdict(trial("b", "scgpt", variant="pretrained"), again, metrics(0.9, 0.88), 0.05),
        Verdict(trial("c", "l1_logistic"), failure="its data cannot be had"),
    ]


def test_what_is_written_is_read_again_trial_by_trial(verdicts, tmp_path):
    file = reruns.write(verdicts, tmp_path / "rerun.csv")
    trials = reruns.by_trial(reruns.kept(file)).set_index("key")
    assert trials["is_equal"].to_dict() == {"1e5": True, "b": False, "c": False}  # a key is no number
    assert trials.loc["b", ["values", "equal", "accuracy_again"]].tolist() == [9, 8, 0.88]
    assert trials.loc["c", "failure"] == "its data cannot be had"
    assert reruns.processors(reruns.kept(file)) == ("another", "this one")
    shown = tables.reruns(reruns.kept(file))
    assert shown["values that are equal"].tolist() == ["9 of 9", "not run", "8 of 9"]
    file.write_text("a,b\n1,2\n")
    with pytest.raises(BenchError, match=r"make it with: python chapters/rerun\.py"):
        reruns.kept(file)


def test_trials_of_this_processor_and_of_none_that_is_known_are_not_drawn(monkeypatch):
    here = pd.DataFrame([trial(key, "knn", seconds=1.0) for key in "abcd"])
    here["processor"] = ["another", processor(), "", "another"]
    here = pd.concat([here, here.assign(key=here["key"] + "w", weights_hash="0" * 16)])
    here.loc[here["key"].str.startswith("d"), "seconds"] = 300.0
    monkeypatch.setattr(finding, "committed", lambda: here)
    assert reruns.elsewhere(20, longest_s=120.0)["key"].tolist() == ["aw", "a"]


def test_the_script_keeps_each_verdict_as_it_comes(verdicts, monkeypatch, capsys):
    kept = []
    monkeypatch.setattr("sys.argv", ["rerun.py", "3"])
    monkeypatch.setattr("bench.protocol.rerun.repeating.verdicts", lambda trials: iter(verdicts))
    monkeypatch.setattr(reruns, "elsewhere", lambda n, longest_s: n)
    monkeypatch.setattr(reruns, "write", lambda found: kept.append(len(found)))
    runpy.run_path(str(CHAPTERS / "rerun.py"))
    assert kept == [1, 2, 3]
    assert "scgpt@pretrained on" in capsys.readouterr().err


def test_the_table_of_the_project_is_of_two_processors():
    table = reruns.kept()
    then, now = reruns.processors(table)
    assert then and now and then != now
    trials = reruns.by_trial(table)
    assert len(trials) >= 10 and (trials["failure"] == "").all()
