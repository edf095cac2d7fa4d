"""Sums over observed entries, a line at a time, whose gathered rows stay in cache.

Everything is real here: a complex entry is two rows of a real problem of twice the length, with
``f = a + b i`` the rows ``(a, -b, ...)`` and ``(b, a, ...)``, which conjugate gradients in real
arithmetic treat as they would the complex entry. Each line's arithmetic depends on that line
alone, so that no bit depends on the ranges given to threads.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from linalgkit._core.array import Array, Namespace
from linalgkit._kernels.lines import Lines
from linalgkit._kernels.numba_forms.jit import inline, jit, read_only
from linalgkit._kernels.numba_forms.layout import REAL, aligned
from linalgkit._kernels.numba_forms.row_lanes import (
    FIXED,
    ROWS,
    VECTOR_BYTES,
    advance,
    gather_add,
    gather_dots,
    keep,
    keep_1,
    keep_2,
    keep_3,
    keep_4,
    keep_5,
    keep_scaled,
    normal,
    normal_1,
    normal_2,
    normal_3,
    normal_4,
    normal_5,
    turn,
)

_U = np.uintp
_0, _ROWS = _U(0), _U(ROWS)


@inline
def _factor(size: Any, loss: Any, scale: Any, one: Any) -> Any:
    """Return the factor of a weight by which a loss differs from squares."""
    limit = max(size, scale)
    return (scale if loss == 1 else one) / limit


@inline
def _fill(indices: Any, t: Any, high: Any, parts: Any, kp: Any, last: Any, places: Any) -> None:
    """Write where the rows of a group begin; rows of zeros follow the last entry."""
    if parts == _U(1) and t + _ROWS <= high:
        for r in range(_0, _ROWS):
            places[r] = _U(indices[t + r]) * kp
    else:
        for r in range(_0, _ROWS):
            c = t + r // parts
            j = _U(indices[c]) if c < high else last
            places[r] = (j * parts + r % parts) * kp


@inline
def _copy(y: Any, t: Any, high: Any, parts: Any, target: Any, start: Any) -> None:
    """Write the numbers of a group, zeros after the last entry."""
    first, count = t * parts, (high - t) * parts
    if count >= _ROWS:
        for r in range(_0, _ROWS):
            target[start + r] = y[first + r]
    else:
        for r in range(_0, count):
            target[start + r] = y[first + r]
        for r in range(count, _ROWS):
            target[start + r] = 0


@inline
def _take_off(shift: Any, indices: Any, t: Any, high: Any, parts: Any, g: Any) -> None:
    """Take the shifts off the values of a group."""
    for r in range(_0, min(_ROWS, (high - t) * parts)):
        g[_ROWS + r] -= shift[_U(indices[t + r // parts]) * parts + r % parts]


@inline
def _reweigh(w: Any, t: Any, high: Any, parts: Any, loss: Any, scale: Any, g: Any) -> Any:
    """Scale values and residuals of a group by roots of weights and return the weights' sum."""
    zero, one = g.dtype.type(0), g.dtype.type(1)
    total = zero
    for r in range(_0, _ROWS, parts):
        c = t + r // parts
        weight = zero
        if c < high:
            weight = w[c] if w.size else one
            if loss != 0:
                size = abs(g[r])
                if parts == _U(2):
                    size = np.hypot(g[r], g[r + _U(1)])
                weight *= _factor(size, loss, scale, one)
        total += weight
        root = np.sqrt(weight)
        for h in range(r, r + parts):
            g[h] *= root
            g[h + _ROWS] *= root
            g[h + _U(2) * _ROWS] = root
    return total


@inline
def _precondition(S: Any, kp: Any, diagonals: Any, p: Any) -> Any:
    """Finish the setup of a line; return squared norms of right side and residual."""
    zero, one = S.dtype.type(0), S.dtype.type(1)
    size, rz = zero, zero
    for c in range(_0, kp):
        added = diagonals[kp + c] + p * diagonals[_U(2) * kp + c]
        full = p * diagonals[c] + added
        inverse = one / full if full > zero else one
        residual = S[_U(2) * kp + c] - added * S[c]
        right = S[_U(3) * kp + c]
        size += right * right * inverse
        rz += residual * residual * inverse
        S[kp + c] = zero
        S[_U(2) * kp + c] = residual
        S[_U(4) * kp + c] = inverse
        S[_U(5) * kp + c] = added
    return size, rz


@inline
def _keep(F: Any, places: Any, vectors: Any, g: Any, S: Any, A: Any, at: Any) -> None:
    """Begin a line with a group of rows."""
    if vectors > _U(FIXED):
        keep(F, places, vectors, g, S, A, at)
    elif vectors == _U(1):
        keep_1(F, places, vectors, g, S, A, at)
    elif vectors == _U(2):
        keep_2(F, places, vectors, g, S, A, at)
    elif vectors == _U(3):
        keep_3(F, places, vectors, g, S, A, at)
    elif vectors == _U(4):
        keep_4(F, places, vectors, g, S, A, at)
    else:
        keep_5(F, places, vectors, g, S, A, at)


@inline
def _normal(A: Any, groups: Any, vectors: Any, S: Any, g: Any) -> Any:
    """Add the image of the direction; return the squared norm of its products."""
    if vectors > _U(FIXED):
        return normal(A, groups, vectors, S, g)
    if vectors == _U(1):
        return normal_1(A, groups, vectors, S, g)
    if vectors == _U(2):
        return normal_2(A, groups, vectors, S, g)
    if vectors == _U(3):
        return normal_3(A, groups, vectors, S, g)
    if vectors == _U(4):
        return normal_4(A, groups, vectors, S, g)
    return normal_5(A, groups, vectors, S, g)


@jit
def _solve(
    top: int, bottom: int, indptr: Any, indices: Any, parts: int, y: Any, w: Any, F: Any, kp: int,
    X: Any, k: int, shift: Any, diagonals: Any, steps: int, tol: Any, loss: int, scale: Any,
    S: Any, A: Any, result: Any, rel: Any,
) -> int:  # fmt: skip
    """Improve the lines of a range; see :mod:`row_lanes` for the places of `S`."""
    width, n_parts = _U(kp), _U(parts)
    vectors, entries = width * _U(F.itemsize) // _U(VECTOR_BYTES), _ROWS // n_parts
    last = _U(F.size) // (width * n_parts) - _U(1)
    places, g = np.zeros(ROWS, np.uintp), np.zeros(3 * ROWS, F.dtype)
    zero, plain, taken = F.dtype.type(0), w.size == 0 and loss == 0, 0
    for i in range(top, bottom):
        low, high = _U(indptr[i]), _U(indptr[i + 1])
        for c in range(_0, width * _U(4)):
            S[c] = zero
        for c in range(_U(k)):
            S[c] = X[_U(i * k) + c]
        p, groups = zero, _0
        for t in range(low, high, entries):
            _fill(indices, t, high, n_parts, width, last, places)
            _copy(y, t, high, n_parts, g, _ROWS)
            if shift.size:
                _take_off(shift, indices, t, high, n_parts, g)
            at = groups * _ROWS * width
            if plain:
                _keep(F, places, vectors, g, S, A, at)
            else:
                gather_dots(F, places, vectors, S, _0, g)
                for r in range(_0, _ROWS):
                    g[r] = g[_ROWS + r] - g[r]
                p += _reweigh(w, t, high, n_parts, loss, scale, g)
                keep_scaled(F, places, vectors, g, S, A, at)
            groups += _U(1)
        if plain:
            p = F.dtype.type(high - low)
        size, rz = _precondition(S, width, diagonals, p)
        if size == zero:
            for c in range(_U(k)):
                result[_U(i * k) + c] = zero
            rel[i] = zero
            continue
        beta = zero
        for _ in range(steps):
            if not rz > tol * tol * size:
                break
            curvature = turn(S, vectors, beta)
            curvature += _normal(A, groups, vectors, S, g)
            if not (curvature > zero and rz * curvature < np.inf):
                break
            new = advance(S, vectors, rz / curvature)
            beta, rz = new / rz, new
            taken += 1
        for c in range(_U(k)):
            result[_U(i * k) + c] = S[c]
        rel[i] = np.sqrt(rz / size) if rz < np.inf and size < np.inf else np.inf
    return taken


@inline
def _loss(w: Any, t: Any, high: Any, parts: Any, loss: Any, scale: Any, g: Any) -> Any:
    """Weigh the residuals of a group for the sum of rows and return their losses' sum."""
    total, one = 0.0, g.dtype.type(1)
    for r in range(_0, min(_ROWS, (high - t) * parts), parts):
        weight = w[t + r // parts] if w.size else one
        size = abs(g[r])
        if parts == _U(2):
            size = np.hypot(g[r], g[r + _U(1)])
        large = np.float64(size)
        if loss == 2:
            total += weight * large
        elif loss == 1 and size > scale:
            total += weight * (scale * (2.0 * large - scale))
        else:
            total += weight * (large * large)
        if loss != 0:
            weight *= _factor(size, loss, scale, one)
        for h in range(r, r + parts):
            g[h] *= weight
    return total


@jit
def _residuals(
    top: int, bottom: int, indptr: Any, indices: Any, parts: int, y: Any, w: Any, P: Any, k: int,
    Q: Any, kp: int, F: Any, kf: int, n_sums: int, loss: int, scale: Any, x: Any, sums: Any,
    G: Any, ss: Any, values: Any,
) -> None:  # fmt: skip
    """Write sums over the residuals, or products if there is no place for sums."""
    width, other, n_parts = _U(kp), _U(kf), _U(parts)
    per_vector, entries = _U(VECTOR_BYTES // Q.itemsize), _ROWS // n_parts
    last = _U(Q.size) // (width * n_parts) - _U(1)
    places, g, plain = np.zeros(ROWS, np.uintp), np.zeros(2 * ROWS, Q.dtype), w.size == 0
    is_zero = y.size == 0
    for i in range(top, bottom):
        total = 0.0
        low, high = _U(indptr[i]), _U(indptr[i + 1])
        for c in range(_U(k)):
            x[c] = P[_U(i * k) + c]
        for c in range(_0, other):
            sums[c] = 0
        for t in range(low, high, entries):
            _fill(indices, t, high, n_parts, width, last, places)
            gather_dots(Q, places, width // per_vector, x, _0, g)
            if values.size:
                for r in range(_0, min(_ROWS, (high - t) * n_parts)):
                    values[t * n_parts + r] = g[r]
                continue
            if not is_zero:
                _copy(y, t, high, n_parts, g, _ROWS)
            for r in range(_0, _ROWS):
                g[r] = g[_ROWS + r] - g[r]
            if plain and loss == 0:
                for r in range(_0, _ROWS):
                    total += np.float64(g[r]) * np.float64(g[r])
            else:
                total += _loss(w, t, high, n_parts, loss, scale, g)
            if other:
                _fill(indices, t, high, n_parts, other, last, places)
                gather_add(F, places, other // per_vector, g, sums, _0)
        for c in range(_U(n_sums)):
            G[_U(i * n_sums) + c] = sums[c]
        if ss.size:
            ss[i] = total


@inline
def _conjugate(x: Any, count: Any) -> None:
    """Conjugate complex numbers, real and imaginary parts by turns."""
    for r in range(_U(1), count, _U(2)):
        x[r] = -x[r]


@jit
def _sums(
    top: int, bottom: int, indptr: Any, indices: Any, parts: int, y: Any, F: Any, kp: int, k: int,
    sums: Any, G: Any,
) -> None:  # fmt: skip
    """Add up weighted rows; conjugate numbers and sums where complex, as the rows are."""
    width, n_parts = _U(kp), _U(parts)
    vectors, entries = width * _U(F.itemsize) // _U(VECTOR_BYTES), _ROWS // n_parts
    last = _U(F.size) // (width * n_parts) - _U(1)
    places, g = np.zeros(ROWS, np.uintp), np.zeros(ROWS, F.dtype)
    for i in range(top, bottom):
        high = _U(indptr[i + 1])
        for c in range(_0, width):
            sums[c] = 0
        for t in range(_U(indptr[i]), high, entries):
            _fill(indices, t, high, n_parts, width, last, places)
            _copy(y, t, high, n_parts, g, _0)
            if n_parts == _U(2):
                _conjugate(g, _ROWS)
            gather_add(F, places, vectors, g, sums, _0)
        if n_parts == _U(2):
            _conjugate(sums, width)
        for c in range(_U(k)):
            G[_U(i * k) + c] = sums[c]


def _real(x: Array | None, dtype: Any) -> Array:
    """Return the numbers of an array in one row of reals, an empty one for None."""
    if x is None:
        return read_only(np.empty(0, dtype=dtype))
    return read_only(np.ascontiguousarray(x).reshape(-1).view(dtype))


def _pattern(lines: Lines) -> tuple[Array, Array]:
    return read_only(lines.indptr), read_only(lines.indices)


def _padded(F: Array, dtype: Any) -> tuple[Array, int, int]:
    """Return rows of reals on whole vectors, their length, and how many belong to an entry."""
    n, k = F.shape
    parts = 2 if F.dtype.kind == "c" else 1
    lanes = VECTOR_BYTES // np.dtype(dtype).itemsize
    kp = -(-parts * k // lanes) * lanes
    flat = aligned((n + 1) * parts * kp, dtype, fill=0.0)
    rows = flat.reshape(n + 1, parts, kp)
    if parts == 1:
        rows[:n, 0, :k] = F
    else:
        rows[:n, 0, 0 : 2 * k : 2], rows[:n, 0, 1 : 2 * k : 2] = F.real, -F.imag
        rows[:n, 1, 0 : 2 * k : 2], rows[:n, 1, 1 : 2 * k : 2] = F.imag, F.real
    return read_only(flat), kp, parts


def _in_threads(lines: Lines, k: int, run: Any) -> list[Any]:
    """Return what a function of a range of lines returns for all of them."""
    ranges = lines.ranges(k)
    if len(ranges) == 1:
        return [run(*ranges[0])]
    with ThreadPoolExecutor(min(lines.n_threads, len(ranges))) as pool:
        return list(pool.map(lambda cut: run(*cut), ranges))


def pcg_rows(
    xp: Namespace,
    lines: Lines,
    y: Array,
    w: Array | None,
    F: Array,
    X: Array,
    shift: Array | None,
    e: Array,
    ridge: Array,
    load: Array,
    steps: int,
    tol: float,
    loss: int,
    scale: float,
) -> tuple[Array, Array, int]:
    """Return improved solutions, relative residual norms, and the number of steps."""
    dtype = REAL[F.dtype.char]
    flat, kp, parts = _padded(F, dtype)
    k = F.shape[1] * parts
    diagonals = np.zeros((3, kp), dtype=dtype)
    for place, given in enumerate((e, ridge, load)):
        diagonals[place, :k] = np.repeat(given, parts)
    result, rel = np.empty(X.shape, dtype=X.dtype), np.empty(lines.n_lines, dtype=dtype)
    values, weights, off, start = (_real(x, dtype) for x in (y, w, shift, X))
    flat_result = result.reshape(-1).view(dtype)

    longest, free = int(lines.lengths.max(initial=0)) * parts, deque[tuple[Array, Array]]()
    options = (read_only(diagonals.reshape(-1)), steps, dtype(tol), loss, dtype(scale))

    def run(top: int, bottom: int) -> int:
        try:
            room = free.pop()
        except IndexError:
            room = aligned(6 * kp, dtype), aligned((longest + ROWS) * kp, dtype)
        taken = _solve(
            top, bottom, *_pattern(lines), parts, values, weights, flat, kp, start, k, off,
            *options, *room, flat_result, rel,
        )  # fmt: skip
        free.append(room)
        return int(taken)

    return result, rel, sum(_in_threads(lines, kp, run))


def residual_rows(
    xp: Namespace,
    lines: Lines,
    y: Array | None,
    w: Array | None,
    P: Array,
    Q: Array,
    F: Array | None,
    loss: int,
    scale: float,
) -> tuple[Array | None, Array]:
    """Return weighted sums of rows, and of losses, over the residuals of each line."""
    dtype = REAL[Q.dtype.char]
    flat, kp, parts = _padded(Q, dtype)
    rows, kf, _ = (flat, 0, 0) if F is None else (flat, kp, parts) if F is Q else _padded(F, dtype)
    n_sums = 0 if F is None else F.shape[1] * parts
    G = np.empty((lines.n_lines, n_sums), dtype=dtype)
    ss, empty = np.zeros(lines.n_lines), np.empty(0, dtype=dtype)
    values, weights, left = (_real(x, dtype) for x in (y, w, P))

    def run(top: int, bottom: int) -> None:
        x = aligned(kp, dtype, fill=0.0)
        _residuals(
            top, bottom, *_pattern(lines), parts, values, weights, left,
            P.shape[1] * parts, flat, kp, rows, kf, n_sums, loss, dtype(scale), x,
            aligned(kf, dtype), G.reshape(-1), ss, empty,
        )  # fmt: skip

    _in_threads(lines, kp + kf, run)
    return (None if F is None else G.view(F.dtype)), ss


def entries(xp: Namespace, lines: Lines, P: Array, Q: Array) -> Array:
    """Return the products of all entries."""
    dtype = REAL[Q.dtype.char]
    flat, kp, parts = _padded(Q, dtype)
    result, empty, left = np.empty(lines.count, Q.dtype), _real(None, dtype), _real(P, dtype)
    if not lines.count:
        return result
    target, none = result.view(dtype), np.empty(0, dtype=dtype)

    def run(top: int, bottom: int) -> None:
        _residuals(
            top, bottom, *_pattern(lines), parts, empty, empty, left,
            P.shape[1] * parts, flat, kp, flat, 0, 0, 0, dtype(1), aligned(kp, dtype, fill=0.0),
            none, none, np.empty(0), target,
        )  # fmt: skip

    _in_threads(lines, kp, run)
    return result


def gather_sum(xp: Namespace, lines: Lines, y: Array, F: Array) -> Array:
    """Return the sums of weighted rows."""
    dtype = REAL[F.dtype.char]
    flat, kp, parts = _padded(F, dtype)
    values, k = _real(y, dtype), F.shape[1] * parts
    G = np.empty((lines.n_lines, k), dtype=dtype)

    def run(top: int, bottom: int) -> None:
        room = aligned(kp, dtype)
        _sums(top, bottom, *_pattern(lines), parts, values, flat, kp, k, room, G.reshape(-1))

    _in_threads(lines, kp, run)
    return G.view(F.dtype)
