"""Zheng68K: 68,450 peripheral blood cells of one donor, 16,906 genes in scBERT's order, 11 cell types.

Source: Zheng et al., Nature Communications 2017 (10x Genomics, CC BY 4.0), processed by the paper's authors:
clinicalml/sc-foundation-eval, data/Zheng68K.h5ad.gz. Known by its git blob SHA-1, its shape and its class counts.
Values are log2(1+CP10K) after alignment to scBERT's genes, so declared; the file was not seen here.
Known deviation: labels come from correlation with sorted populations, a linear rule that favours linear models.
"""

import gzip
import shutil
import tempfile
from pathlib import Path

from anndata import AnnData

from bench.core.errors import BenchError, unknown
from bench.core.shared import filled
from bench.datasets.contract import Dataset
from bench.datasets.h5ad import read_file
from bench.datasets.sources import Source, cache_folder, fetch, verify_counts

PACKED = Source(
    name="Zheng68K.h5ad.gz",
    licence="CC BY 4.0 (10x Genomics); the processed file is BSD-3-Clause",
    git_blob="4bfd6a9e98c94c4b5063fbe2f52d73cf21e739e2",
    url="https://raw.githubusercontent.com/clinicalml/sc-foundation-eval/main/data/Zheng68K.h5ad.gz",
)
EXPECTED = {"cells": 68_450, "genes": 16_906}
HARD = ("CD8+ Cytotoxic T", "CD8+/CD45RA+ Naive Cytotoxic")
VALIDATION = {  # cells of each type in the paper's stratified fifth, see bench/published/derived.csv
    "CD8+ Cytotoxic T": 4151,
    "CD8+/CD45RA+ Naive Cytotoxic": 3329,
    "CD56+ NK": 1755,
    "CD4+/CD25 T Reg": 1237,
    "CD19+ B": 1175,
    "CD4+/CD45RO+ Memory": 612,
    "CD14+ Monocyte": 570,
    "Dendritic": 419,
    "CD4+/CD45RA+/CD25- Naive T": 374,
    "CD34+": 48,
    "CD4+ T Helper2": 20,
}


def read(path: Path | None = None) -> AnnData:
    """Return log2(1+CP10K) with ``celltype`` as cell type; the order of cells is the file's."""
    packed = fetch(PACKED, path)
    with filled(cache_folder()), tempfile.TemporaryDirectory(dir=cache_folder(), prefix=".zheng68k-") as scratch:
        plain = Path(scratch, "Zheng68K.h5ad")
        with gzip.open(packed) as source, open(plain, "wb") as target:
            shutil.copyfileobj(source, target, 1 << 20)
        adata = read_file(plain)
    verify_counts(PACKED.name, {"cells": adata.n_obs, "genes": adata.n_vars}, EXPECTED)
    if "celltype" not in adata.obs:
        raise unknown(f"label column of {PACKED.name}", "celltype", adata.obs.columns)
    adata.obs = adata.obs[["celltype"]].rename(columns={"celltype": "cell_type"})
    _check_types(adata)
    adata.uns["bench"] = {"base": "2", "total": "10000"}  # by which models that need counts find them
    return adata


def _check_types(adata: AnnData) -> None:
    """Check that a stratified fifth has the published numbers: rounding moves each by less than one cell."""
    found = adata.obs["cell_type"].astype(str).value_counts()
    wrong = [
        f"{name}: found {found.get(name, 0):,}, expected about {5 * VALIDATION.get(name, 0):,}"
        for name in {**VALIDATION, **found}
        if abs(found.get(name, 0) / 5 - VALIDATION.get(name, 0)) >= 1
    ]
    if wrong:
        raise BenchError(f"{PACKED.name} is not the published version ({'; '.join(wrong)}). Get the original file.")


DATASET = Dataset(
    name="zheng68k",
    title="Zheng68K peripheral blood (Zheng et al. 2017)",
    read=read,
    sources=(PACKED,),
    licence="CC BY 4.0",
    citation="zheng2017",
    label_origin="highest correlation with the mean profile of 11 sorted populations",
    values="log1p",
    split="random",
    published_subset="unstratified",
    hard_pair=HARD,
)
