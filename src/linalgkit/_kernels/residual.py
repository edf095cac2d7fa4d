"""Residual of linear equations and its product with the matrix, from one read of the matrix.

``residual_product(xp, X, Z, B)`` returns ``R = B - X Z`` and ``D = X^H R`` for a block `X` of
rows: what an iterative correction of a least-squares solution needs. `Z` and `B` are of the
device's widest float, as are the results; `X` may be narrower.
"""

from __future__ import annotations

import numpy as np

from linalgkit._core.array import Array, Namespace, device, matmul_h
from linalgkit._kernels._kernel import Kernel
from linalgkit._kernels.dense import fits_shared_memory, has_contiguous_rows, micro_rows

FUSED_COLUMNS = 4


def _residual_product(xp: Namespace, X: Array, Z: Array, B: Array) -> tuple[Array, Array]:
    """Return ``R = B - X Z`` and ``D = X^H R``, both in the dtype of `B`."""
    n, step = X.shape[0], micro_rows(xp, X)
    D = xp.zeros((X.shape[1], Z.shape[1]), dtype=B.dtype, device=device(X))
    pieces = []
    with np.errstate(over="ignore", invalid="ignore"):
        for start in range(0, max(n, 1), step):
            stop = min(start + step, n)
            block = xp.astype(X[start:stop, :], B.dtype, copy=False)
            R = B[start:stop, :] - block @ Z
            D = D + matmul_h(block, R, xp)
            pieces.append(R)
    return pieces[0] if len(pieces) == 1 else xp.concat(pieces, axis=0), D


def _fused(form: str, X: Array, Z: Array, B: Array) -> bool:
    kinds = {X.dtype.kind, Z.dtype.kind, B.dtype.kind}
    if form == "cupy" and not fits_shared_memory(X, Z):
        return False
    is_wide = Z.dtype == B.dtype and Z.dtype.itemsize == (16 if Z.dtype.kind == "c" else 8)
    return bool(
        1 <= Z.shape[1] <= FUSED_COLUMNS
        and min(X.shape) > 0
        and len(kinds) == 1
        and is_wide
        and has_contiguous_rows(X)
    )


residual_product = Kernel(
    "residual_product",
    portable=_residual_product,
    numba="linalgkit._kernels.numba_forms.residual:residual_product",
    cupy="linalgkit._kernels.cupy_forms.dense:residual_product",
    supports=_fused,
)
