"""The gene order of scBERT: 16,906 symbols of its Panglao pre-training data.

Source: huynguyen250896/nano-scBERT, commit 845f1c57, assets/scbert-human-panglao/gene_order.txt. Licence: MIT.
The paper aligns every data set of scBERT to this list. The hash of the names is the value that an independent
conversion of the original checkpoint reports, so that the order is checked against two sources.
"""

import hashlib
from pathlib import Path

from bench.core.errors import BenchError
from bench.datasets.sources import Source, fetch

N_GENES = 16_906
NAMES_SHA256 = "4c09ba1912e184682fe5e7f32e2b443bdfb7883d0d0191551b38c6c2f155600f"  # joined by newline, none at the end

GENE_ORDER = Source(
    name="panglao_gene_order.txt",
    licence="MIT",
    sha256="d8934d4b178a4f40bf2675fcd61bf600c87aeaa52dfe488487edde644cba0841",
    size=107_785,
    url="https://raw.githubusercontent.com/huynguyen250896/nano-scBERT/845f1c57e58abb08a6200c3f1f8dac21e1ac5fb1/"
    "assets/scbert-human-panglao/gene_order.txt",
)
# 10,000 cells of the pre-training data, shipped with the paper's code
SAMPLE = Source(
    name="panglao_10000.h5ad.gz",
    licence="not stated",
    git_blob="b7c5520c5c22600ef040dceb9bc31e74dd49bb89",
    url="https://raw.githubusercontent.com/clinicalml/sc-foundation-eval/main/data/panglao_10000.h5ad.gz",
)


def gene_order(path: Path | None = None) -> list[str]:
    """Return the 16,906 gene symbols in the order of scBERT's positions.

    Parameters
    ----------
    path
        The file, or a folder that holds it, for a machine without network.

    Raises
    ------
    BenchError
        If the file cannot be had, or its names are not those of the checkpoint.
    """
    names = fetch(GENE_ORDER, path).read_text().split()
    digest = hashlib.sha256("\n".join(names).encode()).hexdigest()
    if len(names) != N_GENES or digest != NAMES_SHA256:
        raise BenchError(f"{GENE_ORDER.name} has {len(names):,} names with hash {digest}, expected {NAMES_SHA256}.")
    return names
