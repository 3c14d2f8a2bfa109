"""Answers of foreign methods: whatever holds them, they are read by their names, or refused with a sentence."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from in_process import run_task
from scipy.sparse import csr_matrix

from bench.core.errors import BenchError
from bench.models import answers
from bench.models.contract import Annotator, without_labels
from bench.protocol import records
from bench.protocol.trials import Grid
from bench.statistics.metrics import evaluate, score

CLASSES = np.array(["B", "NK", "T"])
CELLS = ["c0", "c1", "c2", "c3"]
FOUND = np.array([[0.5, 0.25, 0.25], [0.25, 0.5, 0.25], [0.25, 0.25, 0.5], [0.0, 0.0, 1.0]])
TABLE = pd.DataFrame(FOUND, CELLS, CLASSES)
SHUFFLED = TABLE.iloc[[2, 0, 3, 1], [1, 2, 0]]

UNDERSTOOD = {
    "array": FOUND,
    "list": FOUND.tolist(),
    "sparse": csr_matrix(FOUND),
    "matrix": csr_matrix(FOUND).todense(),
    "bfloat16": torch.tensor(FOUND).bfloat16(),
    "with a gradient": torch.tensor(FOUND, requires_grad=True),
    "sparse tensor": torch.tensor(FOUND).to_sparse(),
    "list of tensors": list(torch.tensor(FOUND, requires_grad=True)),
    "table in another order": SHUFFLED,
    "table of sparse columns": SHUFFLED.astype(pd.SparseDtype(float, 0.0)),
    "table with the places of columns": SHUFFLED.set_axis([1, 2, 0], axis=1),
    "table with the places of cells as text": SHUFFLED.set_axis(["2", "0", "3", "1"]),
    "table without names": pd.DataFrame(FOUND),
    "columns by type": {name: TABLE[name].tolist() for name in ("T", "B", "NK")},
    "records": TABLE.to_records(index=False)[["T", "B", "NK"]],
}
REFUSED = {
    "other types": (
        TABLE.set_axis(["B", "NK", "T cell"], axis=1),
        "Columns .* name 2 of 3 types.* 'T cell'.* classes_",
    ),
    "a type more": (TABLE.assign(Unassigned=0.0), "Columns .* name 3 of 3 types in 4 names, one is 'Unassigned'"),
    "a cell less": (TABLE[1:], "Rows .* name 3 of 4 cells in 3 names; name them as cells.obs_names, each once"),
    "a cell twice": (TABLE.iloc[[0, 1, 2, 2]], "Rows .* name 3 of 4 cells in 4 names, one is 'c2'"),
    "labels": (
        np.array([["T"], ["B"], ["T"], ["B"]]),
        "predict_proba returned values such as .*'T'.*; expected numbers",
    ),
    "nothing": (None, "predict_proba returned a NoneType; expected an array with a row per cell"),
    "a generator": ((row for row in FOUND), "predict_proba returned a generator"),
    "ragged": ([[0.5, 0.5], [1.0]], "predict_proba returned a list that is no array"),
    "masked": (np.ma.masked_greater(FOUND, 0.9), "masked values"),
}


@pytest.mark.parametrize("how", UNDERSTOOD)
def test_probabilities_are_read_whatever_holds_them(how):
    np.testing.assert_array_equal(answers.probabilities(UNDERSTOOD[how], CLASSES, CELLS), FOUND)


@pytest.mark.parametrize("how", REFUSED)
def test_probabilities_that_could_be_read_in_two_ways_are_refused(how):
    answer, message = REFUSED[how]
    with pytest.raises(BenchError, match=message):
        answers.probabilities(answer, CLASSES, CELLS)


LABELS = pd.Series(["B", "NK", "T", "T"], CELLS)


@pytest.mark.parametrize(
    "answer",
    [
        LABELS.tolist(),
        LABELS.to_numpy(),
        LABELS.astype("category").sample(frac=1, random_state=0),
        LABELS.to_frame("predicted_labels")[::-1],
        LABELS[::-1].to_dict(),
        LABELS.to_numpy()[:, None],
        pd.Categorical(LABELS),
        LABELS.reset_index(drop=True)[::-1],
    ],
)
def test_labels_are_read_by_cell(answer):
    assert answers.labels(answer, CLASSES, CELLS).tolist() == LABELS.tolist()


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (LABELS.rename({"c3": "c9"}), "Rows .* name 3 of 4 cells in 4 names, one is 'c9'"),
        (LABELS.to_frame().assign(score=1.0), "a table of 2 columns; expected one label per cell"),
        (torch.tensor([0, 1, 2, 2]), r"numbers such as 0; expected types: return self.classes_\[numbers\]"),
        (["B", None, "T", np.nan], "gave 2 cells no label; say 'Unassigned'"),
        ("T", "returned a str"),
        (FOUND, r"of shape \(4, 3\); expected one label per cell"),
    ],
)
def test_labels_that_are_none_are_refused(answer, message):
    with pytest.raises(BenchError, match=message):
        answers.labels(answer, CLASSES, CELLS)


def test_numbers_are_labels_where_types_are_numbers():
    assert answers.labels([2, 1], np.array(["1", "2"]), CELLS[:2]).tolist() == ["2", "1"]


@pytest.fixture
def chapters(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "chapters"))


class Said(Annotator):
    """Says what it is told."""

    def __init__(self, labels=None, found=FOUND, classes=CLASSES, **declared):
        self.labels, self.found, self.classes_ = labels, found, np.asarray(classes)
        vars(self).update(declared)

    def predict_proba(self, cells):
        return self.found


class Labels(Said):
    def predict(self, cells):
        return self.labels


@pytest.fixture
def cells(small):
    cells = without_labels(small[:4].copy())
    cells.obs_names = CELLS
    return cells


def said(model, cells, truth=("B", "NK", "T", "T"), types=CLASSES):
    return answers.predictions_of(model, cells, np.array(truth), types)


@pytest.mark.parametrize("word", ["Unassigned", "unknown", "rejected"])
def test_a_rejected_cell_is_wrong_and_no_type_of_its_own(word, cells):
    found = said(Labels(["B", word, word, "T"]), cells)
    assert found.abstained.tolist() == [False, True, True, False]
    assert evaluate("accuracy", found) == 0.5
    assert evaluate("macro_f1", found) == evaluate("macro_f1_seen", found) == pytest.approx((1 + 0 + 2 / 3) / 3)
    assert evaluate("predicted_types", found) == 2
    assert {m: v for m, c, v in score(found) if m in ("abstained", "contradicted")} == {"abstained": 0.5}
    assert answers.remarks(found)[0].startswith("2 of 4 cells are given no type")


def test_a_word_of_ones_own_is_declared_and_a_type_of_the_training_cells_is_never_taken_for_one(cells):
    with pytest.raises(BenchError, match=r"\['novel'\], which are not in classes.* rejects = "):
        said(Labels(["B", "novel", "T", "T"]), cells)
    assert said(Labels(["B", "novel", "T", "T"], rejects="novel"), cells).abstained.sum() == 1
    assert said(Labels(["B", "novel", "T", "T"], rejects=("novel", "odd")), cells).abstained.sum() == 1
    classes = ["B", "NK", "Unknown"]
    kept = said(Labels(["B", "NK", "Unknown", "B"], classes=classes), cells, ["B", "NK", "Unknown", "B"], classes)
    assert not kept.abstained.any() and evaluate("accuracy", kept) == 1


def test_a_column_for_rejected_cells_is_no_type_either(cells):
    found = said(Said(classes=["B", "NK", "Unassigned"]), cells)
    assert found.abstained.tolist() == [False, False, True, True]


def test_a_label_that_is_not_the_most_probable_type_is_counted(cells):
    found = said(Labels(["B", "NK", "T", "B"]), cells)
    assert evaluate("contradicted", found) == 0.25
    assert answers.remarks(found) == ["predict and predict_proba disagree in 1 of 4 cells; the labels are predict's"]
    tied = said(Labels(["NK"] * 4, np.full((4, 3), 1 / 3)), cells)
    assert evaluate("contradicted", tied) == 0


def test_types_by_other_names_are_said_and_a_collapsed_model_is_just_wrong(cells):
    with pytest.raises(BenchError, match=r"None of the types that are predicted, such as 'b', occurs.* 'B'.*otherwise"):
        said(Said(classes=["b", "nk", "t"]), cells)
    collapsed = said(Labels(["NK"] * 4), cells, ["B", "B", "T", "T"])
    assert evaluate("accuracy", collapsed) == 0
    assert "none of the predicted types occurs" in answers.remarks(collapsed)[-1]


MODELS = """
import numpy as np
from nearest_centroid import NearestCentroid

class InPlace(NearestCentroid):
    def _taken(self, cells):
        cells.X.data[:] = np.log1p(cells.X.data)
        return cells
    def fit(self, train, *, seed, validation=None):
        self.genes_ = list(train.var_names)
        self.diagnostics_ = {"accuracy": 1.0, "note": "good", "loss": [2, 1], "depth": np.float32(3)}
        return super().fit(self._taken(train), seed=seed)
    def predict_proba(self, cells):
        return super().predict_proba(self._taken(cells))
    def predict(self, cells):
        return self.classes_[self.predict_proba(cells).argmax(axis=1)]

class Copies(InPlace):
    def _taken(self, cells):
        return super()._taken(cells.copy())

class Rejects(NearestCentroid):
    def predict(self, cells):
        found = self.predict_proba(cells)
        doubtful = found.max(axis=1) < np.median(found.max(axis=1))
        return np.where(doubtful, "Unassigned", self.classes_[found.argmax(axis=1)])

class Upper(NearestCentroid):
    def fit(self, train, *, seed, validation=None):
        super().fit(train, seed=seed)
        self.classes_ = np.char.upper(self.classes_.astype(str))
        return self
"""


def test_a_trial_gives_each_call_cells_of_its_own_and_records_what_was_rejected(small, tmp_path, monkeypatch, chapters):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "foreign_models.py").write_text(MODELS)
    small.write_h5ad(tmp_path / "small.h5ad")
    names = [f"foreign_models:{name}" for name in ("InPlace", "Copies", "Rejects", "Upper")]
    for task in Grid("foreign", "quick", str(tmp_path / "small.h5ad"), names).tasks():
        run_task(task)
    rows = records.read("foreign").set_index(["model", "metric", "class"]).sort_index()
    in_place, copies, rejects = (rows.loc[name]["value"].dropna() for name in names[:3])
    pd.testing.assert_series_equal(in_place, copies)
    assert in_place[("depth", "")].item() == 3 and len(in_place[("accuracy", "")]) == 1 and "note" not in in_place
    assert 0.2 < rejects[("abstained", "")].item() < 0.6
    assert "abstained" not in in_place
    failed = rows.loc[names[3]]["status"].item()
    assert failed.startswith("failed: BenchError: None of the types that are predicted, such as 'B CELLS'")
    key = rows.loc[names[2]]["key"].iloc[0]
    _, kept = records.read_predictions("foreign", "quick", key)
    assert kept.abstained.mean() == rejects[("abstained", "")].item()
    assert evaluate("accuracy", kept) == rejects[("accuracy", "")].item()
