"""Cells of another file or data set, brought to the genes of those that models were trained on.

Genes and types are matched by name: genes that the query lacks are zeros, those that only it has are left out.
Without the label column it has no labels: its cells are predicted and not scored.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from anndata import AnnData

from bench.datasets.spelling import named_alike
from bench.preprocess import align

MEASURES = {
    "query_genes": "share of the reference's genes that the query has, 0-1",
    "query_counts": "share of the query's counts that is in them, 0-1; not of log values",
    "query_unseen": "share of the scored cells whose type the reference lacks, 0-1: they can never be right",
}


def is_labelled(query: AnnData) -> bool:
    """Return whether a query says the types of its cells."""
    return "cell_type" in query.obs


def name_of(adata: AnnData) -> str:
    """Return the name of a data set, or the name of the file."""
    return Path(adata.uns["bench"]["name"]).name


def types_of(query: AnnData, reference: AnnData) -> pd.Series:
    """Return the types of the query's cells, spelt as the reference does where case or blanks alone differ."""
    types, known = query.obs["cell_type"].astype(str), set(reference.obs["cell_type"].astype(str))
    return types.replace(named_alike(set(types) - known, known))


def brought(query: AnnData, reference: AnnData) -> AnnData:
    """Return the query with the genes of the reference, in their order, those that it lacks as zeros, and its types."""
    X = align(query.X, query.var_names.tolist(), reference.var_names.tolist())
    X.sort_indices()
    obs = query.obs.assign(cell_type=types_of(query, reference)) if is_labelled(query) else query.obs.copy()
    return AnnData(X, obs=obs, var=reference.var.copy(), uns=dict(query.uns), obsm=dict(query.obsm))


def measures(query: AnnData, reference: AnnData) -> dict[str, float]:
    """Return those of ``MEASURES`` that these two have, rounded."""
    shared = query.var_names.isin(reference.var_names)
    found = {"query_genes": shared.sum() / reference.n_vars}
    if query.uns["bench"]["values"] == "counts":  # a sum of logarithms is no number of molecules
        of_genes = np.asarray(query.X.sum(axis=0, dtype=np.float64)).ravel()
        found["query_counts"] = of_genes[shared].sum() / of_genes.sum()
    if is_labelled(query):
        found["query_unseen"] = 1 - types_of(query, reference).isin(reference.obs["cell_type"].astype(str)).mean()
    return {name: round(float(value), 6) for name, value in found.items()}
