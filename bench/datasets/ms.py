"""Multiple sclerosis cortex: 7,844 nuclei of nine healthy donors to train on, 13,468 of twelve patients to test on.

Source: Schirmer et al., Nature 2019 (E-HCAD-35), processed by the authors of scGPT: the Drive folder that their README
links, and Fig2_Annotation in their archive, doi 10.6084/m9.figshare.24954519. Licence: not stated with the files. There
is no published checksum: verified by its numbers of cells and types.
Known deviations: test genes are matched to train genes by name, where the paper's scripts rely on their order. The
files were not seen here; `batch` is the donor when the files have a column for it.
"""

from pathlib import Path

from anndata import AnnData

from bench.datasets.contract import Dataset
from bench.datasets.pairs import read_pair
from bench.datasets.sources import Source

FOLDER = "1Qd42YNabzyr2pWt9xoY4cVMTAxsNBt4v"
TRAIN = Source(name="c_data.h5ad", licence="not stated", drive_folder=FOLDER)
TEST = Source(name="filtered_ms_adata.h5ad", licence="not stated", drive_folder=FOLDER)
LABEL = "Factor Value[inferred cell type - authors labels]"
BATCH = ("Sample Characteristic[individual]", "individual", "donor", "str_batch", "batch", "batch_id")
EXPECTED = {"train cells": 7_844, "test cells": 13_468, "types": 18}


def read(path: Path | None = None) -> AnnData:
    """Return log values of 3,000 genes; healthy donors are ``train``, patients are ``test``."""
    return read_pair((TRAIN, TEST), path, label=LABEL, expected=EXPECTED, batch=BATCH)


DATASET = Dataset(
    name="ms",
    title="Multiple sclerosis cortex (Schirmer et al. 2019)",
    read=read,
    sources=(TRAIN, TEST),
    citation="schirmer2019",
    label_origin="clusters annotated by marker genes by the data's authors",
    values="log1p",
    split="authors",
)
