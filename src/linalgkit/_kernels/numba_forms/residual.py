"""Fused residual: a tile of rows is multiplied, subtracted and added up while it is in cache.

Four rows at a time share the loads of a column and of the sum. On one thread it took 1.6 to 2.2
times as long as one read of the rows, for 64 to 400 numbers each, where a pair of BLAS products
over blocks in cache took 2.8 to 4 times as long (Zen 4).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from linalgkit._core.array import Array, Namespace
from linalgkit._kernels.numba_forms.jit import fetch, inline, jit
from linalgkit._kernels.numba_forms.layout import REAL, flatten

_TILE_BYTES = 64 * 1024
_TILE_ROWS = 256
# Rows from this length on are asked for a tile ahead.
_FETCHED_BYTES = 256
# Sums over so many tiles are taken by themselves, so that rounding grows with the roots of two
# small numbers, whatever the data.
_TILES = 8

# Unsigned indices: see the fused normal product.
_U = np.uintp
_0 = _U(0)


@inline
def _dot_four(flat: Any, s0: Any, stride: Any, d: Any, W: Any, k: Any) -> Any:
    """Return four rows' products with column `k` of `W`."""
    a0 = a1 = a2 = a3 = 0.0
    s1 = s0 + stride
    s2 = s1 + stride
    s3 = s2 + stride
    for j in range(_0, d):
        u = W[k, j]
        a0 += np.float64(flat[s0 + j]) * u
        a1 += np.float64(flat[s1 + j]) * u
        a2 += np.float64(flat[s2 + j]) * u
        a3 += np.float64(flat[s3 + j]) * u
    return a0, a1, a2, a3


@inline
def _add_four(flat: Any, s0: Any, stride: Any, d: Any, D: Any, k: Any, p: Any) -> None:
    """Add four rows, weighted by `p`, to row `k` of `D`."""
    s1 = s0 + stride
    s2 = s1 + stride
    s3 = s2 + stride
    p0, p1, p2, p3 = p
    for j in range(_0, d):
        x0 = np.float64(flat[s0 + j]) * p0 + np.float64(flat[s1 + j]) * p1
        x2 = np.float64(flat[s2 + j]) * p2 + np.float64(flat[s3 + j]) * p3
        D[k, j] += x0 + x2


@jit
def _sweep(flat: Any, first: int, stride: int, W: Any, R: Any, D: Any) -> None:
    """Take ``X W^T`` off `R` and add ``R^T X`` to `D`; `W`, `D` are (m, d), `R` is (n, m).

    Row `i` of `X` is ``flat[first + i * stride :][:d]``.
    """
    n, m = R.shape
    d = W.shape[1]
    height = max(4, min(_TILE_ROWS, _TILE_BYTES // (d * flat.itemsize)) // 4 * 4)
    row, width = _U(stride), _U(d)  # a negative stride wraps around, as do the sums
    sums, tiles = np.zeros(D.shape), 0
    are_long = d * flat.itemsize >= _FETCHED_BYTES
    for top in range(0, n, height):
        bottom = min(top + height, n)
        tiled = bottom - (bottom - top) % 4
        for k in range(m):
            for i in range(top, tiled, 4):
                start = _U(first + i * stride)
                if are_long and k == 0 and i + height + 4 <= n:
                    for ahead in range(i + height, i + height + 4):
                        fetch(flat, first + ahead * stride, width)
                a0, a1, a2, a3 = _dot_four(flat, start, row, width, W, _U(k))
                R[i, k] -= a0
                R[i + 1, k] -= a1
                R[i + 2, k] -= a2
                R[i + 3, k] -= a3
            for i in range(tiled, bottom):
                R[i, k] -= _dot_four(flat, _U(first + i * stride), _0, width, W, _U(k))[0]
            for i in range(top, tiled, 4):
                weights = R[i, k], R[i + 1, k], R[i + 2, k], R[i + 3, k]
                _add_four(flat, _U(first + i * stride), row, width, sums, _U(k), weights)
            for i in range(tiled, bottom):
                weights = R[i, k], 0.0, 0.0, 0.0
                _add_four(flat, _U(first + i * stride), _0, width, sums, _U(k), weights)
        tiles += 1
        if tiles == _TILES or bottom == n:
            D += sums
            sums[:] = 0.0
            tiles = 0


def residual_product(xp: Namespace, X: Array, Z: Array, B: Array) -> tuple[Array, Array]:
    """Return ``R = B - X Z`` and ``D = X^H R`` in one pass over `X`."""
    flat, first, stride = flatten(X)
    R = np.array(B, order="C")
    if X.dtype.kind != "c":
        D = np.zeros((Z.shape[1], Z.shape[0]))
        _sweep(flat, first, stride, np.ascontiguousarray(Z.T), R, D)
        return R, D.T
    d, q = Z.shape
    # A complex column is two real ones of twice the length, real and imaginary part of the
    # product; see the fused normal product.
    W, sums = np.empty((2 * q, 2 * d)), np.zeros((2 * q, 2 * d))
    W[0::2, 0::2] = W[1::2, 1::2] = Z.T.real
    W[1::2, 0::2] = Z.T.imag
    W[0::2, 1::2] = -Z.T.imag
    _sweep(flat, first, stride, W, R.view(REAL["D"]), sums)
    real = sums[0::2, 0::2] + sums[1::2, 1::2]
    return R, (real + 1j * (sums[1::2, 0::2] - sums[0::2, 1::2])).T
