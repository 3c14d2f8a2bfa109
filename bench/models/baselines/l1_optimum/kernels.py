"""The loops over stored values that the solver of L1 logistic regression spends its time in, compiled by numba.

They hold no lock of the interpreter, so that threads which share one matrix run side by side; sums are float64 whatever
the values.  Compiled code is kept beside this file, or where ``NUMBA_CACHE_DIR`` says.
"""

import numpy as np
from numba import njit

compiled = njit(nogil=True, cache=True)
summing = njit(nogil=True, cache=True, fastmath=True)  # a sum may be taken in another order, which vectorises it


@summing
def times(starts, column, value, v):
    """Return X @ v, (n_rows,), of a CSR matrix."""
    found = np.empty(len(starts) - 1)
    for i in range(len(found)):
        total = 0.0
        for k in range(starts[i], starts[i + 1]):
            total += value[k] * v[column[k]]
        found[i] = total
    return found


@compiled
def slopes(indptr, indices, data, R):
    """Return X.T @ R, (n_columns, 4), of a CSC matrix and R, (n_rows, 4): four sums cost hardly more than one.

    Each is added up in the order of the rows, so that it does not depend on the other three.
    """
    found = np.empty((len(indptr) - 1, 4))
    for j in range(len(found)):
        a = b = c = d = 0.0
        for k in range(indptr[j], indptr[j + 1]):
            x, r = data[k], R[indices[k]]
            a += x * r[0]
            b += x * r[1]
            c += x * r[2]
            d += x * r[3]
        found[j, 0], found[j, 1], found[j, 2], found[j, 3] = a, b, c, d
    return found


@compiled
def values(indptr, indices, data, columns, w, n_rows):
    """Return X @ w, (n_rows,), of a CSC matrix of which only some columns have a coefficient in w, (n_columns,)."""
    found = np.zeros(n_rows)
    for j in columns:
        for k in range(indptr[j], indptr[j + 1]):
            found[indices[k]] += data[k] * w[j]
    return found


@compiled
def starts_of(indptr, indices, columns, n_rows):
    """Return where each row starts, (n_rows + 1,), in a CSR matrix of some columns of a CSC matrix."""
    starts = np.zeros(n_rows + 1, np.int64)
    for j in columns:
        for k in range(indptr[j], indptr[j + 1]):
            starts[indices[k] + 1] += 1
    for i in range(n_rows):
        starts[i + 1] += starts[i]
    return starts


@compiled
def fill_rows(indptr, indices, data, columns, starts, column, value):
    """Write columns and values of that CSR matrix into two arrays of its size."""
    free = starts[:-1].copy()
    for place in range(len(columns)):
        for k in range(indptr[columns[place]], indptr[columns[place] + 1]):
            at = free[indices[k]]
            column[at], value[at] = place, data[k]
            free[indices[k]] = at + 1


@compiled
def with_ones(starts, column, value, n_columns):
    """Return a CSR matrix as CSC with a last column of ones: values, rows, where columns start; one copy, not two."""
    n_rows, n = len(starts) - 1, len(value)
    indptr = np.zeros(n_columns + 2, starts.dtype)
    for k in range(n):
        indptr[column[k] + 1] += 1
    for j in range(n_columns):
        indptr[j + 1] += indptr[j]
    indptr[n_columns + 1] = n + n_rows
    free = indptr[:n_columns].copy()
    row, found = np.empty(n + n_rows, column.dtype), np.ones(n + n_rows, value.dtype)
    for i in range(n_rows):
        row[n + i] = i
        for k in range(starts[i], starts[i + 1]):
            at = free[column[k]]
            row[at], found[at] = i, value[k]
            free[column[k]] = at + 1
    return found, row, indptr


@compiled
def transposed_times(starts, column, value, r, n_columns):
    """Return X.T @ r, (n_columns,), of a CSR matrix."""
    found = np.zeros(n_columns)
    for i in range(len(r)):
        if r[i] != 0:
            for k in range(starts[i], starts[i + 1]):
                found[column[k]] += value[k] * r[i]
    return found


@compiled
def curvature(starts, column, value, weight, least, place, H):
    """Write X.T @ diag(weight) @ X, (n, n), of the columns of a CSR matrix that have a place, -1 meaning none, into H.

    Rows whose weight is not above ``least`` are passed over.
    """
    n = len(H)
    H[:] = 0
    at, x = np.empty(n, np.int64), np.empty(n)
    for i in range(len(weight)):
        if weight[i] <= least:
            continue
        m = 0
        for k in range(starts[i], starts[i + 1]):
            if place[column[k]] >= 0:
                at[m], x[m] = place[column[k]], value[k]
                m += 1
        for a in range(m):
            row, scaled = H[at[a]], weight[i] * x[a]
            for b in range(a + 1):
                row[at[b]] += scaled * x[b]
    for a in range(n):
        for b in range(a):
            H[b, a] = H[a, b]


@compiled
def part(H, places, found):
    """Write the rows and columns of a square matrix that have these places into another one."""
    for a in range(len(places)):
        for b in range(len(places)):
            found[a, b] = H[places[a], places[b]]


@compiled
def sweep(H, slope, u, tol, most):
    """Minimise along one coordinate after the other, in place, ``most`` times over; return the largest violation met.

    ``slope`` is minus the gradient of the quadratic at u, (n,), and is kept up.  It ends where no violation is above
    ``tol``.
    """
    worst = 0.0
    for _ in range(most):
        worst = 0.0
        for j in range(len(u)):
            z = H[j, j] * u[j] + slope[j]
            step = (z - 1 if z > 1 else z + 1 if z < -1 else 0.0) / H[j, j] - u[j]
            if step != 0:
                off = abs(slope[j]) - 1 if u[j] == 0 else abs(slope[j] - np.sign(u[j]))
                worst = max(worst, off)
                u[j] += step
                for b in range(len(u)):
                    slope[b] -= step * H[j, b]
        if worst <= tol:
            break
    return worst
