"""Launching the products of columns, a thread a product."""

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
