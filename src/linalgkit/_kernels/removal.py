"""Greedy removal of rows: in each step the row whose loss harms the Gram matrix least.

``greedy_removal(xp, values, Z, steps, delta, two_sided)`` removes up to `steps` of the `k` rows
of `Z`, one after another. `Z` is given in the eigenbasis of its own Gram matrix, ``Z^H Z =
diag(values)``, `values` ascending. A removal is allowed as long as the Gram matrix ``G`` of the
``k - 1`` rows that stay, divided by ``k - 1``, has ``lambda_min(G) >= 1 - delta``, or with
`two_sided` ``||G - I||_2 <= delta``; of all rows the one is removed that leaves the largest
``lambda_min(G)``, or the smallest norm. What comes back are the numbers of the removed rows of
`Z` in their order, int64 on the host: fewer than `steps` where the next one is not allowed.

A loss of row `z` moves the eigenvalues to the roots of ``sum_j |z_j|^2 / (d_j - x) = 1``.
"""

from __future__ import annotations

import numpy as np

from linalgkit._core.array import Array, Namespace, adjoint, device, is_complex
from linalgkit._kernels._kernel import Kernel

_HALVINGS = 80


def _greedy_removal(
    xp: Namespace, values: Array, Z: Array, steps: int, delta: float, two_sided: bool
) -> Array:
    """Return the rows that are removed one after another: every candidate solved by halving."""
    left, removed = list(range(Z.shape[0])), []
    for _ in range(steps):
        count = len(left) - 1
        squares = xp.real(Z) ** 2 + xp.imag(Z) ** 2 if is_complex(Z, xp) else Z * Z
        worst = 1 - _smallest(xp, values, squares) / count
        if two_sided:
            worst = xp.maximum(worst, _largest(xp, values, squares) / count - 1)
        best = int(xp.argmin(worst))
        if not float(worst[best]) <= delta:
            break
        row = Z[best : best + 1, :]
        removed.append(left.pop(best))
        Z = xp.concat([Z[:best, :], Z[best + 1 :, :]], axis=0)
        rest = xp.astype(_diagonal(xp, values), Z.dtype) - adjoint(row, xp) @ row
        values, V = xp.linalg.eigh(rest)
        Z = Z @ V
    return np.asarray(removed, dtype=np.int64)


def _diagonal(xp: Namespace, values: Array) -> Array:
    """Return a diagonal matrix."""
    return xp.eye(values.shape[0], dtype=values.dtype, device=device(values)) * values[None, :]


def _smallest(xp: Namespace, values: Array, squares: Array) -> Array:
    """Return the smallest eigenvalue after the loss of each row."""
    high = xp.zeros_like(squares[:, 0]) + values[0]
    low = high - xp.sum(squares, axis=1)
    return _halved(xp, values, squares, low, high)


def _largest(xp: Namespace, values: Array, squares: Array) -> Array:
    """Return the largest eigenvalue after the loss of each row."""
    high = xp.zeros_like(squares[:, 0]) + values[-1]
    low = high - xp.sum(squares, axis=1)
    if values.shape[0] > 1:
        low = xp.maximum(low, xp.zeros_like(low) + values[-2])
    return _halved(xp, values, squares, low, high)


def _halved(xp: Namespace, values: Array, squares: Array, low: Array, high: Array) -> Array:
    """Return the roots that brackets enclose, by halving them until nothing is left."""
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        gaps = values[None, :] - middle[:, None]
        safe = xp.where(gaps != 0, gaps, xp.ones_like(gaps))
        terms = xp.where(gaps != 0, squares / safe, xp.zeros_like(gaps))
        is_above = xp.sum(terms, axis=1) > 1
        low, high = xp.where(is_above, low, middle), xp.where(is_above, middle, high)
    return (low + high) / 2


def _compiled(
    form: str, values: Array, Z: Array, steps: int, delta: float, two_sided: bool
) -> bool:
    """Tell whether the rows are of double precision, and that there are any."""
    return bool(Z.dtype.char in "dD" and Z.shape[0] > 0 and Z.shape[1] > 0)


greedy_removal = Kernel(
    "greedy_removal",
    portable=_greedy_removal,
    numba="linalgkit._kernels.numba_forms.removal:greedy_removal",
    cupy="linalgkit._kernels.cupy_forms.removal:greedy_removal",
    supports=_compiled,
)
