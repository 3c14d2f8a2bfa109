"""Human pancreas: 10,600 cells of two studies to train on, 4,218 cells of three other studies to test on.

Source: train GSE84133 and GSE85241, test GSE81608, E-MTAB-5061 and GSE86473, processed by the authors of TOSICA and
handed on by those of scGPT; linked in the latter's README. Licence: not stated with the files. There is no published
checksum: verified by the number of cells of every type, as printed in a public TOSICA tutorial.
Known deviations: the test type "MHC class II" is not in train, and three train types are not in test: both stay. The
files name no study, so there is no batch. They were not seen here.
"""

from pathlib import Path

from anndata import AnnData

from bench.datasets.contract import Dataset
from bench.datasets.pairs import read_pair
from bench.datasets.sources import Source

FOLDER = "1s9XjcSiPC-FYV3VeHrEa7SeZetrthQVV"
TRAIN = Source(name="demo_train.h5ad", licence="not stated", drive_folder=FOLDER)
TEST = Source(name="demo_test.h5ad", licence="not stated", drive_folder=FOLDER)
CELLS = {  # type: (train, test)
    "alpha": (3136, 2011),
    "beta": (2966, 1006),
    "ductal": (1290, 414),
    "acinar": (1144, 209),
    "delta": (793, 188),
    "PSC": (524, 73),
    "PP": (356, 282),
    "endothelial": (273, 16),
    "macrophage": (52, 0),
    "mast": (25, 7),
    "epsilon": (21, 7),
    "schwann": (13, 0),
    "t_cell": (7, 0),
    "MHC class II": (0, 5),
}


def expected() -> dict[str, int]:
    """Return the number of cells of each file and of each type in it."""
    counts = {}
    for i, split in enumerate(("train", "test")):
        types = {f"{split} {name}": cells[i] for name, cells in CELLS.items() if cells[i]}
        counts |= {f"{split} cells": sum(types.values())} | types
    return counts


def read(path: Path | None = None) -> AnnData:
    """Return log values of 3,000 genes; Baron and Muraro are ``train``, Xin, Segerstolpe and Lawlor are ``test``."""
    return read_pair((TRAIN, TEST), path, label="Celltype", expected=expected())


DATASET = Dataset(
    name="hpancreas",
    title="Human pancreas of five studies (Chen et al. 2023)",
    read=read,
    sources=(TRAIN, TEST),
    citation="chen2023",
    label_origin="labels of the five studies, harmonised by the authors of TOSICA",
    values="log1p",
    split="authors",
)
