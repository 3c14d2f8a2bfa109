"""Models that are trained on one file and score another: the same numbers as with a part of one file held out."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from anndata import AnnData, concat
from in_process import run_task

from bench.core.errors import BenchError
from bench.models.contract import Annotator, labels_of
from bench.protocol import records
from bench.protocol.experiments import run_grid
from bench.protocol.query import MEASURES
from bench.protocol.runner import run_task as result_of
from bench.protocol.trial import Task, Trial
from bench.protocol.trials import Grid
from bench.statistics.metrics import METRICS

MODELS = ["knn", "l1_logistic"]
L1 = {"l1_logistic": {"Cs": [1.0]}}


@pytest.fixture(autouse=True)
def no_committed_records(monkeypatch, tmp_path):
    monkeypatch.setattr("bench.protocol.place.committed_folder", lambda: tmp_path / "committed")


@pytest.fixture(autouse=True)
def here(monkeypatch, tmp_path):
    """Files go by their names alone."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def parts(small) -> tuple[AnnData, AnnData]:
    """A reference of 160 cells and a query of 80, raw counts of 200 genes, with a column of donors."""
    small = small[:, np.argsort(-np.asarray(small.X.sum(axis=0)).ravel())[:200]]
    cells = AnnData(small.X, obs=small.obs[["cell_type"]].astype(str), var=pd.DataFrame(index=small.var_names))
    cells.obs["donor"] = np.where(small.obs["split"] == "test", "theirs", "ours")
    query = (cells.obs["donor"] == "theirs").to_numpy()
    return cells[~query].copy(), cells[query].copy()


@pytest.fixture
def files(parts) -> tuple[AnnData, AnnData]:
    """Write ``reference.h5ad`` and ``query.h5ad``; return private copies of both."""
    reference, query = (part.copy() for part in parts)
    write(reference=reference, query=query)
    return reference, query


def write(**cells: AnnData) -> None:
    for name, adata in cells.items():
        adata.write_h5ad(f"{name}.h5ad")


def tasks(dataset="reference.h5ad", query="query.h5ad", models="majority", **choices) -> list[Task]:
    return Grid("asked", "quick", dataset, models, query=query, **choices).tasks()


def scores(dataset: str, **choices) -> dict[str, dict[str, float]]:
    """Return all values of a run of both models, by model."""
    found = {}
    for task in Grid("scores", "quick", dataset, MODELS, batch="donor", overrides=L1, **choices).tasks():
        result = result_of(task)
        assert result.failure == ""
        rows = [row for row in result.rows if row["metric"] in METRICS]
        found[task.trial.model] = {(row["metric"], row["class"]): row["value"] for row in rows}
    return found


def refused(**choices) -> str:
    with pytest.raises(BenchError) as error:
        tasks(**choices)
    return str(error.value)


def test_a_query_has_the_scores_of_the_same_cells_held_out(files):
    write(whole=concat(files))
    assert scores("reference.h5ad", query="query.h5ad") == scores("whole.h5ad", split="held_out:theirs")


def test_genes_go_by_name_whatever_their_order_their_number_and_the_order_of_cells(files):
    reference, query = files
    rng = np.random.default_rng(0)
    kept = np.sort(rng.permutation(query.n_vars)[:160])
    zeroed = query.copy()
    zeroed.X = sp.csr_matrix(query.X.multiply(np.isin(np.arange(query.n_vars), kept).astype(np.float32)))
    write(whole=concat([reference, zeroed]))
    expected = scores("whole.h5ad", split="held_out:theirs")
    shuffled = query[rng.permutation(query.n_obs), rng.permutation(kept)].copy()
    more = AnnData(np.ones((query.n_obs, 3), np.float32), obs=shuffled.obs, var=pd.DataFrame(index=["X1", "X2", "X3"]))
    write(query=concat([shuffled, more], axis=1, merge="same"))
    found = scores("reference.h5ad", query="query.h5ad")
    for model, values in expected.items():
        assert found[model] == pytest.approx(values, abs=1e-12), model  # sums of probabilities in another order
    assert found["knn"]["accuracy", ""] == expected["knn"]["accuracy", ""]


def test_the_record_says_what_was_scored_and_how_much_of_it_is_known(files, capsys):
    _, query = files
    write(query=query[:, 40:].copy())
    task = tasks()[0]
    said = capsys.readouterr().err
    assert "query query.h5ad: it has 160 of the 200 genes of reference.h5ad, which hold 100.0 % of its counts" in said
    assert run_task(task) == ""
    row = records.read("asked").iloc[0]
    assert (row["dataset"], row["query"], row["split"]) == ("reference.h5ad", "query.h5ad", "query")
    assert row["query_hash"] == task.trial.query_hash != row["dataset_hash"]
    assert (row["n_train"], row["n_test"], row["train_share"]) == (160, 80, 1)
    values = records.read("asked").set_index("metric")["value"]
    assert values[list(MEASURES)].to_dict() == {"query_genes": 0.8, "query_counts": 1.0, "query_unseen": 0.0}
    assert not set(MEASURES) & set(METRICS)


def test_the_key_covers_the_content_of_the_query_and_not_its_name(files, tmp_path):
    (first,) = tasks()
    (tmp_path / "query.h5ad").rename(tmp_path / "other.h5ad")
    (second,) = tasks(query="other.h5ad")
    changed = files[1].copy()
    changed.X = changed.X * 2
    write(query=changed)
    (third,) = tasks()
    assert first.trial.key == second.trial.key != third.trial.key


def test_without_a_query_no_key_is_new():
    fields = ("hao", "0" * 16, "random", "paired", "knn", "default", "published", "{}", "", 1.0, 0, "1.1")
    assert Trial(*fields).key == Trial(*fields, query_hash="").key != Trial(*fields, query_hash="1" * 16).key


def test_a_query_without_labels_is_predicted_and_not_scored(files, capsys):
    _, query = files
    labels = query.obs.pop("cell_type")
    write(query=query)
    (task,) = tasks(models="knn")
    assert "obs has no column 'cell_type', so that its cells are predicted and not scored" in capsys.readouterr().err
    assert run_task(task) == ""
    table = records.read("asked")
    assert set(table["metric"]) == {"predicted_types", "query_genes", "query_counts"}
    assert (table["status"] == "ok").all()
    cells, said = records.read_predictions("asked", "quick", task.trial.key)
    assert cells.tolist() == query.obs_names.tolist() and not len(said.labels)
    assert (said.predicted == labels.to_numpy()).mean() > 0.5


def test_pages_show_nothing_of_a_query_without_labels(files):
    from bench.report import tables

    tiers = {"quick": {"dataset": "reference.h5ad", "models": ["majority"]}}
    asked = {"tier": "quick", "compute": False}
    files[1].obs.pop("cell_type")
    write(unlabelled=files[1])
    for choices in ({"query": "query.h5ad"}, {"query": "unlabelled.h5ad"}):
        assert [run_task(task) for task in Grid("page", "quick", **tiers["quick"], **choices).tasks()] == [""]
    shown = run_grid("page", tiers, **asked)
    assert set(shown["query"]) == {"query.h5ad"} and len(records.read("page")["query"].unique()) == 2
    assert len(tables.few_shot(shown, {}, ["accuracy"])) == 1


class Leaks(Annotator):
    """Looks at scored cells, as it declares."""

    recipes = ("clean", "leaking")
    leaking_recipes = ("leaking",)

    def fit(self, train, *, seed, validation=None):
        self.classes_ = np.unique(labels_of(train))
        self.seen = (train.obs_names.tolist(), None if validation is None else validation.obs_names.tolist())
        Leaks.seen = self.seen
        return self

    def predict_proba(self, cells):
        return np.full((cells.n_obs, len(self.classes_)), 1 / len(self.classes_))


@pytest.mark.parametrize("recipe", Leaks.recipes)
def test_models_see_training_cells_alone_unless_they_declare_it(files, recipe):
    reference, query = files
    grid = Grid("leak", "quick", "reference.h5ad", f"{__name__}:Leaks", query="query.h5ad")
    grid.overrides.update({f"{__name__}:Leaks": {"recipe": recipe}})
    (task,) = grid.tasks()
    assert run_task(task) == ""
    leaks = recipe == "leaking"
    assert Leaks.seen == (reference.obs_names.tolist(), query.obs_names.tolist() if leaks else None)
    assert (records.read("leak")["sees_scored_cells"] == ("yes" if leaks else "no")).all()
    query.obs.pop("cell_type")
    write(query=query)
    said = "failed: BenchError: Recipe 'leaking' chooses by the types of the scored cells" if leaks else ""
    assert run_task(grid.tasks()[0]).startswith(said)


def test_a_column_or_layer_that_one_file_lacks_is_used_in_the_other(files, capsys):
    reference, query = files
    reference.layers["umi"] = reference.X.copy()
    query.obs = query.obs.drop(columns="donor")
    write(reference=reference, query=query)
    (task,) = tasks(layer="umi", batch="donor")
    said = capsys.readouterr().err
    for part in ("layer 'umi'", "batch 'donor'"):
        assert f"query.h5ad has no {part} and is read without it" in said
    assert (task.source.layer, task.query.layer) == ("umi", None)
    assert run_task(task) == ""
    assert "Did you mean 'donor'" in refused(batch="donot")  # neither has it: a slip


def test_types_that_cannot_be_right_are_counted_and_one_spelt_otherwise_is_found(files, capsys):
    reference, query = files
    reference = reference[reference.obs["cell_type"] != "mDC"].copy()
    query.obs["cell_type"] = query.obs["cell_type"].replace({"B cells": "b  Cells"})
    write(reference=reference, query=query)
    (task,) = tasks(models="knn")
    said = capsys.readouterr().err
    assert "10 of its 80 cells are of types that it cannot learn here: mDC 10" in said
    assert "types that differ in case or blanks only are taken as one: 'b  Cells' as 'B cells'" in said or (
        "'b Cells'" in said
    )
    assert run_task(task) == ""
    table = records.read("asked")
    assert table.set_index("metric")["value"]["query_unseen"] == 0.125
    recall = table[table["metric"] == "recall"].set_index("class")["value"]
    assert recall["mDC"] == 0 and recall["B cells"] >= 0.5


def test_what_cannot_be_scored_is_refused_with_what_to_do(files):
    reference, query = files
    assert "has the very content of the data set reference.h5ad" in refused(query="reference.h5ad")
    assert "split='random' has nothing to say" in refused(split="random")
    assert "Did you mean 'query.h5ad'" in refused(query="qery.h5ad")
    query.obs["cell_type"] = query.obs["cell_type"].astype(str) + " of another"
    write(query=query)
    assert "No cell type in common: query query.h5ad has B cells of another" in refused()
    query.obs["cell_type"] = reference.obs["cell_type"].to_numpy()[:80]
    few = query[:, :15].copy()
    write(query=few)
    assert "it has 15 of the 200 genes of reference.h5ad" in refused() and "at least 10 % of both" in refused()
    logs = query.copy()
    logs.X, logs.uns["bench"] = logs.X.log1p(), {"values": "log1p"}
    write(query=logs)
    assert "reference.h5ad holds counts and query query.h5ad holds log1p" in refused()


@pytest.mark.parametrize(
    ("rename", "expected"),
    [
        (str.capitalize, "differ in case only, as symbols of two species do"),
        (lambda gene: f"{gene}.1", "differ in a version only"),
        (lambda gene: f"AT1G{abs(hash(gene))}", "check the species and the kind of names"),
    ],
)
def test_names_of_genes_that_do_not_fit_are_looked_at(files, rename, expected):
    query = files[1]
    query.var_names = [rename(gene) for gene in query.var_names]
    query.var_names_make_unique()
    write(query=query)
    assert expected in refused()


def test_cells_that_stand_in_both_files_are_counted(files, capsys):
    reference, query = files
    twice = reference[:7].copy()
    twice.obs_names = [f"copy {i}" for i in range(7)]
    renamed = query[5:].copy()
    renamed.obs_names = [*reference.obs_names[:3], *query.obs_names[8:]]
    write(query=concat([twice, renamed]))
    tasks()
    said = capsys.readouterr().err
    assert "7 of its 82 cells have the very values of a cell that is trained on" in said
    assert "3 of its cells have the name of a cell that is trained on, with other values" in said


def test_a_query_of_one_cell_and_several_references(files):
    reference, query = files
    write(query=query[:1].copy(), second=reference[:100].copy())
    found = tasks(dataset=["reference.h5ad", "second.h5ad"])
    assert [task.trial.dataset for task in found] == ["reference.h5ad", "second.h5ad"]
    assert len({task.trial.key for task in found}) == 2 and len({task.trial.query_hash for task in found}) == 1
    assert [run_task(task) for task in found] == ["", ""]
    assert set(records.read("asked")["n_test"]) == {1}


def test_named_data_sets_are_references_and_queries(files, capsys):
    (task,) = tasks(query="hao")
    assert (task.reading["query"], task.query.name) == ("hao", "hao")
    said = capsys.readouterr().err
    assert "query hao: it has 200 of the 200 genes of reference.h5ad" in said
    assert "its other 10,980 genes are left out" in said and "of types that it cannot learn here: Tregs 150" in said
    assert "it has 200 of the 11,180 genes of hao, which hold 100.0 % of its counts; expected" in refused(dataset="hao")
