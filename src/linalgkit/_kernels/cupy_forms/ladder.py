"""Launching the ladder's forward substitution, a block of threads a rate."""

from __future__ import annotations

import numpy as np

from linalgkit._core.array import Array, Namespace
from linalgkit._kernels.cupy_forms.launch import launch

_SCALAR = {"f": "double", "c": "Complex<double>"}


def ladder_solve(xp: Namespace, G: Array, rates: Array, P: Array) -> Array:
    """Solve the unit lower-triangular system of every rate."""
    wide = {"f": xp.float64, "c": xp.complex128}
    C = xp.array(P, dtype=wide[P.dtype.kind], order="C")
    GT = xp.ascontiguousarray(xp.asarray(G.T, dtype=wide[G.dtype.kind]))
    b, m = C.shape
    if b and m:
        arguments = (GT, xp.asarray(rates, dtype=xp.float64), C, np.int32(b), np.int32(m))
        instance = f"ladder_solve<{_SCALAR[G.dtype.kind]}, {_SCALAR[P.dtype.kind]}>"
        launch("ladder", instance, m, arguments, shared_bytes=b * C.dtype.itemsize)
    return C
