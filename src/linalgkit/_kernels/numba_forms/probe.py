"""Row norms and products with three vectors while a row is in cache: one read, at its speed."""

from __future__ import annotations

from typing import Any

import numpy as np

from linalgkit._core.array import Array, Namespace
from linalgkit._kernels.numba_forms.jit import jit
from linalgkit._kernels.numba_forms.layout import REAL, flatten

# Unsigned indices: see the fused normal product.
_U = np.uintp


@jit
def _sweep(flat: Any, first: int, stride: int, W: Any, norms: Any, energies: Any) -> None:
    """Fill `norms` and add to `energies`, those of products with the three rows of `W`."""
    d = _U(W.shape[1])
    for i in range(norms.shape[0]):
        start = _U(first + i * stride)
        square = a = b = c = 0.0
        for j in range(_U(0), d):
            x = np.float64(flat[start + j])
            square += x * x
            a += x * W[0, j]
            b += x * W[1, j]
            c += x * W[2, j]
        norms[i] = square
        energies[0] += a * a
        energies[1] += b * b
        energies[2] += c * c


def probed_norms(xp: Namespace, X: Array, Z: Array) -> tuple[Array, Array]:
    """Return squared norms of the rows of `X` and of the columns of ``X Z``."""
    flat, first, stride = flatten(X)
    norms, energies = np.empty(X.shape[0]), np.zeros(Z.shape[1])
    if X.dtype.kind != "c":
        _sweep(flat, first, stride, np.ascontiguousarray(Z.T, dtype=np.float64), norms, energies)
        return norms, energies
    # Real and imaginary part of a product are products of real rows of twice the length.
    for part in (Z, 1j * Z):
        W = np.ascontiguousarray(part.T.conj(), dtype=np.complex128).view(REAL["D"])
        _sweep(flat, first, stride, W, norms, energies)
    return norms, energies
