"""Sparse sketches: a row of the matrix stays in registers while it is added to its targets.

The vectors of a row, up to sixteen, are read once; each target then costs one read and one
write of the result, which is the limit: of a core's ports that for stores is the slowest. The
result lies on whole cache lines; vectors that straddle two made it a quarter slower.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from linalgkit._core.array import Array, Namespace
from linalgkit._kernels.dense import has_contiguous_rows
from linalgkit._kernels.numba_forms.jit import fetch, inline, jit, read_only
from linalgkit._kernels.numba_forms.lanes import (
    LANE_BYTES,
    scatter_1,
    scatter_2,
    scatter_4,
    scatter_8,
    scatter_16,
)
from linalgkit._kernels.numba_forms.layout import REAL, aligned, flatten

_MOST_VECTORS = 16
_AHEAD_BYTES = 1 << 12

_U = np.uintp
_0 = _U(0)


def _make_rows(vectors: int, scatter: Any) -> Any:
    """Return a function that adds the rows of a panel of so many vectors to their targets."""

    @inline
    def rows(
        flat: Any, first: int, stride: int, width: Any, places: Any, weights: Any, per_row: int,
        row: Any, total: Any,
    ) -> None:  # fmt: skip
        n, padded = places.size // per_row, _U(vectors * LANE_BYTES // flat.itemsize)
        ahead = _AHEAD_BYTES // (vectors * LANE_BYTES)
        for r in range(n):
            if r + ahead < n:
                fetch(flat, first + (r + ahead) * stride, width)
            source, k = _U(first + r * stride), _U(r * per_row)
            if width == padded:
                scatter(total, _0, padded, flat, source, places, weights, k, _U(per_row))
            else:
                for c in range(_0, width):
                    row[c] = flat[source + c]
                scatter(total, _0, padded, row, _0, places, weights, k, _U(per_row))

    return rows


_rows_1, _rows_2, _rows_4 = (
    _make_rows(1, scatter_1),
    _make_rows(2, scatter_2),
    _make_rows(4, scatter_4),
)
_rows_8, _rows_16 = _make_rows(8, scatter_8), _make_rows(16, scatter_16)


@jit
def _scatter(
    vectors: int, flat: Any, first: int, stride: int, width: Any, places: Any, weights: Any,
    per_row: int, row: Any, total: Any,
) -> None:  # fmt: skip
    """Add row r of the panel times ``weights[r]`` to the rows ``places[r]`` of `total`.

    Rows of `total` are padded to whole vectors; `row` is one such row, of zeros.
    """
    if vectors == 1:
        _rows_1(flat, first, stride, width, places, weights, per_row, row, total)
    elif vectors == 2:
        _rows_2(flat, first, stride, width, places, weights, per_row, row, total)
    elif vectors == 4:
        _rows_4(flat, first, stride, width, places, weights, per_row, row, total)
    elif vectors == 8:
        _rows_8(flat, first, stride, width, places, weights, per_row, row, total)
    else:
        _rows_16(flat, first, stride, width, places, weights, per_row, row, total)


def _panels(width: int, lanes: int) -> Iterator[tuple[int, int, int]]:
    """Yield first column, width and vectors of panels, the widest first; the last is padded."""
    c, vectors = 0, _MOST_VECTORS
    while c < width:
        while vectors > 1 and width - c <= (vectors // 2) * lanes:
            vectors //= 2
        yield c, min(vectors * lanes, width - c), vectors
        c += vectors * lanes


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
    for c, width, vectors in _panels(target.shape[1], lanes):
        padded = vectors * lanes
        total, row = aligned(m * padded, real, fill=0), aligned(padded, real, fill=0)
        panel = flat, first + c, stride, _U(width), places, weights, positions.shape[1], row, total
        _scatter(vectors, *panel)
        target[:, c : c + width] = total.reshape(m, padded)[:, :width]
    return result
