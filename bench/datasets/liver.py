"""Human liver: 8,434 cells of five donors, aligned to scBERT's 16,906 genes, 15 cell types (journal version).

Source: MacParland et al., Nature Communications 2018, GEO GSE115469, supplementary files of the series. Licence: not
stated by GEO. There is no published checksum: verified by its number of cells and the paper's class counts.
As in the paper: values as deposited (log-normalised, largest 21.73), cells with at least 200 genes after alignment are
kept, Hepatocyte_1 to _6 are one type. `CLUSTERS` keeps the authors' 20 clusters apart. Batch is the donor.
"""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata import AnnData

from bench.core.errors import BenchError, unknown
from bench.datasets.contract import Dataset
from bench.datasets.panglao import GENE_ORDER, gene_order
from bench.datasets.sources import Source, fetch, verify_counts

SERIES = "https://ftp.ncbi.nlm.nih.gov/geo/series/GSE115nnn/GSE115469/suppl/"
VALUES = Source(name="GSE115469_Data.csv.gz", licence="not stated", url=f"{SERIES}GSE115469_Data.csv.gz")
TYPES = Source(
    name="GSE115469_CellClusterType.txt.gz", licence="not stated", url=f"{SERIES}GSE115469_CellClusterType.txt.gz"
)
MIN_GENES = 200
EXPECTED = {  # see bench/published/published_per_run.csv, experiment macparland_class_counts
    "Hepatocyte": 3500,
    "alpha-beta_T_Cells": 961,
    "Inflammatory_Macrophage": 813,
    "Plasma_Cells": 511,
    "NK-like_Cells": 488,
    "gamma-delta_T_Cells_1": 464,
    "Non-inflammatory_Macrophage": 379,
    "Periportal_LSECs": 327,
    "Central_venous_LSECs": 306,
    "Portal_endothelial_Cells": 211,
    "Mature_B_Cells": 129,
    "Cholangiocytes": 119,
    "gamma-delta_T_Cells_2": 105,
    "Erythroid_Cells": 84,
    "Hepatic_Stellate_Cells": 37,
}


def read(path: Path | None = None, *, merged: bool = True) -> AnnData:
    """Return log values of scBERT's genes, the donor as batch.

    Parameters
    ----------
    path
        Folder with both files (and, without network, the gene order), or None.
    merged
        Whether the six hepatocyte clusters are one type, as in the paper's main result.

    Raises
    ------
    BenchError
        If the annotation lacks cells or columns, or the class counts are not the published ones.
    """
    genes = gene_order(path if path is not None and Path(path).is_dir() else None)
    X, cells = _aligned(fetch(VALUES, path), genes)
    obs = _annotation(fetch(TYPES, path), cells)
    kept = np.diff(X.indptr) >= MIN_GENES
    X, obs = X[kept], obs[kept].copy()
    types = obs["cell_type"].str.replace(r"^Hepatocyte_[1-6]$", "Hepatocyte", regex=True)
    verify_counts(VALUES.name, types.value_counts().to_dict(), EXPECTED)
    if merged:
        obs["cell_type"] = types
    return AnnData(X, obs=obs, var=pd.DataFrame(index=genes))


def _aligned(file: Path, genes: list[str]) -> tuple[sp.csr_matrix, pd.Index]:
    """Return cells x genes in the reference order; a gene that is not in the file is a column of zeros."""
    chunks = list(pd.read_csv(file, index_col=0, chunksize=1000))  # genes x cells
    cells = chunks[0].columns
    rows = sp.vstack([sp.csr_matrix(chunk.to_numpy(dtype=np.float32)) for chunk in chunks], format="csr")
    names = pd.Index(np.concatenate([chunk.index.astype(str) for chunk in chunks]))
    first = np.flatnonzero(~names.duplicated())  # of a symbol named twice the paper takes the first row
    where = names[first].get_indexer(genes)
    found = np.flatnonzero(where >= 0)
    place = sp.csr_matrix((np.ones(found.size, np.float32), (found, first[where[found]])), (len(genes), len(names)))
    X = (place @ rows).T.tocsr()
    X.eliminate_zeros()
    return X, cells


def _annotation(file: Path, cells: pd.Index) -> pd.DataFrame:
    table = pd.read_csv(file, sep="\t")
    for column in ("CellName", "Sample", "CellType"):
        if column not in table:
            raise unknown(f"column of {TYPES.name}", column, table.columns)
    table = table.set_index("CellName")
    missing = cells.difference(table.index)
    if len(missing):
        raise BenchError(f"{TYPES.name} lacks {len(missing):,} cells of {VALUES.name}, e.g. {missing[0]!r}.")
    table = table.loc[cells]
    return pd.DataFrame({"cell_type": table["CellType"].astype(str), "batch": table["Sample"].astype(str)})


DATASET = Dataset(
    name="liver",
    title="MacParland liver (MacParland et al. 2018)",
    read=read,
    sources=(VALUES, TYPES, GENE_ORDER),
    citation="macparland2018",
    label_origin="clusters annotated by marker genes by the data's authors; six hepatocyte clusters merged",
    values="log1p",
    split="random",
    published_subset="unstratified",
)
CLUSTERS = replace(DATASET, title=f"{DATASET.title}, 20 clusters", read=partial(read, merged=False))
