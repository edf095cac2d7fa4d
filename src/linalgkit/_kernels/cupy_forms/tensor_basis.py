"""Launching tables of polynomials, a thread a variable, and products, a thread a product."""

from __future__ import annotations

import numpy as np

from linalgkit._core.array import Array, Namespace
from linalgkit._kernels.cupy_forms.launch import THREADS, launch

_SCALAR = {"f": "float", "d": "double", "F": "Complex<float>", "D": "Complex<double>"}


def tensor_basis(xp: Namespace, table: Array, columns: Array) -> Array:
    """Return products of columns of a table."""
    n, m = table.shape[0], columns.shape[1]
    result = xp.empty((n, m), dtype=table.dtype)
    if result.size:
        arguments = (
            xp.ascontiguousarray(table),
            np.int64(table.shape[1]),
            xp.ascontiguousarray(columns, dtype=xp.int32),
            np.int32(columns.shape[0]),
            np.int64(n),
            np.int64(m),
            result,
        )
        instance = f"tensor_basis<{_SCALAR[table.dtype.char]}>"
        launch("tensor_basis", instance, -(-n * m // THREADS), arguments)
    return result


def recurrence_table(xp: Namespace, t: Array, coefficients: Array) -> Array:
    """Return degrees 1 to p of every entry of `t`."""
    given = xp.ascontiguousarray(xp.asarray(coefficients, dtype=t.dtype))
    p = given.shape[1]
    result = xp.empty((t.shape[0], t.shape[1] * p), dtype=t.dtype)
    if result.size:
        arguments = (xp.ascontiguousarray(t), np.int64(t.size), given, np.int32(p), result)
        instance = f"recurrence_table<{_SCALAR[t.dtype.char]}>"
        launch("tensor_basis", instance, -(-t.size // THREADS), arguments)
    return result


def recurrence_values(xp: Namespace, t: Array, degrees: Array, coefficients: Array) -> Array:
    """Return for every number the polynomial of its own degree."""
    given = xp.ascontiguousarray(xp.asarray(coefficients, dtype=xp.float64))
    result = xp.empty(t.shape, dtype=xp.float64)
    if t.size:
        numbers = xp.ascontiguousarray(t), xp.ascontiguousarray(degrees)
        arguments = (*numbers, np.int64(t.size), given, np.int32(given.shape[1]), result)
        launch("tensor_basis", "recurrence_values", -(-t.size // THREADS), arguments)
    return result
