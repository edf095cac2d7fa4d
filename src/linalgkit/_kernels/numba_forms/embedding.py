"""Sparse sketches: part of a row stays in registers while it is added to its targets.

Eight vectors of a row are read once; each target then costs one read and one write of the
result, which is the limit: of a core's ports that for stores is the slowest. The result lies on
whole cache lines; vectors that straddle two made it a quarter slower.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from linalgkit._core.array import Array, Namespace
from linalgkit._kernels.dense import has_contiguous_rows
from linalgkit._kernels.numba_forms.jit import fetch, jit, read_only
from linalgkit._kernels.numba_forms.lanes import LANE_BYTES, scatter_1, scatter_8, scatter_16
from linalgkit._kernels.numba_forms.layout import REAL, aligned, flatten

_PANEL_BYTES = 1 << 10  # of a row at a time, so that the result stays in cache
_AHEAD_BYTES = 1 << 12

_U = np.uintp
_0, _8, _16 = _U(0), _U(8), _U(16)


@jit
def _scatter(
    flat: Any, first: int, stride: int, width: Any, places: Any, weights: Any, per_row: int,
    row: Any, padded: Any, total: Any,
) -> None:  # fmt: skip
    """Add rows of `width` numbers times ``weights[r]`` to the rows ``places[r]`` of `total`.

    Rows of `total` are `padded` to whole vectors; `row` is a vector of zeros.
    """
    n, count, lanes = places.size // per_row, _U(per_row), _U(row.size)
    eights, whole = width - width % (_8 * lanes), width - width % lanes
    sixteens = width - width % (_16 * lanes)
    ahead = _AHEAD_BYTES // (flat.itemsize * np.int64(padded)) + 1
    for r in range(n):
        if r + ahead < n:
            fetch(flat, first + (r + ahead) * stride, width)
        source, k = _U(first + r * stride), _U(r * per_row)
        for c in range(_0, sixteens, _16 * lanes):
            scatter_16(total, c, padded, flat, source + c, places, weights, k, count)
        for c in range(sixteens, eights, _8 * lanes):
            scatter_8(total, c, padded, flat, source + c, places, weights, k, count)
        for c in range(eights, whole, lanes):
            scatter_1(total, c, padded, flat, source + c, places, weights, k, count)
        if whole < width:
            for c in range(whole, width):
                row[c - whole] = flat[source + c]
            scatter_1(total, whole, padded, row, _0, places, weights, k, count)


def sparse_embed(xp: Namespace, X: Array, positions: Array, signs: Array, m: int) -> Array:
    """Add the rows of `X` with weights to rows of a new (m, d) array."""
    result = np.zeros((m, X.shape[1]), dtype=X.dtype)
    if 0 in (X.size, positions.size, m):
        return result
    real = REAL[X.dtype.char]
    if not has_contiguous_rows(X):
        X = np.array(X, order="C")
    flat, first, stride = flatten(X)
    target, lanes = result.view(real), LANE_BYTES // flat.itemsize
    places = read_only(np.ascontiguousarray(positions, dtype=np.int32).reshape(-1))
    weights = read_only(np.ascontiguousarray(signs, dtype=real).reshape(-1))
    row = aligned(lanes, real, fill=0)
    for c in range(0, target.shape[1], _PANEL_BYTES // flat.itemsize):
        width = min(_PANEL_BYTES // flat.itemsize, target.shape[1] - c)
        padded = -(-width // lanes) * lanes
        total = aligned(m * padded, real, fill=0)
        entries = places, weights, positions.shape[1]
        _scatter(flat, first + c, stride, _U(width), *entries, row, _U(padded), total)
        target[:, c : c + width] = total.reshape(m, padded)[:, :width]
    return result
