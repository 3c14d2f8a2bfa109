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


def gathered(parts: Iterable[sp.csr_matrix], n_genes: int) -> sp.csr_matrix:
    """Return the blocks, one under the other; each is let go as soon as it is copied.

    Parameters
    ----------
    parts
        Canonical CSR float32 matrices of n_genes columns.
    n_genes
        Columns; known also where there is no block.
    """
    data, indices, ends, n = np.empty(0, np.float32), np.empty(0, np.int32), [np.zeros(1, np.int64)], 0
    for part in parts:
        data.resize(n + part.nnz, refcheck=False)  # grows in place, where the system can
        indices.resize(n + part.nnz, refcheck=False)
        data[n:], indices[n:] = part.data, part.indices
        ends.append(n + part.indptr[1:].astype(np.int64))
        n += part.nnz
    indptr = np.concatenate(ends)
    X = sp.csr_matrix((len(indptr) - 1, n_genes), dtype=np.float32)
    X.data, X.indices = data, indices
    X.indptr = indptr.astype(np.int32) if n < 2**31 else indptr
    X.has_canonical_format = True
    return X


def sample(element: h5py.Group | h5py.Dataset) -> sp.csr_matrix:
    """Return at most 128 rows from four places of the matrix, or from one where it is stored gene by gene."""
    n = shape(element)[0]
    if form(element) == "csc":  # each place costs a pass over all of it
        first = max(0, (n - MOST_ROWS) // 2)
        return _csc_rows(element, first, min(n, first + MOST_ROWS))
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
    n_cells, _ = shape(element)
    per_row = np.zeros(n_cells, np.int64)
    n = len(element["indices"])
    for low in range(0, n, BLOCK_VALUES):
        found = _checked(element, element["indices"][low : low + BLOCK_VALUES], n_cells)
        per_row += np.bincount(found, minlength=n_cells)
    before = np.concatenate([[0], np.cumsum(per_row)])
    most = max(BLOCK_VALUES, -(-n // PASSES))
    row = start
    while row < end:
        last = int(np.searchsorted(before, before[row] + most, side="right")) - 1
        last = min(max(last, row + 1), end)
        yield _csc_rows(element, row, last)
        row = last


def _csc_rows(element: h5py.Group, first: int, last: int) -> sp.csr_matrix:
    indptr, n_genes, parts = element["indptr"][:].astype(np.int64), shape(element)[1], []
    for low in range(0, int(indptr[-1]), BLOCK_VALUES):
        rows = element["indices"][low : low + BLOCK_VALUES]
        inside = (rows >= first) & (rows < last)
        places = low + np.flatnonzero(inside)
        genes = np.searchsorted(indptr, places, side="right") - 1
        values = _float32(element["data"][low : low + BLOCK_VALUES][inside])
        parts.append((values, (rows[inside] - first).astype(np.int32), genes.astype(np.int32)))
    values, rows, genes = (np.concatenate(part) for part in zip(*parts, strict=True))
    return sp.csr_matrix((values, (rows, genes)), shape=(last - first, n_genes))


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
