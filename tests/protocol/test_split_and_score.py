"""``bench split`` and ``bench score``: cells for other tools, and what these say of them as records like any other."""

import csv
import json
import shlex
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from sklearn.metrics import accuracy_score, f1_score

from bench.cli import main
from bench.core.errors import BenchError
from bench.protocol import notebooks, records
from bench.protocol.parameters import given
from bench.protocol.sides import sides_of
from bench.protocol.trials import Grid
from bench.report import figures, tables
from bench.report.figures.names import names_of
from bench.statistics.predictions import ABSTAINED


@pytest.fixture(autouse=True)
def here(monkeypatch, tmp_path, small) -> Path:
    """Nothing is committed, and the folder holds ``mine.h5ad``: 240 cells of eight types of three donors."""
    monkeypatch.setattr("bench.protocol.place.committed_folder", lambda: tmp_path / "committed")
    monkeypatch.chdir(tmp_path)
    adata = small.copy()
    del adata.obs["split"]
    adata.obs["kind"] = adata.obs["cell_type"].astype(str)
    adata.obs["donor"] = np.resize(["one", "two", "three"], adata.n_obs)
    adata.write_h5ad("mine.h5ad")
    return tmp_path


@pytest.fixture(scope="module")
def kinds(small) -> pd.Series:
    """The type of every cell."""
    return small.obs["cell_type"].astype(str)


def bench(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def split(*options, out: str = "splits.csv") -> pd.DataFrame:
    result = bench("split", "mine.h5ad", *options, "--out", out)
    assert result.exit_code == 0, result.stderr
    return pd.read_csv(out, keep_default_na=False)


def scored(table: pd.DataFrame) -> list[str]:
    return table.loc[table["role"] == "scored", "cell"].tolist()


def labels(kinds: pd.Series, cells: list[str], *, wrong: int = 5, file: str = "tool.csv") -> pd.Series:
    """Write labels of which some are wrong, and return them."""
    said = kinds[cells].copy()
    said.iloc[:wrong] = np.roll(said.iloc[:wrong].to_numpy(), 1)
    said.rename("label").rename_axis("cell").to_csv(file)
    return said


def score(*options, file: str = "tool.csv"):
    return bench("score", file, "--splits", "splits.csv", *options)


def value(metric: str, **where) -> float:
    rows = records.read()
    rows = rows[(rows["metric"] == metric) & (rows["class"] == "")]
    for name, wanted in where.items():
        rows = rows[rows[name] == wanted]
    (found,) = rows["value"]
    return found


# the table of splits


def test_the_table_holds_the_cells_of_every_trial():
    table = split("--fractions", "0.1,1.0", "--seeds", "0,1")
    assert list(table) == [
        "cell",
        "role",
        "cell_type",
        "split",
        "fraction",
        "seed",
        "dataset",
        "dataset_hash",
        "options",
    ]
    tasks = Grid("x", "quick", "mine.h5ad", "majority", [0.1, 1.0], [0, 1]).tasks()
    assert len(tasks) == 3  # with all cells nothing is drawn
    for task in tasks:
        sides, trial = sides_of(task), task.trial
        rows = table[(table["fraction"] == trial.fraction) & (table["seed"] == trial.seed)]
        assert rows.loc[rows["role"] == "train", "cell"].tolist() == sides.train.obs_names.tolist()
        assert scored(rows) == sides.scored.obs_names.tolist()
        assert set(rows["dataset_hash"]) == {trial.dataset_hash}


def test_types_of_scored_cells_are_left_out_unless_asked_for(kinds):
    table = split()
    train = table[table["role"] == "train"]
    assert train["cell_type"].tolist() == kinds[train["cell"]].tolist()
    assert set(table.loc[table["role"] == "scored", "cell_type"]) == {""}
    table = split("--with-truth", out="truth.csv")
    assert table["cell_type"].tolist() == kinds[table["cell"]].tolist()


def test_the_file_is_plain_csv_for_r_and_others(here):
    split(out="splits.csv.gz")
    split()
    with open("splits.csv", newline="", encoding="utf-8") as file:  # as read.csv of R: quotes, commas, no comments
        header, *rows = csv.reader(file)
    assert len(rows) == 240 and {len(row) for row in rows} == {len(header)}
    assert not Path("splits.csv").read_text().startswith("#")
    pd.testing.assert_frame_equal(pd.read_csv("splits.csv.gz"), pd.read_csv("splits.csv"))


def test_names_that_repeat_are_told_apart(small, kinds):
    adata = small.copy()
    adata.obs_names = np.resize([f"cell{i}" for i in range(120)], 240)
    adata.write_h5ad("mine.h5ad")
    table = split("--with-truth")
    assert table["unique_cell"].is_unique and not table["cell"].is_unique
    rows = table[table["role"] == "scored"].rename(columns={"cell_type": "predicted"})
    rows[["cell", "unique_cell", "predicted"]].to_csv("tool.csv", index=False)
    assert "accuracy 1.000" in score().stdout
    rows[["cell", "predicted"]].to_csv("tool.csv", index=False)
    assert "name cells by unique_cell of bench split" in score("--name", "other").stderr


def test_all_that_is_wrong_with_a_request_is_said_and_nothing_is_written():
    options = ("--split", "held_out:four", "--split", "rando", "--batch", "donor", "--label", "kidn")
    result = bench("split", "mine.h5ad", *options, "--fractions", "ten", "--out", "splits.xlsx")
    assert result.exit_code == 2 and not Path("splits.xlsx").exists()
    for said in ("--fractions 'ten' should be numbers", "should end in .csv", "rando", "kidn"):
        assert said in result.stderr
    result = bench("split", "mine.h5ad", "--batch", "donor", "--split", "held_out:tow", "--out", "splits.csv")
    assert result.exit_code == 2 and "Did you mean 'two'" in result.stderr and not Path("splits.csv").exists()


def test_a_file_is_not_overwritten_unless_asked():
    split()
    result = bench("split", "mine.h5ad", "--out", "splits.csv")
    assert result.exit_code == 2 and "exists and stays as it is" in result.stderr
    assert bench("split", "mine.h5ad", "--out", "splits.csv", "--overwrite").exit_code == 0


# from predictions to a record


def test_predictions_have_the_scores_of_scikit_learn(kinds):
    cells = scored(split())
    said = labels(kinds, cells)
    result = score("--name", "SomeTool")
    assert result.exit_code == 0, result.stderr
    assert value("accuracy") == pytest.approx(accuracy_score(kinds[cells], said))
    assert value("macro_f1") == pytest.approx(f1_score(kinds[cells], said, average="macro"))
    assert f"accuracy {value('accuracy'):.3f}, macro F1 {value('macro_f1'):.3f}, no probabilities" in result.stdout
    assert not {"ece", "brier", "contradicted"} & set(records.read()["metric"])


def test_the_record_knows_what_was_asked_and_invents_no_cost(kinds):
    options = ("--label", "kind", "--drop", "mDC", "--batch", "donor", "--subset", "published")
    table = split(*options, "--split", "held_out:two", "--fractions", "0.5", "--seeds", "3")
    labels(kinds, scored(table))
    assert score("--seen", "no", "--experiment", "new_donors", "--tier", "standin").exit_code == 0
    row = records.read().iloc[0]
    told = {"experiment": "new_donors", "tier": "standin", "model": "elsewhere", "variant": "tool", "label": "kind"}
    told |= {"batch": "donor", "split": "held_out:two", "subset": "published", "fraction": 0.5, "seed": 3}
    told |= {"pretrained_on_scored_cells": "no", "sees_scored_cells": "unknown", "device": "", "weights_hash": ""}
    assert row[list(told)].to_dict() == told
    assert json.loads(row["dropped_types"]) == ["mDC"] and len(row["predictions_hash"]) == 16
    assert row[["seconds", "peak_memory_mb", "threads"]].isna().all()
    assert row["n_train"] == (table["role"] == "train").sum() and row["train_share"] == pytest.approx(0.5, abs=0.02)


def test_options_in_the_place_of_a_table_make_the_same_record(kinds):
    cells = scored(split("--batch", "donor", "--split", "held_out:two", "--fractions", "0.5", "--seeds", "1"))
    labels(kinds, cells)
    assert score().exit_code == 0
    where = ("--data", "mine.h5ad", "--batch", "donor", "--split", "held_out:two", "--fraction", "0.5", "--seed", "1")
    assert "recorded already" in bench("score", "tool.csv", *where).stdout
    assert (
        "Predictions are of one split a file" in bench("score", "tool.csv", *where[:4], "--split", "held_out:*").stderr
    )
    assert "Say which cells were predicted" in bench("score", "tool.csv").stderr


@pytest.mark.slow
def test_the_same_answers_are_one_trial_in_any_order_and_corrected_ones_another(kinds):
    cells = scored(split())
    labels(kinds, cells)
    assert score().exit_code == 0
    (key,) = set(records.read()["key"])
    pd.read_csv("tool.csv").sample(frac=1, random_state=0).to_csv("tool.csv", index=False)
    assert "recorded already" in score().stdout
    labels(kinds, cells, wrong=2)  # corrected
    result = score()
    assert result.exit_code == 2 and "with --replace, or keep both and give these another --name" in result.stderr
    assert score("--name", "second").exit_code == 0
    assert "in the place of" in score("--replace").stdout
    found = records.read().drop_duplicates("key")
    assert sorted(found["variant"]) == ["second", "tool"] and key not in set(found["key"])
    assert len(list(records.path_of("other_tools", "quick", key).parent.glob(f"{key}*.aside-*"))) == 2


def test_what_is_said_of_scored_cells_can_be_said_later(kinds):
    labels(kinds, scored(split()))
    score()
    said = score("--seen", "yes").stdout
    assert "recorded as elsewhere@tool" in said and "seen scored cells before: yes" in said
    assert set(records.read()["pretrained_on_scored_cells"]) == {"yes"}


def test_committed_records_of_a_name_are_never_replaced(kinds):
    cells = scored(split())
    labels(kinds, cells)
    score()
    records.commit("other_tools")
    labels(kinds, cells, wrong=2)
    assert "which are committed" in score("--replace").stderr


@pytest.mark.slow
def test_several_shares_and_seeds_are_a_file_each_and_one_series(kinds):
    table = split("--fractions", "0.5,1.0", "--seeds", "0,1")
    assert (
        "fraction 0.5, 1; seed 0, 1. Say of which the predictions are, such as --fraction 0.5 --seed 0"
        in score().stderr
    )
    labels(kinds, scored(table[table["fraction"] == 1]))
    for number, seed in enumerate((0, 1, 7)):  # with all cells any seed of the tool's own
        labels(kinds, scored(table[table["fraction"] == 1]), wrong=3 + number)
        assert score("--fraction", 1, "--seed", seed).exit_code == 0
    assert score("--fraction", 0.5, "--seed", 7).exit_code == 2
    runs = figures.runs_of(records.read())
    assert set(runs["series"]) == {"tool"}
    assert tables.few_shot(records.read(), {}, ["accuracy"])["runs"].tolist() == ["3"]


def test_probabilities_are_calibrated_and_kept(kinds):
    cells = scored(split())
    said = labels(kinds, cells)
    wide = pd.get_dummies(said).astype(float) * 0.9 + 0.1 / 8
    wide.to_csv("tool.csv")
    assert f"ECE {abs(value_of_ece(wide, kinds[cells])):.3f}" in score().stdout
    (key,) = set(records.read()["key"])
    kept = records.read_predictions("other_tools", "quick", key)[1]
    np.testing.assert_allclose(kept.probabilities, wide[list(kept.classes)], atol=1e-3)
    assert "confidence" in bench("predictions", key).stdout


def value_of_ece(wide: pd.DataFrame, truth: pd.Series) -> float:
    """Return the calibration error where all confidences are in one bin."""
    return (wide.idxmax(axis=1) == truth).mean() - wide.max(axis=1).mean()


def test_labels_alone_are_kept_without_probabilities(kinds):
    said = labels(kinds, scored(split()))
    score()
    (key,) = set(records.read()["key"])
    kept = records.read_predictions("other_tools", "quick", key)[1]
    assert kept.probabilities is None and kept.predicted.tolist() == said.tolist()
    result = bench("predictions", key)
    assert result.stdout.startswith('"cell","predicted","truth"\n') and "labels alone were given" in result.stderr
    assert "was recorded from labels alone" in bench("predictions", key, "--probabilities").stderr
    runs = figures.complete_runs(records.read())
    assert figures.predictions_of(runs) == {} and tables.fronts(runs).empty
    assert tables.calibration(runs, {})["ECE"].isna().all()


def test_cells_without_a_type_are_abstentions_and_other_types_are_wrong(kinds):
    cells = scored(split())
    said = kinds[cells].copy()
    said.iloc[:4] = ["Unassigned", "NA", "", "low quality"]
    said.iloc[4] = "Erythroid"
    said.iloc[5:] = said.iloc[5:].str.upper()
    said.rename("label").to_csv("tool.csv")
    result = score("--rejects", "low quality")
    assert "types that are spelt otherwise are taken" in result.stderr
    assert (
        "cells that are given no type, which is wrong in accuracy: Unassigned 1, low quality 1, no label 2"
        in result.stderr
    )
    assert "1 cells are given types that the data do not have, which is wrong: 'Erythroid' 1" in result.stderr
    assert value("abstained") == pytest.approx(4 / len(cells)) and value("accuracy") == pytest.approx(
        1 - 5 / len(cells)
    )
    (key,) = set(records.read()["key"])
    assert (records.read_predictions("other_tools", "quick", key)[1].predicted == ABSTAINED).sum() == 4


def test_types_that_r_has_respelt_are_those_of_the_data(kinds):
    cells = scored(split())
    kinds[cells].str.replace(r"[^0-9A-Za-z]", ".", regex=True).rename("label").to_csv("tool.csv")
    assert "types that are spelt otherwise are taken" in score().stderr
    assert value("accuracy") == 1


def test_codes_of_a_factor_are_no_types(kinds):
    cells = scored(split())
    kinds[cells].astype("category").cat.codes.rename("label").to_csv("tool.csv")
    refused = score()
    assert refused.exit_code == 2
    assert "column 'label' holds whole numbers" in refused.stderr and "as.character(label)" in refused.stderr


def test_cells_that_are_too_many_or_too_few_are_counted(kinds):
    table = split()
    cells = scored(table)
    said = labels(kinds, cells, file="few.csv")
    said[3:].rename("label").to_csv("few.csv")
    result = score(file="few.csv")
    assert result.exit_code == 2 and f"3 of {len(cells)} scored cells have no prediction" in result.stderr
    assert f"3 of {len(cells)} scored cells" in score("--missing", "abstain", file="few.csv").stderr
    assert value("abstained", variant="few") == pytest.approx(3 / len(cells))
    labels(kinds, table["cell"].tolist(), file="all.csv")
    assert f"predictions of {240 - len(cells)} training cells are left out" in score(file="all.csv").stderr
    pd.concat([said, said]).rename("label").to_csv("twice.csv")
    assert f"{len(cells)} scored cells stand several times, with the same answer" in score(file="twice.csv").stderr


WRONG = {
    "training cells alone": (
        lambda s, t: pd.Series("mDC", t),
        "None of its .* rows is of a scored cell; 192 are of tra",
    ),
    "a suffix": (lambda s, t: s.rename(lambda cell: f"{cell}-1"), "Endings aside, 48 of them would be known"),
    "numbers": (lambda s, t: s.reset_index(drop=True), "these are numbers of rows"),
    "other cells": (
        lambda s, t: pd.concat([s, pd.Series("mDC", ["x"])]),
        "1 of its 49 rows name no cell .* such as 'x'",
    ),
    "two answers": (lambda s, t: pd.concat([s, s[::-1].set_axis(s.index)]), "scored cells have several answers"),
    "other types": (lambda s, t: s + "s!", "None of the predicted types .* 'B cellss!', where the data have 'B cells'"),
}


@pytest.mark.parametrize("case", WRONG)
def test_predictions_that_do_not_fit_are_refused_with_counts(case, kinds):
    table = split()
    change, said = WRONG[case]
    change(kinds[scored(table)], table.loc[table["role"] == "train", "cell"]).rename("label").to_csv("tool.csv")
    result = score("--label-column", "label")
    assert result.exit_code == 2 and not records.read().size
    assert pd.Series([result.stderr]).str.contains(said, regex=True).all(), result.stderr


def test_a_table_of_splits_that_no_longer_fits_is_refused(kinds, small):
    table = split()
    labels(kinds, scored(table))
    table[1:].to_csv("splits.csv", index=False)
    assert "1 cells have another role than the data give" in score().stderr
    table.assign(options="--lable kind").to_csv("splits.csv", index=False)
    assert "are not as bench split writes them" in score().stderr
    table.to_csv("splits.csv", index=False)
    adata = small[:200].copy()
    adata.write_h5ad("mine.h5ad")
    assert "splits.csv was made of mine.h5ad with the content" in score().stderr
    assert (
        "is no table that bench split has written: it lacks role"
        in bench("score", "tool.csv", "--splits", "tool.csv").stderr
    )


def test_cells_of_types_that_are_left_out_are_no_strangers(kinds):
    split("--drop", "mDC")
    kinds.rename("label").to_csv("tool.csv")
    assert "predictions of 30 cells that are neither are left out" in score().stderr
    assert value("accuracy") == 1


def test_the_table_may_move_and_the_data_too(kinds, tmp_path, monkeypatch):
    labels(kinds, scored(split()))
    Path("elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    assert bench("score", "../tool.csv", "--splits", "../splits.csv").exit_code == 0  # the data lie beside the table
    Path("../mine.h5ad").rename("moved.h5ad")
    result = bench("score", "../tool.csv", "--splits", "../splits.csv", "--data", "moved.h5ad", "--name", "again")
    assert result.exit_code == 0, result.stderr


def test_a_wrong_place_is_refused_before_anything_is_read(kinds):
    labels(kinds, scored(split()))
    assert "Unknown tier 'fast'" in score("--tier", "fast").stderr
    assert "tier paper stands for the paper's own data" in score("--tier", "paper").stderr
    assert "should be a chapter's name" in score("--experiment", "../x").stderr
    assert "leave --label out" in score("--label", "kind").stderr
    assert "did you mean few_shot_pbmc?" in score("--experiment", "few_shot_pmbc").stdout


def test_the_next_command_is_one_that_runs(kinds):
    split("--label", "kind", "--drop", "mDC", "--fractions", "0.5")
    labels(kinds, scored(pd.read_csv("splits.csv")))
    (line,) = (line for line in score().stdout.splitlines() if "bench run" in line)
    words = shlex.split(line.partition("bench run ")[2])
    asked = given(dict(zip(words[2::3], words[3::3], strict=True)))
    notebooks.check_parameters(words[0], asked)
    data = {"dataset": "mine.h5ad", "label": "kind", "drop": ["mDC"]}
    assert asked == data | {"tier": "quick", "split": "random", "fractions": [0.5], "seeds": [0]}


def test_a_tool_goes_by_its_own_name_and_never_by_that_of_a_model():
    pairs = [("elsewhere", "SingleR"), ("elsewhere", "scGPT"), ("scgpt", "pretrained"), ("x:CellTypist", "default")]
    shown = names_of(pairs)
    assert [shown[pair] for pair in pairs] == ["SingleR", "elsewhere: scGPT", "scGPT", "CellTypist"]
    both = names_of([("elsewhere", "SingleR"), ("x:SingleR", "default")])
    assert len(set(both.values())) == 2


def test_a_tool_is_no_model_that_could_be_run():
    with pytest.raises(BenchError, match="are recorded with bench score"):
        Grid("x", "quick", "hao", "elsewhere@tool").tasks()


# a reference and a query


@pytest.fixture
def pair(small) -> tuple[list[str], list[str]]:
    """Write ``reference.h5ad`` and ``query.h5ad``; return the names of their cells."""
    cells = small.copy()
    cells.obs = cells.obs[["cell_type"]].astype(str)
    theirs = (small.obs["split"] == "test").to_numpy()
    cells[~theirs].copy().write_h5ad("reference.h5ad")
    cells[theirs].copy().write_h5ad("query.h5ad")
    return cells.obs_names[~theirs].tolist(), cells.obs_names[theirs].tolist()


def split_pair(*options) -> pd.DataFrame:
    result = bench("split", "reference.h5ad", "--query", "query.h5ad", *options, "--out", "splits.csv")
    assert result.exit_code == 0, result.stderr
    return pd.read_csv("splits.csv", keep_default_na=False)


def test_the_cells_of_a_query_are_scored_in_the_place_of_a_split(pair, kinds):
    table = split_pair()
    assert table.loc[table["role"] == "train", "cell"].tolist() == pair[0] and scored(table) == pair[1]
    assert set(table["split"]) == {"query"} and set(table.loc[table["role"] == "scored", "cell_type"]) == {""}
    said = labels(kinds, scored(table))
    right = (said == kinds[said.index]).mean()
    result = score()
    assert "on query query.h5ad, trained on reference.h5ad, 100 % of the training cells" in result.stdout
    assert f"accuracy {right:.3f}" in result.stdout
    assert value("accuracy") == pytest.approx(right) and value("query_genes") == 1
    row = records.read().iloc[0]
    assert (row["query"], row["split"], row["dataset"]) == ("query.h5ad", "query", "reference.h5ad")
    assert "-p query query.h5ad" in result.stdout and "-p split" not in result.stdout
    without = bench("score", "tool.csv", "--data", "reference.h5ad", "--query", "query.h5ad")
    assert "recorded already" in without.stdout  # the same trial, by its options


def test_a_query_that_changes_or_knows_no_types_is_refused(pair, kinds, small):
    labels(kinds, scored(split_pair()))
    both = ("--query", "query.h5ad", "--split", "random", "--out", "other.csv")
    assert "leave one of the two out" in bench("split", "reference.h5ad", *both).stderr
    query = small[pair[1]].copy()
    query.obs = query.obs[["cell_type"]].astype(str)
    query.obs.iloc[0, 0] = query.obs.iloc[-1, 0]
    query.write_h5ad("query.h5ad")
    assert "the file has changed, or it is another one; name the right one with --query" in score().stderr
    del query.obs["cell_type"]
    query.write_h5ad("query.h5ad")
    split_pair("--overwrite", "--with-truth")  # for a tool whose labels nobody can check
    assert "nothing to score predictions by" in score().stderr
    split("--overwrite")
    assert "was made without a query; leave --query out" in score("--query", "query.h5ad").stderr


# files that are damaged


def test_the_same_command_brings_back_what_is_damaged(kinds, caplog):
    labels(kinds, scored(split()))
    score()
    (path,) = Path(records.own_folder()).rglob("*.csv")
    predictions = path.with_suffix(".npz")
    whole = path.read_bytes(), predictions.read_bytes()
    predictions.write_bytes(b"half")
    with pytest.raises(BenchError):
        records.read_predictions("other_tools", "quick", path.stem)
    assert f"delete it and {path.stem}.csv beside it, then give the bench run or bench score" in caplog.text
    assert "recorded as" in score().stdout and predictions.read_bytes() == whole[1]
    path.write_text("half")
    assert records.read().empty and "then give the bench run or bench score that made it once more" in caplog.text
    assert "recorded as" in score().stdout and len(records.read()) > 1
