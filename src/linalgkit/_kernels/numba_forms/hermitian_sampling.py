"""Modified LDL^H factorisation of a diagonal block, row by row of its lower triangle."""

from __future__ import annotations

from typing import Any

import numpy as np

from linalgkit._core.array import Array, Namespace
from linalgkit._kernels.numba_forms.jit import jit, read_only


@jit
def _eliminate(A: Any, uniforms: Any, tolerance: float, pivots: Any, kept: Any) -> None:
    """Overwrite the lower triangle of `A` with the unit triangular factor, and clear the upper."""
    b = A.shape[0]
    row = np.empty(b, dtype=A.dtype)  # conjugated column of the factor, times its pivot
    for j in range(b):
        probability = A[j, j].real
        if probability <= tolerance:
            probability = 0.0
        elif probability >= 1 - tolerance:
            probability = 1.0
        kept[j] = uniforms[j] < probability
        pivot = probability if kept[j] else probability - 1
        pivots[j] = pivot
        for i in range(j + 1, b):
            row[i] = np.conj(A[i, j])
            A[i, j] /= pivot
            A[j, i] = 0
            factor = A[i, j]
            for k in range(j + 1, i + 1):
                A[i, k] -= factor * row[k]
        A[j, j] = 1


def hermitian_sampling(
    xp: Namespace, A: Array, uniforms: Array, tolerance: float
) -> tuple[Array, Array, Array]:
    """Decide on the items of one block, and factorise."""
    L = np.array(A, order="C")
    pivots, kept = np.empty(L.shape[0]), np.empty(L.shape[0], dtype=np.bool_)
    _eliminate(L, read_only(np.ascontiguousarray(uniforms)), tolerance, pivots, kept)
    return L, pivots, kept
