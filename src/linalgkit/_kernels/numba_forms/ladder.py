"""Forward substitution for a ladder of rates, all rates of a row side by side."""

from __future__ import annotations

from typing import Any

import numpy as np

from linalgkit._core.array import Array, Namespace
from linalgkit._kernels.numba_forms.jit import jit, read_only


@jit
def _substitute(G: Any, rates: Any, C: Any) -> None:
    """Overwrite `C`, which holds the right-hand sides, with the solutions.

    Rates multiply the solution before `G` does: where rates carry the inverse square of the
    data's unit, as they should, neither product leaves the range of the data.
    """
    b, m = C.shape
    scaled = np.empty(C.shape, dtype=C.dtype)
    for i in range(b):
        for k in range(i):
            g = G[i, k]
            for j in range(m):
                C[i, j] += g * scaled[k, j]
        for j in range(m):
            scaled[i, j] = rates[j] * C[i, j]


def ladder_solve(xp: Namespace, G: Array, rates: Array, P: Array) -> Array:
    """Solve the unit lower-triangular system of every rate."""
    C = np.array(P, dtype=np.complex128 if P.dtype.kind == "c" else np.float64, order="C")
    lower = np.ascontiguousarray(G, dtype=np.complex128 if G.dtype.kind == "c" else np.float64)
    _substitute(read_only(lower), np.array(rates, dtype=np.float64), C)
    return C
