"""Any `.h5ad` of a user becomes a checked data set, or one sentence that names the fault and the remedy."""

import pickle

import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from anndata import AnnData, read_h5ad

from bench.core.errors import BenchError
from bench.datasets import Dataset, Request, find, load, refusal
from bench.datasets.h5ad import user_dataset

GENES = ["CD3D", "LYZ", "MS4A1", "NKG7", "PPBP"]


def cells() -> AnnData:
    counts = np.random.default_rng(0).poisson(2, (6, 5)).astype(np.float32)
    obs = {"cell_type": ["T", "B", "T", "B", "NK", "NK"], "donor": list("aabbcc")}
    return AnnData(counts, pd.DataFrame(obs, index=[f"c{i}" for i in range(6)]), pd.DataFrame(index=GENES))


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def save(tmp_path):
    def _save(adata: AnnData) -> str:
        adata.write_h5ad(tmp_path / "mine.h5ad")
        return str(tmp_path / "mine.h5ad")

    return _save


@pytest.mark.parametrize("form", [np.asarray, sp.csr_matrix, sp.csc_matrix])
def test_dense_csr_and_csc_give_the_same_data_set(save, form):
    adata = cells()
    expected = adata.X.copy()
    adata.X = form(adata.X)
    loaded = load(save(adata), batch="donor")
    assert isinstance(loaded.X, sp.csr_matrix)
    assert loaded.X.dtype == np.float32
    np.testing.assert_array_equal(loaded.X.toarray(), expected)
    assert loaded.obs["cell_type"].tolist() == ["T", "B", "T", "B", "NK", "NK"]
    assert loaded.obs["batch"].tolist() == list("aabbcc")
    assert loaded.uns["bench"]["values"] == "counts"


def test_a_refusal_is_what_the_check_says_and_empty_of_cells_that_keep_the_contract():
    mine = Dataset("mine.h5ad", "My cells", read=None)
    adata = cells()
    assert refusal(adata, mine) == ""
    adata.X[0, 0] = -1
    assert refusal(adata, mine).startswith("Data set 'mine.h5ad'") and "negative" in refusal(adata, mine)


def test_named_columns_take_the_place_of_others_with_the_contracts_names(save):
    adata = cells()
    adata.obs["fine"] = ["T1", "B1", "T2", "B1", "NK", "NK"]
    adata.obs["batch"] = "x"
    path = save(adata)
    assert load(path, label="fine").obs["cell_type"].tolist() == ["T1", "B1", "T2", "B1", "NK", "NK"]
    assert "batch" not in load(path, label="fine").obs  # only on request
    assert find(path).name == path


def test_log_values_that_the_file_declares_are_kept(save):
    adata = cells()
    adata.X = np.log1p(adata.X)
    adata.uns["bench"] = {"values": "log1p"}
    path = save(adata)
    assert find(path).values == "log1p"
    assert load(path).uns["bench"]["values"] == "log1p"


def test_split_of_the_file_is_used_only_when_it_has_train_and_test(save):
    adata = cells()
    adata.obs["split"] = ["train", "train", "train", "train", "test", "test"]
    path = save(adata)
    assert find(path).split == "authors"
    assert load(path).obs["split"].tolist() == ["train"] * 4 + ["test"] * 2
    adata.obs["split"] = list("xyxyxy")
    path = save(adata)
    assert find(path).split == "random"
    assert "split" not in load(path).obs
    adata.obs["split"] = ["train", "train", "valid", "test", "test", "test"]
    with pytest.raises(BenchError, match=r"obs\['split'\] must be 'train' or 'test' for every cell"):
        load(save(adata))


def test_reading_is_cached_until_the_file_changes(save):
    adata = cells()
    path = save(adata)
    first = load(path)
    assert load(path) is first
    assert user_dataset(Request(str(path))) == user_dataset(Request(str(path)))
    adata.X[0, 0] += 1
    save(adata)
    assert load(path) is not first


def test_file_that_is_not_there_names_the_nearest(save, tmp_path):
    save(cells())
    with pytest.raises(BenchError, match=r"Unknown file in .* 'mime\.h5ad'. Did you mean 'mine\.h5ad'\?"):
        load(str(tmp_path / "mime.h5ad"))
    with pytest.raises(BenchError, match=r"Unknown file in .*nowhere 'x\.h5ad'.*Valid: none"):
        load(str(tmp_path / "nowhere" / "x.h5ad"))


def test_file_that_is_not_hdf5_shows_how_it_begins(tmp_path):
    (tmp_path / "table.h5ad").write_text("gene,cell\n1,2\n")
    with pytest.raises(BenchError, match=r"table\.h5ad is not an \.h5ad \(HDF5\) file: it begins with b'gene,cell"):
        load(str(tmp_path / "table.h5ad"))


def test_pickle_under_another_name_is_not_opened(tmp_path):
    (tmp_path / "evil.h5ad").write_bytes(pickle.dumps({"X": 1}))
    with pytest.raises(BenchError, match="is not an"):
        load(str(tmp_path / "evil.h5ad"))


def test_hdf5_that_is_no_anndata_is_said_so(tmp_path):
    with h5py.File(tmp_path / "other.h5ad", "w") as file:
        file["matrix"] = np.zeros((2, 2))
    with pytest.raises(BenchError, match=r"other\.h5ad.*not written by anndata"):
        load(str(tmp_path / "other.h5ad"))


@pytest.mark.parametrize("share", [0.3, 0.9, 0.999])
def test_truncated_file_is_said_so(save, tmp_path, share):
    whole = (tmp_path / save(cells())).read_bytes()
    (tmp_path / "cut.h5ad").write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(BenchError, match=r"cut\.h5ad \([\d,]+ bytes\) cannot be read: .*cut short.*copy or download"):
        load(str(tmp_path / "cut.h5ad"))


def test_file_without_a_matrix_is_said_so(tmp_path):
    AnnData(obs=cells().obs, var=cells().var).write_h5ad(tmp_path / "empty.h5ad")
    with pytest.raises(BenchError, match=r"has no X; store the counts there"):
        load(str(tmp_path / "empty.h5ad"))


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        ({"label": "cell_typ"}, r"Unknown label column of .*mine\.h5ad 'cell_typ'\. Did you mean 'cell_type'\?"),
        ({"label": "x"}, r"Unknown label column .* 'x'\. Valid: cell_type, donor\."),
        ({"batch": "doner"}, r"Unknown batch column of .* 'doner'\. Did you mean 'donor'\?"),
    ],
)
def test_wrong_column_names_the_nearest_and_all(save, columns, sentence):
    with pytest.raises(BenchError, match=sentence):
        load(save(cells()), **columns)


def test_default_label_that_is_missing_is_an_error(save):
    adata = cells()
    adata.obs = adata.obs.rename(columns={"cell_type": "celltype"})
    with pytest.raises(BenchError, match=r"'cell_type'\. Did you mean 'celltype'\?"):
        load(save(adata))


def spoil_label_missing(adata):
    adata.obs["cell_type"] = pd.Categorical(["T", "B", None, "B", "NK", "NK"])


def spoil_one_class(adata):
    adata.obs["cell_type"] = "T"


def spoil_batch_missing(adata):
    adata.obs["donor"] = pd.Categorical(["a", "a", None, "b", "c", "c"])


def spoil_negative(adata):
    adata.X[0, 0] = -1


def spoil_nan(adata):
    adata.X[0, 0] = np.nan


def spoil_infinite(adata):
    adata.X[0, 0] = np.inf


def spoil_zero(adata):
    adata.X[:] = 0


def spoil_log_undeclared(adata):
    adata.X = np.log1p(adata.X)


def spoil_counts_declared_log(adata):
    adata.uns["bench"] = {"values": "log1p"}


def spoil_large_declared_log(adata):
    adata.X = adata.X * 100.5
    adata.uns["bench"] = {"values": "log1p"}


def spoil_declared_otherwise(adata):
    adata.uns["bench"] = {"values": "tpm"}


def spoil_gene_twice(adata):
    adata.var_names = ["CD3D", "LYZ", "CD3D", "NKG7", "PPBP"]


def spoil_gene_empty(adata):
    adata.var_names = ["CD3D", "", "MS4A1", "NKG7", "PPBP"]


def spoil_gene_ensembl(adata):
    adata.var_names = [f"ENSG{i:011d}" for i in range(5)]


SENTENCES = {
    spoil_label_missing: r"1 cells have no label; drop them",
    spoil_one_class: r"only one cell type, \['T'\]",
    spoil_batch_missing: r"obs\['batch'\] has missing values; fill them, or load without batch=",
    spoil_negative: r"negative values \(smallest -1\), as scaled data have",
    spoil_nan: r"1 NaN or infinite values; remove them",
    spoil_infinite: r"1 NaN or infinite values; remove them",
    spoil_zero: r"no value other than zero",
    spoil_log_undeclared: r"counts were declared, but X has fractions.*'values': 'log1p'",
    spoil_counts_declared_log: r"log values were declared, but X has whole numbers only.*'values': 'counts'",
    spoil_large_declared_log: r"log values were declared, but X has a value of \d+",
    spoil_declared_otherwise: r"values='tpm' is not one of counts, log1p",
    spoil_gene_twice: r"repeats 1 gene symbols, e\.g\. \['CD3D'\]; sum or drop",
    spoil_gene_empty: r"some gene names in var_names are empty",
    spoil_gene_ensembl: r"Ensembl identifiers \('ENSG00000000000'\), expected gene symbols",
}


@pytest.mark.parametrize("spoil", SENTENCES, ids=lambda spoil: spoil.__name__.removeprefix("spoil_"))
@pytest.mark.filterwarnings("ignore:Variable names are not unique")
def test_file_that_breaks_the_contract_is_named_with_fault_and_remedy(save, spoil):
    adata = cells()
    load(save(adata), batch="donor")  # sound before
    spoil(adata)
    path = save(adata)
    with pytest.raises(BenchError, match=SENTENCES[spoil]) as error:
        load(path, batch="donor")
    assert path in str(error.value)


@pytest.mark.filterwarnings("ignore:Observation names are not unique")
def test_repeated_cell_names_are_told_apart(save):
    adata = cells()
    adata.obs_names = ["a", "a", "b", "b", "c", "c"]
    assert load(save(adata)).obs_names.is_unique


def test_users_file_is_not_changed(save):
    path = save(cells())
    before = read_h5ad(path)
    load(path, batch="donor")
    after = read_h5ad(path)
    pd.testing.assert_frame_equal(before.obs, after.obs)
    np.testing.assert_array_equal(before.X, after.X)
