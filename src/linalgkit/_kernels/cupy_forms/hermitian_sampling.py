"""Launching the factorisation that draws a sample, one block of threads for a diagonal block."""

from __future__ import annotations

import numpy as np

from linalgkit._core.array import Array, Namespace
from linalgkit._kernels.cupy_forms.launch import launch

_SCALAR = {"d": "double", "D": "Complex<double>"}
_SHARED_BYTES = 48 * 1024  # which every device has


def hermitian_sampling(
    xp: Namespace, A: Array, uniforms: Array, tolerance: float
) -> tuple[Array, Array, Array]:
    """Decide on the items of one block, and factorise; nothing goes to the host."""
    L, b = xp.array(A, order="C"), int(A.shape[0])
    pivots, kept = xp.empty(b, dtype=xp.float64), xp.empty(b, dtype=xp.bool_)
    if b:
        column = b * L.dtype.itemsize
        is_shared = column + L.nbytes <= _SHARED_BYTES
        uniforms = xp.ascontiguousarray(xp.asarray(uniforms, dtype=xp.float64))
        sizes = np.float64(tolerance), np.int32(b), np.int32(is_shared)
        instance = f"hermitian_sampling<{_SCALAR[L.dtype.char]}>"
        shared = column + (L.nbytes if is_shared else 0)
        arguments = (L, uniforms, *sizes, pivots, kept)
        launch("hermitian_sampling", instance, 1, arguments, shared_bytes=shared)
    return L, pivots, kept
