"""Fused residual: a tile of rows is multiplied, subtracted and added up while it is in cache.

Four rows at a time share the loads of a column and of the sum. On one thread it took 1.6 to 2.2
times as long as one read of the rows, for 64 to 400 numbers each, where a pair of BLAS products
over blocks in cache took 2.8 to 4 times as long (Zen 4).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from linalgkit._core.array import Array, Namespace
from linalgkit._kernels.numba_forms.jit import fetch, inline, jit, read_only, strict
from linalgkit._kernels.numba_forms.layout import REAL, flatten

_TILE_BYTES = 64 * 1024
# Rows from this length on are asked for a tile ahead.
_FETCHED_BYTES = 256
# Sums over about so many rows are taken by themselves, and added up with their rounding errors.
_RUN = 32

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
def _add_eight(flat: Any, s0: Any, stride: Any, d: Any, D: Any, k: Any, p: Any, q: Any) -> None:
    """Add eight rows, four weighted by `p` and four by `q`, to row `k` of `D`."""
    s1 = s0 + stride
    s2 = s1 + stride
    s3 = s2 + stride
    s4 = s3 + stride
    s5 = s4 + stride
    s6 = s5 + stride
    s7 = s6 + stride
    p0, p1, p2, p3 = p
    p4, p5, p6, p7 = q
    for j in range(_0, d):
        x0 = np.float64(flat[s0 + j]) * p0 + np.float64(flat[s1 + j]) * p1
        x2 = np.float64(flat[s2 + j]) * p2 + np.float64(flat[s3 + j]) * p3
        x4 = np.float64(flat[s4 + j]) * p4 + np.float64(flat[s5 + j]) * p5
        x6 = np.float64(flat[s6 + j]) * p6 + np.float64(flat[s7 + j]) * p7
        D[k, j] += (x0 + x2) + (x4 + x6)


# Knuth's sum of two numbers and its error, here and below: see linalgkit._core.summation.
@strict
def _carry(D: Any, C: Any, sums: Any) -> None:
    """Add `sums` to `D`, and what that rounds off to `C`; then clear `sums`."""
    for k in range(D.shape[0]):
        for j in range(D.shape[1]):
            term, old = sums[k, j], D[k, j]
            total = old + term
            added = total - old
            C[k, j] += (old - (total - added)) + (term - added)
            D[k, j] = total
            sums[k, j] = 0.0


@jit
def _sweep(flat: Any, first: int, stride: int, W: Any, R: Any, D: Any, C: Any) -> None:
    """Take ``X W^T`` off `R` and add ``R^T X`` to ``D + C``.

    `W`, `D` and `C` are (m, d) and `R` is (n, m); row `i` of `X` is
    ``flat[first + i * stride :][:d]``.
    """
    n, m = R.shape
    d = W.shape[1]
    height = max(8, min(_RUN, _TILE_BYTES // (d * flat.itemsize)) // 8 * 8)
    row, width = _U(stride), _U(d)  # a negative stride wraps around, as do the sums
    sums, tiles, most = np.zeros(D.shape), 0, max(1, _RUN // height)
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
            eights = bottom - (bottom - top) % 8
            for i in range(top, eights, 8):
                low = R[i, k], R[i + 1, k], R[i + 2, k], R[i + 3, k]
                high = R[i + 4, k], R[i + 5, k], R[i + 6, k], R[i + 7, k]
                _add_eight(flat, _U(first + i * stride), row, width, sums, _U(k), low, high)
            for i in range(eights, bottom):
                low = R[i, k], 0.0, 0.0, 0.0
                zeros = 0.0, 0.0, 0.0, 0.0
                _add_eight(flat, _U(first + i * stride), _0, width, sums, _U(k), low, zeros)
        tiles += 1
        if tiles == most or bottom == n:
            _carry(D, C, sums)
            tiles = 0


def residual_product(xp: Namespace, X: Array, Z: Array, B: Array) -> tuple[Array, Array]:
    """Return ``R = B - X Z`` and ``D = X^H R`` in one pass over `X`."""
    flat, first, stride = flatten(X)
    R = np.array(B, order="C")
    if X.dtype.kind != "c":
        D, C = np.zeros((2, Z.shape[1], Z.shape[0]))
        _sweep(flat, first, stride, np.ascontiguousarray(Z.T), R, D, C)
        return R, _settled(D, C).T
    d, q = Z.shape
    # A complex column is two real ones of twice the length, real and imaginary part of the
    # product; see the fused normal product.
    W, (D, C) = np.empty((2 * q, 2 * d)), np.zeros((2, 2 * q, 2 * d))
    W[0::2, 0::2] = W[1::2, 1::2] = Z.T.real
    W[1::2, 0::2] = Z.T.imag
    W[0::2, 1::2] = -Z.T.imag
    _sweep(flat, first, stride, W, R.view(REAL["D"]), D, C)
    sums = _settled(D, C)
    real = sums[0::2, 0::2] + sums[1::2, 1::2]
    return R, (real + 1j * (sums[1::2, 0::2] - sums[0::2, 1::2])).T


def _settled(D: Array, C: Array) -> Array:
    """Return ``D + C``, or `D` where that has overflowed."""
    return D + np.where(np.isfinite(C), C, 0)


# ------------------------------------------------------------------------------ sparse rows


@strict
def _csr_sweep(data: Any, indices: Any, indptr: Any, Z: Any, R: Any, D: Any) -> None:
    """Take ``S Z`` off `R` and add ``S^H R`` to `D`, every sum with its rounding errors.

    ``D[:, 0, :]`` are the sums and ``D[:, 1, :]`` the sums of their errors.
    """
    n, m = R.shape
    for i in range(n):
        low, high = _U(indptr[i]), _U(indptr[i + 1])
        for k in range(m):
            total, rest = R[i, k], R[i, k] - R[i, k]
            for t in range(low, high):
                term, old = -data[t] * Z[_U(indices[t]), k], total
                total = old + term
                added = total - old
                rest += (old - (total - added)) + (term - added)
            R[i, k] = total + rest if rest - rest == 0 else total  # of overflow infinity
        for t in range(low, high):
            x, j = np.conj(data[t]), _U(indices[t])
            for k in range(m):
                term, old = x * R[i, k], D[j, 0, k]
                total = old + term
                added = total - old
                D[j, 1, k] += (old - (total - added)) + (term - added)
                D[j, 0, k] = total


def csr_residual_product(xp: Namespace, S: Any, Z: Array, B: Array) -> tuple[Array, Array]:
    """Return ``R = B - S Z`` and ``D = S^H R`` in one pass over the rows of `S`."""
    R, Z = np.array(B, order="C"), np.ascontiguousarray(Z)
    D = np.zeros((Z.shape[0], 2, Z.shape[1]), dtype=B.dtype)
    data, indices, indptr = (read_only(part) for part in (S.data, S.indices, S.indptr))
    _csr_sweep(data, indices, indptr, read_only(Z), R, D)
    return R, _settled(D[:, 0, :], D[:, 1, :])
