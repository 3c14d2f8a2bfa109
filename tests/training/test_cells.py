"""Cells on disk: the tokens of prediction, no scored cell, no more memory for more cells, nothing half written."""

import json
import os
import pickle
import shutil
import subprocess
import sys

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from anndata import AnnData
from anndata.io import sparse_dataset, write_elem
from full_disk import largest_file
from sklearn.model_selection import train_test_split

from bench.core.errors import BenchError
from bench.datasets import load, panglao
from bench.datasets.names import cell_ids, hidden_names, overlap
from bench.datasets.splits import split
from bench.models.contract import without_labels
from bench.models.scgpt.binning import SPECIAL, Bins, binned
from bench.preprocess import align, features, log1p_cp10k, tokens
from bench.training import blocks, cells
from bench.training.cells import Selection, build

# forks before each measurement, so that none pays for imports or what another has left behind
MEASURE = """
import json, os, sys, threading, time
from pathlib import Path
import numpy as np
from bench.datasets.panglao import gene_order
from bench.models.scgpt.binning import Bins
from bench.training.cells import Selection, build

def anonymous():  # kB that belong to no file: mapped pages of the store do not count
    return int(Path("/proc/self/status").read_text().split("RssAnon:")[1].split()[0])

def watch():
    global peak
    while True:
        peak = max(peak, anonymous())
        time.sleep(0.002)

def measure(path, folder, library):
    global peak
    peak = 0
    threading.Thread(target=watch, daemon=True).start()
    found = build(Path(folder), [Selection(path)], gene_order(), Bins(0) if library == "bins" else library)
    rng = np.random.default_rng(0)
    for _ in range(200):
        found.tokens(rng.integers(0, len(found), 32))
    print(len(found), peak, flush=True)

for path in json.loads(sys.argv[1]):
    child = os.fork()
    if not child:
        try:
            measure(path, *sys.argv[2:])
        finally:  # a failure has printed nothing
            os._exit(0)
    os.waitpid(child, 0)
"""


@pytest.fixture(scope="session")
def genes(hao):
    return hao.var_names[:2000].tolist()


@pytest.fixture(scope="session")
def store(genes, tmp_path_factory):
    """The training cells of Hao, and of Baron all but one donor."""
    chosen = [Selection("hao", ("random",)), Selection("baron", ("held_out:human1", "random"))]
    return build(tmp_path_factory.mktemp("cells"), chosen, genes, "all")


@pytest.fixture
def file(small, tmp_path):
    """A user's file of 240 cells, with labels."""
    path = tmp_path / "own.h5ad"
    small.write_h5ad(path)
    return path


def left_in(folder):
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")


def test_tokens_are_golden(golden):
    description, t = golden("scbert_preprocess")
    counts = sp.csr_matrix(t["input.counts"].astype(np.float32))
    aligned = align(counts, description["gene_names"], description["reference_genes"])[t["output.kept_cells"]]
    found = tokens(log1p_cp10k(aligned))
    assert found.dtype == np.uint8
    assert found.data.min() == 1
    np.testing.assert_array_equal(found.toarray(), t["output.tokens"][:, :-1])


def test_tokens_leave_the_values_alone():
    X = sp.csr_matrix(np.array([[0.0, 0.99, 1.0, 4.999, 5.0, 300.0]], np.float32))
    before = X.copy()
    np.testing.assert_array_equal(tokens(X).toarray(), [[0, 0, 1, 4, 5, 5]])
    assert (before != X).nnz == 0


@pytest.mark.slow
@pytest.mark.parametrize("library", ["all", "panglao"])
def test_tokens_are_those_of_prediction(baron_genes, library, tmp_path):
    found = build(tmp_path, [Selection("baron")], baron_genes, library)
    baron = load("baron")
    names = baron.var_names.tolist() if library == "all" else panglao.gene_order()
    expected = align(tokens(features(baron, genes=library)), names, baron_genes)
    rows = np.random.default_rng(0).permutation(baron.n_obs)
    np.testing.assert_array_equal(found.tokens(rows), expected[rows].toarray())


@pytest.fixture(scope="session")
def baron_genes():
    shared = sorted(set(panglao.gene_order()) & set(load("baron").var_names))
    return list(np.random.default_rng(1).permutation(shared)[:3000])


@pytest.mark.slow
def test_library_size_is_counted_over_the_genes_asked_for(baron_genes, tmp_path):
    by = {library: build(tmp_path, [Selection("baron")], baron_genes, library) for library in ("all", "panglao")}
    assert by["all"].content != by["panglao"].content
    rows = np.arange(500)
    higher = by["panglao"].tokens(rows).astype(int) - by["all"].tokens(rows)
    assert higher.min() == 0  # a smaller library makes each share larger
    assert higher.max() == 1


@pytest.mark.slow
def test_bins_are_those_of_prediction(tmp_path, monkeypatch):
    baron, hao = load("baron"), load("hao")
    genes = sorted(set(hao.var_names) | set(baron.var_names))
    monkeypatch.setattr(blocks, "BLOCK_VALUES", 100 * baron.n_vars)
    chosen = [Selection("hao", ("random",)), Selection("baron")]
    found = build(tmp_path, chosen, genes, Bins(3))
    assert found.card["seed"] == 3
    rows = np.random.default_rng(0).permutation(baron.n_obs)[:300]
    names = hidden_names(baron.obs_names)
    here = np.array([np.flatnonzero(found.ids == i)[0] for i in cell_ids("baron", [names[row] for row in rows])])
    ids = cell_ids("baron", [names[row] for row in rows])
    whole = binned(baron[rows].X, baron.var_names.tolist(), [*genes, *SPECIAL], ids=ids, seed=3)
    assert (found.sparse(here) != whole[:, : len(genes)]).nnz == 0
    assert found.sparse(here).data.max() == 50
    other = build(tmp_path, chosen, genes, Bins(4))
    assert other.content != found.content
    assert 0 < (other.sparse(here) != found.sparse(here)).nnz < 0.9 * whole.nnz  # ties alone
    assert not np.isin(cell_ids("hao", hidden_names(hao.obs_names[split(hao, "random").test])), found.ids).any()


@pytest.mark.slow
def test_tokens_of_scbert_have_no_seed(store, genes, tmp_path):
    assert "seed" not in store.card  # of which its name, and so the identity of weights, depends
    with pytest.raises(BenchError, match=r"Unknown library 'bins'.* Valid: all, panglao"):
        build(tmp_path, [Selection("hao")], genes, "bins")


def test_no_scored_cell_is_in_the_store(store):
    for name, splits in (("hao", ["random"]), ("baron", ["held_out:human1", "random"])):
        adata = load(name)
        scored = np.unique(np.concatenate([split(adata, s).test for s in splits]))
        kept = np.setdiff1d(np.arange(adata.n_obs), scored)
        for rows, expected in ((scored, 0), (kept, len(kept))):
            seen = without_labels(adata[rows])
            assert overlap(store.ids, seen.uns["bench"]["name"], seen.obs_names) == expected
        assert (store.dataset == store.datasets.index(name)).sum() == len(kept)


def test_names_are_those_a_model_sees(hao):
    assert hidden_names(hao.obs_names[:9]) == without_labels(hao[:9]).obs_names.tolist()


def test_identifiers_tell_data_sets_apart_but_not_places_of_a_file():
    names = hidden_names(["a", "b"])
    assert overlap(cell_ids("hao", names), "baron", names) == 0
    assert overlap(cell_ids("here/own.h5ad", names), "there/own.h5ad", names) == 2


def test_order_and_split(store):
    rows = np.array([5, 0, 5, len(store) - 1])
    np.testing.assert_array_equal(store.tokens(rows), store.tokens(np.arange(len(store)))[rows])
    assert store.tokens(rows[:0]).shape == (0, store.n_genes)
    train, validation = store.split(0.05, seed=2021)
    expected = train_test_split(np.arange(len(store)), test_size=0.05, random_state=2021)
    np.testing.assert_array_equal(train, expected[0])
    np.testing.assert_array_equal(validation, expected[1])
    for wrong in (-1, len(store)):
        with pytest.raises(IndexError, match=f"of {len(store)} cells"):
            store.tokens(np.array([0, wrong]))
    for share in (0, 1, -0.5):
        with pytest.raises(BenchError, match=r"leaves no cell on one side; choose a share between 0 and 1"):
            store.split(share, seed=0)


def test_store_is_found_again(store, genes, monkeypatch):
    same = [Selection(s["dataset"], tuple(s["excluded"])) for s in store.card["selections"]]
    monkeypatch.setattr(cells, "_write", None)
    found = build(store.folder.parent, same, genes, "all")
    assert (found.folder, found.content) == (store.folder, store.content)
    with pytest.raises(TypeError):  # other genes, another store
        build(store.folder.parent, same, genes[1:], "all")


def test_a_process_of_a_loader_maps_the_files(store):
    sent = pickle.dumps(store)
    assert len(sent) < 1000
    np.testing.assert_array_equal(pickle.loads(sent).tokens(np.arange(3)), store.tokens(np.arange(3)))


@pytest.mark.parametrize("layout", ["csr", "dense"])
def test_users_file_without_labels(small, tmp_path, layout, monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK_VALUES", 7 * small.n_vars)
    monkeypatch.setattr(blocks, "BLOCK_NAMES", 11)
    path = tmp_path / "own.h5ad"
    X = small.X if layout == "csr" else small.X.toarray()
    AnnData(X, obs=small.obs[[]], var=small.var).write_h5ad(path)
    found = build(tmp_path, [Selection(str(path))], small.var_names.tolist(), "all")
    np.testing.assert_array_equal(found.tokens(np.arange(240)), tokens(features(small)).toarray())
    np.testing.assert_array_equal(found.ids, cell_ids(str(path), hidden_names(small.obs_names)))


@pytest.mark.filterwarnings("ignore:Observation names are not unique")
def test_users_file_with_repeated_cell_names_and_splits(small, file, tmp_path):
    adata = anndata.read_h5ad(file)
    adata.obs["type"] = adata.obs.pop("cell_type")
    adata.obs_names = ["same"] * adata.n_obs
    adata.write_h5ad(file)
    seen = load(str(file), label="type")
    found = build(tmp_path, [Selection(str(file), ("authors",), label="type")], small.var_names.tolist(), "all")
    scored = split(seen, "authors").test
    assert len(found) == seen.n_obs - len(scored)
    assert overlap(found.ids, str(file), without_labels(seen[scored]).obs_names) == 0
    assert overlap(found.ids, str(file), without_labels(seen).obs_names) == len(found)
    whole = build(tmp_path, [Selection(str(file))], small.var_names.tolist(), "all")
    assert len(np.unique(whole.ids)) == seen.n_obs


def test_users_file_as_it_is_asked_for(small, tmp_path):
    path = tmp_path / "own.h5ad"
    var = pd.DataFrame({"gene": small.var_names}, index=[f"ENSG{i:011d}" for i in range(small.n_vars)])
    own = AnnData(features(small), obs=small.obs[["cell_type"]], var=var, layers={"umi counts": small.X})
    own.write_h5ad(path)
    asked = Selection(str(path), layer="umi counts", symbols="gene", drop=("Platelet",))
    found = build(tmp_path, [asked], small.var_names.tolist(), "all")
    kept = (small.obs["cell_type"] != "Platelet").to_numpy()
    np.testing.assert_array_equal(found.tokens(np.arange(len(found))), tokens(features(small)).toarray()[kept])


def test_log_values_are_used_as_given(small, tmp_path):
    path = tmp_path / "log.h5ad"
    values = features(small)
    AnnData(values, obs=small.obs, var=small.var, uns={"bench": {"values": "log1p"}}).write_h5ad(path)
    found = build(tmp_path, [Selection(str(path))], small.var_names.tolist(), "all")
    np.testing.assert_array_equal(found.tokens(np.arange(240)), tokens(values).toarray())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: setattr(a, "X", a.X * 0.5), r"X holds counts divided by a size factor .*store the raw counts"),
        (lambda a: setattr(a, "X", -a.X), r"X holds negative values"),
        (lambda a: a.X.data.__setitem__(9, np.nan), r"X holds NaN"),
        (lambda a: setattr(a, "X", a.X * 0), r"X holds no value other than zero"),
        (lambda a: setattr(a, "X", None), r"has no X; store the counts there"),
        (lambda a: a.uns.update(bench={"values": "log1p"}), r"log values were declared, but X has whole numbers only"),
    ],
)
def test_users_file_that_breaks_the_contract(small, tmp_path, change, message):
    adata = AnnData(small.X.copy(), obs=small.obs[[]], var=small.var.copy())
    change(adata)
    adata.write_h5ad(tmp_path / "own.h5ad")
    folder = tmp_path / "stores"
    with pytest.raises(BenchError, match=message):
        build(folder, [Selection(str(tmp_path / "own.h5ad"))], ["A", *small.var_names], "all")
    assert not folder.exists() or left_in(folder) == []


def test_files_that_are_missing_or_broken(file, genes, tmp_path):
    with pytest.raises(BenchError, match=r"Unknown file in .*Did you mean 'own.h5ad'"):
        build(tmp_path, [Selection(str(tmp_path / "owm.h5ad"))], genes, "all")
    file.write_bytes(file.read_bytes()[:5000])
    with pytest.raises(BenchError, match=r"own.h5ad \(5,000 bytes\) cannot be read"):
        build(tmp_path, [Selection(str(file))], genes, "all")


@pytest.mark.parametrize(
    ("selections", "names", "library", "message"),
    [
        ([], ["CD3E"], "all", r"The list of data sets is empty"),
        ([Selection("hao")], [], "all", r"The list of genes is empty"),
        ([Selection("hao"), Selection("hao", ("random",))], ["CD3E"], "all", r"list of data sets repeats hao"),
        ([Selection("hao")], ["CD3E", "CD3E"], "all", r"list of genes repeats CD3E"),
        ([Selection("hao")], ["Cd3e"], "all", r"'hao' has none of the 1 genes asked for.*\['Cd3e'\]"),
        ([Selection("hao")], ["CD3E", "Cd3e"], "panglao", r"1 of the 2 genes are not among the Panglao genes"),
        ([Selection("hao")], [str(i) for i in range(2**16)], "all", r"65,536 genes do not fit the store"),
        ([Selection("hao")], ["CD3E"], "panglau", r"Unknown library 'panglau'\. Did you mean 'panglao'"),
        ([Selection("haoo")], ["CD3E"], "all", r"Unknown data set 'haoo'\. Did you mean 'hao'"),
        ([Selection("hao", ("randum",))], ["CD3E"], "all", r"Unknown split 'randum'\. Did you mean 'random'"),
        ([Selection("hao", ("held_out:x",))], ["CD3E"], "all", r"needs obs\['batch'\], which 'hao' does not have"),
    ],
)
def test_wrong_requests(selections, names, library, message, tmp_path):
    with pytest.raises(BenchError, match=message):
        build(tmp_path, selections, names, library)


def test_splits_that_score_every_cell(genes, tmp_path):
    donors = tuple(f"held_out:{donor}" for donor in load("baron").obs["batch"].unique())
    with pytest.raises(BenchError, match=r"score all of its 3,607 cells together, none is left to train on"):
        build(tmp_path, [Selection("baron", donors)], genes, "all")


def test_genes_without_any_token(small, file, tmp_path):
    adata = anndata.read_h5ad(file)
    first = adata.var_names[0]
    adata.X = sp.csr_matrix(adata.X.toarray() * (np.arange(adata.n_vars) > 0), dtype=np.float32)
    adata.write_h5ad(file)
    with pytest.raises(BenchError, match=r"None of the 1 genes has a token above 0 in any cell"):
        build(tmp_path / "stores", [Selection(str(file))], [first], "all")
    assert left_in(tmp_path / "stores") == []


@pytest.mark.parametrize("n_bytes", [200, 100_000])
def test_full_disk_leaves_nothing(genes, tmp_path, n_bytes):
    with largest_file(n_bytes), pytest.raises(BenchError, match=r"Cells cannot be written to .*: File too large"):
        build(tmp_path, [Selection("hao")], genes, "all")
    assert left_in(tmp_path) == []
    assert len(build(tmp_path, [Selection("hao")], genes, "all")) == 1336


def test_interrupted_and_killed_writers_leave_nothing(genes, tmp_path, monkeypatch):
    whole = blocks.Stream._rows

    def interrupted(self, matrix, start, end):
        if start:
            assert left_in(tmp_path) == [f".{target}.part"]
            raise KeyboardInterrupt
        return whole(self, matrix, start, end)

    target = build(tmp_path, [Selection("hao")], genes, "all").folder.name
    shutil.rmtree(tmp_path / target)
    monkeypatch.setattr(blocks.Stream, "_rows", interrupted)
    with pytest.raises(KeyboardInterrupt):
        build(tmp_path, [Selection("hao")], genes, "all")
    assert left_in(tmp_path) == []
    monkeypatch.undo()
    (tmp_path / f".{target}.part").mkdir()  # as after kill -9
    (tmp_path / f".{target}.part" / "token").write_bytes(bytes(9))
    assert len(build(tmp_path, [Selection("hao")], genes, "all")) == 1336
    assert left_in(tmp_path) == [target]


def test_damaged_store_is_written_again(genes, tmp_path):
    found = build(tmp_path, [Selection("hao")], genes, "all")
    expected = found.tokens(np.arange(50))
    for name in ("token", "card.json"):
        (found.folder / name).unlink()
        found = build(tmp_path, [Selection("hao")], genes, "all")
        np.testing.assert_array_equal(found.tokens(np.arange(50)), expected)
    assert json.loads((found.folder / "card.json").read_text())["content"] == found.content


def write_repeated(adata, times, path):
    """Write a file of many cells with names of their own, a part at a time."""
    AnnData(adata.X, obs=adata.obs[[]], var=adata.var).write_h5ad(path)
    with h5py.File(path, "a") as file:
        X = sparse_dataset(file["X"])
        for _ in range(times - 1):
            X.append(adata.X)
        del file["obs"]
        write_elem(file, "obs", pd.DataFrame(index=[f"{name}/{i}" for i in range(times) for name in adata.obs_names]))


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="anonymous memory is read from /proc")
@pytest.mark.parametrize("library", ["panglao", "bins"])
def test_memory_does_not_grow_with_the_number_of_cells(hao, tmp_path, library):
    paths = {times: tmp_path / f"{times}.h5ad" for times in (2, 20)}
    for times, path in paths.items():
        write_repeated(hao[:, ::5], times, path)  # what a cell leaves behind shows as well with fewer genes
    measured = [(what, times) for times in paths for what in ("write", "read")]
    asked = json.dumps([str(paths[times]) for _, times in measured])
    command = [sys.executable, "-c", MEASURE, asked, str(tmp_path), library]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    peak = {}
    for (what, times), line in zip(measured, done.stdout.splitlines(), strict=True):
        n_cells, peak[what, times] = map(int, line.split())
        assert n_cells == times * hao.n_obs
    print(peak)
    for what in ("write", "read"):
        assert peak[what, 20] < 1.1 * peak[what, 2], peak
