"""Launching the dense kernels; complex blocks are read as interleaved real numbers.

With the rows of a complex `X` read as ``2 d`` reals and ``z = a + i b``,

* ``x z`` has real part ``x . (a, -b)`` and imaginary part ``x . (b, a)``, interleaved: a
  complex column of `Z` is two real columns of length ``2 d``;
* with ``u = sum_i x_i Re(p_i)`` and ``v = sum_i x_i Im(p_i)``, interleaved likewise,
  ``sum_i conj(x_i) p_i`` has real parts ``u_even + v_odd`` and imaginary parts
  ``v_even - u_odd``.
"""

from __future__ import annotations

import numpy as np

from linalgkit._core.array import Array, Namespace
from linalgkit._core.summation import sum_in_pairs
from linalgkit._kernels.cupy_forms.launch import THREADS, launch

_REAL = {"f": "float", "d": "double", "F": "float", "D": "double"}
_MAX_BLOCKS = 512
# Rows of a gradient that are added up one after another, four at a time.
_RUN = 64


def real_columns(xp: Namespace, Z: Array) -> Array:
    """Return `Z` (d, q) as float64 rows: (q, d) if real, (2 q, 2 d) interleaved if complex."""
    if Z.dtype.kind != "c":
        return xp.ascontiguousarray(xp.asarray(Z.T, dtype=xp.float64))
    d, q = Z.shape
    W = xp.empty((q, 2, d, 2), dtype=xp.float64)
    W[:, 0, :, 0] = W[:, 1, :, 1] = Z.real.T
    W[:, 0, :, 1] = -Z.imag.T
    W[:, 1, :, 0] = Z.imag.T
    return W.reshape(2 * q, 2 * d)


def _from_real_rows(xp: Namespace, D: Array, *, is_complex: bool) -> Array:
    """Return ``X^H P`` (d, q) from real sums in the layout of :func:`real_columns`."""
    if not is_complex:
        return xp.ascontiguousarray(D.T)
    q, d = D.shape[0] // 2, D.shape[1] // 2
    parts = D.reshape(q, 2, d, 2)
    result = xp.empty((d, q), dtype=xp.complex128)
    result.real = (parts[:, 0, :, 0] + parts[:, 1, :, 1]).T
    result.imag = (parts[:, 1, :, 0] - parts[:, 0, :, 1]).T
    return result


def row_layout(X: Array) -> tuple[np.int64, np.int64, np.int32]:
    """Return stride in reals, number of rows, reals a row."""
    reals = 2 if X.dtype.kind == "c" else 1
    stride = X.strides[0] // (X.dtype.itemsize // reals)
    return np.int64(stride), np.int64(X.shape[0]), np.int32(X.shape[1] * reals)


def _sweep(xp: Namespace, X: Array, Z: Array, B: Array | None) -> tuple[Array, Array, Array]:
    """Return ``X Z`` or ``B - X Z``, ``X^H`` times that, and squared row norms or anything."""
    is_complex, b = X.dtype.kind == "c", X.shape[0]
    W = real_columns(xp, Z)
    P = xp.empty((b, Z.shape[1]), dtype=X.dtype if B is None else B.dtype)
    norms = xp.empty((b if B is None else 0,), dtype=xp.float64)
    D = xp.zeros(W.shape, dtype=xp.float64)
    if b:
        rows_per_block = max(32, -(-b // _MAX_BLOCKS))
        rows_per_block = rows_per_block if B is None else min(rows_per_block, _RUN)
        blocks = -(-b // rows_per_block)
        partial = xp.empty((blocks, *W.shape), dtype=xp.float64)
        given = norms if B is None else xp.ascontiguousarray(B)
        data = (X, *row_layout(X), W, given, P, norms, partial, np.int64(rows_per_block))
        is_residual = "false" if B is None else "true"
        instance = f"normal_product<{_REAL[X.dtype.char]}, {W.shape[0]}, {is_residual}>"
        launch("dense", instance, blocks, data, shared_bytes=8 * W.size)
        if B is None:
            sums = (partial, D, np.int32(W.size), np.int32(blocks))
            launch("dense", "sum_partials", -(-W.size // THREADS), sums)
        else:
            D = sum_in_pairs(partial)
    return P, _from_real_rows(xp, D, is_complex=is_complex), norms


def normal_product_norms(xp: Namespace, X: Array, Z: Array) -> tuple[Array, Array, Array]:
    """Return ``X Z``, ``X^H X Z`` and the squared row norms in one pass over `X`.

    Sums in float64 in an order that depends on the shape only. Needs a device with fast float64
    to be bound by memory.
    """
    return _sweep(xp, X, Z, None)


def residual_product(xp: Namespace, X: Array, Z: Array, B: Array) -> tuple[Array, Array]:
    """Return ``R = B - X Z`` and ``X^H R`` in one pass over `X`, in double precision.

    Rows are added up in short runs and these in pairs: see :mod:`linalgkit._core.summation`.
    """
    return _sweep(xp, X, Z, B)[:2]


def normal_product(xp: Namespace, X: Array, Z: Array) -> tuple[Array, Array]:
    """Return ``X Z`` and ``X^H X Z`` in one pass over `X`."""
    P, D, _ = normal_product_norms(xp, X, Z)
    return P, D


def row_norms_squared(xp: Namespace, X: Array) -> Array:
    """Return the squared row norms, a warp a row."""
    norms = xp.empty((X.shape[0],), dtype=xp.float64)
    if X.shape[0]:
        instance = f"row_norms_squared<{_REAL[X.dtype.char]}>"
        blocks = -(-X.shape[0] * 32 // THREADS)
        launch("dense", instance, blocks, (X, *row_layout(X), norms))
    return norms
