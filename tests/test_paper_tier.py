"""The paper tier from end to end at true size: real layouts of the data, a checkpoint with the 91 published names.

Few real cells and one epoch, so that it runs without a GPU; only hashes and expected numbers are changed.
"""

import gzip
import shutil

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import torch

from bench import records
from bench.datasets import liver, load, panglao, zheng68k
from bench.datasets.sources import Source, fetch, git_blob_of, sha256_of
from bench.models.scbert import Architecture, ScBERTNetwork
from bench.preprocess import align, log1p_cp10k
from bench.runner import run
from bench.trials import Grid
from bench.weights import sources

PER_TYPE = 5
QUICKER = {"epochs": 1, "batch_size": 4, "evaluation_batch": 2, "weights": "scbert_panglao"}


@pytest.fixture(scope="module")
def cells() -> ad.AnnData:
    """Ten real cells of the two hard types, log2(1 + CP10K) of the Panglao genes."""
    adata = load("pbmc_facs")
    labels = adata.obs["cell_type"].to_numpy()
    rows = np.concatenate([np.flatnonzero(labels == name)[:PER_TYPE] for name in zheng68k.HARD])
    values = log1p_cp10k(align(adata.X[rows], adata.var_names.tolist(), panglao.gene_order()))
    obs = pd.DataFrame({"celltype": labels[rows].astype(str)}, index=[f"cell{i}" for i in rows])
    return ad.AnnData(values, obs=obs, var=pd.DataFrame(index=panglao.gene_order()))


@pytest.fixture
def mirror(tmp_path, monkeypatch, cells):
    """A mirror with the gene order and a checkpoint as the authors' script saves it."""
    folder = tmp_path / "mirror"
    folder.mkdir()
    shutil.copy(fetch(panglao.GENE_ORDER), folder)
    monkeypatch.setenv("BENCH_MIRROR", str(folder))
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    network = ScBERTNetwork(Architecture())
    network.pos_emb["emb"].weight[:-1].normal_(std=0.1, generator=torch.Generator().manual_seed(0))
    state = {f"module.{name}": tensor for name, tensor in network.state_dict().items()}
    assert len(state) == 91
    path = folder / "panglao_pretrain.pth"
    torch.save({"epoch": 17, "model_state_dict": state, "losses": 0.5}, path)
    source = Source(path.name, "GPL-3.0", sha256=sha256_of(path), size=path.stat().st_size)
    entry = sources.Published("scbert", (source,), by_hand="by hand")
    monkeypatch.setitem(sources.WEIGHTS, "scbert_panglao", entry)
    return folder


def trial_on(dataset: str, **settings):
    grid = Grid(
        "paper",
        "paper",
        dataset,
        ["scbert"],
        subset="published",
        seeds=[1000],
        overrides={"scbert": QUICKER | settings},
    )
    run(grid)
    table = records.read("paper", committed=False)
    assert set(table["status"]) == {"ok"}, set(table["status"])
    assert set(table["recipe"]) == {"published"} and table["sees_scored_cells"].all()
    assert table["weights"].str.startswith("91 of 91 tensors, sha256 ").all()
    assert set(table["metric"]) >= {"accuracy", "macro_f1_seen", "train_loss", "validation_accuracy", "best_epoch"}
    return table[table["class"] == ""].set_index("metric")["value"]


@pytest.mark.slow
def test_scbert_on_zheng68k(mirror, cells, monkeypatch):
    plain = mirror / "Zheng68K.h5ad"
    cells.write_h5ad(plain)
    packed = mirror / "Zheng68K.h5ad.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes(), compresslevel=1))
    monkeypatch.setattr(zheng68k, "PACKED", Source(packed.name, "MIT", git_blob=git_blob_of(packed)))
    monkeypatch.setattr(zheng68k, "EXPECTED", {"cells": len(cells), "genes": panglao.N_GENES})
    monkeypatch.setattr(zheng68k, "VALIDATION", dict.fromkeys(zheng68k.HARD, 1))
    values = trial_on("zheng68k")
    assert {"hard_accuracy", "hard_f1"} <= set(values.index)


@pytest.mark.slow
def test_scbert_on_liver(mirror, cells, monkeypatch):
    types = np.repeat(["Hepatocyte_1", "Plasma_Cells"], PER_TYPE)
    names = [f"P{1 + i % 2}TLH_{cell}_1" for i, cell in enumerate(cells.obs_names)]
    pd.DataFrame(cells.X.T.toarray(), index=cells.var_names, columns=names).to_csv(mirror / "GSE115469_Data.csv.gz")
    table = pd.DataFrame({"CellName": names, "Sample": [n[:5] for n in names], "CellType": types})
    table.to_csv(mirror / "GSE115469_CellClusterType.txt.gz", sep="\t", index=False)
    monkeypatch.setattr(liver, "EXPECTED", {"Hepatocyte": PER_TYPE, "Plasma_Cells": PER_TYPE})
    assert 0 <= trial_on("liver")["accuracy"] <= 1
