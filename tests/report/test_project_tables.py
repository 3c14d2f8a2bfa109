"""Tables on the project itself are read from its code, a row per thing that there is."""

import numpy as np
from made_up import row, table_of

from bench.models import MODELS, find
from bench.protocol import records
from bench.report import tables
from bench.statistics.metrics import METRICS


def test_every_model_stands_with_its_first_sentence_and_its_variants():
    table = tables.models()
    assert table.index.tolist() == list(MODELS)
    assert (table["what it does"] != "").all()
    assert table.loc["knn", "what it does"] == find("knn").__doc__.splitlines()[0]
    assert table.loc["scgpt", "variants"].split(", ") == list(find("scgpt").variants)


def test_every_metric_stands_with_its_direction():
    table = tables.metrics()
    assert table.index.tolist() == list(METRICS)
    assert table.loc["accuracy", "better"] == METRICS["accuracy"].better
    assert (table["what it is"] != "").all()


def test_texts_become_a_column():
    table = tables.listed({"a": "one", "b": "two"}, "what it is")
    assert table.index.tolist() == ["a", "b"] and table["what it is"].tolist() == ["one", "two"]


def test_arrays_of_a_file_stand_with_type_shape_and_first_entry(tmp_path):
    np.savez(tmp_path / "said.npz", cells=np.array(["c1", "c2"]), truth=np.array([[3, 4]], dtype=np.int16))
    table = tables.arrays(tmp_path / "said.npz")
    assert table.loc["truth"].tolist() == ["int16", "(1, 2)", "3"]
    assert table.loc["cells"].tolist() == ["<U2", "(2,)", "c1"]


def test_the_standin_tier_is_told_by_data_model_weights_and_share(monkeypatch):
    file = {"weights_hash": "w", "weights_sha256": "abcdef0123456789"}
    runs = [row("scgpt", "pretrained", seed, "accuracy", 0.5, **file) for seed in range(3)]
    runs += [row("scgpt", "pretrained", 5, "accuracy", 0.5, **file, fraction=0.1)]
    runs += [row("scgpt", "pretrained", 0, "macro_f1", 0.5, **file), row("knn", "default", 0, "accuracy", 0.5)]
    runs += [row("scgpt", "pretrained", 9, "accuracy", 0.5, **file, tier="quick")]
    monkeypatch.setattr(records, "read", lambda: table_of(runs))
    table = tables.standin()
    assert table.index.tolist() == [("pbmc_facs", "scGPT", "abcdef01")]
    assert table.columns.tolist() == ["10 %", "100 %"]
    assert table.iloc[0].tolist() == [1, 3]
    monkeypatch.setattr(records, "read", lambda: table_of(runs[-2:]))
    assert tables.standin().empty
