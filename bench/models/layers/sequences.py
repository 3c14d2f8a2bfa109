"""Labelled cells of different lengths, as networks take them that see the expressed genes alone."""

from dataclasses import dataclass

import numpy as np
import torch

from bench.models.layers.packed import Packed
from bench.training.labelled import Cells

POSITIONS = {"cpu": 2**13, "cuda": 2**17}  # of packed cells that go through the network together


@dataclass(frozen=True)
class Sequences(Cells):
    """Cells of different lengths: bins of expressed genes, CSR of shape (n_cells, n_tokens)."""

    cls_id: int

    def parts(self, rows: np.ndarray, most: int, device: torch.device) -> list[np.ndarray]:
        """Return the rows by length in parts of similar cells, which together have a limited number of positions."""
        return by_length(np.diff(self.tokens.indptr)[rows] + 1, rows, most, device)

    def inputs(self, rows: np.ndarray, device: torch.device) -> Packed:
        """Return the cells without padding."""
        return Packed.of(self.tokens[rows], self.cls_id, device)


def by_length(lengths: np.ndarray, rows: np.ndarray, most: int, device: torch.device) -> list[np.ndarray]:
    """Return rows of cells in parts of similar ``lengths``, at most so many cells and a limited number of positions."""
    rows, lengths = rows[np.argsort(lengths, kind="stable")], np.sort(lengths)
    parts, begin, limit = [], 0, POSITIONS[device.type]
    for end in range(1, len(rows) + 1):
        if end == len(rows) or end - begin == most or lengths[begin : end + 1].sum() > limit:
            parts.append(rows[begin:end])
            begin = end
    return parts
