"""Launching the sums of weighted rows; complex columns are pairs of real ones."""

from __future__ import annotations

import numpy as np

from linalgkit._core.array import Array, Namespace
from linalgkit._kernels.cupy_forms.launch import launch
from linalgkit._kernels.embedding import by_position

#: The real type of each type, and its name in CUDA.
REAL = {"f": np.float32, "d": np.float64, "F": np.float32, "D": np.float64}
NAME = {"f": "float", "d": "double"}
_WARP = 32


def real_rows(xp: Namespace, X: Array) -> tuple[Array, np.int64, tuple[int, int]]:
    """Return `X` as real numbers in contiguous rows, their stride, and the shape."""
    real = REAL[X.dtype.char]
    if X.strides[1] != X.dtype.itemsize or X.strides[0] % np.dtype(real).itemsize:
        X = xp.array(X, order="C")
    Y = X.view(real) if X.shape[1] else X.real
    return Y, np.int64(X.strides[0] // np.dtype(real).itemsize), Y.shape


def segment_sums(xp: Namespace, X: Array, rows: Array, weights: Array, ends: Array) -> Array:
    """Return weighted sums of rows of `X`, in float64 and in an order that never changes."""
    flat, stride, (_, d) = real_rows(xp, X)
    result = xp.zeros((ends.shape[0], X.shape[1]), dtype=X.dtype)
    if result.size and rows.size:
        tiles = -(-d // _WARP)
        arguments = (
            flat,
            stride,
            np.int64(d),
            xp.ascontiguousarray(rows, dtype=xp.int64),
            xp.ascontiguousarray(weights, dtype=flat.dtype),
            xp.ascontiguousarray(ends, dtype=xp.int64),
            result,
            np.int32(tiles),
        )
        instance = f"segment_sums<{NAME[flat.dtype.char]}>"
        launch("embedding", instance, ends.shape[0] * tiles, arguments)
    return result


def sparse_embed(xp: Namespace, X: Array, positions: Array, signs: Array, m: int) -> Array:
    """Add the rows of `X` with weights to rows of a new (m, d) array."""
    return segment_sums(xp, X, *by_position(xp, positions, signs, m))
