"""Fused normal product of CSR rows: gather for `P`, scatter for `D` while the row is in cache."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from linalgkit._core.array import Array, Namespace
from linalgkit._kernels.dense import FUSED_COLUMNS
from linalgkit._kernels.numba_forms.jit import inline, jit, read_only

_U = np.uintp


@inline
def _square(x: Any) -> Any:
    return np.float64(x.real) * np.float64(x.real) + np.float64(x.imag) * np.float64(x.imag)


def _compile(q: int) -> Callable[..., None]:
    """Return the kernel for `q` columns, a constant, so that the loops over them unroll."""

    @jit
    def fused(data: Any, indices: Any, indptr: Any, Z: Any, P: Any, D: Any, norms: Any) -> None:
        p = np.zeros(q, dtype=Z.dtype)
        for i in range(norms.size):
            low, high = _U(indptr[i]), _U(indptr[i + 1])
            norm = 0.0
            for k in range(q):
                p[k] = 0
            for t in range(low, high):
                x = data[t]
                j = _U(indices[t])
                norm += _square(x)
                for k in range(q):
                    p[k] += x * Z[j, _U(k)]
            norms[i] = norm
            for t in range(low, high):
                x = np.conj(data[t])
                j = _U(indices[t])
                for k in range(q):
                    D[j, _U(k)] += x * p[k]
            for k in range(q):
                P[i, k] = p[k]

    return fused


_FUSED = {q: _compile(q) for q in range(1, FUSED_COLUMNS + 1)}


@jit
def _square_rows(data: Any, indptr: Any, norms: Any) -> None:
    """Write the squared norms of all rows."""
    for i in range(norms.size):
        total = 0.0
        for t in range(_U(indptr[i]), _U(indptr[i + 1])):
            total += _square(data[t])
        norms[i] = total


def csr_normal_product_norms(xp: Namespace, S: Any, Z: Array) -> tuple[Array, Array, Array]:
    """Return ``S Z``, ``S^H S Z`` and the squared row norms."""
    wide = np.complex128 if S.dtype.kind == "c" else np.float64
    Z = np.array(Z, dtype=wide, order="C")
    P = np.empty((S.shape[0], Z.shape[1]), dtype=S.dtype)
    D = np.zeros(Z.shape, dtype=wide)
    norms = np.empty(S.shape[0])
    data, indices, indptr = (read_only(part) for part in (S.data, S.indices, S.indptr))
    _FUSED[Z.shape[1]](data, indices, indptr, Z, P, D, norms)
    return P, D, norms


def csr_normal_product(xp: Namespace, S: Any, Z: Array) -> tuple[Array, Array]:
    """Return ``S Z`` and ``S^H S Z``."""
    P, D, _ = csr_normal_product_norms(xp, S, Z)
    return P, D


def csr_row_norms_squared(xp: Namespace, S: Any) -> Array:
    """Return the squared row norms."""
    norms = np.empty(S.shape[0])
    _square_rows(read_only(S.data), read_only(S.indptr), norms)
    return norms
