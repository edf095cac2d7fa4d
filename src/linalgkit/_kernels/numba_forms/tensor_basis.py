"""Product bases, a point at a time: its table and its row stay in the first cache.

The first cache serves both gathers and the row that is multiplied, so that a point costs about
the time of its gathers.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from linalgkit._core.array import Array, Namespace
from linalgkit._kernels.numba_forms.jit import jit, read_only

_U = np.uintp
_0, _1 = _U(0), _U(1)


@jit
def _table(t: Any, A: Any, B: Any, C: Any, result: Any) -> None:
    """Fill the rows of `result` by the recurrence, degrees of a variable side by side."""
    n, g = t.shape
    p = A.size
    one = t.dtype.type(1)
    for i in range(n):
        for c in range(g):
            x, before, last, place = t[i, c], one - one, one, c * p
            for j in range(p):
                before, last = last, (A[j] * x + B[j]) * last - C[j] * before
                result[i, place + j] = last


@jit
def _values(t: Any, degrees: Any, A: Any, B: Any, C: Any, result: Any) -> None:
    """Run the recurrence of every number to its own degree."""
    for i in range(t.size):
        x, before, last = t[i], 0.0, 1.0
        for j in range(degrees[i]):
            before, last = last, (A[j] * x + B[j]) * last - C[j] * before
        result[i] = last


@jit
def _products(table: Any, columns: Any, result: Any) -> None:
    """Multiply the columns of every product; two rows of `columns` a sweep."""
    s, m = columns.shape
    wide, odd = _U(m), s % 2
    for i in range(table.shape[0]):
        source, target = table[i], result[i]
        if odd:
            first = columns[0]
            for q in range(_0, wide):
                target[q] = source[first[q]]
        else:
            first, second = columns[0], columns[1]
            for q in range(_0, wide):
                target[q] = source[first[q]] * source[second[q]]
        for r in range(2 - odd, s, 2):
            third, fourth = columns[r], columns[r + 1]
            for q in range(_0, wide):
                target[q] = target[q] * source[third[q]] * source[fourth[q]]


def recurrence_table(xp: Namespace, t: Array, coefficients: Array) -> Array:
    """Return degrees 1 to p of every entry of `t`."""
    A, B, C = np.ascontiguousarray(coefficients, dtype=t.dtype)
    result = np.empty((t.shape[0], t.shape[1] * A.size), dtype=t.dtype)
    _table(read_only(np.ascontiguousarray(t)), A, B, C, result)
    return result


def recurrence_values(xp: Namespace, t: Array, degrees: Array, coefficients: Array) -> Array:
    """Return for every number the polynomial of its own degree."""
    A, B, C = np.ascontiguousarray(coefficients)
    result = np.empty(t.shape)
    numbers, orders = np.ascontiguousarray(t), np.ascontiguousarray(degrees)
    _values(read_only(numbers), read_only(orders), A, B, C, result)
    return result


def tensor_basis(xp: Namespace, table: Array, columns: Array) -> Array:
    """Return products of columns of a table."""
    result = np.empty((table.shape[0], columns.shape[1]), dtype=table.dtype)
    if result.size:
        places = np.ascontiguousarray(columns, dtype=_U)
        _products(read_only(np.ascontiguousarray(table)), read_only(places), result)
    return result
