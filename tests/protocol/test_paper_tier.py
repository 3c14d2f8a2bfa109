"""The paper tier from end to end at true size: real layouts of the data, checkpoints with the published names.

Few real cells and one epoch, so that it runs without a GPU; only hashes and expected numbers are changed.
"""

import gzip
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch

from bench.datasets import hpancreas, liver, load, ms, myeloid, panglao, zheng68k
from bench.datasets.sources import Source, fetch, git_blob_of, sha256_of
from bench.models.scbert import sources as scbert_sources
from bench.models.scbert.network import Architecture, ScBERTNetwork
from bench.models.scgpt import sources as scgpt_sources
from bench.models.scgpt.annotator import FROM_SCRATCH
from bench.models.scgpt.binning import SPECIAL
from bench.models.scgpt.folder import RUN
from bench.models.scgpt.network import Architecture as ScGPTArchitecture
from bench.models.scgpt.network import ScGPTNetwork
from bench.preprocess import align, log1p_cp10k
from bench.protocol import records
from bench.protocol.runner import run
from bench.protocol.trials import Grid
from bench.weights.entries import Published

pytestmark = pytest.mark.usefixtures("warm")

PER_TYPE = 3
QUICKER = {"epochs": 1, "batch_size": 2, "evaluation_batch": 2, "weights": "scbert_panglao"}


@pytest.fixture(scope="module")
def cells() -> ad.AnnData:
    """Six real cells of the two hard types, log2(1 + CP10K) of the Panglao genes."""
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
    entry = Published("scbert", (source,), by_hand="by hand")
    monkeypatch.setitem(scbert_sources.PUBLISHED, "scbert_panglao", entry)
    return folder


def trial_on(dataset: str, **settings):
    grid = Grid(
        "paper",
        "paper",
        dataset,
        ["scbert"],
        fractions=[0.5],  # two cells: one takes seconds
        subset="published",
        seeds=[1000],
        overrides={"scbert": QUICKER | settings},
    )
    run(grid)
    table = records.read("paper", committed=False)
    assert set(table["status"]) == {"ok"}, set(table["status"])
    assert (set(table["n_train"]), set(table["n_test"])) == ({2}, {2})
    assert set(table["recipe"]) == {"published"} and set(table["sees_scored_cells"]) == {"yes"}
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


# scGPT: three files of weights, two files of each data set


N_TOKENS, N_GENES = 60_697, 3_000
ARGS = {
    **{"save_dir": f"/scratch/save/{RUN}", "load_model": None, "nlayers": 12, "nheads": 8, "embsize": 512},
    **{"d_hid": 512, "dropout": 0.2, "n_layers_cls": 3, "n_bins": 51, "max_seq_len": 1200, "pad_value": -2},
    **{"input_style": "binned", "input_emb_style": "continuous", "mask_value": -1, "MVC": True, "CLS": False},
}
TYPES = {  # as the authors' files call some of them; each stands for cells of another type here
    "ms": ["oligodendrocyte A", "cortical layer 2-3 excitatory neuron A", "PVALB-expressing interneuron"],
    "myeloid": ["Macro_C1QC", "Mono_CD14", "cDC2_CD1C", "Mast_KIT"],
    "hpancreas": ["alpha", "beta", "ductal", "acinar"],
}
SHORT = {"epochs": 1, "batch_size": 8, "max_tokens": 33, "published_rng": True, "weights": "scgpt_human"}


@pytest.fixture(scope="module")
def human(tmp_path_factory, pair) -> Iterator[Path]:  # real cells are read from the cache before this hides it
    """A mirror with the three files of a whole-human scGPT of random numbers; converted once, by whoever needs it."""
    folder = tmp_path_factory.mktemp("human")
    genes = load("baron").var_names.tolist()
    tokens = [*genes, *(f"LOC{i}" for i in range(N_TOKENS - len(genes) - len(SPECIAL))), *SPECIAL]
    state = ScGPTNetwork(ScGPTArchitecture(), seed=0, equal_layers=True).state_dict()
    state = {name.replace("self_attn.in_proj_", "self_attn.Wqkv."): tensor for name, tensor in state.items()}
    assert sum("Wqkv" in name for name in state) == 24
    torch.save(state | {"flag_encoder.weight": torch.zeros(2, 512)}, folder / "best_model.pt")
    (folder / "args.json").write_text(json.dumps(ARGS))
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(tokens)}))
    published = scgpt_sources.PUBLISHED["scgpt_human"]
    files = tuple(Source(s.name, s.licence, sha256=sha256_of(folder / s.name)) for s in published.sources)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(scgpt_sources.PUBLISHED, "scgpt_human", Published("scgpt", files, by_hand="by hand"))
        patch.setenv("BENCH_MIRROR", str(folder))
        patch.setenv("BENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield folder


@pytest.fixture(scope="module")
def pair():
    """Return a maker of real cells with 3,000 genes in ln(1 + CP10K), a number of each of the first types of Baron."""
    adata = load("baron")
    values = log1p_cp10k(adata.X)
    mean = np.asarray(values.mean(axis=0)).ravel()
    spread = np.asarray(values.multiply(values).mean(axis=0)).ravel() - mean**2
    columns = np.sort(np.argsort(-spread)[:N_GENES])
    names, labels = adata.obs["cell_type"].value_counts().index, adata.obs["cell_type"].to_numpy()

    def _pair(types: list[str], n_train: int, n_test: int) -> tuple[ad.AnnData, ad.AnnData]:
        sides = []
        for begin, end in ((0, n_train), (n_train, n_train + n_test)):
            rows = np.concatenate([np.flatnonzero(labels == name)[begin:end] for name in names[: len(types)]])
            obs = pd.DataFrame({"type": np.repeat(types, end - begin)}, index=adata.obs_names[rows])
            var = pd.DataFrame(index=adata.var_names[columns])
            sides.append(ad.AnnData(sp.csr_matrix(values[rows][:, columns]), obs=obs, var=var))
        return tuple(sides)

    return _pair


def put_ms(folder: Path, train: ad.AnnData, test: ad.AnnData) -> None:
    """Ensembl index with symbols in a column, donors, and a dense test file."""
    for source, side, donor in ((ms.TRAIN, train, "C1"), (ms.TEST, test, "MS1")):
        side.obs = side.obs.rename(columns={"type": ms.LABEL}).assign(**{ms.BATCH[0]: donor, "celltype": "0"})
        side.var = pd.DataFrame({"gene_name": side.var_names}, index=[f"ENSG{i:011d}" for i in range(N_GENES)])
        if side is test:
            side.X = side.X.toarray()
        side.write_h5ad(folder / source.name)


def put_myeloid(folder: Path, train: ad.AnnData, test: ad.AnnData) -> None:
    """Symbols in the index, the cancer type beside the cell type, no batch."""
    for source, side, cancer in ((myeloid.TRAIN, train, "KIDNEY"), (myeloid.TEST, test, "UCEC")):
        side.obs = side.obs.rename(columns={"type": "cell_type"}).assign(cancer_type=cancer, combined="c")
        side.write_h5ad(folder / source.name)


def put_hpancreas(folder: Path, train: ad.AnnData, test: ad.AnnData) -> None:
    """Symbols in the index and in a column."""
    for source, side in ((hpancreas.TRAIN, train), (hpancreas.TEST, test)):
        side.obs = side.obs.rename(columns={"type": "Celltype"})
        side.var["Gene Symbol"] = side.var_names
        side.write_h5ad(folder / source.name)


PUT = {"ms": (ms, put_ms), "myeloid": (myeloid, put_myeloid), "hpancreas": (hpancreas, put_hpancreas)}


@pytest.fixture
def put(human, pair, monkeypatch):
    """Return a function that lays the two files of a data set into the mirror, few cells of each type."""

    def _put(dataset: str, n_train: int = 6, n_test: int = 3) -> None:
        (module, write), types = PUT[dataset], TYPES[dataset]
        write(human, *pair(types, n_train, n_test))
        if dataset == "hpancreas":
            monkeypatch.setattr(module, "CELLS", dict.fromkeys(types, (n_train, n_test)))
        else:
            cells = {"train cells": n_train * len(types), "test cells": n_test * len(types), "types": len(types)}
            monkeypatch.setattr(module, "EXPECTED", cells)

    return _put


def scgpt_on(dataset: str, models: list[str], fractions=(1.0,), **settings) -> pd.DataFrame:
    overrides = {"scgpt": SHORT | settings}
    grid = {"fractions": list(fractions), "seeds": [1], "subset": "published", "overrides": overrides}
    run(Grid("paper", "paper", dataset, models, **grid))
    table = records.read("paper", committed=False)
    assert set(table["status"]) == {"ok"}, set(table["status"])
    assert (set(table["recipe"]), set(table["sees_scored_cells"])) == ({"published"}, {"no"})
    assert set(table["metric"]) >= {"accuracy", "macro_f1_seen", "train_loss", "validation_loss", "best_epoch"}
    return table


@pytest.mark.slow
@pytest.mark.parametrize("dataset", ["ms", "myeloid"])
def test_scgpt_on(dataset, put):
    put(dataset)
    table = scgpt_on(dataset, ["scgpt"])
    n_types = len(TYPES[dataset])
    assert (set(table["n_train"]), set(table["n_test"])) == ({6 * n_types}, {3 * n_types})
    (audit,) = set(table["weights"])
    assert audit.startswith("162 of 162 tensors, sha256 ")
    assert audit.endswith("; 3,000 of 3,000 genes are in the vocabulary")


@pytest.mark.slow
def test_every_variant_of_scgpt_on_pancreas(put):
    put("hpancreas")
    table = scgpt_on("hpancreas", ["scgpt", *(f"scgpt@{variant}" for variant in FROM_SCRATCH)])
    assert set(table["variant"]) == {"pretrained", *FROM_SCRATCH}
    assert table.groupby("variant")["key"].nunique().eq(1).all()
    losses = table[table["metric"] == "train_loss"].set_index("variant")["value"]
    assert losses.nunique() == 4 and (losses < 5).all()
    scratch = table[table["variant"] != "pretrained"]["weights"]
    assert scratch.str.startswith("0 of 162 tensors, only the vocabulary, sha256 ").all()


@pytest.mark.slow
def test_few_shot_of_scgpt_draws_the_published_subsets(put):
    put("hpancreas")
    table = scgpt_on("hpancreas", ["scgpt"], fractions=(0.25, 0.5))
    assert set(table["n_train"]) == {6, 12} and set(table["n_test"]) == {12}
