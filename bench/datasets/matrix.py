"""A matrix of an open `.h5ad` file, a few rows at a time: dense, CSR or CSC on disk, CSR float32 in memory.

Peak memory of `gathered` is that of the result and of one block, whatever lies on disk.
"""

from collections.abc import Iterable, Iterator

import h5py
import numpy as np
import scipy.sparse as sp

from bench.core.errors import BenchError

BLOCK_VALUES = 2**18  # stored values of a block; 2 MB of float64
MOST_ROWS = 128  # that `sample` reads
PASSES = 8  # over a matrix that is stored gene by gene


def form(element: h5py.Group | h5py.Dataset) -> str:
    """Return ``csr``, ``csc`` or ``dense``.

    Raises
    ------
    BenchError
        If it is none of these.
    """
    if isinstance(element, h5py.Dataset):
        if element.ndim == 2 and element.dtype.kind in "fiub":
            return "dense"
        raise BenchError(f"{_where(element)} has shape {element.shape} and type {element.dtype}, not cells x genes.")
    kind = str(element.attrs.get("encoding-type", element.attrs.get("h5sparse_format", "")))
    if kind[:3] in ("csr", "csc") and {"data", "indices", "indptr"} <= set(element):
        return kind[:3]
    raise BenchError(f"{_where(element)} is of kind {kind!r}; expected a dense, CSR or CSC matrix.")


def shape(element: h5py.Group | h5py.Dataset) -> tuple[int, int]:
    """Return the numbers of cells and genes."""
    if isinstance(element, h5py.Dataset):
        return tuple(map(int, element.shape))
    return tuple(int(n) for n in element.attrs.get("shape", element.attrs.get("h5sparse_shape")))


def blocks(element: h5py.Group | h5py.Dataset, start: int = 0, end: int | None = None) -> Iterator[sp.csr_matrix]:
    """Yield consecutive rows as canonical CSR float32 of (some cells, n_genes)."""
    end = shape(element)[0] if end is None else end
    of = {"csr": _csr_blocks, "csc": _csc_blocks, "dense": _dense_blocks}[form(element)]
    for block in of(element, start, end):
        block.sum_duplicates()
        block.eliminate_zeros()
        yield block


def stored(element: h5py.Group | h5py.Dataset) -> int:
    """Return how many values of a sparse matrix lie on disk; 0 for a dense one, of which nobody knows."""
    return 0 if isinstance(element, h5py.Dataset) else len(element["data"])


def gathered(parts: Iterable[sp.csr_matrix], n_genes: int, expected: int = 0) -> sp.csr_matrix:
    """Return the blocks, one under the other; each is let go as soon as it is copied.

    Parameters
    ----------
    parts
        Canonical CSR float32 matrices of n_genes columns.
    n_genes
        Columns; known also where there is no block.
    expected
        Values of all of them, at most, where that is known: memory that is not written to is not taken.
    """
    data, indices, ends, n = np.empty(expected, np.float32), np.empty(expected, np.int32), [np.zeros(1, np.int64)], 0
    for part in parts:
        if n + part.nnz > len(data):
            data.resize(n + part.nnz, refcheck=False)  # grows in place, where the system can
            indices.resize(n + part.nnz, refcheck=False)
        data[n : n + part.nnz], indices[n : n + part.nnz] = part.data, part.indices
        ends.append(n + part.indptr[1:].astype(np.int64))
        n += part.nnz
    indptr = np.concatenate(ends)
    X = sp.csr_matrix((len(indptr) - 1, n_genes), dtype=np.float32)
    X.data, X.indices = data[:n], indices[:n]
    X.indptr = indptr.astype(np.int32) if n < 2**31 else indptr
    X.has_canonical_format = True
    return X


def sample(element: h5py.Group | h5py.Dataset) -> sp.csr_matrix:
    """Return at most 128 rows from four places of the matrix, or from one where it is stored gene by gene."""
    n = shape(element)[0]
    if form(element) == "csc":  # each place costs a pass over all of it
        first = max(0, (n - MOST_ROWS) // 2)
        return _csc_rows(element, first, min(n, first + MOST_ROWS), _csc_counts(element))
    step = n if n <= MOST_ROWS else MOST_ROWS // 4
    starts = np.unique(np.linspace(0, n - step, 4).astype(int)).tolist()
    return sp.vstack([part for start in starts for part in blocks(element, start, start + step)], format="csr")


def _csr_blocks(element: h5py.Group, start: int, end: int) -> Iterator[sp.csr_matrix]:
    indptr, n_genes = element["indptr"][start : end + 1].astype(np.int64), shape(element)[1]
    if len(indptr) != end - start + 1 or (np.diff(indptr) < 0).any():
        raise BenchError(f"{_where(element)} is damaged: its indptr does not fit; copy or download it again.")
    row = 0
    while row < end - start:
        last = int(np.searchsorted(indptr, indptr[row] + BLOCK_VALUES, side="right")) - 1
        last = min(max(last, row + 1), end - start)
        low, high = indptr[row], indptr[last]
        indices = _checked(element, element["indices"][low:high], n_genes)
        data = _float32(element["data"][low:high])
        yield sp.csr_matrix((data, indices, indptr[row : last + 1] - low), shape=(last - row, n_genes))
        row = last


def _dense_blocks(element: h5py.Dataset, start: int, end: int) -> Iterator[sp.csr_matrix]:
    step = max(1, BLOCK_VALUES // max(1, element.shape[1]))
    if element.chunks and element.chunks[0] * element.shape[1] <= 4 * BLOCK_VALUES:  # none is unpacked twice
        step = -(-step // element.chunks[0]) * element.chunks[0]
    for low in range(start, end, step):
        yield sp.csr_matrix(_float32(element[low : min(low + step, end)]))


def _csc_blocks(element: h5py.Group, start: int, end: int) -> Iterator[sp.csr_matrix]:
    """Yield rows of a matrix that is stored gene by gene, which takes a pass over all of it for each block."""
    per_row = _csc_counts(element)
    before = np.concatenate([[0], np.cumsum(per_row)])
    most = max(BLOCK_VALUES, -(-before[-1] // PASSES))
    row = start
    while row < end:
        last = int(np.searchsorted(before, before[row] + most, side="right")) - 1
        last = min(max(last, row + 1), end)
        yield _csc_rows(element, row, last, per_row)
        row = last


def _csc_counts(element: h5py.Group) -> np.ndarray:
    n_cells, _ = shape(element)
    per_row = np.zeros(n_cells, np.int64)
    for low in range(0, len(element["indices"]), BLOCK_VALUES):
        found = _checked(element, element["indices"][low : low + BLOCK_VALUES], n_cells)
        per_row += np.bincount(found, minlength=n_cells)
    return per_row


def _csc_rows(element: h5py.Group, first: int, last: int, per_row: np.ndarray) -> sp.csr_matrix:
    """Return some rows: each value goes where its row has the next free place, and genes come in order."""
    by_gene, n_genes = element["indptr"][:].astype(np.int64), shape(element)[1]
    indptr = np.concatenate([[0], np.cumsum(per_row[first:last])])
    data, indices, free = np.empty(indptr[-1], np.float32), np.empty(indptr[-1], np.int32), indptr[:-1].copy()
    for low in range(0, int(by_gene[-1]), BLOCK_VALUES):
        rows = element["indices"][low : low + BLOCK_VALUES].astype(np.int64) - first
        inside = np.flatnonzero((rows >= 0) & (rows < last - first))
        inside = inside[np.argsort(rows[inside], kind="stable")]
        rows = rows[inside]
        places = free[rows] + np.arange(len(rows)) - np.searchsorted(rows, rows)
        data[places] = _float32(element["data"][low : low + BLOCK_VALUES][inside])
        indices[places] = np.searchsorted(by_gene, low + inside, side="right") - 1
        free += np.bincount(rows, minlength=last - first)
    return sp.csr_matrix((data, indices, indptr), shape=(last - first, n_genes))


def _checked(element: h5py.Group, indices: np.ndarray, size: int) -> np.ndarray:
    """Return indices that point into the matrix: SciPy would read any address."""
    if indices.size and (indices.min() < 0 or indices.max() >= size):
        raise BenchError(f"{_where(element)} is damaged: its indices go beyond {size:,}; copy or download it again.")
    return indices.astype(np.int32)


def _float32(values: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):  # becomes infinite, which the contract refuses
        return values.astype(np.float32)


def _where(element: h5py.Group | h5py.Dataset) -> str:
    return f"{element.file.filename}, {element.name.strip('/')},"
