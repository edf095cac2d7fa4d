"""Launching the rows of proposals, read where they lie; the host, which drew them, keeps some."""

from __future__ import annotations

from typing import Any

import numpy as np

from linalgkit._core.array import Array, Namespace, to_numpy
from linalgkit._kernels.cupy_forms.launch import THREADS, launch
from linalgkit._kernels.thinning import drawn_items

_TYPES = {
    "f": "float, double",
    "d": "double, double",
    "F": "Complex<float>, Complex<double>",
    "D": "Complex<double>, Complex<double>",
}
_ROWS_PER_BLOCK = 2 * THREADS // 32  # two a warp, as in the source


def thinned_proposals(
    xp: Namespace,
    A: Array,
    exponent: int,
    W: Array,
    sums: Any,
    scores: Any,
    uniforms: Any,
    need: int,
) -> tuple[Any, Array, Any]:
    """Return the items kept, their rows, and the squared norms of these (one synchronisation)."""
    items = drawn_items(sums, uniforms[0, :])
    (p, k), count = W.shape, items.size
    products = xp.empty((count, k), dtype=W.dtype)
    squares = xp.empty(count, dtype=xp.float64)
    if count:
        sizes, W = (np.int32(p), np.int32(k)), xp.ascontiguousarray(W)
        places = xp.asarray(items, dtype=xp.int64)
        arguments = (A, sizes[0], W, sizes[1], places, np.int64(count), products, squares)
        instance = f"rows_of_product<{_TYPES[A.dtype.char]}>"
        launch("thinning", instance, -(-count // _ROWS_PER_BLOCK), arguments)
    norms = to_numpy(squares)
    kept = np.flatnonzero(uniforms[1, :] * scores[items] < norms)[:need]
    return items[kept], xp.take(products, xp.asarray(kept), axis=0), norms[kept]
