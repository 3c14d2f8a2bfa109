"""A record says how the data were read, which genes were found, and what share of the cells was trained on."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from in_process import run_task

from bench.core.provenance import processor
from bench.datasets.names import cell_ids, hidden_names
from bench.models.spec import describe
from bench.protocol import records
from bench.protocol.conditions import conditions, hash_of
from bench.protocol.trials import Grid

MODEL = """
import numpy as np

class Guess:
    def fit(self, train, *, seed, validation=None):
        self.classes_ = np.unique(train.obs["cell_type"].astype(str))
        return self
    def predict_proba(self, cells):
        return np.full((cells.n_obs, len(self.classes_)), 1 / len(self.classes_))
"""


@pytest.fixture
def trials(small, tmp_path, monkeypatch) -> pd.DataFrame:
    """Return one row for each model, trained on half of the cells of a file with columns of the user's own."""
    monkeypatch.setattr("bench.protocol.place.committed_folder", lambda: tmp_path / "committed")
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "my_guess.py").write_text(MODEL)
    mine = small.copy()
    mine.obs = mine.obs.rename(columns={"cell_type": "celltype, final"}).drop(columns="split")
    mine.obs["Donor"] = np.resize(["D1", "D2"], mine.n_obs)
    mine.write_h5ad(tmp_path / "mine.h5ad")
    asked = {"label": "celltype, final", "batch": "Donor", "fractions": [0.5]}
    models = ["knn", "l1_logistic", "majority", "my_guess:Guess"]
    grid = Grid("read", "quick", str(tmp_path / "mine.h5ad"), models, overrides={"l1_logistic": {"Cs": [0.1]}}, **asked)
    for task in grid.tasks():
        assert run_task(task) == ""
    return records.read("read").drop_duplicates("key").set_index("model")


def test_every_record_says_how_the_data_were_read_and_where_it_ran(trials):
    one = {"label": "celltype, final", "batch": "Donor", "layer": "X", "symbols": "var_names", "dropped_types": "[]"}
    one |= {"query": "", "query_hash": "", "sees_scored_cells": "no", "weights_sha256": "", "processor": processor()}
    for column, value in one.items():
        assert set(trials[column]) == {value}, column
    assert (trials["threads"] >= 1).all()
    np.testing.assert_allclose(trials["train_share"], trials["n_train"] / 192, atol=1e-6)  # 80 % of 240 cells


def test_genes_are_counted_where_a_model_says_which_it_takes_and_unknown_elsewhere(trials):
    genes = trials[["genes_wanted", "genes_used", "genes_share"]]
    assert genes.loc[["knn", "l1_logistic"]].to_numpy().tolist() == [[500, 500, 1]] * 2
    assert genes.loc[["majority", "my_guess:Guess"]].isna().all(axis=None)


def test_of_a_model_from_outside_nobody_knows_what_its_weights_have_seen(trials):
    seen = trials["pretrained_on_scored_cells"].to_dict()
    assert seen == dict.fromkeys(["knn", "l1_logistic", "majority"], "no") | {"my_guess:Guess": "unknown"}


class Fitted:
    audit_ = "3 of 3 tensors"


def test_genes_that_are_listed_are_those_found_and_their_share_is_of_counts(small):
    from bench.preprocess import looked_for

    names = small.var_names[[3, 1, 4]].tolist()
    model = Fitted()
    model.genes_ = looked_for(small, ["ABSENT", *names])
    assert model.genes_ == (["ABSENT", *names], names)
    found = conditions(model, describe("knn"), small, small)
    assert (found["genes_wanted"], found["genes_used"], found["weights"]) == (4, 3, "3 of 3 tensors")
    X = small.X.toarray()
    assert found["genes_share"] == pytest.approx(X[:, [1, 3, 4]].sum() / X.sum(), abs=1e-6)
    logs = small.copy()
    logs.uns["bench"] = logs.uns["bench"] | {"values": "log1p"}
    assert "genes_share" not in conditions(model, describe("knn"), logs, small)


def test_weights_are_known_by_their_file_and_say_whether_they_have_seen_a_scored_cell(small, tmp_path):
    file = tmp_path / "some.safetensors"
    file.write_bytes(b"first")
    spec = describe("scbert", {"weights": str(file)})
    scored = small[:10].copy()
    scored.obs_names = hidden_names(scored.obs_names)
    first = conditions(Fitted(), spec, small, scored)
    assert (first["weights_sha256"], first["pretrained_on_scored_cells"]) == (hash_of(file), "unknown")
    for ids, answer in (([7], "no"), (cell_ids("small", scored.obs_names[3:4]), "yes")):
        np.save(file.with_suffix(".cells.npy"), np.sort(np.asarray(ids, np.uint64)))
        assert conditions(Fitted(), spec, small, scored)["pretrained_on_scored_cells"] == answer
    file.write_bytes(b"second, longer")
    assert hash_of(file) != first["weights_sha256"] and len(hash_of(Path(file))) == 64 and hash_of(None) == ""
