"""Fused normal product: each row is read once from memory.

A tile of rows that fits the second-level cache is first multiplied with the columns, four rows
at a time, and then added to `D` in chunks of columns that stay in the first-level cache. On one
thread, with n = 60000, d = 1000 and two columns, it took 1.3 to 1.6 passes ``X @ z`` (Zen 4,
float64, the other core busy). What it adds to the plain loop:

1. four rows at a time share the loads of `Z` and `D`; every pair of columns is one visit;
2. all sums in float64, also for float32 data;
3. nothing but the rows of the tile is read from beyond the first-level cache a second time.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from linalgkit._core.array import Array, Namespace
from linalgkit._kernels.dense import FUSED_COLUMNS, micro_rows
from linalgkit._kernels.numba_forms.jit import inline, jit
from linalgkit._kernels.numba_forms.layout import REAL, flatten

_TILE_BYTES = 160 * 1024
_CHUNK = 512  # columns of `D` at a time, two rows of which are 8 KiB

# Indices are unsigned: Numba then leaves out the test for negative ones, which would keep the
# loops from being vectorised.
_U = np.uintp
_0, _1 = _U(0), _U(1)


@inline
def _dot_four(flat: Any, s0: Any, stride: Any, d: Any, W: Any, k: Any) -> Any:
    """Return four rows' products with columns `k`, `k + 1` of `W` and with themselves."""
    a0 = a1 = a2 = a3 = b0 = b1 = b2 = b3 = n0 = n1 = n2 = n3 = 0.0
    k1 = k + _1
    s1 = s0 + stride
    s2 = s1 + stride
    s3 = s2 + stride
    for j in range(_0, d):
        u = W[k, j]
        v = W[k1, j]
        x0 = np.float64(flat[s0 + j])
        x1 = np.float64(flat[s1 + j])
        x2 = np.float64(flat[s2 + j])
        x3 = np.float64(flat[s3 + j])
        a0 += x0 * u
        a1 += x1 * u
        a2 += x2 * u
        a3 += x3 * u
        b0 += x0 * v
        b1 += x1 * v
        b2 += x2 * v
        b3 += x3 * v
        n0 += x0 * x0
        n1 += x1 * x1
        n2 += x2 * x2
        n3 += x3 * x3
    return a0, a1, a2, a3, b0, b1, b2, b3, n0, n1, n2, n3


@inline
def _update_four(
    flat: Any, s0: Any, stride: Any, c: Any, end: Any, D: Any, k: Any, p: Any, i: Any
) -> None:
    """Add columns `c` to `end` of four rows, weighted by `p`, to rows `k`, `k + 1` of `D`."""
    k1 = k + _1
    s1 = s0 + stride
    s2 = s1 + stride
    s3 = s2 + stride
    p0, p1, p2, p3 = p[k, i], p[k, i + 1], p[k, i + 2], p[k, i + 3]
    q0, q1, q2, q3 = p[k1, i], p[k1, i + 1], p[k1, i + 2], p[k1, i + 3]
    for j in range(c, end):
        x0 = np.float64(flat[s0 + j])
        x1 = np.float64(flat[s1 + j])
        x2 = np.float64(flat[s2 + j])
        x3 = np.float64(flat[s3 + j])
        D[k, j] += (x0 * p0 + x1 * p1) + (x2 * p2 + x3 * p3)
        D[k1, j] += (x0 * q0 + x1 * q1) + (x2 * q2 + x3 * q3)


@inline
def _update_one(flat: Any, s: Any, c: Any, end: Any, D: Any, k: Any, p: Any, i: Any) -> None:
    """Add columns `c` to `end` of one row, weighted by `p`, to rows `k`, `k + 1` of `D`."""
    k1 = k + _1
    p0, q0 = p[k, i], p[k1, i]
    for j in range(c, end):
        x = np.float64(flat[s + j])
        D[k, j] += x * p0
        D[k1, j] += x * q0


@inline
def _products(
    flat: Any, first: int, stride: int, W: Any, products: Any, norms: Any, rows: int
) -> None:
    """Write ``W X^T`` and the squared norms of the rows of a tile."""
    m, d = W.shape
    tiled = rows - rows % 4
    row = _U(stride)  # a negative stride wraps around, as do the sums that it enters
    for i in range(0, tiled, 4):
        start = _U(first + i * stride)
        for k in range(0, m, 2):
            found = _dot_four(flat, start, row, _U(d), W, _U(k))
            products[k, i], products[k, i + 1] = found[0], found[1]
            products[k, i + 2], products[k, i + 3] = found[2], found[3]
            products[k + 1, i], products[k + 1, i + 1] = found[4], found[5]
            products[k + 1, i + 2], products[k + 1, i + 3] = found[6], found[7]
            norms[i], norms[i + 1], norms[i + 2], norms[i + 3] = found[8:]
    for i in range(tiled, rows):
        # The same code as above, on four times the same row: what a row gives must not depend
        # on where in a block it lies.
        start = _U(first + i * stride)
        for k in range(0, m, 2):
            found = _dot_four(flat, start, _0, _U(d), W, _U(k))
            products[k, i], products[k + 1, i] = found[0], found[4]
            norms[i] = found[8]


@inline
def _accumulate(flat: Any, first: int, stride: int, products: Any, D: Any, rows: int) -> None:
    """Add ``products X`` of a tile to `D`."""
    m, d = D.shape
    tiled = rows - rows % 4
    row = _U(stride)
    for c in range(0, d, _CHUNK):
        begin, end = _U(c), _U(min(d, c + _CHUNK))
        for k in range(0, m, 2):
            for i in range(0, tiled, 4):
                start = _U(first + i * stride)
                _update_four(flat, start, row, begin, end, D, _U(k), products, i)
            for i in range(tiled, rows):
                _update_one(flat, _U(first + i * stride), begin, end, D, _U(k), products, i)


@inline
def _sweep(flat: Any, first: int, stride: int, W: Any, P: Any, D: Any, norms: Any) -> None:
    """Write ``P = X W^T`` and the squared norms, and add ``P^T X`` to `D`.

    Row `i` of `X` is ``flat[first + i * stride :][:d]``; `W`, `D` are (m, d) float64, m even.
    `P` may have a column less.
    """
    m, d = W.shape
    b, q = P.shape
    height = max(4, _TILE_BYTES // (d * flat.itemsize) // 4 * 4)
    products = np.empty((m, height))
    for i in range(0, b, height):
        rows = min(height, b - i)
        start = first + i * stride
        _products(flat, start, stride, W, products, norms[i : i + rows], rows)
        for r in range(rows):
            for k in range(q):
                P[i + r, k] = products[k, r]
        _accumulate(flat, start, stride, products, D, rows)


@jit
def _fused_real(flat: Any, first: int, stride: int, Z: Any, P: Any, D: Any, norms: Any) -> None:
    """Write ``P = X Z``, ``D = X^T P`` and the squared row norms for real data."""
    d, q = Z.shape
    W = np.zeros((q + q % 2, d))
    W[:q] = Z.T
    total = np.zeros(W.shape)
    _sweep(flat, first, stride, W, P, total, norms)
    D[:] = total[:q].T


@jit
def _fused_complex(flat: Any, first: int, stride: int, Z: Any, P: Any, D: Any, norms: Any) -> None:
    """Write the same for complex data, given and returned as interleaved real numbers.

    With ``z = a + i b`` the product of a row with `z` has the real part ``x . (a, -b)`` and the
    imaginary part ``x . (b, a)``, interleaved: a column of `Z` is two real columns of twice the
    length. With ``u = sum x Re(p)`` and ``v = sum x Im(p)``, interleaved likewise, the sum of
    ``conj(x) p`` has real parts ``u_even + v_odd`` and imaginary parts ``v_even - u_odd``.
    No flop and no byte is added to those of complex arithmetic.
    """
    d, m = Z.shape
    W = np.empty((m, 2 * d))
    for j in range(d):
        for k in range(0, m, 2):
            W[k, 2 * j] = W[k + 1, 2 * j + 1] = Z[j, k]
            W[k + 1, 2 * j] = Z[j, k + 1]
            W[k, 2 * j + 1] = -Z[j, k + 1]
    total = np.zeros(W.shape)
    _sweep(flat, first, stride, W, P, total, norms)
    for j in range(d):
        for k in range(0, m, 2):
            D[j, k] = total[k, 2 * j] + total[k + 1, 2 * j + 1]
            D[j, k + 1] = total[k + 1, 2 * j] - total[k, 2 * j + 1]


@jit
def _square_rows(flat: Any, first: int, stride: int, d: int, norms: Any) -> None:
    """Write the squared norms of the rows ``flat[first + i * stride :][:d]``."""
    for i in range(norms.size):
        start = _U(first + i * stride)
        total = 0.0
        for j in range(_0, _U(d)):
            x = np.float64(flat[start + j])
            total += x * x
        norms[i] = total


def normal_product_norms(xp: Namespace, X: Array, Z: Array) -> tuple[Array, Array, Array]:
    """Return ``X Z``, ``X^H X Z`` and the squared row norms in one pass over `X`."""
    if Z.shape[1] > FUSED_COLUMNS:
        return _panels(xp, X, Z)
    flat, first, stride = flatten(X)
    (b, d), q = X.shape, Z.shape[1]
    P = np.empty((b, q), dtype=X.dtype)
    norms = np.empty(b)
    if X.dtype.kind == "c":
        D = np.empty((d, q), dtype=np.complex128)
        reals = [A.view(REAL[A.dtype.char]) for A in (np.array(Z, D.dtype, order="C"), P, D)]
        _fused_complex(flat, first, stride, *reals, norms)
    else:
        D = np.empty((d, q))
        _fused_real(flat, first, stride, np.array(Z, D.dtype, order="C"), P, D, norms)
    return P, D, norms


def _panels(xp: Namespace, X: Array, Z: Array) -> tuple[Array, Array, Array]:
    """Do the same with many columns: matrix products of rows that the norms brought to cache."""
    flat, first, stride = flatten(X)
    (b, d), q = X.shape, Z.shape[1]
    is_complex = X.dtype.kind == "c"
    P, norms = np.empty((b, q), dtype=X.dtype), np.empty(b)
    D = np.zeros((d, q), dtype=np.complex128 if is_complex else np.float64)
    length, step = d * (X.itemsize // flat.itemsize), micro_rows(xp, X)
    with np.errstate(over="ignore", invalid="ignore"):
        for i in range(0, b, step):
            j = min(i + step, b)
            _square_rows(flat, first + i * stride, stride, length, norms[i:j])
            block = X[i:j, :]
            product = np.matmul(block, Z, out=P[i:j, :])
            D += (block.T @ product.conj()).conj() if is_complex else block.T @ product
    return P, D, norms


def normal_product(xp: Namespace, X: Array, Z: Array) -> tuple[Array, Array]:
    """Return ``X Z`` and ``X^H X Z`` in one pass over `X`."""
    P, D, _ = normal_product_norms(xp, X, Z)
    return P, D


def row_norms_squared(xp: Namespace, X: Array) -> Array:
    """Return the squared row norms of `X`."""
    norms = np.empty(X.shape[0])
    flat, first, stride = flatten(X)
    _square_rows(flat, first, stride, X.shape[1] * (X.itemsize // flat.itemsize), norms)
    return norms
