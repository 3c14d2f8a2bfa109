"""Vectors that other tools have made: whatever kind of file they come in, the same values, or one sentence."""

import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from anndata import AnnData

from bench.core.errors import BenchError
from bench.datasets import load
from bench.datasets.vector_files import is_vectors, short

pytestmark = pytest.mark.usefixtures("beside_cells")

N_CELLS, N_DIMENSIONS = 40, 6


@pytest.fixture(scope="module")
def cells(small) -> AnnData:
    """40 cells with names as real files have them, and vectors of six numbers."""
    chosen = small[:N_CELLS, :60]
    obs = chosen.obs[["cell_type"]].astype(str).set_axis([f"AAAC{i:02d}GTCA-1" for i in range(N_CELLS)])
    vectors = np.random.default_rng(0).normal(size=(N_CELLS, N_DIMENSIONS)).astype(np.float32)
    return AnnData(chosen.X, obs=obs, var=pd.DataFrame(index=chosen.var_names), obsm={"X_emb": vectors})


@pytest.fixture
def table(cells) -> pd.DataFrame:
    return pd.DataFrame(cells.obsm["X_emb"], cells.obs_names, [f"PC{i}" for i in range(1, N_DIMENSIONS + 1)])


def hash_of(name: str, **more) -> str:
    return load("cells.h5ad", obsm=name, **more).uns["bench"]["obsm"][name]["hash"]


def as_in_r(table: pd.DataFrame, file: str, separator: str) -> None:
    rows = [separator.join([f'"{name}"', *map(str, row)]) for name, row in zip(table.index, table.values, strict=True)]
    Path(file).write_text("\n".join([separator.join(f'"{name}"' for name in table), *rows]) + "\n")


WRITERS = {  # kinds of files with the names of cells
    "a.csv": lambda table, file: table.to_csv(file),
    "a.tsv": lambda table, file: table.to_csv(file, sep="\t"),
    "a.txt": lambda table, file: as_in_r(table, file, " "),
    "semicolon.csv": lambda table, file: table.to_csv(file, sep=";", decimal=","),
    "a.csv.gz": lambda table, file: Path(file).write_bytes(gzip.compress(table.to_csv().encode())),
    "no_heading.csv": lambda table, file: table.to_csv(file, header=False),
    "numbered.CSV": lambda table, file: table.set_axis(range(N_DIMENSIONS), axis=1).to_csv(file),
    "named.csv": lambda table, file: table.rename_axis("barcode").to_csv(file, lineterminator="\r\n"),
    "counted.csv": lambda table, file: table.rename_axis("cell").reset_index().to_csv(file),
    "names_last.csv": lambda table, file: table.reset_index().iloc[:, [*range(1, 7), 0]].to_csv(file, index=False),
    "excel.csv": lambda table, file: table.to_csv(file, encoding="utf-8-sig"),
    "a.npz": lambda table, file: np.savez(file, labels=np.repeat("T", N_CELLS), n=table.index.to_numpy(str), e=table),
    "bytes.npz": lambda table, file: np.savez(file, cells=table.index.to_numpy("S"), emb=table.to_numpy(np.float64)),
}
WITHOUT_NAMES = {  # in the order of the data set's file
    "a.npy": lambda table, file: np.save(file, table.to_numpy()),
    "sparse.npz": lambda table, file: sp.save_npz(file, sp.csr_matrix(table.to_numpy())),
    "no_names.csv": lambda table, file: table.to_csv(file, index=False),
    "savetxt.txt": lambda table, file: np.savetxt(file, table),
    "rows.csv": lambda table, file: table.reset_index(drop=True)[::-1].to_csv(file),
    "rows_of_r.csv": lambda table, file: table.set_axis(range(1, N_CELLS + 1)).to_csv(file),
}


@pytest.mark.parametrize("name", WRITERS)
def test_rows_go_by_the_names_of_cells_in_whatever_order(name, table, capsys):
    WRITERS[name](table.sample(frac=1, random_state=0), name)
    assert hash_of(name) == hash_of("X_emb")
    assert f"{name}:" not in capsys.readouterr().err


@pytest.mark.parametrize("name", WITHOUT_NAMES)
def test_rows_without_names_are_taken_in_order_and_that_is_said(name, table, capsys):
    WITHOUT_NAMES[name](table, name)
    assert hash_of(name) == hash_of("X_emb")
    assert f"{name}: IT NAMES NO CELLS. Its rows are taken in the order of cells.h5ad" in capsys.readouterr().err


def test_parquet_is_read_where_pyarrow_is_and_its_absence_is_said(table, monkeypatch):
    try:
        table.sample(frac=1).to_parquet("a.parquet")
        assert hash_of("a.parquet") == hash_of("X_emb")
    except ImportError:
        Path("a.parquet").touch()
        with pytest.raises(BenchError, match="pip install pyarrow, then run the same command again"):
            hash_of("a.parquet")


def test_a_name_that_only_looks_like_missing_is_a_name(cells, table):
    names = ["NA", "nan", *cells.obs_names[2:]]
    renamed = cells.copy()
    renamed.obs_names = names
    renamed.write_h5ad("cells.h5ad")
    table.set_axis(names).to_csv("a.csv")
    assert hash_of("a.csv") == hash_of("X_emb")


def test_arrays_of_obsm_may_be_tables_or_sparse_and_cells_that_are_left_out_have_no_row(cells, table):
    more = cells.copy()
    more.obsm["table"], more.obsm["sparse"] = table, sp.csr_matrix(more.obsm["X_emb"])
    more.write_h5ad("cells.h5ad")
    table.sample(frac=1).to_csv("a.csv")
    np.save("a.npy", table.to_numpy())
    dropped = cells.obs["cell_type"].iloc[0]
    kept = load("cells.h5ad", obsm=("X_emb", "table", "sparse", "a.csv", "a.npy"), drop=(dropped,))
    expected = cells[cells.obs["cell_type"] != dropped].obsm["X_emb"]
    assert 0 < kept.n_obs < N_CELLS and len(kept.obsm) == 5
    for name in kept.obsm:
        np.testing.assert_array_equal(kept.obsm[name], expected)


def test_no_hash_of_a_data_set_covers_vectors_and_nobody_gets_what_he_has_not_asked_for():
    plain = load("cells.h5ad")
    assert not len(plain.obsm) and "obsm" not in plain.uns["bench"]
    assert load("cells.h5ad", obsm="X_emb").uns["bench"]["hash"] == plain.uns["bench"]["hash"]


def test_vectors_of_a_data_set_by_name_come_in_files(hao):
    pd.DataFrame(np.arange(2 * hao.n_obs).reshape(-1, 2), hao.obs_names)[::-1].to_csv("a.csv")
    assert load("hao", obsm="a.csv").obsm["a.csv"][3].tolist() == [6, 7]
    with pytest.raises(BenchError, match="hao is a data set by name and has no obsm; name a file of vectors"):
        load("hao", obsm="X_emb")


def other_names(change):
    return lambda table: table.rename(index=change).to_csv("a.csv")


REFUSED = {
    "missing": (lambda t: t[:30].to_csv("a.csv"), "has no vector for 10 of the 40 cells of cells.h5ad, e.g. 'AAAC30"),
    "suffix": (other_names(lambda n: n[:-2]), "'AAAC00GTCA-1' may be 'AAAC00GTCA' of the file. Which is which is not"),
    "case": (other_names(str.lower), "Names differ in case or blanks: 'AAAC00GTCA-1' may be 'aaac00gtca-1'"),
    "others": (other_names(lambda n: f"x{n}y"), "None of its names is one of theirs; they look like 'xAAAC00GTCA-1y'"),
    "doubled": (lambda t: pd.concat([t, t[:2] + 1]).to_csv("a.csv"), "several different vectors for 2 names of cells"),
    "text": (lambda t: t.assign(kind="T cell").to_csv("a.csv"), "column 'kind' holds 'T cell', expected a number"),
    "turned": (lambda t: t.T.to_csv("a.csv"), "has cells as columns (40 of its headings are cells); write it transp"),
    "nan": (
        lambda t: t.mask(t == t.iloc[3, 2]).to_csv("a.csv"),
        "NaN or infinite values in 1 of 40 cells, e.g. 'AAAC03",
    ),
    "constant": (lambda t: (t * 0).to_csv("a.csv"), "the same vector for all 40 cells: there is nothing to learn"),
    "names alone": (lambda t: t.iloc[:, :0].to_csv("a.csv"), "no column of numbers; expected at least one dimension"),
    "empty": (lambda t: Path("a.csv").touch(), "a.csv is empty"),
    "ragged": (lambda t: Path("a.csv").write_text("cell,a\nx,1\ny,1,2\n"), "Expected 2 fields in line 3, saw 3"),
    "binary": (lambda t: Path("a.csv").write_bytes(b"\xff\xfe\x00,"), "a.csv cannot be read: 'utf-8' codec"),
    "short": (lambda t: np.save("a.npy", t[:30]), "names no cells and has 30 rows; cells.h5ad has 40 cells"),
    "turned array": (lambda t: np.save("a.npy", t.T), "has 6 rows; cells.h5ad has 40 cells. It may be transposed"),
    "list": (lambda t: np.save("a.npy", t.to_numpy()[:, 0]), "is of shape (40,), expected cells x dimensions"),
    "objects": (lambda t: np.save("a.npy", t.to_numpy(object)), "it holds Python objects, or is no NumPy file"),
    "no array": (lambda t: Path("a.npy").write_text("no"), "it holds Python objects, or is no NumPy file"),
    "names as objects": (
        lambda t: np.savez("a.npz", cells=t.index.to_numpy(object), emb=t),
        "save names as text, with adata.obs_names.to_numpy(str)",
    ),
    "two": (lambda t: np.savez("a.npz", a=t, b=t), "a.npz holds a (40, 6), b (40, 6); expected one matrix"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_joined_is_refused_in_a_sentence_with_counts(kind, table, tmp_path):
    write, words = REFUSED[kind]
    write(table)
    (file,) = (path.name for path in tmp_path.glob("a.*"))
    with pytest.raises(BenchError) as error:
        hash_of(file)
    assert words in str(error.value) and file in str(error.value)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("", "Name vectors behind the @, such as embedding@X_emb: obsm of cells.h5ad has X_emb (40 x 6)"),
        ("X_em", "obsm of cells.h5ad has no 'X_em'. Did you mean 'X_emb'? It has X_emb (40 x 6)"),
        ("vectors.csv", "There is no file vectors.csv"),
        (
            "a.xlsx",
            "a.xlsx is no table of vectors (.npy, .npz, .csv, .tsv, .txt, .parquet, .pq); save the sheet as CSV",
        ),
        ("a.pkl", "such files can run code, so none is read"),
        ("cells.h5ad", "write one array of it: pd.DataFrame(adata.obsm[KEY], index=adata.obs_names)"),
        ("https://here/a.csv", "is an address; download the file"),
        ("./", "is a folder, expected a file of vectors"),
    ],
)
def test_what_is_no_file_of_vectors_is_said(name, words):
    with pytest.raises(BenchError) as error:
        hash_of(name)
    assert words in str(error.value)


def test_repeats_with_equal_vectors_and_cells_that_nobody_asks_for_are_said(table, capsys):
    pd.concat([table, table[:3], table[:5].rename(index=lambda name: f"x{name}")]).to_csv("a.csv")
    assert hash_of("a.csv") == hash_of("X_emb")
    said = capsys.readouterr().err
    assert "cells.h5ad: a.csv: 3 of its rows repeat a cell, with equal vectors" in said
    assert "cells.h5ad: a.csv: 5 of its 45 cells are not among the 40 used of cells.h5ad" in said


def test_names_that_repeat_in_the_data_set_tell_no_rows_apart(cells, table):
    repeated = cells.copy()
    repeated.obs_names = [*cells.obs_names[:38], *cells.obs_names[:2]]
    repeated.write_h5ad("cells.h5ad")
    table.to_csv("a.csv")
    with pytest.raises(
        BenchError, match=r"2 names of cells stand in cells\.h5ad more than once, e\.g\. 'AAAC00GTCA-1'"
    ):
        hash_of("a.csv")
    assert hash_of("X_emb")


def test_one_dimension_and_constant_ones_are_said(table, capsys):
    table.assign(PC2=1.0)[["PC1", "PC2"]].to_csv("a.csv")
    table[["PC1"]].to_csv("b.csv")
    load("cells.h5ad", obsm=("a.csv", "b.csv"))
    said = capsys.readouterr().err
    assert "a.csv: 1 of its 2 dimensions are constant" in said and "b.csv: it has one dimension only" in said


def test_changed_values_are_read_again_and_have_another_hash(table):
    np.save("a.npy", table)
    before = hash_of("a.npy")
    np.save("a.npy", table + 1e-3)
    assert hash_of("a.npy") != before


def test_names_of_files_are_short_and_keys_stay_as_they_are():
    names = ("X_a.b", "in/X_a.csv.gz", "X_a.npy", "~/a.b.tsv")
    assert [short(name) for name in names] == ["X_a.b", "X_a", "X_a", "a.b"]
    assert [is_vectors(name) for name in names] == [False, True, True, True]
    assert is_vectors("a.h5ad") and is_vectors("a/b") and not is_vectors("X_pca")
