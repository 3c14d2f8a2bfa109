"""Triton kernels of `favor_triton.py`, which says how they fit together; import it only where Triton is.

Rows of queries, keys, values and their gradients lie as (cells, positions, heads, dim_head), as a linear layer leaves
them.  A program takes one cell and head.  ``collect`` takes a span of positions and holds all features in two parts of
FA and FB rows (266 = 256 + 10, the second padded to 16), since a Triton block is a power of two long; the others take
one block of positions and the features in chunks of FC.  Padding needs no masks: a padded feature repeats the last
projection, so that maxima are right, and has zero rows in the contexts; a padded position repeats the last row and has
an infinite offset or is not stored.  Exponents are in base 2, the unit of the hardware.

Values count from their mean under the features of the cell and head, ``centre``: answers and gradients depend on
differences of values, which may be far smaller than the values, and bfloat16 must round the differences only.
"""

import os

import triton
import triton.language as tl

INTERPRETED = tl.constexpr(os.environ.get("TRITON_INTERPRET") == "1")
LOG2E = tl.constexpr(1.4426950408889634)


@triton.jit
def _rows(pointer, first, last, stride, ROWS: tl.constexpr, D: tl.constexpr):
    """Return rows ``first`` ... of length D; beyond ``last``, that row again."""
    rows = tl.minimum(first + tl.arange(0, ROWS), last)
    return tl.load(pointer + rows[:, None] * stride + tl.arange(0, D)[None, :])


@triton.jit
def _store_rows(pointer, value, first, end, stride, ROWS: tl.constexpr, D: tl.constexpr):
    rows = first + tl.arange(0, ROWS)
    place = pointer + rows[:, None] * stride + tl.arange(0, D)[None, :]
    tl.store(place, value.to(pointer.dtype.element_ty), mask=rows[:, None] < end)


@triton.jit
def _dot(a, b):
    if INTERPRETED:  # which multiplies the bits of bfloat16 as integers
        a, b = a.to(tl.float32), b.to(tl.float32)
    return tl.dot(a, b, input_precision="ieee")


@triton.jit
def _cell_head(pointer, bh, N, H, D: tl.constexpr):
    """Return the address of the first row of one cell and head."""
    return pointer + ((bh // H).to(tl.int64) * N * H + bh % H) * D


@triton.jit
def _half_norm(x, scale):
    x = x.to(tl.float32) * scale
    return tl.sum(x * x, 1) * (0.5 * LOG2E)


@triton.jit
def _collect(p, x, y, offset, weight, C, z, top, scale, KEYS: tl.constexpr):
    """Add a block of positions to sums C of E y and z of E weight; those of keys are relative to a running maximum."""
    dash = _dot(p, tl.trans(x)) * (scale * LOG2E)  # (features, positions)
    if KEYS:
        higher = tl.maximum(top, tl.max(dash, 1))
        shrink = tl.exp2(top - higher)
        E = tl.exp2(dash - (higher[:, None] + offset[None, :])).to(y.dtype)  # C and z must agree: round for both
        return C * shrink[:, None] + _dot(E, y), z * shrink + tl.sum(E.to(tl.float32), 1), higher
    E = tl.exp2(dash - offset[None, :])
    return C + _dot(E.to(y.dtype), y), z + tl.sum(E * weight[None, :], 1), top


@triton.jit
def collect(x, y, p, offset, weight, C, z, top, sums, N, H, span, scale,
            D: tl.constexpr, FA: tl.constexpr, FB: tl.constexpr, BN: tl.constexpr, KEYS: tl.constexpr):  # fmt: skip
    """Sum E y over a span of positions.

    KEYS: E of keys x relative to each feature's maximum in the span, values y, also the sum of y.
    Otherwise: E / denominator of queries x, through ``offset``, with y the gradient of the output.
    """
    split, bh = tl.program_id(0), tl.program_id(1)
    program = bh.to(tl.int64) * tl.num_programs(0) + split
    x, y = _cell_head(x, bh, N, H, D), _cell_head(y, bh, N, H, D)
    pa, pb = _rows(p, 0, FA - 1, D, FA, D), _rows(p, FA, FA + FB - 1, D, FB, D)
    Ca, Cb = tl.zeros((FA, D), tl.float32), tl.zeros((FB, D), tl.float32)
    za, zb = tl.zeros((FA,), tl.float32), tl.zeros((FB,), tl.float32)
    ta, tb = tl.full((FA,), -float("inf"), tl.float32), tl.full((FB,), -float("inf"), tl.float32)
    total = tl.zeros((D,), tl.float32)
    for start in range(split * span, tl.minimum(split * span + span, N), BN):
        n = start + tl.arange(0, BN)
        xs, ys = _rows(x, start, N - 1, H * D, BN, D), _rows(y, start, N - 1, H * D, BN, D)
        if KEYS:
            shift = tl.where(n < N, _half_norm(xs, scale), float("inf"))
            factor = shift
            total += tl.sum(tl.where(n[:, None] < N, ys.to(tl.float32), 0.0), 0)
        else:
            shift = tl.load(offset + bh * N + n, mask=n < N, other=float("inf"))
            factor = tl.load(weight + bh * N + n, mask=n < N, other=0.0)
        Ca, za, ta = _collect(pa, xs, ys, shift, factor, Ca, za, ta, scale, KEYS)
        Cb, zb, tb = _collect(pb, xs, ys, shift, factor, Cb, zb, tb, scale, KEYS)
    first = program * (FA + FB)
    _store_rows(C + first * D, Ca, 0, FA, D, FA, D)
    _store_rows(C + (first + FA) * D, Cb, 0, FB, D, FB, D)
    a, b = first + tl.arange(0, FA), first + FA + tl.arange(0, FB)
    tl.store(z + a, za)
    tl.store(z + b, zb)
    if KEYS:
        tl.store(top + a, ta)
        tl.store(top + b, tb)
        tl.store(sums + program * D + tl.arange(0, D), total)


@triton.jit
def _respond(q, half, p, C, z, f, above, below, top, best, scale, D: tl.constexpr, SIZE: tl.constexpr,
             KEEP_BEST: tl.constexpr):  # fmt: skip
    """Let queries read features f ... of the context; sums stay relative to the running maximum of each query."""
    ps, Cs = _rows(p, f, f + SIZE, D, SIZE, D), _rows(C, f, f + SIZE, D, SIZE, D)
    dash = _dot(q, tl.trans(ps)) * (scale * LOG2E)  # (positions, features)
    if KEEP_BEST:
        high, place = tl.max(dash, 1, return_indices=True)
        best = tl.where(high > top, place + f, best)
        high = tl.maximum(top, high)
    else:
        high = tl.maximum(top, tl.max(dash, 1))
    shrink = tl.exp2(top - high)
    E = tl.exp2(dash - (high + half)[:, None])
    below = below * shrink + tl.sum(E * tl.load(z + f + tl.arange(0, SIZE))[None, :], 1)
    return above * shrink[:, None] + _dot(E.to(Cs.dtype), Cs), below, high, best


@triton.jit
def respond(q, p, C, z, centre, zsum, out, denominator, offset, best, N, H, scale, eps,
            D: tl.constexpr, FA: tl.constexpr, FB: tl.constexpr, FC: tl.constexpr, BN: tl.constexpr,
            KEEP_BEST: tl.constexpr):  # fmt: skip
    """Return to each query what its features read from the context (C, z) of its cell and head."""
    start, bh = tl.program_id(0) * BN, tl.program_id(1)
    C, z = C + bh * (FA + FB) * D, z + bh * (FA + FB)
    qs = _rows(_cell_head(q, bh, N, H, D), start, N - 1, H * D, BN, D)
    half = _half_norm(qs, scale)
    above, below = tl.zeros((BN, D), tl.float32), tl.zeros((BN,), tl.float32)
    top, index = tl.full((BN,), -float("inf"), tl.float32), tl.zeros((BN,), tl.int32)
    for f in range(0, (FA + FB) // FC * FC, FC):
        above, below, top, index = _respond(qs, half, p, C, z, f, above, below, top, index, scale, D, FC, KEEP_BEST)
    if FB < FC:
        above, below, top, index = _respond(qs, half, p, C, z, FA, above, below, top, index, scale, D, FB, KEEP_BEST)
    below += tl.load(zsum + bh) * eps  # nothing above: the sum of C over features is zero, relative to the centre
    answer = above / below[:, None] + tl.load(centre + bh * D + tl.arange(0, D))[None, :]
    _store_rows(_cell_head(out, bh, N, H, D), answer, start, N, H * D, BN, D)
    n = start + tl.arange(0, BN)
    tl.store(denominator + bh * N + n, below, mask=n < N)
    tl.store(offset + bh * N + n, top + half + tl.log2(below), mask=n < N)
    if KEEP_BEST:
        tl.store(best + bh * N + n, index, mask=n < N)


@triton.jit
def _features(x, shift, p, C, z, f, scale, D: tl.constexpr, SIZE: tl.constexpr):
    """Return E, (positions, features), with the projections, contexts and sums of features f ..."""
    ps, Cs = _rows(p, f, f + SIZE, D, SIZE, D), _rows(C, f, f + SIZE, D, SIZE, D)
    E = tl.exp2(_dot(x, tl.trans(ps)) * (scale * LOG2E) - shift[:, None])
    return E, ps, Cs, tl.load(z + f + tl.arange(0, SIZE))[None, :]


@triton.jit
def _through_queries(q, g, shift, p, C, z, f, acc, of_sum, w, zE_sum, scale, D: tl.constexpr, SIZE: tl.constexpr):
    """Take the gradient through features f ...: acc of the numerator, of_sum of the denominator before its factor w."""
    E, ps, Cs, zs = _features(q, shift, p, C, z, f, scale, D, SIZE)
    W, zE = _dot(g, tl.trans(Cs)) * E, zs * E
    acc, of_sum = acc + _dot(W.to(ps.dtype), ps), of_sum + _dot(zE.to(ps.dtype), ps)
    return acc, of_sum, w - tl.sum(W, 1), zE_sum + tl.sum(zE, 1)


@triton.jit
def query_gradient(q, g, p, C, z, denominator, offset, best, dq, weight, gsum, wsum, N, H, scale,
                   D: tl.constexpr, FA: tl.constexpr, FB: tl.constexpr, FC: tl.constexpr, BN: tl.constexpr,
                   KEEP_BEST: tl.constexpr):  # fmt: skip
    """Gradient of the queries, and what ``collect`` needs for that of (C, z): its weights and sums over positions."""
    start, bh = tl.program_id(0) * BN, tl.program_id(1)
    n = start + tl.arange(0, BN)
    C, z = C + bh * (FA + FB) * D, z + bh * (FA + FB)
    qs = _rows(_cell_head(q, bh, N, H, D), start, N - 1, H * D, BN, D)
    gs = _rows(_cell_head(g, bh, N, H, D), start, N - 1, H * D, BN, D)
    shift = tl.load(offset + bh * N + n, mask=n < N, other=float("inf"))  # divides E by the denominator, too
    acc, of_sum = tl.zeros((BN, D), tl.float32), tl.zeros((BN, D), tl.float32)
    w, zE_sum = tl.zeros((BN,), tl.float32), tl.zeros((BN,), tl.float32)
    for f in range(0, (FA + FB) // FC * FC, FC):
        acc, of_sum, w, zE_sum = _through_queries(qs, gs, shift, p, C, z, f, acc, of_sum, w, zE_sum, scale, D, FC)
    if FB < FC:
        acc, of_sum, w, zE_sum = _through_queries(qs, gs, shift, p, C, z, FA, acc, of_sum, w, zE_sum, scale, D, FB)
    total = w * (zE_sum - 1)  # of what goes back through the exponents
    acc += w[:, None] * of_sum - (total * scale)[:, None] * qs.to(tl.float32)
    if KEEP_BEST:
        index = tl.load(best + bh * N + n, mask=n < N, other=0)
        acc -= total[:, None] * tl.load(p + index[:, None] * D + tl.arange(0, D)[None, :]).to(tl.float32)
    _store_rows(_cell_head(dq, bh, N, H, D), acc * scale, start, N, H * D, BN, D)
    tl.store(weight + bh * N + n, w, mask=n < N)
    below = tl.load(denominator + bh * N + n, mask=n < N, other=float("inf"))
    program = bh * tl.num_programs(0) + tl.program_id(0)
    tl.store(gsum + program * D + tl.arange(0, D), tl.sum(gs.to(tl.float32) / below[:, None], 0))
    tl.store(wsum + program, tl.sum(w / below, 0))


@triton.jit
def _through_keys(k, v, shift, p, G, h, f, dk, dv, total, scale, D: tl.constexpr, SIZE: tl.constexpr):
    """Take the gradient through features f ..."""
    E, ps, Gs, hs = _features(k, shift, p, G, h, f, scale, D, SIZE)
    W = (_dot(v, tl.trans(Gs)) + hs) * E
    return dk + _dot(W.to(ps.dtype), ps), dv + _dot(E.to(Gs.dtype), Gs), total + tl.sum(W, 1)


@triton.jit
def key_gradient(k, v, p, maximum, centre, G, h, Gsum, dk, dv, totals, N, H, scale, eps,
                 D: tl.constexpr, FA: tl.constexpr, FB: tl.constexpr, FC: tl.constexpr, BN: tl.constexpr):  # fmt: skip
    """Gradient of keys and values from that of the context (G, h); ``totals`` is what the maximum receives, negated."""
    start, bh = tl.program_id(0) * BN, tl.program_id(1)
    d = bh * D + tl.arange(0, D)
    G, h = G + bh * (FA + FB) * D, h + bh * (FA + FB)
    ks = _rows(_cell_head(k, bh, N, H, D), start, N - 1, H * D, BN, D)
    vs = _rows(_cell_head(v, bh, N, H, D), start, N - 1, H * D, BN, D)
    vs = (vs.to(tl.float32) - tl.load(centre + d)[None, :]).to(ks.dtype)
    shift = _half_norm(ks, scale) + tl.load(maximum + bh)
    acc, values, total = tl.zeros((BN, D), tl.float32), tl.zeros((BN, D), tl.float32), tl.zeros((BN,), tl.float32)
    for f in range(0, (FA + FB) // FC * FC, FC):
        acc, values, total = _through_keys(ks, vs, shift, p, G, h, f, acc, values, total, scale, D, FC)
    if FB < FC:
        acc, values, total = _through_keys(ks, vs, shift, p, G, h, FA, acc, values, total, scale, D, FB)
    values += tl.load(Gsum + d)[None, :] * eps
    _store_rows(_cell_head(dv, bh, N, H, D), values, start, N, H * D, BN, D)
    acc -= (total * scale)[:, None] * ks.to(tl.float32)
    _store_rows(_cell_head(dk, bh, N, H, D), acc * scale, start, N, H * D, BN, D)
    total = tl.where(start + tl.arange(0, BN) < N, total, 0.0)
    tl.store(totals + bh * tl.num_programs(0) + tl.program_id(0), tl.sum(total, 0))
