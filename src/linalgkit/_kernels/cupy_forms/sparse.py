"""Launching the CSR kernels, a warp a row."""

from __future__ import annotations

from typing import Any

import numpy as np

from linalgkit._core.array import Array, Namespace
from linalgkit._kernels.cupy_forms.launch import THREADS, launch

_STORED = {"f": "float", "d": "double", "F": "Complex<float>", "D": "Complex<double>"}
_INDEX = {4: "int", 8: "long long"}


def csr_normal_product_norms(xp: Namespace, S: Any, Z: Array) -> tuple[Array, Array, Array]:
    """Return ``S Z``, ``S^H S Z`` and the squared row norms.

    ``S^H S Z`` is summed by atomic additions in float64: its last bits may differ between runs.
    """
    is_complex, (n, d), q = S.dtype.kind == "c", S.shape, Z.shape[1]
    wide = xp.complex128 if is_complex else xp.float64
    P, D = xp.empty((n, q), dtype=S.dtype), xp.zeros((d, q), dtype=wide)
    norms = xp.empty((n,), dtype=xp.float64)
    if n:
        scalar = "Complex<double>" if is_complex else "double"
        index = _INDEX[S.indices.dtype.itemsize]
        instance = f"csr_normal_product<{_STORED[S.dtype.char]}, {scalar}, {index}, {q}>"
        W = xp.array(Z, dtype=wide, order="C")
        arguments = (S.data, S.indices, S.indptr, np.int64(n), W, P, D, norms)
        launch("sparse", instance, -(-n * 32 // THREADS), arguments)
    return P, D, norms


def csr_normal_product(xp: Namespace, S: Any, Z: Array) -> tuple[Array, Array]:
    """Return ``S Z`` and ``S^H S Z``; see :func:`csr_normal_product_norms`."""
    P, D, _ = csr_normal_product_norms(xp, S, Z)
    return P, D


def csr_row_norms_squared(xp: Namespace, S: Any) -> Array:
    """Return the squared row norms."""
    n = S.shape[0]
    norms = xp.empty((n,), dtype=xp.float64)
    if n:
        scalar = "Complex<double>" if S.dtype.kind == "c" else "double"
        index = _INDEX[S.indptr.dtype.itemsize]
        instance = f"csr_row_norms_squared<{_STORED[S.dtype.char]}, {scalar}, {index}>"
        launch("sparse", instance, -(-n * 32 // THREADS), (S.data, S.indptr, np.int64(n), norms))
    return norms
