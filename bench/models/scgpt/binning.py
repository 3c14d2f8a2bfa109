"""Expression as scGPT sees it: the expressed genes of its vocabulary, each cell's values cut into 50 quantile bins.

Source: PROTOCOL 3.2 and 7 of the paper.  Known deviation: by default ties and subsets are drawn for each cell by
itself, so that they depend neither on the order of cells nor on the other cells; ``published_rng`` draws as published.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from bench.core.errors import BenchError
from bench.training.blocks import Stream

N_BINS = 51  # bin 0 is not expressed
PAD, CLS, EOC = "<pad>", "<cls>", "<eoc>"
SPECIAL = (PAD, CLS, EOC)
TARGET = 1e4  # total of a cell over the genes of the vocabulary
Draw = Callable[[int], np.random.Generator | np.random.RandomState]  # generator of the cell in a row


def binned(
    X: sp.csr_matrix,
    genes: Sequence[str],
    vocabulary: Sequence[str],
    *,
    ids: np.ndarray,
    seed: int,
    max_genes: int | None = None,
    n_bins: int = N_BINS,
    published_rng: np.random.RandomState | None = None,
) -> sp.csr_matrix:
    """Return the bins of expressed genes, uint8 CSR of shape (n_cells, len(vocabulary)).

    Parameters
    ----------
    X
        Expression of shape (n_cells, n_genes), counts or logarithms: only ranks within a cell matter.
    genes
        Symbols of its columns; those that are not in the vocabulary are left out before a cell is scaled, and of a
        symbol that is there twice the first column counts.
    vocabulary
        All tokens in the order of their ids, special ones included.
    ids
        Identifier of each cell, (n_cells,) integers, see `bench.training.store.cell_ids`.
    seed
        With the identifier it decides how ties are broken and which genes of a long cell are kept.
    max_genes
        Largest number of genes of a cell; None keeps all.
    n_bins
        Number of bins, bin 0 included.
    published_rng
        One stream for all cells in their order, in the place of ``seed`` and ``ids``.

    Raises
    ------
    BenchError
        If no gene is in the vocabulary.
    """
    token = {symbol: i for i, symbol in enumerate(vocabulary) if symbol not in SPECIAL}
    first = dict(reversed([(gene, i) for i, gene in enumerate(genes)]))  # columns of symbols
    columns = np.array(sorted(i for gene, i in first.items() if gene in token), dtype=int)
    if not len(columns):
        raise BenchError(
            f"None of the {len(genes):,} genes ({', '.join(map(str, genes[:3]))} ...) is among the "
            f"{len(token):,} of the vocabulary; expected human gene symbols."
        )
    tokens = np.array([token[genes[i]] for i in columns])
    if published_rng is None:  # in the order of the vocabulary, so that the order of columns does not matter either
        columns, tokens = columns[np.argsort(tokens)], np.sort(tokens)
    values = scaled(sp.csr_matrix(X[:, columns]))
    bins = quantile_bins(values, _draw(ids, seed, 0, published_rng), n_bins)
    placed = sp.csr_matrix((bins, tokens[values.indices], values.indptr), shape=(X.shape[0], len(vocabulary)))
    return placed if max_genes is None else at_most(placed, max_genes, ids=ids, seed=seed, published_rng=published_rng)


def scaled(X: sp.csr_matrix) -> sp.csr_matrix:
    """Return each cell scaled to a total of 10,000, float32, without explicit zeros; empty cells stay empty."""
    X = X.astype(np.float32, copy=True)
    X.sort_indices()
    X.eliminate_zeros()
    total = np.asarray(X.sum(axis=1, dtype=np.float32)).ravel() / np.float32(TARGET)
    X.data /= np.repeat(np.where(total == 0, 1, total), np.diff(X.indptr))
    return X


def quantile_bins(values: sp.csr_matrix, draw: Draw, n_bins: int = N_BINS) -> np.ndarray:
    """Return the bins 1 to ``n_bins - 1`` of the stored values, (nnz,) uint8; one number is drawn for each of them."""
    bins = np.empty(values.nnz, dtype=np.uint8)
    for row, (start, end) in enumerate(zip(values.indptr, values.indptr[1:], strict=False)):
        if start < end:
            here = values.data[start:end]
            cuts = edges(here, n_bins)
            below, until = (np.searchsorted(cuts, here, side=side) for side in ("left", "right"))
            bins[start:end] = np.ceil(draw(row).random_sample(end - start) * (below - until) + until)
    return bins


def edges(values: np.ndarray, n_bins: int = N_BINS) -> np.ndarray:
    """Return the quantiles that bins begin at, (n_bins - 1,) float64, the smallest and the largest value included."""
    return np.quantile(values, np.linspace(0, 1, n_bins - 1))


def at_most(
    bins: sp.csr_matrix,
    max_genes: int,
    *,
    ids: np.ndarray,
    seed: int,
    published_rng: np.random.RandomState | None = None,
) -> sp.csr_matrix:
    """Return the bins with a random subset of the genes of every cell that has more than ``max_genes``."""
    draw, kept = _draw(ids, seed, 1, published_rng), []
    for row, (start, end) in enumerate(zip(bins.indptr, bins.indptr[1:], strict=False)):
        few = end - start <= max_genes
        kept.append(np.arange(start, end) if few else start + draw(row).choice(end - start, max_genes, replace=False))
    place = np.concatenate([*kept, np.empty(0, int)]).astype(int)
    ends = np.cumsum([0, *map(len, kept)])
    return sp.csr_matrix((bins.data[place], bins.indices[place], ends), shape=bins.shape)


def _draw(ids: np.ndarray, seed: int, step: int, published_rng: np.random.RandomState | None) -> Draw:
    """Return what gives each cell its generator: the same one for all, or one of its own."""
    if published_rng is not None:
        return lambda row: published_rng
    return lambda row: np.random.RandomState(np.random.PCG64([step, seed, int(ids[row])]))


@dataclass(frozen=True)
class Bins:
    """Bins as `bench.training.cells.Tokens` of a store: of all expressed genes, ties broken by the seed."""

    seed: int
    library = "bins"

    def settings(self) -> dict[str, int]:
        """Return the seed."""
        return {"seed": self.seed}

    def check(self, genes: Sequence[str]) -> None:
        """Accept any genes."""

    def __call__(self, X: sp.csr_matrix, stream: Stream, genes: list[str], ids: np.ndarray) -> sp.csr_matrix:
        """Return the bins, (n_cells, n_genes + 3): the special tokens have none."""
        return binned(X, stream.genes, [*genes, *SPECIAL], ids=ids, seed=self.seed)
