"""Proposals for a part of a basis: groups that search, ask for their rows and multiply together."""

from __future__ import annotations

from typing import Any

import numpy as np

from linalgkit._core.array import Array, Namespace
from linalgkit._kernels.numba_forms.jit import fetch, inline, jit, read_only

_GROUP = 64


@inline
def _search(sums: Any, wanted: Any, last: int, items: Any) -> None:
    """Bisect for a group level by level, so that its reads do not wait for each other."""
    items[:] = 0
    length = sums.shape[0]
    while length > 1:
        half = length >> 1
        for i in range(items.shape[0]):
            middle = items[i] + half
            items[i] = middle if sums[middle - 1] <= wanted[i] else items[i]
        length -= half
    for i in range(items.shape[0]):
        items[i] = min(items[i], last)


@inline
def _read(A: Any, items: Any, buffer: Any) -> None:
    """Copy rows, all asked for before the first is waited for."""
    flat, p = A.reshape(-1), A.shape[1]
    for i in range(items.shape[0]):
        fetch(flat, items[i] * p, p)
    for i in range(items.shape[0]):
        for d in range(p):
            buffer[i, d] = A[items[i], d]


@jit
def _propose(
    A: Any, W: Any, sums: Any, scores: Any, uniforms: Any, picked: Any, rows: Any, norms: Any
) -> int:
    """Fill in items, rows and norms of those kept; return how many."""
    need, k, total = rows.shape[0], W.shape[1], sums[-1]
    buffer = np.zeros((_GROUP, A.shape[1]), dtype=W.dtype)
    products = np.empty((_GROUP, k), dtype=W.dtype)
    items, last, kept = np.empty(_GROUP, dtype=np.int64), sums.shape[0] - 1, 0
    while last > 0 and sums[last - 1] == total:
        last -= 1
    for start in range(0, uniforms.shape[1], _GROUP):
        size = min(_GROUP, uniforms.shape[1] - start)
        _search(sums, uniforms[0, start : start + size] * total, last, items[:size])
        _read(A, items[:size], buffer)
        np.dot(buffer, W, products)
        for i in range(size):
            norm = 0.0
            for j in range(k):
                norm += products[i, j].real ** 2 + products[i, j].imag ** 2
            if uniforms[1, start + i] * scores[items[i]] < norm:
                picked[kept], norms[kept] = items[i], norm
                rows[kept, :] = products[i, :]
                kept += 1
                if kept == need:
                    return kept
    return kept


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
    """Return the items kept, their rows, and the squared norms of these."""
    items, norms = np.empty(need, dtype=np.int64), np.empty(need)
    rows, W = np.empty((need, W.shape[1]), dtype=W.dtype), np.ascontiguousarray(W)
    given = [read_only(array) for array in (A, W, sums, scores, uniforms)]
    kept = _propose(*given, items, rows, norms)
    return items[:kept], rows[:kept, :], norms[:kept]
