"""Labelled cells as networks take them: which cells go through the network together, and as what."""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor


@dataclass(frozen=True)
class Cells:
    """Cells whose tokens all have the same length: (n_cells, n_genes), CSR or dense; class indices (n_cells,)."""

    tokens: sp.csr_matrix | np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return self.tokens.shape[0]

    def take(self, rows: np.ndarray) -> Self:
        """Return some of the cells."""
        return replace(self, tokens=self.tokens[rows], labels=self.labels[rows])

    def parts(self, rows: np.ndarray, most: int, device: torch.device) -> list[np.ndarray]:
        """Return the rows in parts of at most so many cells, to go through the network one after the other."""
        return [rows[start : start + most] for start in range(0, len(rows), most)]

    def inputs(self, rows: np.ndarray, device: torch.device) -> Tensor:
        """Return token ids, (cells, genes)."""
        block = self.tokens[rows]
        dense = block.toarray() if sp.issparse(block) else block
        return torch.from_numpy(np.ascontiguousarray(dense)).to(device).long()

    def targets(self, rows: np.ndarray, device: torch.device) -> Tensor:
        """Return class indices, (cells,)."""
        return torch.as_tensor(self.labels[rows], device=device)
