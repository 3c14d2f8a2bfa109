"""Files in the shapes that people have, made of real cells: one data set, or a sentence whose advice is followed."""

import gzip
import json
import os
import re
import shlex
import subprocess
import sys

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from anndata import AnnData

from bench.core.errors import BenchError
from bench.datasets import load
from bench.datasets.overview import lines
from bench.datasets.request import Request
from bench.datasets.splits import split
from bench.datasets.twins import across, warnings
from bench.datasets.values import held
from bench.preprocess import log1p_cp10k


@pytest.fixture
def mine(small, tmp_path, monkeypatch):
    """Return private cells, and let files have short names."""
    monkeypatch.chdir(tmp_path)
    return AnnData(small.X.copy(), obs=small.obs[["cell_type"]].copy(), var=small.var.copy())


def written(adata: AnnData, name: str = "mine.h5ad") -> str:
    adata.write_h5ad(name)
    return name


def advised(error, name: str) -> str:
    """Return what a sentence advises to give for a parameter."""
    return shlex.split(re.search(rf"-p {name} ('[^']*'|\S+)", str(error.value)).group(0))[2]


def scaled(X: sp.csr_matrix) -> np.ndarray:
    values = log1p_cp10k(X).toarray()
    return ((values - values.mean(0)) / (values.std(0) + 1e-6)).astype(np.float32)


WAYS = {
    "csc": sp.csc_matrix,
    "dense": lambda X: X.toarray().astype(np.float64),
    "int64": lambda X: X.astype(np.int64),
    "uint16": lambda X: X.astype(np.uint16),
}


@pytest.mark.parametrize("way", WAYS)
def test_one_data_set_however_it_is_stored(mine, small, way, monkeypatch):
    monkeypatch.setattr("bench.datasets.matrix.BLOCK_VALUES", 999)  # many blocks
    mine.X = WAYS[way](mine.X)
    mine.obs["batch"] = small.obs["split"].to_numpy()
    assert (load(written(mine)).X != small.X).nnz == 0


def test_cellxgene_shape_is_recognised_and_said(mine, small, capsys):
    ids = [f"ENSG{i:011d}.{i % 9}" for i in range(mine.n_vars)]
    mine.var = pd.DataFrame({"feature_name": pd.Categorical(small.var_names)}, index=ids)
    mine.raw = mine.copy()
    mine.X = log1p_cp10k(mine.X, np.e)
    adata = load(written(mine))
    assert (adata.X != small.X).nnz == 0 and adata.var_names.tolist() == small.var_names.tolist()
    assert adata.var["ensembl_id"].iloc[3] == "ENSG00000000003"
    plain = load(written(AnnData(small.X, small.obs[["cell_type"]], small.var[[]]), "plain.h5ad"))
    assert adata.uns["bench"]["hash"] == plain.uns["bench"]["hash"]
    said = capsys.readouterr().err
    assert "mine.h5ad: X holds logarithms" in said and "raw.X is used" in said and "var['feature_name']" in said
    assert load("mine.h5ad", layer="X").uns["bench"]["values"] == "log1p"


def test_counts_in_a_layer_of_a_usual_name_are_used_and_others_are_advised(mine, small):
    mine.layers["counts"] = mine.X.copy()
    mine.X = scaled(mine.X)
    assert (load(written(mine)).X != small.X).nnz == 0
    mine.layers["spliced"] = mine.layers.pop("counts")
    with pytest.raises(BenchError, match=r"X holds negative values.*layers\['spliced'\] holds counts") as error:
        load(written(mine))
    assert (load("mine.h5ad", layer=advised(error, "layer")).X != small.X).nnz == 0
    with pytest.raises(BenchError, match=r"Unknown layer .* 'splice'\. Did you mean 'spliced'"):
        load("mine.h5ad", layer="splice")


def test_logarithms_alone_are_used_where_they_are_asked_for(mine):
    mine.X = log1p_cp10k(mine.X, np.e)
    with pytest.raises(BenchError, match=r"logarithms of base e.*the file has none") as error:
        load(written(mine))
    assert load("mine.h5ad", layer=advised(error, "layer")).uns["bench"]["values"] == "log1p"


def soup(X: sp.csr_matrix) -> sp.csr_matrix:
    rng, X = np.random.default_rng(0), X.copy()
    X.data = np.maximum(X.data - rng.uniform(0, 0.9, X.nnz) * (rng.random(X.nnz) < 0.5), 0.01).astype(np.float32)
    return X


def cp10k(X: sp.csr_matrix) -> sp.csr_matrix:
    return sp.csr_matrix(X.multiply(1e4 / X.sum(axis=1)), dtype=np.float32)


HELD = {
    "log1p of base 2": (log1p_cp10k, "log1p", "base 2"),
    "rounded log1p": (lambda X: (log1p_cp10k(X, np.e) * 100).rint() / 100, "log1p", "base e"),
    "CP10K": (cp10k, "linear", "10,000 per cell"),
    "TPM": (lambda X: cp10k(X) * 100, "linear", "1,000,000 per cell"),
    "square roots": (lambda X: X.sqrt(), "root", "square roots"),
    "corrected": (soup, "fractions", "SoupX"),
    "scaled": (lambda X: sp.csr_matrix(scaled(X)), "scaled", "negative"),
    "binary": (lambda X: X.sign(), "counts", "made binary"),
    "counts": (lambda X: X, "counts", "counts up to"),
}


@pytest.mark.parametrize("name", HELD)
def test_what_a_matrix_holds_is_told_apart(hao, name):
    made, kind, said = HELD[name]
    found = held(sp.csr_matrix(made(hao.X[::12])))
    assert found.kind == kind and said in found.said


@pytest.mark.parametrize("name", ["CP10K", "TPM", "square roots", "corrected", "scaled"])
def test_what_is_neither_counts_nor_logarithms_is_refused_with_a_remedy(mine, name):
    mine.X = sp.csr_matrix(HELD[name][0](mine.X))
    for layer in (None, "X"):
        with pytest.raises(BenchError, match=r"mine\.h5ad: X holds .*not counts, and no other matrix does; \w+"):
            load(written(mine), layer=layer)


def test_a_fraction_far_from_where_one_looks_is_found(mine, monkeypatch):
    monkeypatch.setattr("bench.datasets.matrix.MOST_ROWS", 8)
    mine.X.data[mine.X.indptr[101]] += 0.25
    with pytest.raises(BenchError, match="X holds fractions"):
        load(written(mine))


def test_repeated_symbols_of_counts_are_summed_and_of_logarithms_refused(mine, small, capsys):
    mine.var["symbol"] = ["TWICE", "TWICE", *small.var_names[2:]]
    adata = load(written(mine), symbols="symbol")
    np.testing.assert_array_equal(adata[:, "TWICE"].X.toarray(), small.X[:, :2].sum(axis=1))
    assert adata.n_vars == small.n_vars - 1 and "1 repeats of gene symbols" in capsys.readouterr().err
    mine.X = log1p_cp10k(mine.X)
    with pytest.raises(BenchError, match=r"1 gene symbols repeat, e\.g\. \['TWICE'\], and logarithms cannot be summed"):
        load(written(mine), symbols="symbol", layer="X")
    with pytest.raises(BenchError, match=r"Unknown column of var .* 'symbl'\. Did you mean 'symbol'"):
        load("mine.h5ad", symbols="symbl", layer="X")


def test_what_is_no_gene_is_left_out_and_prefixes_are_taken_off(mine, small, capsys):
    mine.var["feature_types"] = ["Gene Expression"] * 498 + ["Antibody Capture"] * 2
    mine.var_names = [f"GRCh38_{name}" for name in small.var_names]
    assert load(written(mine)).var_names.tolist() == small.var_names[:498].tolist()
    said = capsys.readouterr().err
    assert "2 features that are no genes (Antibody Capture)" in said and "prefix 'GRCh38'" in said


def test_spike_ins_and_other_species_are_said(mine, small, capsys):
    mine.var_names = ["ERCC-00002", *(name.capitalize() for name in small.var_names[1:])]
    load(written(mine))
    said = capsys.readouterr().err
    assert "1 spike-ins (ERCC)" in said and "look mouse" in said


@pytest.mark.parametrize("word", ["nan", "None", "NA", ""])
def test_text_for_missing_is_left_out_as_the_sentence_advises(mine, word):
    labels = mine.obs["cell_type"].astype(str).to_numpy(dtype=object)
    labels[:7] = word
    mine.obs["cell_type"] = labels
    with pytest.raises(BenchError, match="7 cells have no label") as error:
        load(written(mine))
    adata = load("mine.h5ad", drop=tuple(json.loads(advised(error, "drop"))))
    assert adata.n_obs == 233 and adata.obs["cell_type"].nunique() == 8


def test_labels_of_other_blanks_or_case_are_one_and_doubtful_ones_are_said(mine, small, capsys):
    labels = mine.obs["cell_type"].astype(str).to_numpy(dtype=object)
    labels[:5] = [f" {labels[0]} ", labels[1].upper(), f"{labels[2]}\u00a0", "Unassigned", "Unassigned"]
    mine.obs["cell_type"] = labels
    adata = load(written(mine))
    assert adata.obs["cell_type"].tolist()[:3] == small.obs["cell_type"].tolist()[:3]
    said = capsys.readouterr().err
    assert "differ from others in blanks or case" in said and "--drop Unassigned" in said
    assert load("mine.h5ad", drop=("Unassigned",)).n_obs == 238
    with pytest.raises(BenchError, match=r"type to leave out .*'Unasigned'\. Did you mean 'Unassigned'"):
        load("mine.h5ad", drop=("Unasigned",))


def test_text_for_missing_in_a_batch_column_is_said(mine, capsys):
    mine.obs["donor"] = np.resize(["D1", "nan", "D2"], mine.n_obs)
    assert load(written(mine), batch="donor").obs["batch"].nunique() == 3
    assert "80 cells have 'nan' in obs['donor'], which counts as a batch of its own" in capsys.readouterr().err


def test_a_column_of_barcodes_is_no_label(mine):
    mine.obs["barcode"] = mine.obs_names
    with pytest.raises(BenchError, match="240 different values for 240 cells, which are no cell types"):
        load(written(mine), label="barcode")


def test_cells_that_stand_in_the_file_twice_are_counted_within_and_across_the_split(mine, small, capsys):
    scored = split(small, "random").test
    twice = anndata.concat([mine, mine[scored[:9]]], index_unique="-")
    adata = load(written(twice))
    assert "9 cells stand in the file more than once" in capsys.readouterr().err
    [(_, n, n_scored)] = across(adata, ["random"])
    sides = split(adata, "random")
    rows = [row.tobytes() for row in adata.X.toarray()]
    assert n == sum(rows[i] in {rows[j] for j in sides.train} for i in sides.test) > 0
    assert warnings(adata, ["random"]) == [
        f"split random: {n} of {n_scored} scored cells are trained on as well, as repeats with equal values."
    ]


def spoiled(name: str) -> str:
    with h5py.File(name, "a") as file:
        file.create_group("obsm/bad").attrs["encoding-type"] = "from the future"
        file["uns/bad"] = np.dtype("f4")
        del file["obs"].attrs["column-order"]
        file["obs"].attrs["column-order"] = ["cell_type", "bad"]
        file["obs"].create_group("bad").attrs["encoding-type"] = "from the future"
    return name


def test_parts_that_are_not_asked_for_need_not_be_readable(mine, small):
    assert (load(spoiled(written(mine))).X != small.X).nnz == 0
    assert dict(lines(Request("mine.h5ad")))["size"] == "240 cells, 500 genes"


def loom(file):
    for name in ("matrix", "row_attrs", "col_attrs"):
        file.create_group(name)


def cell_ranger(file):
    file.create_group("matrix/barcodes")


def mudata(file):
    file.create_group("mod/rna")


@pytest.mark.parametrize(
    ("name", "make", "advice"),
    [
        ("a.h5ad", loom, "read_loom"),
        ("a.h5", cell_ranger, "read_10x_h5"),
        ("a.h5mu", mudata, r'read_h5mu\("a.h5mu"\)\["rna"\]'),
    ],
)
def test_hdf5_of_other_tools_is_named_with_its_reader(mine, name, make, advice):
    with h5py.File(name, "w") as file:
        make(file)
    with pytest.raises(BenchError, match=rf"{name} was not written by anndata: .*{advice}"):
        load(name)


@pytest.mark.slow
def test_other_files_folders_and_addresses_are_named_with_the_way(mine, small, tmp_path):
    written(mine)
    (tmp_path / "mine.h5ad.gz").write_bytes(gzip.compress((tmp_path / "mine.h5ad").read_bytes()))
    (tmp_path / "table.csv").write_text("gene,cell\n")
    (tmp_path / "store.zarr").mkdir()
    (tmp_path / "store.zarr" / ".zgroup").touch()
    for name, advice in (
        ("mine.h5ad.gz", "gunzip -k"),
        ("table.csv", r"anndata\.io\.read_csv"),
        ("store.zarr", "read_zarr"),
        ("https://example.org/mine.h5ad", "curl -LO"),
        (str(tmp_path), "give one of .*mine.h5ad"),
    ):
        with pytest.raises(BenchError, match=advice):
            load(name)
    os.rename("mine.h5ad", "MINE.H5AD")
    assert load("MINE.H5AD").shape == small.shape


def test_a_file_that_is_open_for_writing_elsewhere_is_said_to_be(mine):
    path = written(mine)
    code = f"import h5py, sys; f = h5py.File({path!r}, 'a'); print('open', flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        with pytest.raises(BenchError, match="another process has it open for writing"):
            load(path)
        other.stdin.close()


def test_indices_beyond_the_matrix_are_refused(mine):
    path = written(mine)
    with h5py.File(path, "a") as file:
        file["X/indices"][5] = 10**6
    with pytest.raises(BenchError, match="X, is damaged"):
        load(path)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is read from /proc")
@pytest.mark.slow
def test_reading_takes_at_most_half_a_matrix_beside_the_matrix(hao, mine):
    X = sp.vstack([hao.X] * 4, format="csr")
    types = np.tile(hao.obs["cell_type"].astype(str), 4)
    obs = pd.DataFrame({"cell_type": types}, index=np.arange(len(types)).astype(str))
    adata = AnnData(X, obs=obs, var=hao.var)
    adata.layers["counts"], adata.raw = X, AnnData(X, obs=obs, var=hao.var)
    written(adata)
    load(written(mine, "first.h5ad"))  # what is imported on the way
    reader, writer = os.pipe()
    if not (child := os.fork()):
        load("first.h5ad", drop=("Platelet",))
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
        before = _memory("VmRSS")
        load("mine.h5ad")
        os.write(writer, str(_memory("VmHWM") - before).encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert int(os.read(reader, 100)) < 1.5 * (X.data.nbytes + X.indices.nbytes + X.indptr.nbytes)


def _memory(name: str) -> int:
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(name))
