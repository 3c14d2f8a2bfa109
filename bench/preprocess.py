"""From raw counts to the features of a classifier: gene alignment, library-size normalisation, logarithm.

Source: scBERT's published preprocessing (PROTOCOL of the paper, section 2): align to a gene list, scale each cell to
10,000 counts, log2(1 + x).  Every step works cell by cell, so nothing here can leak from test to train.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from anndata import AnnData
from sklearn.preprocessing import normalize

from bench.core.errors import BenchError, unknown

MAX_TOKEN = 5
LIBRARIES = ("panglao", "all")
LEAST_GENES = 0.1  # share of genes that a model must find by name; human and mouse spell one or two per cent alike
GENES = ("all", "panglao")  # lists that a setting can name; see `listed_genes`


class Genes(NamedTuple):
    """Which genes a model takes, for its records."""

    wanted: list[str]  # by name
    used: list[str]  # those of them that the data set has


def looked_for(cells: AnnData, wanted: Iterable[str], least: float = LEAST_GENES) -> Genes:
    """Return the genes that are wanted, and which of them these cells have.

    Parameters
    ----------
    cells, wanted
        A data set, and the names that a model knows.
    least
        Share of the genes that must be found, of those of the shorter list: a panel need not have what a model knows,
        nor a model all that was measured.

    Raises
    ------
    BenchError
        If fewer are found, as with symbols of another species, which are seldom spelt alike.
    """
    wanted, there = list(wanted), set(cells.var_names)
    used = [gene for gene in wanted if gene in there]
    if len(used) < least * min(len(wanted), len(there)):
        from bench.datasets.symbols import looks

        raise BenchError(
            f"Only {len(used):,} of the {len(there):,} genes of the data set are among the {len(wanted):,} that the "
            f"model looks for by name; they look {looks(cells.var_names)} ({', '.join(cells.var_names[:3])}): "
            "map them to human symbols, name the column that has them (symbols), use a model that reads all genes as "
            'they are (knn with the override {"genes": "all"}), or allow it with the override {"least_genes": 0}.'
        )
    return Genes(wanted, used)


def listed_genes(cells: AnnData, genes: str) -> list[str]:
    """Return the genes that ``all`` (of these cells) or ``panglao`` (scBERT's 16,906) stands for."""
    if genes == "all":
        return cells.var_names.tolist()
    if genes == "panglao":
        from bench.datasets.panglao import gene_order

        return gene_order()
    raise BenchError(f"genes={genes!r} is unknown; expected 'all' or 'panglao'.")


def align(X: sp.csr_matrix, genes: list[str], reference: list[str]) -> sp.csr_matrix:
    """Return the matrix in the gene order of a reference list.

    Parameters
    ----------
    X
        Values of shape (n_cells, n_genes).
    genes, reference
        Gene symbols of the columns found and wanted.  Of a repeated symbol the first column counts; reference genes
        that are absent become zero columns.

    Returns
    -------
    CSR matrix of shape (n_cells, len(reference)).

    Raises
    ------
    BenchError
        If no gene is shared.
    """
    column = {gene: i for i, gene in reversed(list(enumerate(genes)))}
    shared = [(column[gene], j) for j, gene in enumerate(reference) if gene in column]
    if not shared:
        raise BenchError(
            f"No gene in common: the data have {list(genes[:3])} ..., the reference {reference[:3]} ...; "
            "expected human gene symbols in both."
        )
    source, target = map(np.array, zip(*shared, strict=True))
    selector = sp.csr_matrix((np.ones(len(source), X.dtype), (source, target)), shape=(X.shape[1], len(reference)))
    return sp.csr_matrix(X @ selector)


def log1p_cp10k(counts: sp.csr_matrix, base: float = 2.0) -> sp.csr_matrix:
    """Return log(1 + counts per 10,000) of each cell, float32, shape and sparsity unchanged; empty cells stay zero."""
    X = normalize(counts.astype(np.float32), norm="l1", copy=False)  # the one copy: large data have no room for two
    X.data *= np.float32(1e4)
    np.log1p(X.data, out=X.data)
    X.data /= np.float32(np.log(base))
    return X


def tokens(X: sp.csr_matrix) -> sp.csr_matrix:
    """Return scBERT's tokens of log2(1 + CP10K) values: whole part, at most 5; uint8, sorted CSR without zeros.

    Parameters
    ----------
    X
        Values of shape (n_cells, n_genes), at least 0; unchanged.
    """
    binned = np.minimum(X.data, np.float32(MAX_TOKEN)).astype(np.uint8)
    found = sp.csr_matrix((binned, X.indices.copy(), X.indptr.copy()), shape=X.shape)
    found.eliminate_zeros()
    found.sort_indices()
    return found


def gene_tokens(X: sp.csr_matrix, found: list[str], values: str, genes: list[str], library: str) -> sp.csr_matrix:
    """Return (n_cells, len(genes)) tokens of cells whose columns are the genes found.

    Parameters
    ----------
    X
        Counts or log values of shape (n_cells, len(found)).
    found, genes
        Symbols of the columns that are there and that are wanted; those that are absent become token 0.
    values
        ``counts`` are normalised, ``log1p`` used as given.
    library
        Genes over which the library size is counted: ``panglao``, or ``all`` found.
    """
    if library not in LIBRARIES:
        raise unknown("library", library, LIBRARIES)
    if library == "panglao":
        from bench.datasets.panglao import gene_order

        measured = gene_order()
        X, found = align(X, found, measured), measured
    if values == "counts":
        X = log1p_cp10k(X)
    return tokens(X if found == genes else align(X, found, genes))


def features(cells: AnnData, *, genes: str = "all", base: float = 2.0) -> sp.csr_matrix:
    """Return what the linear baselines see: (n_cells, n_genes) log values, sorted CSR float32.

    Parameters
    ----------
    cells
        Counts are normalised; a data set declared as log1p is used as given.
    genes
        ``all``, or ``panglao`` for scBERT's 16,906 genes, in whose total the library size is then counted.
    base
        Of the logarithm: 2 for the scBERT experiments, e for the scGPT ones.
    """
    X, wanted = sp.csr_matrix(cells.X), listed_genes(cells, genes)
    if genes != "all":
        X = align(X, cells.var_names.tolist(), wanted)
    if cells.uns["bench"]["values"] == "counts":
        X = log1p_cp10k(X, base)
    X.sort_indices()  # joblib hands workers read-only arrays, which liblinear would otherwise try to sort
    return X
