"""Bead-sorted PBMC: 3,874 cells, 16,791 genes, 10 of the 11 label names of Zheng68K, raw UMI counts (10x 3' v1).

Source: Zheng et al., Nature Communications 2017, sample published with fastTopics
(https://github.com/stephenslab/fastTopics, commit 8406f5f4, data/pbmc_facs.RData, BSD-2-Clause).
Labels come from the sorting gate, not from expression: the nearest reachable stand-in for Zheng68K, whose labels were
assigned by correlation with these very populations.  `Dendritic` is missing; `CD4+ T Helper2` keeps its name.
The 3,774 cells and the 100 test cells of the file are pooled; ten barcodes occur in two populations and are told apart
by the population in the cell name.  Nine gene symbols occur twice; the first column is kept.
One donor, hence no batch.
"""

import warnings
from pathlib import Path

import anndata as ad
import pandas as pd
import scipy.sparse as sp

from bench.datasets.contract import Dataset
from bench.datasets.sources import Source, fetch

RDATA = Source(
    name="pbmc_facs.RData",
    url="https://raw.githubusercontent.com/stephenslab/fastTopics/8406f5f4de379e7ff8b43ecfee93cca42a8e7a57/data/pbmc_facs.RData",
    sha256="90ae0879b8c7ba4d456f9a0d1be964213b0dda6788a7b05b48d867b9f76f2946",
    size=3_726_660,
    licence="BSD-2-Clause",
)


def read(path: Path | None = None) -> ad.AnnData:
    """Return cells x genes with the sorted population as cell type."""
    import rdata

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Missing constructor for R class")  # of parts that are not used
        pbmc = rdata.read_rda(fetch(RDATA, path))["pbmc_facs"]
    counts = [_csr(pbmc[name]) for name in ("counts", "counts_test")]
    cells = [name for key in ("counts", "counts_test") for name in pbmc[key].Dimnames[0]]
    labels = pd.concat([pbmc["samples"], pbmc["samples_test"]])["celltype"].astype(str).to_numpy()
    genes = pd.Index(pbmc["genes"]["symbol"].astype(str).to_numpy())
    first = ~genes.duplicated()
    return ad.AnnData(
        sp.vstack(counts, format="csr")[:, first],
        obs=pd.DataFrame({"cell_type": labels}, index=cells),
        var=pd.DataFrame(index=genes[first]),
    )


def _csr(matrix) -> sp.csr_matrix:
    """Return R's compressed-column cells x genes matrix as CSR."""
    return sp.csc_matrix((matrix.x, matrix.i, matrix.p), shape=tuple(matrix.Dim)).tocsr()


DATASET = Dataset(
    name="pbmc_facs",
    title="Bead-sorted PBMC",
    read=read,
    sources=(RDATA,),
    licence="BSD-2-Clause",
    citation="zheng2017",
    label_origin="bead-sorted populations (independent of the transcriptome)",
    hard_pair=("CD8+ Cytotoxic T", "CD8+/CD45RA+ Naive Cytotoxic"),
    published_subset="unstratified",
)
