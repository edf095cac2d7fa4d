"""Residual of linear equations and its product with the matrix, from one read of the matrix.

``residual_product(xp, X, Z, B)`` returns ``R = B - X Z`` and ``D = X^H R`` for a block `X` of
rows: what an iterative correction of a least-squares solution needs. `Z` and `B` are of the
device's widest float, as are the results; `X` may be narrower. ``csr_residual_product`` does so
for CSR rows.

`D` decides how accurate the solution gets, and how true its certificate is: its rounding errors
are a few units of ``|X|^H |R|``, however many rows there are.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from linalgkit._core.array import Array, Namespace, device, library_name
from linalgkit._core.sparse import SparseOperator, csr_rows
from linalgkit._core.summation import RUN, LongSum, long_matmul_h
from linalgkit._kernels._kernel import Kernel
from linalgkit._kernels.dense import fits_shared_memory, has_contiguous_rows, micro_rows

FUSED_COLUMNS = 4
# Entries of CSR rows whose products are kept until they are added up.
_ENTRIES = 2**18


def _residual_product(xp: Namespace, X: Array, Z: Array, B: Array) -> tuple[Array, Array]:
    """Return ``R = B - X Z`` and ``D = X^H R``, both in the dtype of `B`."""
    n, k = B.shape
    step = max(1, micro_rows(xp, X) * RUN // max(RUN, k))  # whose sums take no more than they do
    D, pieces = _zero_sum(xp, X.shape[1], B), []
    with np.errstate(over="ignore", invalid="ignore"):
        for start in range(0, max(n, 1), step):
            stop = min(start + step, n)
            block = xp.astype(X[start:stop, :], B.dtype, copy=False)
            R = B[start:stop, :] - block @ Z
            D.add(long_matmul_h(block, R, xp))
            pieces.append(R)
        return pieces[0] if len(pieces) == 1 else xp.concat(pieces, axis=0), D.value()


def _csr_residual_product(xp: Namespace, S: Any, Z: Array, B: Array) -> tuple[Array, Array]:
    """Return ``R = B - S Z`` and ``D = S^H R``, both in the dtype of `B`."""
    if library_name(xp) != "numpy":
        whole = SparseOperator(S)
        R = B - whole.matmul(Z)
        return R, whole.rmatmul(R)
    n, d = S.shape
    step = max(1, _ENTRIES * n // max(S.nnz, 1))
    D, pieces = _zero_sum(xp, d, B), []
    with np.errstate(over="ignore", invalid="ignore"):
        for start in range(0, max(n, 1), step):
            block = csr_rows(S, start, min(start + step, n))
            R = B[start : start + step, :] - _in_pairs(block, Z)
            D.add(_in_pairs(block.T.conj().tocsr(), R))
            pieces.append(R)
        return pieces[0] if len(pieces) == 1 else xp.concat(pieces, axis=0), D.value()


def _in_pairs(S: Any, V: Array) -> Array:
    """Return ``S V`` of a CSR block; NumPy adds up each row in pairs, where SciPy does not."""
    filled = S.indptr[:-1] < S.indptr[1:]
    starts = S.indptr[:-1][filled]
    product: Array = np.zeros((S.shape[0], V.shape[1]), dtype=V.dtype)
    for k in range(V.shape[1] if starts.size else 0):
        product[filled, k] = np.add.reduceat(S.data * V[S.indices, k], starts)
    return product


def _zero_sum(xp: Namespace, d: int, B: Array) -> LongSum:
    return LongSum(xp.zeros((d, B.shape[1]), dtype=B.dtype, device=device(B)), xp)


def _fused(form: str, X: Array, Z: Array, B: Array) -> bool:
    if form == "cupy" and not fits_shared_memory(X, Z):
        return False
    return bool(
        1 <= Z.shape[1] <= FUSED_COLUMNS
        and min(X.shape) > 0
        and _are_wide(X, Z, B)
        and has_contiguous_rows(X)
    )


def _are_wide(X: Any, Z: Array, B: Array) -> bool:
    """Tell whether all are real or all complex, and right sides of double precision."""
    is_wide = Z.dtype == B.dtype and Z.dtype.itemsize == (16 if Z.dtype.kind == "c" else 8)
    return is_wide and len({X.dtype.kind, Z.dtype.kind, B.dtype.kind}) == 1


def _fused_csr(form: str, S: Any, Z: Array, B: Array) -> bool:
    return S.format == "csr" and S.dtype.char in "fdFD" and _are_wide(S, Z, B)


residual_product = Kernel(
    "residual_product",
    portable=_residual_product,
    numba="linalgkit._kernels.numba_forms.residual:residual_product",
    cupy="linalgkit._kernels.cupy_forms.dense:residual_product",
    supports=_fused,
)
csr_residual_product = Kernel(
    "csr_residual_product",
    portable=_csr_residual_product,
    numba="linalgkit._kernels.numba_forms.residual:csr_residual_product",
    cupy="linalgkit._kernels.cupy_forms.residual:csr_residual_product",
    supports=_fused_csr,
)
