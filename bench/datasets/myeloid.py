"""Tumour-infiltrating myeloid cells: 9,748 cells to train on, 3,430 cells of other cancer types to test on.

Source: Cheng et al., Cell 2021 (GSE154763), processed by the authors of scGPT: the Drive folder that their README
links, and Fig2_Annotation in their archive, doi 10.6084/m9.figshare.24954519. Licence: not stated with the files. There
is no published checksum: verified by its numbers of cells and types (21 over both files).
Known deviation: the files were not seen here; `batch` is their own column where both have it.
"""

from pathlib import Path

from anndata import AnnData

from bench.datasets.contract import Dataset
from bench.datasets.pairs import read_pair
from bench.datasets.sources import Source

FOLDER = "1VbpApQufZq8efFGakW3y8QDDpY9MBoDS"
TRAIN = Source(name="reference_adata.h5ad", licence="not stated", drive_folder=FOLDER)
TEST = Source(name="query_adata.h5ad", licence="not stated", drive_folder=FOLDER)
EXPECTED = {"train cells": 9_748, "test cells": 3_430, "types": 21}


def read(path: Path | None = None) -> AnnData:
    """Return log values of 3,000 genes; reference cancer types are ``train``, the others ``test``."""
    return read_pair((TRAIN, TEST), path, label="cell_type", expected=EXPECTED)


DATASET = Dataset(
    name="myeloid",
    title="Pan-cancer myeloid cells (Cheng et al. 2021)",
    read=read,
    sources=(TRAIN, TEST),
    citation="cheng2021",
    label_origin="clusters annotated by marker genes by the data's authors",
    values="log1p",
    split="authors",
)
