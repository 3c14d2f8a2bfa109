"""What can be said of a masked position without a network: three baselines, from the cell, the gene, and both.

All see what the network sees, the cell with its replaced positions hidden, but for `ModePerCell`, which is computed on
the whole cell, as published, and so peeks at what it is to predict.
"""

from functools import lru_cache
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler
from torch import Tensor

from bench.models.scbert.masking import Masked, mask_seeded, most_common_bin
from bench.models.scbert.network import MASK
from bench.preprocess import MAX_TOKEN
from bench.report.masked.cells import Rows
from bench.training.store import Cells

N_POSITIONS = 200_000  # masked positions that the regression is fitted on, at most
FIT_SEED = 2021  # of their choice
BATCH = 64  # cells at a time


class Predictor(Protocol):
    """Says a token for every selected position."""

    def __call__(self, tokens: Tensor, masked: Masked) -> Tensor:
        """Return (cells, positions) ids; what it says of positions that are not selected does not count."""


def fitted(name: str, rows: Rows | None) -> Predictor:
    """Return a baseline by name, fitted on some cells."""
    if name == "mode_per_cell":
        return mode_per_cell
    return ModePerGene(rows) if name == "mode_per_gene" else _regression(rows)


def mode_per_cell(tokens: Tensor, masked: Masked) -> Tensor:
    """Say the most frequent id 1 to 5 of the whole cell, masked positions included; of equals the smallest."""
    return most_common_bin(tokens)[:, None].expand_as(tokens)


class ModePerGene:
    """Say the most frequent id 1 to 5 of the gene in the fitted cells; of equals the smallest.

    A gene that no fitted cell expresses gets the most frequent id of all genes.
    """

    def __init__(self, rows: Rows) -> None:
        counts = token_counts(rows)  # (5, genes)
        overall = counts.sum(axis=1).argmax() + 1
        modes = np.where(counts.any(axis=0), counts.argmax(axis=0) + 1, overall)
        self.modes = F.pad(torch.from_numpy(modes), (0, 1), value=int(overall))  # (genes + 1,)

    def __call__(self, tokens: Tensor, masked: Masked) -> Tensor:
        """Return (cells, positions) ids."""
        return self.modes.expand_as(tokens)


class GeneDepthRegression:
    """Multinomial logistic regression of the id 1 to 5 on four numbers, their squares and products.

    Of the gene, in the fitted cells: the mean id where expressed, and the log of the share of cells that express it.
    Of the cell, as it is shown: the mean id of its visible expressed positions, and the log of how many positions are
    expressed, hidden ones included, which the network can count too.  Fitted on the replaced positions of the fitted
    cells, masked once, at most `N_POSITIONS` of them; L2 penalty with C = 1 on standardised columns.
    """

    def __init__(self, rows: Rows) -> None:
        counts, ids = token_counts(rows), np.arange(1, MASK)
        n_expressed = counts.sum(axis=0)
        self.mean = float(ids @ counts.sum(axis=1) / counts.sum())
        means = np.where(n_expressed, ids @ counts / np.maximum(n_expressed, 1), self.mean)
        shares = np.log((n_expressed + 1) / (len(rows.rows) + 2))
        self.genes = np.pad(np.stack([means, shares], 1), ((0, 1), (0, 0)))  # (genes + 1, 2)
        polynomial = PolynomialFeatures(2, include_bias=False)
        logistic = LogisticRegression(max_iter=1000)
        self.model = make_pipeline(StandardScaler(), polynomial, StandardScaler(), logistic)
        self.model.fit(*self._positions(rows))

    def __call__(self, tokens: Tensor, masked: Masked) -> Tensor:
        """Return (cells, positions) ids."""
        said = torch.zeros_like(tokens)
        if masked.selected.any():
            said[masked.selected] = torch.from_numpy(self.model.predict(self.features(masked, masked.selected)))
        return said

    def features(self, masked: Masked, where: Tensor) -> np.ndarray:
        """Return the four numbers of chosen positions, (n, 4)."""
        expressed = masked.tokens > 0  # a hidden position has the id of the mask, and only expressed ones are hidden
        visible = expressed & (masked.tokens < MASK)
        n_visible = visible.sum(1).numpy()
        sums = (masked.tokens * visible).sum(1).numpy()
        depth = np.stack(
            [
                np.where(n_visible, sums / np.maximum(n_visible, 1), self.mean),
                np.log(np.maximum(expressed.sum(1).numpy(), 1)),
            ],
            1,
        )
        cell, position = where.nonzero(as_tuple=True)
        return np.hstack([self.genes[position.numpy()], depth[cell.numpy()]])

    def _positions(self, rows: Rows) -> tuple[np.ndarray, np.ndarray]:
        cells, order = rows.cells(), np.random.default_rng(FIT_SEED).permutation(rows.rows)
        X, y = [], []
        for start in range(0, len(order), BATCH):
            tokens, masked = masked_cells(cells, order[start : start + BATCH], FIT_SEED)
            X.append(self.features(masked, masked.replaced))
            y.append(tokens[masked.replaced].numpy())
            if sum(map(len, y)) >= N_POSITIONS:
                break
        return np.concatenate(X)[:N_POSITIONS], np.concatenate(y)[:N_POSITIONS]


def masked_cells(cells: Cells, rows: np.ndarray, seed: int) -> tuple[Tensor, Masked]:
    """Return the tokens of some cells, (len(rows), genes + 1), the appended one included, and the same masked.

    The mask of a cell depends on its identifier and the seed alone: not on its place, nor on the cells beside it.
    """
    tokens = F.pad(torch.from_numpy(cells.tokens(rows)), (0, 1)).long()
    seeds = [np.random.SeedSequence([seed, int(cell)]).generate_state(1)[0] for cell in cells.ids[rows]]
    each = [mask_seeded(cell[None], int(own)) for cell, own in zip(tokens, seeds, strict=True)]
    parts = ("tokens", "labels", "selected", "replaced")
    return tokens, Masked(**{part: torch.cat([getattr(one, part) for one in each]) for part in parts})


def token_counts(rows: Rows) -> np.ndarray:
    """Return in how many of the cells each gene has each id from 1 to 5, (5, genes)."""
    cells = rows.cells()
    counts = np.zeros((MAX_TOKEN, cells.n_genes), np.int64)
    for start in range(0, len(rows.rows), 1000):
        X = cells.sparse(rows.rows[start : start + 1000])
        np.add.at(counts, (X.data - 1, X.indices), 1)
    return counts


@lru_cache(maxsize=4)
def _regression(rows: Rows) -> GeneDepthRegression:
    return GeneDepthRegression(rows)  # the same for all data sets and masks
