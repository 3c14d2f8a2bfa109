"""What a matrix holds, told from some of its rows: counts, logarithms, or values that are neither.

Every claim here has a proof in the numbers: values that become whole when a step is taken back, or cells that all have
one sum.  Where nothing is proved, that is said.
"""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

MOST_LOG = 30.0  # no logarithm of counts is larger: log2 of a thousand million
TOLERANCE = 0.04  # of a whole number, and of a sum relative to the others: files are rounded
SMALLEST = 5  # values of a cell that are small enough to be told apart as multiples


@dataclass(frozen=True)
class Holding:
    """What some rows hold."""

    kind: str  # counts, log1p, or what is neither: scaled, linear, root, fractions, broken, nothing
    said: str  # such as "logarithms (base e) of counts scaled to 10,000 per cell"


def held(rows: sp.csr_matrix) -> Holding:
    """Return what the rows of a matrix hold.

    Parameters
    ----------
    rows
        CSR of shape (some cells, n_genes), without stored zeros.
    """
    values = rows.data
    if not values.size:
        return Holding("nothing", "no value other than zero")
    if not np.isfinite(values).all():
        return Holding("broken", "NaN, infinite values, or values too large for float32")
    if values.min() < 0:
        return Holding("scaled", f"negative values (smallest {values.min():.3g}): scaled or regressed")
    if (values == np.round(values)).all():
        binary = " (all of them 1: made binary)" if values.max() == 1 else ""
        return Holding("counts", f"counts up to {values.max():,.0f}{binary}")
    return _of_fractions(rows)


def _of_fractions(rows: sp.csr_matrix) -> Holding:
    cells = [part for part in np.split(rows.data.astype(np.float64), rows.indptr[1:-1]) if len(part) >= SMALLEST]
    largest = rows.data.max()
    fractions = rows.data[rows.data != np.round(rows.data)].astype(np.float64)
    if _whole([fractions**2]):
        return Holding("root", f"square roots of counts, up to {largest:.3g}")
    if len(fractions) < 0.5 * len(rows.data):
        return Holding("fractions", f"fractions among whole numbers up to {largest:,.0f}, as SoupX or decontX give")
    if largest <= MOST_LOG:
        for base, name in ((np.e, "e"), (2.0, "2"), (10.0, "10")):
            undone = [np.power(base, cell) - 1 for cell in cells]
            if _multiples(undone) or _one_sum(undone):
                return Holding("log1p", f"logarithms of base {name}, log(1 + {_scaled(undone)})")
    if _one_sum([cell**2 for cell in cells]):
        return Holding("root", f"square roots of normalised counts, up to {largest:.3g}")
    if _one_sum(cells):
        return Holding("linear", f"normalised values without logarithm, {_total(cells)} per cell (CP10K, CPM or TPM)")
    if _multiples(cells):
        return Holding("linear", "counts divided by a size factor of each cell, without logarithm")
    if largest <= MOST_LOG:
        return Holding("log1p", f"fractions up to {largest:.3g}, as logarithms have")
    return Holding("fractions", f"fractions up to {largest:,.0f}, as SoupX, decontX, RSEM or salmon give")


def _scaled(undone: list[np.ndarray]) -> str:
    if _whole(undone):
        return "counts"
    return f"counts scaled to {_total(undone)} per cell" if _one_sum(undone) else "normalised counts"


def _total(cells: list[np.ndarray]) -> str:
    return f"{float(f'{np.median([cell.sum() for cell in cells]):.3g}'):,.0f}"


def _one_sum(cells: list[np.ndarray]) -> bool:
    """Return whether all cells have one sum, as normalised ones have."""
    sums = np.array([cell.sum() for cell in cells])
    if len(sums) < 2:
        return False
    return bool((np.abs(sums / np.median(sums) - 1) < TOLERANCE).mean() > 0.95)


def _multiples(cells: list[np.ndarray]) -> bool:
    """Return whether most small values of a cell are multiples of its smallest, as those of scaled counts are."""
    shares = []
    for cell in cells:
        ratio = cell / cell.min()
        small = ratio[(ratio > 1.2) & (ratio < 8)]
        if len(small) >= SMALLEST:
            shares.append((np.abs(small - np.round(small)) < 2 * TOLERANCE).mean())
    return bool(shares) and float(np.median(shares)) > 0.8


def _whole(cells: list[np.ndarray]) -> bool:
    values = np.concatenate(cells or [np.empty(0)])
    values = values[values < 100]
    return values.size > 0 and bool((np.abs(values - np.round(values)) < TOLERANCE).mean() > 0.95)
