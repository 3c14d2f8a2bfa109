"""Files in the shapes that people have (`BENCH_CASES`): each gives its right number, or a sentence that leads to it."""

import os
import re
import shlex
from pathlib import Path

import pytest

from bench.core.errors import BenchError
from bench.datasets import Request, load
from bench.datasets.opened import opened
from bench.datasets.overview import lines
from bench.datasets.splits import split
from bench.protocol import runner
from bench.protocol.trials import Grid

CASES = Path(os.environ.get("BENCH_CASES") or "nowhere")
pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason="BENCH_CASES names no folder of cases")
L1 = {"l1_logistic": {"Cs": (1.0,)}}


@pytest.fixture(autouse=True)
def in_the_folder(monkeypatch):
    monkeypatch.chdir(CASES)


def scores(name: str, model: str = "l1_logistic", overrides: dict | None = None, **asked) -> dict[str, float]:
    """Return accuracy and macro F1 of one trial in this process."""
    [task] = Grid("audit", "quick", name, [model], overrides={model: overrides or L1.get(model, {})}, **asked).tasks()
    result = runner.run_task(task)
    assert not result.failure, result.failure
    return {row["metric"]: round(row["value"], 3) for row in result.rows if row["metric"] in ("accuracy", "macro_f1")}


def advised(error: BenchError, name: str) -> str:
    """Return what a sentence advises to give for a parameter."""
    return shlex.split(re.search(rf"-p {name} ('[^']*'|\S+)", str(error)).group(0))[2]


def test_cellxgene_runs_as_it_is(capsys):
    assert scores("cellxgene.h5ad", overrides={"Cs": (10.0,)}) == {"accuracy": 1.0, "macro_f1": 1.0}
    said = capsys.readouterr().err
    assert "raw.X is used, with counts up to" in said and "symbols are those of var['feature_name']" in said
    adata = load("cellxgene.h5ad")
    assert adata.var.loc["ACTB", "ensembl_id"] == "ENSG00000075624"
    assert Request("cellxgene.h5ad").reading(adata).items() >= {"layer": "raw", "symbols": "feature_name"}.items()
    assert load("cellxgene.h5ad", layer="X").uns["bench"]["values"] == "log1p"


def test_mouse_is_refused_by_models_of_human_genes_and_runs_with_all_genes():
    [task] = Grid("audit", "quick", "mouse.h5ad", ["knn"], overrides={"knn": {"genes": "panglao"}}).tasks()
    assert re.search(r"Only 8 of the 458 genes .* look mouse .*override ..genes.: .all.", runner.run_task(task).failure)
    assert scores("mouse.h5ad", "knn", {"genes": "all"})["accuracy"] == 0.790
    assert scores("mouse.h5ad", overrides={"Cs": (0.1,)})["accuracy"] == 0.871
    assert scores("mouse.h5ad", "knn", {"genes": "panglao", "least_genes": 0.0})["accuracy"] < 0.6


def test_a_split_that_nobody_named_decides_nothing():
    assert scores("train_val_test.h5ad", split="random")
    sides = split(load("train_val_test.h5ad"), "authors")
    assert (len(sides.train), len(sides.test)) == (138, 43)
    assert any("17 in neither part" in said for _, said in lines(Request("train_val_test.h5ad")))


@pytest.mark.parametrize("name", ["unreadable_obsm", "unreadable_uns"])
def test_parts_that_are_not_needed_need_not_be_readable(name):
    assert load(f"{name}.h5ad").shape == (120, 300)


def test_a_filter_that_is_missing_is_named_with_the_package_that_has_it():
    try:
        with opened("zstd.h5ad") as file:
            file["X/data"][:]
    except BenchError as error:
        assert re.search("compressed by a filter .*zstd.* pip install hdf5plugin", str(error))


def test_labels_that_stand_for_missing_are_left_out_as_the_sentence_advises():
    with pytest.raises(BenchError, match="10 cells have no label") as error:
        load("label_nan_text.h5ad")
    assert advised(error.value, "drop") == '["nan"]'
    assert scores("label_nan_text.h5ad", drop=["nan"])


def test_labels_that_differ_in_blanks_are_one(capsys):
    assert scores("label_blanks.h5ad") == {"accuracy": 0.711, "macro_f1": 0.691}
    assert "10 labels of obs['cell_type'] differ from others in blanks" in capsys.readouterr().err


def test_a_type_of_one_cell_is_left_out_as_the_sentence_advises():
    adata = load("one_cell_of_a_type.h5ad")
    with pytest.raises(BenchError, match="needs two cells of every type") as error:
        split(adata, "random")
    assert advised(error.value, "drop") == '["schwann"]'
    assert scores("one_cell_of_a_type.h5ad", drop=["schwann"])


@pytest.mark.parametrize("label", ["1", "0.8", "cell type #2", "major: celltype", "Yes", "2024-01-01", "[final]"])
def test_names_of_columns_are_names(label):
    assert load("odd_column_names.h5ad", label=label).n_obs == 120


@pytest.mark.parametrize("path", sorted(CASES.glob("*.h5ad")), ids=lambda path: path.stem)
def test_every_file_is_described_on_one_screen(path):
    if path.stem == "zstd":
        pytest.skip("needs hdf5plugin")
    assert 4 < len(list(lines(Request(path.name)))) < 24
