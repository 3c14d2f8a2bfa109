"""Two `.h5ad` files, one for training and one for testing, as one data set: the layout of the scGPT authors' sets.

Known deviations: genes that only one file has are dropped, with a warning; of a gene named twice the first column is
kept.
"""

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
import scipy.sparse as sp
from anndata import AnnData, concat

from bench.core.errors import unknown
from bench.datasets.h5ad import read_file
from bench.datasets.sources import Source, fetch, verify_counts


def read_pair(
    sources: tuple[Source, Source],
    path: Path | None,
    *,
    label: str,
    expected: Mapping[str, int],
    batch: Sequence[str] = ("str_batch", "batch", "batch_id"),
) -> AnnData:
    """Return train and test cells, in this order, with ``obs["split"]``.

    Parameters
    ----------
    sources
        The training file and the test file.
    path
        The user's folder with both files, or None.
    label
        Column of ``obs`` with the cell type, in both files.
    expected
        Number of ``train cells``, ``test cells`` and ``types``, and of cells by ``<split> <type>`` where known.
    batch
        Names the batch column may have; the first one that both files have is used.

    Raises
    ------
    BenchError
        If a column is missing, or a number is not the expected one.
    """
    parts = {split: _part(fetch(source, path), label) for split, source in zip(("train", "test"), sources, strict=True)}
    genes = _shared_genes(*parts.values())
    column = next((name for name in batch if all(name in part.obs for part in parts.values())), None)
    kept = []
    for split, part in parts.items():
        obs = pd.DataFrame({"cell_type": part.obs[label], "split": split}, index=part.obs_names)
        if column:
            obs["batch"] = part.obs[column].astype(str).where(part.obs[column].notna())
        # CSR float32 before the join: one file may be dense, the other sparse
        kept.append(AnnData(sp.csr_matrix(part[:, genes].X, dtype="float32"), obs=obs, var=pd.DataFrame(index=genes)))
    adata = concat(kept, merge="same")
    verify_counts(f"{sources[0].name} with {sources[1].name}", _counts(adata.obs, expected), expected)
    return adata


def _part(file: Path, label: str) -> AnnData:
    adata = read_file(file)
    if label not in adata.obs:
        raise unknown(f"label column of {file}", label, adata.obs.columns)
    if "gene_name" in adata.var:  # the index has Ensembl identifiers then
        adata.var_names = adata.var["gene_name"].astype(str).to_numpy()
    return adata[:, ~adata.var_names.duplicated()].copy()


def _shared_genes(train: AnnData, test: AnnData) -> pd.Index:
    genes = train.var_names[train.var_names.isin(test.var_names)]
    if not len(genes) == train.n_vars == test.n_vars:
        warnings.warn(
            f"train has {train.n_vars:,} genes, test {test.n_vars:,}; the {len(genes):,} in both are used", stacklevel=3
        )
    return genes


def _counts(obs: pd.DataFrame, expected: Mapping[str, int]) -> dict[str, int]:
    """Count what the expectation speaks of; with types by name, types it does not name are counted too."""
    splits = Counter(f"{split} cells" for split in obs["split"])
    found = {"train cells": splits["train cells"], "test cells": splits["test cells"]}
    if "types" in expected:
        return found | {"types": obs["cell_type"].astype(str).nunique()}
    return found | Counter((obs["split"].astype(str) + " " + obs["cell_type"].astype(str)).tolist())
