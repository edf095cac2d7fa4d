"""Launching the residual of CSR rows, a warp a row, up to four columns at a time."""

from __future__ import annotations

from typing import Any

import numpy as np

from linalgkit._core.array import Array, Namespace
from linalgkit._kernels.cupy_forms.launch import THREADS, launch

_STORED = {"f": "float", "d": "double", "F": "Complex<float>", "D": "Complex<double>"}
_INDEX = {4: "int", 8: "long long"}
_COLUMNS = 4


def csr_residual_product(xp: Namespace, S: Any, Z: Array, B: Array) -> tuple[Array, Array]:
    """Return ``R = B - S Z`` and ``D = S^H R``, both in double precision.

    `D` is summed by atomic additions whose rounding errors are added up as well: its last bits
    may differ between runs, by no more than those errors' errors.
    """
    is_complex, (n, width), d = B.dtype.kind == "c", B.shape, Z.shape[0]
    Z, B = xp.ascontiguousarray(Z), xp.ascontiguousarray(B)
    R = xp.empty((n, width), dtype=B.dtype)
    sums = xp.zeros((d, width, 2 if is_complex else 1, 2), dtype=xp.float64)
    scalar = "Complex<double>" if is_complex else "double"
    types = f"{_STORED[S.dtype.char]}, {scalar}, {_INDEX[S.indices.dtype.itemsize]}"
    for first in range(0, width if n else 0, _COLUMNS):
        columns = np.int32(width), np.int32(first)
        arguments = (S.data, S.indices, S.indptr, np.int64(n), Z, B, *columns, R, sums)
        instance = f"csr_residual_product<{types}, {min(_COLUMNS, width - first)}>"
        launch("residual", instance, -(-n * 32 // THREADS), arguments)
    errors = sums[..., 1]
    D = sums[..., 0] + xp.where(xp.isfinite(errors), errors, xp.zeros_like(errors))
    return R, (D.view(B.dtype) if is_complex else D)[:, :, 0]
