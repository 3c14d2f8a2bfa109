"""Passes: the cells that go through CellPLM together, their counts by gene, and what of them is hidden in training.

Source: CellPLM (Wen et al., ICLR 2024).  Genes are those of the data that the vocabulary has, in the data's order;
counts are neither scaled nor cut, the logarithm is all that is done to them.
"""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import scipy.sparse as sp
import torch
import torch.nn.functional as F
from torch import Tensor

DENSE = 8  # from one value in so many on, one whole product is faster than a sum of rows for each cell


@dataclass(frozen=True)
class Pass:
    """Cells that go through the network together."""

    counts: sp.csr_matrix  # (n_cells, n_genes) float32, sorted
    genes: np.ndarray  # (n_genes,) row of each gene in the embedding
    device: torch.device
    uniform: Tensor | None = None  # (n_cells, n_clusters) numbers that a mixture draws clusters with
    alone: bool = False  # whether each cell is a pass of its own
    n_before: int = 0  # cells at the beginning that are there for the company of the others

    def __len__(self) -> int:
        return self.counts.shape[0]

    def with_counts(self, counts: sp.csr_matrix) -> Self:
        """Return the pass with other counts of the same genes, such as some of its cells, or some hidden."""
        return replace(self, counts=counts)

    def features(self, embedding: Tensor) -> Tensor:
        """Return the (n_cells, dim) sums of the genes' rows, each times log(1 + count), in float32."""
        X, genes = self.counts, torch.from_numpy(self.genes).to(self.device)
        with torch.autocast(self.device.type, enabled=False):
            if DENSE * X.nnz >= X.shape[0] * X.shape[1]:
                return torch.log1p(torch.from_numpy(X.toarray()).to(self.device)) @ embedding[genes]
            rows = genes[torch.from_numpy(X.indices).to(self.device).long()]
            weights = torch.log1p(torch.from_numpy(X.data).to(self.device))
            starts = torch.from_numpy(X.indptr[:-1].astype(np.int64)).to(self.device)
            return F.embedding_bag(rows, embedding, starts, mode="sum", per_sample_weights=weights)


def known_columns(names: list[str], vocabulary: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return the columns whose gene is in the vocabulary, in their order, and its place there.

    Of a name that comes twice the first column counts, as where the authors' users make names unique.
    """
    place = {gene: number for number, gene in enumerate(vocabulary)}
    first = {name: column for column, name in reversed(list(enumerate(names)))}
    kept = [column for column, name in enumerate(names) if name in place and first[name] == column]
    return np.array(kept, dtype=int), np.array([place[names[column]] for column in kept], dtype=int)


def groups(batches: np.ndarray | None, n_cells: int) -> list[np.ndarray]:
    """Return the rows of each batch, labels sorted as text; all cells together where there are no batches."""
    if batches is None:
        return [np.arange(n_cells)]
    labels = np.asarray(batches).astype(str)
    return [np.flatnonzero(labels == label) for label in np.unique(labels)]


def chunks(rows: np.ndarray, most: int) -> list[np.ndarray]:
    """Return rows in parts of at most so many, in their order; 0 for all of them together."""
    return [rows[start : start + most] for start in range(0, len(rows), most)] if most else [rows]


def n_kept(n_cells: int, drop_rate: float, most: int) -> int:
    """Return how many cells of a training pass are kept; in binary arithmetic, as published."""
    return min(most, int(n_cells * (1 - drop_rate))) if drop_rate else n_cells


def chosen(permutation: np.ndarray, rate: float) -> np.ndarray:
    """Return (n_cells,) bool: the cells of which values are hidden, the first ones of a permutation."""
    found = np.zeros(len(permutation), bool)
    found[permutation[: int(rate * len(permutation))]] = True
    return found


def hidden(uniform: np.ndarray, where: np.ndarray, rate: float | np.ndarray) -> np.ndarray:
    """Return which values are hidden, given a uniform number for each and whether its cell is among those chosen."""
    return (uniform <= rate) & where


def without(counts: sp.csr_matrix, hide: np.ndarray) -> sp.csr_matrix:
    """Return the counts with those at which ``hide``, of (n_entries,), is true set to 0; nothing is rescaled."""
    return sp.csr_matrix((np.where(hide, 0, counts.data), counts.indices, counts.indptr), counts.shape)
