"""Squared row norms, and the squared norms of a few products, in one read of a matrix.

``norms, energies = probed_norms(xp, X, Z)`` tells whether the columns of `X` are orthonormal, as
far as a few vectors show it: ``||X z|| = ||z||`` for each, and the norms sum to their number.
"""

from __future__ import annotations

import numpy as np

from linalgkit._core.array import Array, Namespace, device, to_numpy, widest_dtype
from linalgkit._kernels._kernel import Kernel
from linalgkit._kernels.dense import _squares, has_contiguous_rows, micro_rows

PROBES = 3


def _probed_norms(xp: Namespace, X: Array, Z: Array) -> tuple[Array, Array]:
    """Return the squared norms of the rows of `X`, and of the columns of ``X Z``.

    Parameters
    ----------
    X : array, shape (n, d)
    Z : array, shape (d, PROBES)
        Real or complex as `X` is.

    Returns
    -------
    norms : float64 array on the host, shape (n,)
    energies : float64 array on the host, shape (PROBES,)
        Infinite or NaN, as the norms are, where `X` holds such numbers.
    """
    Z = xp.astype(Z, widest_dtype(xp, device(X), X.dtype), copy=False)
    step = micro_rows(xp, X)
    norms, energies = [], np.zeros(Z.shape[1])
    with np.errstate(over="ignore", invalid="ignore"):
        for start in range(0, X.shape[0], step):
            block = xp.astype(X[start : min(start + step, X.shape[0]), :], Z.dtype, copy=False)
            norms.append(_squares(xp, block))
            energies += to_numpy(_squares(xp, xp.matrix_transpose(block @ Z)))
    joined = to_numpy(norms[0] if len(norms) == 1 else xp.concat(norms, axis=0))
    return joined.astype(np.float64, copy=False), energies


def _supports(form: str, X: Array, Z: Array) -> bool:
    same = (X.dtype.kind == "c") == (Z.dtype.kind == "c")
    return same and Z.shape[1] == PROBES and X.shape[1] > 0 and has_contiguous_rows(X)


probed_norms = Kernel(
    "probed_norms",
    portable=_probed_norms,
    numba="linalgkit._kernels.numba_forms.probe:probed_norms",
    cupy="linalgkit._kernels.cupy_forms.probe:probed_norms",
    supports=_supports,
)
