"""Ranked genes of several cells one after the other, as the network takes them, and labelled cells of that form."""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from bench.models.layers.packed import OneAfterAnother
from bench.models.layers.sequences import by_length
from bench.training.labelled import Cells


@dataclass(frozen=True)
class Ranked(OneAfterAnother):
    """Token ids of several cells; each cell begins with its highest rank, or the token that stands for it."""

    genes: Tensor  # (n_positions,) token ids
    places: Tensor  # (n_positions,) from 0 within each cell
    lengths: tuple[int, ...]  # (n_cells,) positions of each cell

    @classmethod
    def of(cls, ranks: sp.csr_matrix, device: torch.device | str = "cpu") -> "Ranked":
        """Return the cells of a matrix of ranks; see `bench.models.geneformer.ranks`."""
        return cls.packed(ranks.data.astype(np.int64), np.diff(ranks.indptr), device)

    @classmethod
    def packed(cls, genes: np.ndarray | Tensor, lengths: np.ndarray, device: torch.device | str = "cpu") -> "Ranked":
        """Return cells of token ids, (n_positions,), and lengths, (n_cells,)."""
        lengths = np.asarray(lengths)
        places = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        found = (torch.as_tensor(part).to(device) for part in (genes, places))
        return cls(*found, tuple(lengths.tolist()))


@dataclass(frozen=True)
class Ranks(Cells):
    """Labelled cells of different lengths: token ids by rank, CSR of shape (n_cells, longest)."""

    def parts(self, rows: np.ndarray, most: int, device: torch.device) -> list[np.ndarray]:
        """Return the rows by length in parts of similar cells, which together have a limited number of positions."""
        return by_length(np.diff(self.tokens.indptr)[rows], rows, most, device)

    def inputs(self, rows: np.ndarray, device: torch.device) -> Ranked:
        """Return the cells without padding."""
        return Ranked.of(self.tokens[rows], device)
