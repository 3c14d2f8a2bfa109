"""The paper's data sets, read from files with the real layout and few cells; only the expected numbers are changed."""

import gzip
import hashlib
import os
import shutil
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from bench.core.errors import BenchError
from bench.datasets import hpancreas, liver, ms, myeloid, panglao, zheng68k
from bench.datasets.contract import check
from bench.datasets.sources import Source, git_blob_of

PUBLISHED = Path(__file__).parents[2] / "bench" / "published"
RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def offline(monkeypatch, tmp_path):
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("BENCH_MIRROR", raising=False)


def log_values(n_cells: int, n_genes: int) -> np.ndarray:
    return np.log1p(RNG.poisson(2, (n_cells, n_genes))).astype(np.float32)


def write(path: Path, X, obs: dict, genes: list[str], **var) -> Path:
    index = pd.Index([f"{path.stem}_{i}" for i in range(X.shape[0])])
    path.parent.mkdir(exist_ok=True)
    ad.AnnData(X, obs=pd.DataFrame(obs, index=index), var=pd.DataFrame(var, index=genes)).write_h5ad(path)
    return path


@pytest.fixture
def ms_folder(tmp_path, monkeypatch):
    """Ensembl index with symbols in a column, one of them twice; sparse train, dense test; the test genes reversed."""
    symbols = ["GAD1", "MBP", "PLP1", "MBP", "SLC17A7"]
    index = [f"ENSG{i:011d}" for i in range(5)]
    labels = ["OL-A", "EN-L2-3-A", "OL-A", "IN-PVALB"]
    obs = {ms.LABEL: labels, "Sample Characteristic[individual]": [1, 1, 2, 2], "Factor Value[disease]": "normal"}
    train, test = log_values(4, 5), log_values(3, 5)
    folder = tmp_path / "ms"
    write(folder / "c_data.h5ad", sp.csr_matrix(train), obs, index, gene_name=symbols)
    obs = {ms.LABEL: labels[:3], "Sample Characteristic[individual]": [9, 9, 9]}
    write(folder / "filtered_ms_adata.h5ad", test[:, ::-1].copy(), obs, index[::-1], gene_name=symbols[::-1])
    monkeypatch.setattr(ms, "EXPECTED", {"train cells": 4, "test cells": 3, "types": 3})
    return folder, train, test


def test_ms_uses_gene_symbols_donors_and_the_authors_split(ms_folder):
    folder, train, test = ms_folder
    adata = check(ms.read(folder), ms.DATASET)
    assert adata.var_names.tolist() == ["GAD1", "MBP", "PLP1", "SLC17A7"]
    assert adata.obs["split"].tolist() == ["train"] * 4 + ["test"] * 3
    assert adata.obs["batch"].tolist() == ["1", "1", "2", "2", "9", "9", "9"]
    assert adata.obs["cell_type"].tolist() == ["OL-A", "EN-L2-3-A", "OL-A", "IN-PVALB", "OL-A", "EN-L2-3-A", "OL-A"]
    assert adata.uns["bench"]["values"] == "log1p"
    np.testing.assert_array_equal(adata.X[:4].toarray(), train[:, [0, 1, 2, 4]])  # the first MBP column
    np.testing.assert_array_equal(adata.X[4:].toarray(), test[:, [0, 3, 2, 4]])  # first in that file: the other one


def test_either_file_of_a_pair_leads_to_both(ms_folder):
    assert ms.read(ms_folder[0] / "filtered_ms_adata.h5ad").n_obs == 7


@pytest.mark.parametrize(
    ("expected", "sentence"),
    [
        ({"train cells": 7844, "test cells": 3, "types": 3}, r"train cells: found 4, expected 7,844\)"),
        ({"train cells": 4, "test cells": 13468, "types": 3}, r"test cells: found 3, expected 13,468\)"),
        ({"train cells": 4, "test cells": 3, "types": 18}, r"types: found 3, expected 18\)"),
    ],
)
def test_other_numbers_than_the_published_are_an_error(ms_folder, monkeypatch, expected, sentence):
    monkeypatch.setattr(ms, "EXPECTED", expected)
    with pytest.raises(
        BenchError, match=r"c_data\.h5ad with filtered_ms_adata\.h5ad is not the published.*" + sentence
    ):
        ms.read(ms_folder[0])


def test_label_column_that_is_missing_is_named_with_those_there(ms_folder, monkeypatch):
    monkeypatch.setattr(ms, "LABEL", "celltype")
    with pytest.raises(BenchError, match=r"Unknown label column of .*c_data\.h5ad 'celltype'.*authors labels"):
        ms.read(ms_folder[0])


def test_missing_pair_points_to_the_authors_folder(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "gdown", None)
    with pytest.raises(BenchError, match=rf"c_data\.h5ad.*scfm-bench\[hub\].*folders/{ms.FOLDER}.*--path"):
        ms.read(tmp_path)


def test_myeloid_has_a_batch_only_where_both_files_have_the_column(tmp_path, monkeypatch):
    genes = ["CD14", "C1QC", "FCN1"]
    monkeypatch.setattr(myeloid, "EXPECTED", {"train cells": 3, "test cells": 2, "types": 3})
    types = ["Macro_C1QC", "Mono_CD14", "cDC2"]
    obs = {"cell_type": types, "cancer_type": ["KIDNEY"] * 3, "batch": ["a", "a", "b"]}
    write(tmp_path / "m" / "reference_adata.h5ad", log_values(3, 3), obs, genes)
    obs = {"cell_type": types[:2], "cancer_type": ["UCEC"] * 2, "batch": ["c", "c"]}
    write(tmp_path / "m" / "query_adata.h5ad", log_values(2, 3), obs, genes)
    assert check(myeloid.read(tmp_path / "m"), myeloid.DATASET).obs["batch"].tolist() == ["a", "a", "b", "c", "c"]
    del obs["batch"]
    write(tmp_path / "m" / "query_adata.h5ad", log_values(2, 3), obs, genes)
    assert "batch" not in check(myeloid.read(tmp_path / "m"), myeloid.DATASET).obs


@pytest.fixture
def pancreas_folder(tmp_path, monkeypatch):
    genes = ["INS", "GCG", "SST"]
    cells = {"alpha": (2, 1), "beta": (1, 1), "schwann": (1, 0), "MHC class II": (0, 1)}
    monkeypatch.setattr(hpancreas, "CELLS", cells)
    for i, name in enumerate(("demo_train.h5ad", "demo_test.h5ad")):
        labels = [label for label, n in cells.items() for _ in range(n[i])]
        write(tmp_path / "p" / name, log_values(len(labels), 3), {"Celltype": labels}, genes, **{"Gene Symbol": genes})
    return tmp_path / "p"


def test_pancreas_keeps_types_that_only_one_side_has(pancreas_folder):
    adata = check(hpancreas.read(pancreas_folder), hpancreas.DATASET)
    by_split = adata.obs.groupby("split", observed=True)["cell_type"].agg(lambda types: set(types.astype(str)))
    assert by_split["train"] - by_split["test"] == {"schwann"}
    assert by_split["test"] - by_split["train"] == {"MHC class II"}
    assert "batch" not in adata.obs


def test_pancreas_counts_every_type(pancreas_folder, monkeypatch):
    swapped = hpancreas.CELLS | {"alpha": (1, 1), "beta": (2, 1)}  # the number of cells is right
    monkeypatch.setattr(hpancreas, "CELLS", swapped)
    with pytest.raises(BenchError, match=r"train alpha: found 2, expected 1; train beta: found 1, expected 2"):
        hpancreas.read(pancreas_folder)


def test_genes_of_one_file_only_are_dropped_with_a_warning(pancreas_folder):
    genes = ["SST", "NEW", "INS"]
    write(pancreas_folder / "demo_test.h5ad", log_values(3, 3), {"Celltype": ["alpha", "beta", "MHC class II"]}, genes)
    with pytest.warns(UserWarning, match="train has 3 genes, test 3; the 2 in both are used"):
        assert hpancreas.read(pancreas_folder).var_names.tolist() == ["INS", "SST"]  # in the order of train


def test_published_numbers_of_the_pairs():
    sizes = pd.read_csv(PUBLISHED / "published_summary.csv").query("experiment == 'dataset_size'")
    sizes = sizes.set_index(["dataset", "metric"])["value"].astype(int)
    sets = {"multiple sclerosis": ms.EXPECTED, "myeloid": myeloid.EXPECTED, "pancreas": hpancreas.expected()}
    for name, expected in sets.items():
        assert expected["train cells"] == sizes[name, "train_cells"]
        assert expected["test cells"] == sizes[name, "test_cells"]
    train, test = zip(*hpancreas.CELLS.values(), strict=True)
    assert (np.count_nonzero(train), np.count_nonzero(test)) == (13, 11)


def pack(plain: Path) -> Path:
    packed = plain.with_name("Zheng68K.h5ad.gz")
    with open(plain, "rb") as source, gzip.open(packed, "wb") as target:
        shutil.copyfileobj(source, target)
    return packed


@pytest.fixture
def zheng(tmp_path, monkeypatch):
    labels = ["CD19+ B"] * 10 + ["CD56+ NK"] * 6
    obs = {"TSNE.1": np.zeros(16), "TSNE.2": np.zeros(16), "celltype": labels, "n_genes": 4}
    packed = pack(write(tmp_path / "z" / "plain.h5ad", sp.csr_matrix(log_values(16, 4)), obs, list("ABCD")))
    monkeypatch.setattr(zheng68k, "PACKED", Source(packed.name, "MIT", git_blob=git_blob_of(packed)))
    monkeypatch.setattr(zheng68k, "EXPECTED", {"cells": 16, "genes": 4})
    monkeypatch.setattr(zheng68k, "VALIDATION", {"CD19+ B": 2, "CD56+ NK": 1})
    return packed


def test_zheng68k_is_unpacked_and_its_label_renamed(zheng, tmp_path):
    adata = check(zheng68k.read(zheng), zheng68k.DATASET)
    assert adata.shape == (16, 4)
    assert adata.obs["cell_type"].value_counts().to_dict() == {"CD19+ B": 10, "CD56+ NK": 6}
    assert list(adata.obs) == ["cell_type"]
    assert {"values": "log1p", "base": "2", "total": "10000"}.items() <= adata.uns["bench"].items()
    assert not list((tmp_path / "cache").glob(".zheng68k-*"))  # the unpacked copy is gone


def test_zheng68k_of_another_content_is_refused_by_its_git_blob(zheng, monkeypatch):
    with open(zheng, "ab") as file:
        file.write(b"x")
    with pytest.raises(BenchError, match=r"Zheng68K\.h5ad\.gz is not the published file.*git blob SHA-1"):
        zheng68k.read(zheng.parent)


def test_zheng68k_lfs_pointer_is_named(zheng):
    zheng.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n")
    with pytest.raises(BenchError, match="Git LFS pointer"):
        zheng68k.read(zheng)


def test_zheng68k_of_another_shape_or_other_types_is_an_error(zheng, monkeypatch):
    monkeypatch.setattr(zheng68k, "VALIDATION", {"CD19+ B": 3, "CD34+": 1})
    found = r"CD19\+ B: found 10, expected about 15; CD34\+: found 0, expected about 5; CD56\+ NK: found 6"
    with pytest.raises(BenchError, match=found):
        zheng68k.read(zheng)
    monkeypatch.setattr(zheng68k, "EXPECTED", {"cells": 68_450, "genes": 16_906})
    with pytest.raises(BenchError, match=r"cells: found 16, expected 68,450; genes: found 4, expected 16,906"):
        zheng68k.read(zheng)


def test_zheng68k_description_is_the_papers():
    derived = pd.read_csv(PUBLISHED / "derived.csv")
    counts = derived[derived["metric"].str.startswith("n_cells:") & (derived["dataset"] == "Zheng68K")]
    published = {
        metric.removeprefix("n_cells:"): int(value) for metric, value in zip(counts.metric, counts.value, strict=True)
    }
    assert published == zheng68k.VALIDATION
    assert sum(published.values()) * 5 == zheng68k.EXPECTED["cells"]
    assert set(zheng68k.DATASET.hard_pair) < set(published)
    assert zheng68k.PACKED.git_blob == "4bfd6a9e98c94c4b5063fbe2f52d73cf21e739e2"


REFERENCE = [f"GENE{i}" for i in range(300)] + ["NOT_MEASURED"]


@pytest.fixture
def liver_folder(tmp_path, monkeypatch):
    """Genes x cells as R writes them: measured genes in another order, one of them twice, one outside the reference."""
    folder = tmp_path / "liver"
    folder.mkdir()
    donors = ["P1TLH", "P1TLH", "P2TLH", "P2TLH", "P3TLH"]
    cells = [f"{donor}_AAACCTG{i}-x_1" for i, donor in enumerate(donors)]
    genes = ["GENE299", *(f"GENE{i}" for i in range(299, -1, -1)), "OTHER"]
    values = np.round(RNG.uniform(0.5, 21.7, (302, 5)), 6)
    values[101:300, 4] = 0  # the last cell: 101 genes of the reference and one outside it
    pd.DataFrame(values, index=genes, columns=cells).to_csv(folder / "GSE115469_Data.csv.gz")
    types = ["Hepatocyte_1", "Plasma_Cells", "Hepatocyte_6", "Plasma_Cells", "Plasma_Cells"]
    table = pd.DataFrame({"CellName": cells, "Sample": donors, "Cell#": "A", "Cluster#": 1, "CellType": types})
    table[::-1].to_csv(folder / "GSE115469_CellClusterType.txt.gz", sep="\t", index=False)
    monkeypatch.setattr(liver, "gene_order", lambda path: REFERENCE)
    monkeypatch.setattr(liver, "EXPECTED", {"Hepatocyte": 2, "Plasma_Cells": 2})
    return folder, pd.DataFrame(values, index=genes, columns=cells)


def test_liver_is_aligned_filtered_after_alignment_and_merged(liver_folder):
    folder, values = liver_folder
    adata = check(liver.read(folder), liver.DATASET)
    assert adata.var_names.tolist() == REFERENCE
    assert adata.obs_names.tolist() == values.columns[:4].tolist()
    assert adata.obs["cell_type"].tolist() == ["Hepatocyte", "Plasma_Cells", "Hepatocyte", "Plasma_Cells"]
    assert adata.obs["batch"].tolist() == ["P1TLH", "P1TLH", "P2TLH", "P2TLH"]
    dense = adata.to_df()
    assert (dense["NOT_MEASURED"] == 0).all()
    np.testing.assert_allclose(dense["GENE7"], values.loc["GENE7"].iloc[:4], rtol=1e-6)
    np.testing.assert_allclose(dense["GENE299"], values.iloc[0, :4], rtol=1e-6)  # the first of two rows


def test_liver_is_read_in_pieces_without_a_seam(liver_folder, monkeypatch):
    whole = liver.read(liver_folder[0]).X.toarray()
    read_csv = pd.read_csv
    monkeypatch.setattr(
        liver.pd, "read_csv", lambda *a, **k: read_csv(*a, **k | ({"chunksize": 7} if "chunksize" in k else {}))
    )
    np.testing.assert_array_equal(liver.read(liver_folder[0]).X.toarray(), whole)


def test_liver_clusters_are_kept_apart_on_request(liver_folder):
    adata = check(liver.CLUSTERS.read(liver_folder[0]), liver.CLUSTERS)
    assert adata.obs["cell_type"].tolist() == ["Hepatocyte_1", "Plasma_Cells", "Hepatocyte_6", "Plasma_Cells"]


def test_liver_with_other_class_counts_is_an_error(liver_folder, monkeypatch):
    monkeypatch.setattr(liver, "EXPECTED", {"Hepatocyte": 3500, "Plasma_Cells": 2})
    with pytest.raises(
        BenchError, match=r"GSE115469_Data\.csv\.gz is not the published version \(Hepatocyte: found 2, "
    ):
        liver.read(liver_folder[0])


def test_liver_annotation_that_lacks_cells_or_columns_is_an_error(liver_folder):
    file = liver_folder[0] / "GSE115469_CellClusterType.txt.gz"
    table = pd.read_csv(file, sep="\t")
    table[1:].to_csv(file, sep="\t", index=False)
    with pytest.raises(BenchError, match=r"lacks 1 cells of GSE115469_Data\.csv\.gz, e\.g\. 'P3TLH_AAACCTG4-x_1'"):
        liver.read(liver_folder[0])
    table.rename(columns={"Sample": "Donor"}).to_csv(file, sep="\t", index=False)
    with pytest.raises(BenchError, match=r"Unknown column of .* 'Sample'.*Valid: Cell#, CellName"):
        liver.read(liver_folder[0])


def test_liver_counts_are_the_published_ones():
    runs = pd.read_csv(PUBLISHED / "published_per_run.csv").query("experiment == 'macparland_class_counts'")
    assert (
        dict(zip(runs["metric"].str.removeprefix("n_cells:"), runs["value"].astype(int), strict=True)) == liver.EXPECTED
    )
    assert sum(liver.EXPECTED.values()) == 8_434


def test_gene_order_that_is_not_the_checkpoints_is_an_error(tmp_path, monkeypatch):
    file = tmp_path / "panglao_gene_order.txt"
    file.write_text("A1BG\nA1CF\n")
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    monkeypatch.setattr(panglao, "GENE_ORDER", Source(file.name, "MIT", sha256=digest))
    monkeypatch.setattr(panglao, "N_GENES", 2)
    with pytest.raises(BenchError, match=r"has 2 names with hash [0-9a-f]{64}, expected 4c09ba19"):
        panglao.gene_order(tmp_path)


MIRROR = os.environ.get("BENCH_MIRROR", "")


@pytest.mark.skipif(not MIRROR, reason="BENCH_MIRROR is not set; the gene order would need the network")
def test_gene_order_of_the_mirror_is_the_checkpoints(monkeypatch):
    monkeypatch.setenv("BENCH_MIRROR", MIRROR)
    genes = panglao.gene_order()
    assert (len(genes), len(set(genes)), genes[:2]) == (16_906, 16_906, ["A1BG", "A1CF"])
