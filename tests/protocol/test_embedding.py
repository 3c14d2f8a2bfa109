"""Embeddings made elsewhere through the protocol: right numbers, keys of values alone, and nothing seen by others."""

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData, concat
from in_process import run_task
from sklearn.neighbors import KNeighborsClassifier

from bench.core.errors import BenchError
from bench.datasets import load
from bench.datasets.splits import split
from bench.models import create, describe, sample
from bench.models.candidate import Candidate
from bench.models.conformance import CHECKS, verdict
from bench.preprocess import features
from bench.protocol import records
from bench.protocol.trial import Task
from bench.protocol.trials import Grid
from bench.report import tables
from bench.report.figures.names import names_of

pytestmark = pytest.mark.usefixtures("beside_cells")

FAST = {"classifier": "knn", "seen": "no"}
SPY = """
from bench.models.contract import Annotator
import numpy as np

class Spy(Annotator):
    def fit(self, train, *, seed, validation=None):
        assert not len(train.obsm) and "obsm" not in train.uns["bench"]
        self.classes_ = np.unique(train.obs["cell_type"].astype(str))
        return self

    def predict_proba(self, cells):
        assert not len(cells.obsm) and "obsm" not in cells.uns["bench"]
        return np.full((cells.n_obs, len(self.classes_)), 1 / len(self.classes_))
"""


@pytest.fixture(scope="module")
def cells(small) -> AnnData:
    """240 cells of 100 genes with seven principal components as vectors, and a column of donors."""
    obs = small.obs[["cell_type"]].astype(str)
    obs["donor"] = np.where(small.obs["split"] == "test", "theirs", "ours")
    values = features(small).toarray()
    U, S, _ = np.linalg.svd(values - values.mean(axis=0), full_matrices=False)
    X_emb = (U * S)[:, :7].astype(np.float32)
    return AnnData(small.X[:, :100], obs=obs, var=small.var.iloc[:100], obsm={"X_emb": X_emb, "X_two": X_emb[:, :2]})


@pytest.fixture(autouse=True)
def no_committed_records(monkeypatch, tmp_path):
    monkeypatch.setattr("bench.protocol.place.committed_folder", lambda: tmp_path / "committed")


@pytest.fixture
def table(cells) -> pd.DataFrame:
    return pd.DataFrame(cells.obsm["X_emb"], cells.obs_names)


def tasks(*models: str, dataset="cells.h5ad", **choices) -> list[Task]:
    if any(model.startswith("embedding") for model in models):
        choices = {"overrides": {"embedding": FAST}} | choices
    return Grid("asked", "quick", dataset, list(models), **choices).tasks()


def test_the_number_is_that_of_the_classifier_on_the_vectors_of_the_training_cells(cells):
    (task,) = tasks("embedding@X_emb")
    assert run_task(task) == ""
    adata = load("cells.h5ad")
    sides, types = split(adata, "random"), adata.obs["cell_type"].astype(str).to_numpy()
    X = cells[adata.obs_names].obsm["X_emb"]
    by_hand = KNeighborsClassifier(15).fit(X[sides.train], types[sides.train])
    row = records.read("asked").query("metric == 'accuracy'").iloc[0]
    assert row["value"] == pytest.approx((by_hand.predict(X[sides.test]) == types[sides.test]).mean(), abs=1e-9)
    assert row["value"] > 0.8
    assert (row["model"], row["variant"], row["weights"]) == ("embedding", "X_emb", "obsm['X_emb'], 240 x 7")
    assert row["pretrained_on_scored_cells"] == "no" and row["weights_sha256"] == ""


def test_the_key_is_that_of_the_values_whatever_file_they_come_in_and_wherever_it_lies(table, tmp_path, capsys):
    (tmp_path / "there").mkdir()
    table.to_csv("X_emb.csv")
    table[::-1].to_csv("there/X_emb.tsv", sep="\t")
    np.save("X_emb.npy", table)
    names = ["X_emb", "X_emb.csv", "there/X_emb.tsv", str(tmp_path / "there" / "X_emb.tsv"), "X_emb.npy"]
    keys = {tasks(f"embedding@{name}")[0].trial.key for name in names}
    assert len(keys) == 1
    assert len(tasks(*(f"embedding@{name}" for name in names))) == 1  # run once
    (table + 0.01).to_csv("X_emb.csv")
    table.to_csv("other_name.csv")
    assert not keys & {tasks(f"embedding@{name}")[0].trial.key for name in ("X_emb.csv", "other_name.csv", "X_two")}


def test_a_record_of_a_file_says_which(table):
    table.to_csv("mine.csv")
    (task,) = tasks("embedding@mine.csv", overrides={"embedding@mine.csv": FAST | {"seen": "yes"}})
    assert run_task(task) == ""
    rows = records.read("asked")
    assert set(rows["weights"]) == {"mine.csv, 240 x 7"} and rows["weights_sha256"].str.len().eq(64).all()
    assert set(rows["pretrained_on_scored_cells"]) == {"yes"}
    shown = tables.coverage(rows)
    assert shown["has seen scored cells"].tolist() == ["yes"] and "embedding mine" in str(shown.index.tolist())


def test_other_models_keep_their_keys_and_see_no_vectors(monkeypatch, tmp_path):
    (tmp_path / "spies.py").write_text(SPY)
    monkeypatch.syspath_prepend(str(tmp_path))
    alone = {task.trial.model: task.trial.key for task in tasks("majority", "spies:Spy")}
    beside = tasks("embedding@X_emb", "majority", "spies:Spy")
    assert {task.trial.model: task.trial.key for task in beside if task.trial.model != "embedding"} == alone
    assert [run_task(task) for task in beside] == ["", "", ""]


def test_a_data_set_without_the_array_is_left_out_for_that_model_alone(cells, capsys):
    other = cells[::2].copy()
    del other.obsm["X_emb"]
    other.write_h5ad("other.h5ad")
    found = tasks("embedding@X_emb", "majority", dataset=["cells.h5ad", "other.h5ad"])
    assert sorted((task.trial.dataset, task.trial.model) for task in found) == [
        ("cells.h5ad", "embedding"),
        ("cells.h5ad", "majority"),
        ("other.h5ad", "majority"),
    ]
    said = capsys.readouterr().err
    assert "left out: obsm of other.h5ad has no 'X_emb'. It has X_two (120 x 2); or name a file" in said
    with pytest.raises(BenchError, match="Name vectors behind the @, such as embedding@X_emb: obsm of cells"):
        tasks("embedding")


def test_whether_scored_cells_were_seen_is_asked_for_once_and_settings_are_checked(capsys):
    tasks("embedding@X_emb", "embedding@X_two", overrides={"embedding@X_two": {"seen": "no"}}, seeds=[0, 1])
    said = capsys.readouterr().err
    assert said.count("nobody has said whether this embedding was trained on cells that are scored") == 1
    assert """-p overrides '{"embedding@X_emb": {"seen": "no"}}'""" in said
    wrong = {"Did you mean 'yes'": {"seen": "Yes"}, "Unknown classifier 'svm'": {"classifier": "svm"}}
    for words, settings in wrong.items():
        with pytest.raises(BenchError, match=words):
            tasks("embedding@X_emb", overrides={"embedding": settings})


@pytest.mark.slow
def test_both_sides_of_a_query_have_vectors(cells, table, capsys):
    theirs = (cells.obs["donor"] == "theirs").to_numpy()
    cells[~theirs].copy().write_h5ad("reference.h5ad")
    cells[theirs].copy().write_h5ad("query.h5ad")
    concat([cells[~theirs], cells[theirs]]).write_h5ad("whole.h5ad")
    table.to_csv("both.csv")
    asked = {"dataset": "reference.h5ad", "query": "query.h5ad"}
    (held_out,) = tasks("embedding@X_emb", dataset="whole.h5ad", batch="donor", split="held_out:theirs")
    (by_key,), (by_file,) = tasks("embedding@X_emb", **asked), tasks("embedding@both.csv", **asked)
    assert by_key.trial.weights_hash == by_file.trial.weights_hash != held_out.trial.weights_hash
    assert [run_task(task) for task in (held_out, by_key, by_file)] == ["", "", ""]
    assert records.read("asked").query("metric == 'accuracy'")["value"].nunique() == 1
    table[:100].to_csv("some.csv")
    with pytest.raises(BenchError, match=r"some\.csv has no vector for \d+ of the 160 cells of reference\.h5ad"):
        tasks("embedding@some.csv", **asked)
    shorter = cells[theirs].copy()
    shorter.obsm["X_emb"] = shorter.obsm["X_emb"][:, :3]
    shorter.write_h5ad("query.h5ad")
    with pytest.raises(BenchError, match=r"X_emb has vectors of 7 numbers in reference\.h5ad and of 3 in query\.h5ad"):
        tasks("embedding@X_emb", **asked)


def test_cells_of_neither_part_may_lack_a_vector(cells, table, capsys):
    parts = cells.copy()
    parts.obs["split"] = np.resize(["train", "train", "test", "val"], parts.n_obs)
    parts.write_h5ad("parts.h5ad")
    table[(parts.obs["split"] != "val").to_numpy()].to_csv("fewer.csv")
    (task,) = tasks("embedding@fewer.csv", dataset="parts.h5ad", split="authors")
    assert "60 cells that are in neither part (val) have no vector" in capsys.readouterr().err
    assert run_task(task) == ""
    with pytest.raises(BenchError, match=r"fewer\.csv has no vector for 60 cells that the authors' split leaves out"):
        tasks("embedding@fewer.csv", dataset="parts.h5ad")


@pytest.mark.parametrize("classifier", ["l1_logistic", "nearest_centroid"])
def test_it_keeps_what_models_promise(classifier):
    spec = describe("embedding@X_emb", {"classifier": classifier, "Cs": [1.0]})
    candidate = Candidate(lambda: create(spec), *sample.sides(load("cells.h5ad", obsm="X_emb")))
    assert {name: verdict(name, candidate) for name in CHECKS} == dict.fromkeys(CHECKS, "")


def test_readers_see_the_name_that_the_user_gave():
    pairs = [("embedding", "X_scGPT"), ("embedding", "X_pca"), ("knn", "default")]
    assert list(names_of(pairs).values()) == ["embedding X_scGPT", "embedding X_pca", "k nearest neighbours"]
