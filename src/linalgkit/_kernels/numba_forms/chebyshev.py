"""Chebyshev polynomials and sums along rows of NumPy arrays, in loops over vectors of numbers.

The recurrence runs over a few hundred points at a time, whose two last rows stay in the first
cache. A contraction keeps a row of sums there and reads `Y` once, four of its rows a sweep.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from linalgkit._core.array import Array, Namespace
from linalgkit._kernels.numba_forms.jit import inline, jit, read_only

_U = np.uintp
_BLOCK = 512  # points


@jit
def _recurrence(t: Any, result: Any) -> None:
    """Fill the rows of `result`, of which there are at least two."""
    m, n = result.shape
    one, two = t.dtype.type(1), t.dtype.type(2)
    for start in range(0, n, _BLOCK):
        count = _U(min(_BLOCK, n - start))
        x = t[start : start + _BLOCK]
        first, second = result[0, start:], result[1, start:]
        for i in range(count):
            first[i], second[i] = one, x[i]
        for j in range(2, m):
            before, last, target = result[j - 2, start:], result[j - 1, start:], result[j, start:]
            for i in range(count):
                target[i] = two * x[i] * last[i] - before[i]


@inline
def _dot(x: Any, y: Any, count: Any) -> Any:
    """Return the sum of products."""
    total = x[0] * y[0]
    for a in range(_U(1), count):
        total += x[a] * y[a]
    return total


@inline
def _rows(Y: Any, B: Any, a: Any, width: Any, target: Any) -> None:
    """Fill one row of the answer."""
    head = a % 4
    if head == 0:
        for q in range(width):
            target[q] = B[0] * Y[0, q] + B[1] * Y[1, q] + B[2] * Y[2, q] + B[3] * Y[3, q]
        head = 4
    else:
        for q in range(width):
            target[q] = B[0] * Y[0, q]
        for k in range(1, head):
            for q in range(width):
                target[q] += B[k] * Y[k, q]
    for k in range(head, a, 4):
        for q in range(width):
            target[q] += (
                B[k] * Y[k, q] + B[k + 1] * Y[k + 1, q] + B[k + 2] * Y[k + 2, q]
                + B[k + 3] * Y[k + 3, q]
            )  # fmt: skip


@jit
def _contract(Y: Any, B: Any, result: Any) -> None:
    """Fill the rows of `result`, with at least one term in every sum."""
    n, a, b = Y.shape
    if b == 1:
        for i in range(n):
            result[i, 0] = _dot(Y[i, :, 0], B[i], _U(a))
    else:
        for i in range(n):
            _rows(Y[i], B[i], a, _U(b), result[i])


@jit
def _panel_rows(panel: Any, s: Any, L: Any, result: Any) -> None:
    """Fill the rows of `result`."""
    terms, width = L.shape[1], L.shape[2]
    T = np.empty(terms + 1, dtype=s.dtype)
    T[0] = s.dtype.type(1)
    for i in range(s.size):
        x, twice = s[i], s[i] + s[i]
        T[1] = x
        for k in range(2, terms):
            T[k] = twice * T[k - 1] - T[k - 2]
        _rows(L[panel[i]], T, terms, _U(width), result[i])


def chebyshev_rows(xp: Namespace, t: Array, m: int) -> Array:
    """Return the polynomials of degree 0 to ``m - 1``."""
    result = np.empty((max(m, 2), t.shape[0]), dtype=t.dtype)
    _recurrence(read_only(np.ascontiguousarray(t)), result)
    return result[:m]


def row_contract(xp: Namespace, Y: Array, B: Array) -> Array:
    """Return the sums over the middle axis."""
    n, a, b = Y.shape
    if a == 0:
        return np.zeros((n, b), dtype=Y.dtype)
    result = np.empty((n, b), dtype=Y.dtype)
    _contract(read_only(Y), read_only(np.ascontiguousarray(B)), result)
    return result


def panel_rows(xp: Namespace, panel: Array, s: Array, L: Array) -> Array:
    """Return the functions at points, each from the terms of its panel."""
    result = np.empty((s.shape[0], L.shape[2]), dtype=L.dtype)
    _panel_rows(read_only(panel), read_only(np.ascontiguousarray(s)), read_only(L), result)
    return result
