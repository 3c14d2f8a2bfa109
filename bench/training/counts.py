"""Counts of cells as tokens of a store, for models that hide some of them and guess."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp

from bench.core.errors import BenchError
from bench.preprocess import align
from bench.training.blocks import Stream

MOST = 2**16 - 1  # counts of a gene that a store holds


@dataclass(frozen=True)
class Counts:
    """Counts as `bench.training.cells.Tokens` of a store; larger ones than it holds count as the largest."""

    library = "counts"

    def settings(self) -> dict[str, Any]:
        """Return how they are kept."""
        return {"token_type": "<u2"}

    def check(self, genes: Sequence[str]) -> None:
        """Accept any genes."""

    def __call__(self, X: sp.csr_matrix, stream: Stream, genes: list[str], ids: np.ndarray) -> sp.csr_matrix:
        """Return the counts, (n_cells, n_genes).

        Raises
        ------
        BenchError
            If the data set holds logarithms.
        """
        if stream.values != "counts":
            raise BenchError(f"{stream.name!r} holds logarithms; pretrain on sets of counts.")
        found = align(X, stream.genes, genes)
        found.sort_indices()
        found.eliminate_zeros()
        return sp.csr_matrix((np.minimum(found.data, MOST).astype(np.uint16), found.indices, found.indptr), found.shape)
