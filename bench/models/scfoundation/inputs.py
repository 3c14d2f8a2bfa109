"""Expression as scFoundation sees it: log values in the order of its genes, then the tokens T and S of read depth.

Source: Hao et al., Nature Methods 2024, and what their extraction script does.  A token goes into the encoder if its
value is above 0; nothing is cut.  T is the depth that is asked for, S that of the cell, both as log10 of totals over
the genes of the list.

Known deviations: a cell with fewer than two counts is taken to have two, so that T and S are always there; with
``literal`` they drop out as in the script, and the tokens before them are taken for them.
"""

import json
import re
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from bench.core.errors import BenchError
from bench.models.layers.packed import Packed
from bench.models.layers.sequences import POSITIONS
from bench.training.labelled import Cells
from bench.weights import Checkpoint
from bench.weights.said import told

TARGET = 1e4  # total of a cell before the logarithm
LEAST = 2.0  # counts that a cell is taken to have at least
DEPTH = re.compile(r"([tfa])(\d+(?:\.\d+)?)")


def genes_of(checkpoint: Checkpoint) -> list[str]:
    """Return the genes of the positions that weights of an scFoundation name."""
    genes = json.loads(told(checkpoint, "genes", "scfoundation", " --genes GENES.txt"))
    embedded = len(checkpoint.tensors["pos_emb.weight"]) - 3 if "pos_emb.weight" in checkpoint.tensors else 0
    if len(genes) != embedded:
        raise BenchError(
            f"{checkpoint.path} names {len(genes):,} genes and has {embedded:,} positions of genes; expected as many. "
            "Convert the original file with: bench weights scfoundation --path FILE."
        )
    return genes


def normalised(counts: sp.csr_matrix) -> tuple[sp.csr_matrix, np.ndarray]:
    """Return ln(1 + counts per 10,000) in float64, and the totals of the cells, (n_cells,)."""
    counts = sp.csr_matrix(counts, dtype=np.float64)
    totals = counts.sum(axis=1).A1
    scaled = counts.data / np.repeat(np.where(totals == 0, 1, totals), np.diff(counts.indptr)) * TARGET
    return sp.csr_matrix((np.log1p(scaled), counts.indices, counts.indptr), counts.shape), totals


def depth_tokens(totals: np.ndarray, resolution: str, *, literal: bool = False) -> np.ndarray:
    """Return T and S of cells, (n_cells, 2).

    Parameters
    ----------
    totals
        Of each cell, (n_cells,).
    resolution
        What T stands for: ``t4`` is 10^4 counts, ``f2`` twice the cell's own total, ``a1`` ten times.
    literal
        Of a total of 1 or less S is not above 0, and no token then.
    """
    if not (read := DEPTH.fullmatch(resolution)):
        raise BenchError(
            f"resolution={resolution!r} is none; expected t and a logarithm (t4 is 10,000 counts), f and a factor of "
            "the cell's total (f1), or a and what is added to its logarithm (a1)."
        )
    kind, number = read[1], float(read[2])
    totals = totals if literal else np.maximum(totals, LEAST)
    with np.errstate(divide="ignore"):
        s = np.log10(totals)
        t = {"t": np.full_like(s, number), "f": np.log10(totals * number), "a": s + number}[kind]
    return np.stack([t, s], axis=1)


def with_depth(values: sp.csr_matrix, depth: np.ndarray | None = None) -> sp.csr_matrix:
    """Return the values with T and S behind them, float32 CSR of shape (n_cells, n_genes + 2); none without depth."""
    depth = np.zeros((values.shape[0], 2)) if depth is None else depth
    whole = sp.csr_matrix(sp.hstack([values, sp.csr_matrix(depth)]), dtype=np.float32)
    whole.sort_indices()
    whole.eliminate_zeros()
    return whole


def bulk(counts: sp.csr_matrix) -> tuple[sp.csr_matrix, np.ndarray]:
    """Return ln(1 + counts scaled to the median total of all samples), and T and S, which are the same there."""
    counts = sp.csr_matrix(counts, dtype=np.float64)
    totals = counts.sum(axis=1).A1
    factor = np.median(totals[totals > 0]) / np.where(totals == 0, 1, totals)
    scaled = counts.data * np.repeat(factor, np.diff(counts.indptr))
    values = sp.csr_matrix((np.log1p(scaled), counts.indices, counts.indptr), counts.shape)
    return values, np.repeat(np.log10(values.sum(axis=1).A1)[:, None], 2, axis=1)


@dataclass(frozen=True)
class Tokens(Packed):
    """What goes into the encoder of several cells: ``genes`` are rows of the table of positions, ``bins`` values."""

    @classmethod
    def of(cls, values: sp.csr_matrix, pad_id: int, device: torch.device | str = "cpu") -> "Tokens":
        """Return the values above 0 in the order of positions; of a cell without any, a token that stands for padding.

        Parameters
        ----------
        values
            As `with_depth` returns them, (n_cells, n_genes + 2).
        pad_id
            Value of padding; its position is the row behind all others.
        """
        kept = values.data > 0
        ends = np.concatenate([[0], np.cumsum(kept)])[values.indptr]
        lengths = np.diff(ends)
        where = ends[:-1][lengths == 0]
        positions = np.insert(values.indices[kept].astype(np.int64), where, values.shape[1])
        numbers = np.insert(values.data[kept].astype(np.float32), where, pad_id)
        found = (torch.from_numpy(a).to(device) for a in (positions, numbers))
        return cls(*found, tuple(np.maximum(lengths, 1).tolist()))

    @property
    def lengths_on_device(self) -> Tensor:
        """Numbers of tokens, (n_cells,)."""
        return torch.tensor(self.lengths, device=self.genes.device)


@dataclass(frozen=True)
class Batch:
    """Cells that belong together, in parts of similar ones that go through the network one after the other."""

    parts: tuple[Tokens, ...]
    place: Tensor  # (n_cells,) where each cell is among those of the parts

    @property
    def longest(self) -> int:
        """Tokens of the longest cell, to which the published code pads the others."""
        return max(max(part.lengths) for part in self.parts)


@dataclass(frozen=True)
class Expressed(Cells):
    """Labelled cells: values of shape (n_cells, n_genes + 2), float32 CSR."""

    pad_id: int

    def inputs(self, rows: np.ndarray, device: torch.device) -> Batch:
        """Return the cells without padding, by length in parts of a limited number of tokens."""
        lengths = np.diff(self.tokens.indptr)[rows]
        order = np.argsort(lengths, kind="stable")
        part = np.cumsum(np.maximum(lengths[order], 1)) // POSITIONS[device.type]
        cuts = np.flatnonzero(np.diff(part)) + 1
        parts = tuple(Tokens.of(self.tokens[rows[of]], self.pad_id, device) for of in np.split(order, cuts))
        return Batch(parts, torch.as_tensor(np.argsort(order, kind="stable"), device=device))
