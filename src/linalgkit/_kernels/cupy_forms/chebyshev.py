"""Launching the recurrence, a thread a point, and sums along rows, a thread a sum."""

from __future__ import annotations

import numpy as np

from linalgkit._core.array import Array, Namespace
from linalgkit._kernels.cupy_forms.embedding import NAME
from linalgkit._kernels.cupy_forms.launch import THREADS, launch

_INDEX = {4: "int", 8: "long long"}

_TYPES = {
    "f": "float, double",
    "d": "double, double",
    "F": "Complex<float>, Complex<double>",
    "D": "Complex<double>, Complex<double>",
}


def chebyshev_rows(xp: Namespace, t: Array, m: int) -> Array:
    """Return the polynomials of degree 0 to ``m - 1``."""
    n = t.shape[0]
    result = xp.empty((m, n), dtype=t.dtype)
    if n:
        arguments = (xp.ascontiguousarray(t), np.int64(n), np.int32(m), result)
        instance = f"chebyshev_rows<{'float' if t.dtype.char == 'f' else 'double'}>"
        launch("chebyshev", instance, -(-n // THREADS), arguments)
    return result


def row_contract(xp: Namespace, Y: Array, B: Array) -> Array:
    """Return the sums over the middle axis."""
    n, a, b = Y.shape
    result = xp.empty((n, b), dtype=Y.dtype)
    if result.size:
        arguments = (Y, xp.ascontiguousarray(B), np.int64(n), np.int32(a), np.int32(b), result)
        instance = f"row_contract<{_TYPES[Y.dtype.char]}>"
        launch("chebyshev", instance, -(-n * b // THREADS), arguments)
    return result


def panel_rows(xp: Namespace, panel: Array, s: Array, L: Array) -> Array:
    """Return the functions at points, each from the terms of its panel."""
    (n,), (_, terms, r) = s.shape, L.shape
    result = xp.empty((n, r), dtype=L.dtype)
    if result.size:
        given = (xp.ascontiguousarray(x) for x in (panel, s, L))
        arguments = (*given, np.int64(n), np.int32(terms), np.int32(r), result)
        stored, scalar = _TYPES[L.dtype.char].split(", ")
        types = f"{stored}, {NAME[s.dtype.char]}, {scalar}, {_INDEX[panel.dtype.itemsize]}"
        launch("chebyshev", f"panel_rows<{types}>", -(-n * r // THREADS), arguments)
    return result
