"""What is the same under another name: cells by their values, genes and types by their spelling."""

import re
from collections.abc import Iterable

import numpy as np
import pandas as pd
from anndata import AnnData

ENSEMBL = r"ENS[A-Z]*G\d{11}"
MOST = 0.5  # share of names from which on a way of spelling is taken to be that of all


def same_profiles(cells: AnnData, others: AnnData) -> np.ndarray:
    """Return which cells have the very values of one of the others on the genes of both, shape (n_cells,).

    Cells without any value there are not the same as others without any.
    """
    genes = cells.var_names.intersection(others.var_names, sort=False)
    rng = np.random.default_rng(0)
    weights = pd.DataFrame(rng.random((len(genes), 2)), genes)  # two sums that agree only where the values do
    sums = [_sums(adata, weights) for adata in (cells, others)]
    known = set(map(tuple, sums[1]))
    return np.array([row.any() and tuple(row) in known for row in sums[0]], dtype=bool)


def _sums(adata: AnnData, weights: pd.DataFrame) -> np.ndarray:
    """Return weighted sums, (n_cells, 2), added up in the order of the weights whatever that of the genes."""
    X = adata.X[:, adata.var_names.get_indexer(weights.index)]
    X.sort_indices()
    return X @ weights.to_numpy()


def named_alike(names: Iterable[str], others: Iterable[str]) -> dict[str, str]:
    """Return the names that differ from one of the others in case or blanks only, with that one.

    Names of one or two letters, as of clusters, keep their case.
    """
    plain = {_plain(other): other for other in sorted(others)}
    return {name: plain[_plain(name)] for name in names if plain.get(_plain(name), name) != name}


def other_spelling(genes: pd.Index, others: pd.Index) -> str:
    """Return what may be behind it that few genes of two data sets have the same name, and what to do."""
    for one, two, whose in ((genes, others, "query"), (others, genes, "reference")):
        if one.str.match(ENSEMBL).mean() > MOST >= two.str.match(ENSEMBL).mean():
            return (
                f"Those of the {whose} are Ensembl identifiers ({one[0]!r}) and the others are not ({two[0]!r}): "
                "name the column of var that holds gene symbols with symbols, such as -p symbols feature_name."
            )
    if pair := _pair(genes, others, str.upper):
        return (
            f"{pair} differ in case only, as symbols of two species do: use cells of one species, or rename the genes "
            "of one file to their orthologues."
        )
    if pair := _pair(genes, others, _bare):
        return f"{pair} differ in a prefix or a version only: take it off in one of the files."
    return (
        f"They are named {genes[0]!r} and {others[0]!r}: check the species and the kind of names. If the query is a "
        "panel or a selection of genes, cut the reference to the genes of both (adata[:, genes]) and use that."
    )


def _pair(genes: pd.Index, others: pd.Index, plain) -> str:
    """Return an example of two names that a spelling makes equal, where it does so for most of the smaller set."""
    known = {plain(other): other for other in others}
    alike = [gene for gene in genes.difference(others, sort=False) if plain(gene) in known]
    if len(alike) <= MOST * min(len(genes), len(others)):
        return ""
    return f"{alike[0]!r} of the query and {known[plain(alike[0])]!r} of the reference"


def _plain(name: str) -> str:
    plain = " ".join(name.split())
    return plain.casefold() if len(plain) > 2 else plain


def _bare(gene: str) -> str:
    return re.sub(r"^(GRCh\d+|hg\d+|GRCm\d+|mm\d+|human|mouse)[_-]+|\.\d+$", "", gene)
