"""Products of a block of sparse rows with its normal matrix; the block is never densified.

``csr_normal_product(xp, S, Z)`` takes the rows `S` as a scipy.sparse or cupyx.scipy.sparse CSR
container and returns ``P = S Z`` and ``D = S^H P`` as dense arrays of `xp`, `P` in the dtype of
`S`, `D` in the widest float, as the dense kernels do. Explicit zeros are entries like any other.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from linalgkit._core.array import Array, Namespace, device, widest_dtype, widest_float
from linalgkit._kernels._kernel import Kernel
from linalgkit._kernels.dense import FUSED_COLUMNS


def _csr_normal_product(xp: Namespace, S: Any, Z: Array) -> tuple[Array, Array]:
    """Return ``P = S Z`` in the dtype of `S` and ``D = S^H P`` in the widest float."""
    wide = widest_dtype(xp, device(Z), S.dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        P = S @ xp.astype(Z, S.dtype, copy=False)
        if S.dtype.kind != "c":
            return P, xp.astype(S.T @ P, wide, copy=False)
        return P, xp.astype(xp.conj(S.T @ xp.conj(P)), wide, copy=False)


def _csr_row_norms_squared(xp: Namespace, S: Any) -> Array:
    """Return the squared 2-norms of the rows of `S`, in the widest float."""
    with np.errstate(over="ignore", invalid="ignore"):
        wide = widest_float(xp, device(S.data))
        real, imag = xp.astype(xp.real(S.data), wide), xp.astype(xp.imag(S.data), wide)
        squares = type(S)((real * real + imag * imag, S.indices, S.indptr), shape=S.shape)
        return squares @ xp.ones((S.shape[1],), dtype=wide)


def _csr_normal_product_norms(xp: Namespace, S: Any, Z: Array) -> tuple[Array, Array, Array]:
    """Return ``P = S Z``, ``D = S^H P`` and the squared 2-norms of the rows of `S`."""
    return *_csr_normal_product(xp, S, Z), _csr_row_norms_squared(xp, S)


def _is_csr(form: str, S: Any) -> bool:
    return getattr(S, "format", "") == "csr" and S.dtype.char in "fdFD"


def _fused(form: str, S: Any, Z: Array) -> bool:
    # For more columns SciPy's own products are as fast.
    return (
        _is_csr(form, S)
        and 1 <= Z.shape[1] <= FUSED_COLUMNS
        and (Z.dtype.kind == "c") == (S.dtype.kind == "c")
    )


_CUPY = "linalgkit._kernels.cupy_forms.sparse:"
_NUMBA = "linalgkit._kernels.numba_forms.sparse:"

csr_normal_product = Kernel(
    "csr_normal_product",
    portable=_csr_normal_product,
    numba=_NUMBA + "csr_normal_product",
    cupy=_CUPY + "csr_normal_product",
    supports=_fused,
)
csr_normal_product_norms = Kernel(
    "csr_normal_product_norms",
    portable=_csr_normal_product_norms,
    numba=_NUMBA + "csr_normal_product_norms",
    cupy=_CUPY + "csr_normal_product_norms",
    supports=_fused,
)
csr_row_norms_squared = Kernel(
    "csr_row_norms_squared",
    portable=_csr_row_norms_squared,
    numba=_NUMBA + "csr_row_norms_squared",
    cupy=_CUPY + "csr_row_norms_squared",
    supports=_is_csr,
)
