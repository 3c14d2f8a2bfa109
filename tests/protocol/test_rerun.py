"""``bench rerun``: committed trials once more, equal or not and why, and nothing recorded."""

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from bench.cli import main
from bench.core.errors import BenchError
from bench.protocol import predicted, records
from bench.protocol.rerun import finding
from bench.protocol.rerun.comparing import compared, reasons
from bench.statistics.predictions import Predictions

pytestmark = pytest.mark.usefixtures("warm")

COMMITTED = records.committed_folder()
MADE = {"processor": "abacus", "threads": 2.0, "versions": "python 3.11.7; numpy 1.0", "commit": "abc", "device": "cpu"}


@pytest.fixture(autouse=True)
def committed(monkeypatch, tmp_path):
    """The committed trials of the most frequent label on one data set, which come out alike on any machine."""
    rows = records.read("few_shot_pbmc", own=False)[list(records.COLUMNS)]
    rows = rows[(rows["model"] == "majority") & (rows["dataset"] == "hao") & (rows["tier"] == "quick")]
    folder = tmp_path / "committed"
    folder.mkdir()
    rows.to_csv(folder / "few_shot_pbmc.csv", index=False)
    monkeypatch.setattr("bench.protocol.place.committed_folder", lambda: folder)
    return rows[rows["fraction"] == 1]


def bench(*arguments: str):
    return CliRunner().invoke(main, ["rerun", *arguments])


def change(folder, column: str, value, **where) -> None:
    path = folder / "few_shot_pbmc.csv"
    rows = pd.read_csv(path, keep_default_na=False)
    chosen = np.logical_and.reduce([rows[name] == wanted for name, wanted in where.items()])
    assert chosen.any()
    rows.loc[chosen, column] = value
    rows.to_csv(path, index=False)


def test_a_trial_that_comes_out_again_is_equal_and_nothing_is_recorded(committed, own_results):
    key = committed["key"].iloc[0]
    result = bench(key[:8])
    assert result.exit_code == 0, result.output
    assert f"{key}  few_shot_pbmc quick: majority on hao, 100 %, seed 0: equal" in result.output
    accuracy = committed.loc[committed["metric"] == "accuracy", "value"].item()
    assert f"  {'accuracy':<24}equal, {accuracy:.6g}" in result.output
    assert result.output.endswith("1 of 1 trials equal to their records\n")
    assert not list(own_results.rglob("*.csv"))


def test_a_value_that_does_not_come_out_again_is_named_with_what_was_different(committed, tmp_path):
    key = committed["key"].iloc[0]
    change(tmp_path / "committed", "value", 0.5, key=key, metric="accuracy")
    change(tmp_path / "committed", "processor", "abacus", key=key)
    result = bench(key, "--out", str(tmp_path / "again.csv"))
    assert result.exit_code == 1
    accuracy = committed.loc[committed["metric"] == "accuracy", "value"].item()
    told = f"  {'accuracy':<24}recorded 0.5, again {accuracy:.6g}, difference {accuracy - 0.5:+.2g}"
    assert told in result.output
    assert "not the same: " in result.output and "processor abacus → " in result.output
    table = pd.read_csv(tmp_path / "again.csv").set_index("metric")
    assert table.loc["accuracy", ["recorded", "equal", "values"]].tolist() == [0.5, 0, 1]
    assert table.loc["macro_f1", ["equal", "values"]].tolist() == [1, 1]
    assert set(table["processor_recorded"]) == {"abacus"} and table["processor_again"].notna().all()


def test_labels_are_compared_cell_by_cell(committed, tmp_path):
    key = committed["key"].iloc[0]
    cells, said = predicted.load(COMMITTED / "few_shot_pbmc" / f"{key}.npz")
    labels = said.predicted.copy()
    labels[:67] = "Platelet"
    other = Predictions(said.truth, None, said.classes, labels)
    (tmp_path / "committed" / "few_shot_pbmc").mkdir()
    with open(tmp_path / "committed" / "few_shot_pbmc" / f"{key}.npz", "wb") as file:
        predicted.save(file, cells, other, None)
    result = bench(key)
    assert result.exit_code == 1
    assert f"{67 / len(cells):.2%} of the scored cells have another label" in result.output


@pytest.mark.slow
def test_a_trial_that_no_chapter_asks_for_is_a_sentence_and_the_others_are_run(committed, tmp_path):
    change(tmp_path / "committed", "key", "f" * 16, key=committed["key"].iloc[0])
    result = bench("--sample", "5")
    assert result.exit_code == 1
    assert f"{'f' * 16}  few_shot_pbmc quick: majority on hao, 100 %, seed 0: not run. few_shot_pbmc" in result.output
    assert "does not ask for trial ffffffffffffffff here. Data, settings or the protocol have changed" in result.output
    assert result.output.endswith("4 of 5 trials equal to their records\n")


def test_a_sample_is_drawn_by_its_seed_of_what_was_quick_enough():
    trials = finding.committed("few_shot_pbmc", "quick")
    chosen = finding.sample(trials, 3, seed=1)
    pd.testing.assert_frame_equal(chosen, finding.sample(trials[::-1], 3, seed=1))
    assert len(chosen) == 3 and chosen["key"].is_unique
    assert set(finding.sample(trials, 99, seed=0)["key"]) == set(trials["key"])
    quick = trials["seconds"].min()
    assert (finding.sample(trials, 99, 0, longest_s=quick)["seconds"] == quick).all()
    with pytest.raises(BenchError, match="allow more with --longest"):
        finding.sample(trials, 3, 0, longest_s=-1)


def values(**by_metric: list[float]) -> pd.DataFrame:
    rows = [
        {"metric": metric, "class": "", "epoch": epoch, "value": value}
        for metric, several in by_metric.items()
        for epoch, value in enumerate(several)
    ]
    return pd.DataFrame(rows)


def test_values_are_equal_in_the_digits_that_records_have_and_costs_are_none():
    recorded = values(loss=[1.0, 0.333333, np.nan], accuracy=[0.5], gone=[1.0], tuning_s=[3.0])
    again = values(loss=[1.0, 1 / 3, np.nan], accuracy=[0.50001], more=[2.0], tuning_s=[9.0])
    found = compared(recorded, again).set_index("metric")
    assert list(found.index) == ["loss", "accuracy", "gone"]
    assert found.loc["loss", ["values", "equal"]].tolist() == [3, 3]
    assert found.loc["accuracy", "equal"] == 0 and found.loc["accuracy", "difference"] == pytest.approx(1e-5)
    assert found.loc["gone", "equal"] == 0 and np.isnan(found.loc["gone", "again"])


def test_the_value_that_is_furthest_away_stands_for_its_metric():
    found = compared(values(f1=[0.1, 0.2, 0.3]), values(f1=[0.1, 0.9, 0.31])).iloc[0]
    assert (found["values"], found["equal"], found["recorded"], found["again"]) == (3, 1, 0.2, 0.9)


def test_reasons_name_what_differs_and_what_is_unknown():
    assert reasons(MADE, MADE) == []
    now = MADE | {"threads": 1, "versions": "python 3.11.7; numpy 2.0; torch 2.8", "processor": ""}
    said = ["processor abacus → unknown", "threads 2 → 1", "numpy 1.0 → 2.0", "torch unknown → 2.8"]
    assert reasons(MADE, now) == said


MISTAKES = {
    (): "bench: Say which trial: bench rerun KEY",
    ("0000",): "bench: No committed trial of a model has a key that begins with '0000'",
    ("--sample", "2", "few_shot_pmbc"): "Did you mean 'few_shot_pbmc'",
    ("--sample", "2", "--tier", "paper"): "bench: Unknown tier with committed trials 'paper'",
    ("ab", "--tier", "quick"): "bench: --tier and --longest go with --sample",
    ("ab", "--jobs", "0"): "bench: jobs=0 should be",
}


@pytest.mark.parametrize("arguments", MISTAKES, ids=" ".join)
def test_a_wrong_request_is_a_sentence_with_exit_code_2(arguments):
    result = bench(*arguments)
    assert result.exit_code == 2 and result.stderr.count("\n") == 1
    assert MISTAKES[arguments] in result.stderr
