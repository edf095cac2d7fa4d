"""Products of a dense block with its normal matrix, and squared row norms.

``normal_product(xp, X, Z)`` returns ``P = X Z`` and ``D = X^H P`` for a block `X` of rows::

    P, D = normal_product(xp, X, Z)
    P, D, norms = normal_product_norms(xp, X, Z)

For few columns (`FUSED_COLUMNS`) the fused forms read `X` once from memory; for more, a pair of
matrix products over blocks that stay in cache is at the limit already. `P` has the dtype of
`X`; `D` and the norms are accumulated and returned in the device's widest float.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from linalgkit._core.array import (
    Array,
    Namespace,
    device,
    is_complex,
    itemsize,
    matmul_h,
    widest_dtype,
)
from linalgkit._kernels._kernel import Kernel

FUSED_COLUMNS = 4
_CACHE_BYTES = 1 << 19


def micro_rows(xp: Namespace, X: Array) -> int:
    """Return how many rows of `X` are worked on at a time.

    On a CPU half a megabyte in the widest float; on a device, where every launch costs more
    than a second read of a block, all.
    """
    if str(device(X)) != "cpu":
        return max(1, int(X.shape[0]))
    wide = widest_dtype(xp, device(X), X.dtype)
    row_bytes = max(1, int(X.shape[1])) * itemsize(xp, wide)
    return max(16, _CACHE_BYTES // row_bytes)


def _normal_product(xp: Namespace, X: Array, Z: Array) -> tuple[Array, Array]:
    """Return ``P = X Z`` in the dtype of `X` and ``D = X^H P`` in the widest float."""
    P, D, _ = _sweep(xp, X, Z, norms=False)
    return P, D


def _normal_product_norms(xp: Namespace, X: Array, Z: Array) -> tuple[Array, Array, Array]:
    """Return ``P = X Z``, ``D = X^H P`` and the squared 2-norms of the rows of `X`.

    A norm is finite if and only if its row is free of NaN and inf and its square does not
    overflow the widest float.
    """
    return _sweep(xp, X, Z, norms=True)


def _sweep(xp: Namespace, X: Array, Z: Array, *, norms: bool) -> tuple[Array, Array, Any]:
    wide = widest_dtype(xp, device(X), X.dtype)
    Z = xp.astype(Z, X.dtype, copy=False)
    D = xp.zeros((X.shape[1], Z.shape[1]), dtype=wide, device=device(X))
    step = micro_rows(xp, X)
    Ps, squares = [], []
    with np.errstate(over="ignore", invalid="ignore"):
        for start in range(0, max(1, X.shape[0]), step):
            block = X[start : min(start + step, X.shape[0]), :]
            P = block @ Z
            D = D + xp.astype(matmul_h(block, P, xp), wide, copy=False)
            Ps.append(P)
            if norms:
                squares.append(_squares(xp, block))
    P = Ps[0] if len(Ps) == 1 else xp.concat(Ps, axis=0)
    return P, D, xp.concat(squares, axis=0) if norms else None


def _squares(xp: Namespace, block: Array) -> Array:
    """Return the squared row norms of a block, squared and summed in the widest float."""
    wide = xp.astype(block, widest_dtype(xp, device(block), block.dtype), copy=False)
    squares = xp.vecdot(wide, wide, axis=-1)
    return xp.real(squares) if is_complex(wide, xp) else squares


def _row_norms_squared(xp: Namespace, X: Array) -> Array:
    """Return the squared 2-norms of the rows of `X`, in the widest float.

    A norm is finite if and only if its row is free of NaN and inf and its square does not
    overflow the widest float.
    """
    step = micro_rows(xp, X)
    with np.errstate(over="ignore", invalid="ignore"):
        found = [
            _squares(xp, X[start : min(start + step, X.shape[0]), :])
            for start in range(0, max(1, X.shape[0]), step)
        ]
    return found[0] if len(found) == 1 else xp.concat(found, axis=0)


def has_contiguous_rows(X: Array) -> bool:
    """Tell whether the fused forms can read a NumPy or CuPy matrix as it lies in memory."""
    if X.ndim != 2 or X.dtype.char not in "fdFD" or not X.dtype.isnative:
        return False
    if X.flags.c_contiguous:
        return bool(getattr(X.flags, "aligned", True))
    return bool(
        getattr(X.flags, "aligned", True)
        and X.size > 0
        and X.strides[1] == X.dtype.itemsize
        and X.strides[0] % _real_size(X) == 0
    )


def _real_size(X: Array) -> int:
    return int(X.dtype.itemsize) // (2 if X.dtype.kind == "c" else 1)


def _fused(form: str, X: Array, Z: Array) -> bool:
    if not 1 <= Z.shape[1] <= FUSED_COLUMNS or (X.dtype.kind == "c") != (Z.dtype.kind == "c"):
        return False
    if form == "cupy" and not fits_shared_memory(X, Z):
        return False
    return X.shape[1] > 0 and has_contiguous_rows(X)


def _fused_norms(form: str, X: Array, Z: Array) -> bool:
    """With many columns the Numba form takes the norms of rows that are in cache for the GEMM."""
    if form == "numba" and Z.shape[1] > FUSED_COLUMNS:
        return X.shape[1] > 0 and X.dtype == Z.dtype and has_contiguous_rows(X)
    return _fused(form, X, Z)


def fits_shared_memory(X: Array, Z: Array) -> bool:
    """Tell whether the float64 accumulators of `D` fit 48 KiB, which every device has."""
    reals = 4 if X.dtype.kind == "c" else 1
    return bool(X.shape[1] * Z.shape[1] * reals * 8 <= 40 * 1024)


_NUMBA = "linalgkit._kernels.numba_forms.dense:"
_CUPY = "linalgkit._kernels.cupy_forms.dense:"

normal_product = Kernel(
    "normal_product",
    portable=_normal_product,
    numba=_NUMBA + "normal_product",
    cupy=_CUPY + "normal_product",
    supports=_fused,
)
normal_product_norms = Kernel(
    "normal_product_norms",
    portable=_normal_product_norms,
    numba=_NUMBA + "normal_product_norms",
    cupy=_CUPY + "normal_product_norms",
    supports=_fused_norms,
)
row_norms_squared = Kernel(
    "row_norms_squared",
    portable=_row_norms_squared,
    numba=_NUMBA + "row_norms_squared",
    cupy=_CUPY + "row_norms_squared",
    supports=lambda form, X: X.shape[1] > 0 and has_contiguous_rows(X),
)
