"""Values of Chebyshev polynomials, and sums of products along rows.

What a Tucker core with polynomial factors needs at scattered points, beside matrix products::

    T = chebyshev_rows(xp, t, m)     # (m, n): T_0, ..., T_{m-1} at n points
    Z = row_contract(xp, Y, B)       # (n, b): Z[i, b] = sum_a Y[i, a, b] B[i, a]
    B = panel_rows(xp, q, s, L)      # (n, r): B[i, :] = sum_k T_k(s[i]) L[q[i], k, :]

The portable forms take a pass over an array for each polynomial, and the library's batched product;
the other forms read and write each number once.
"""

from __future__ import annotations

import numpy as np

from linalgkit._core.array import Array, Namespace
from linalgkit._kernels._kernel import Kernel


def _chebyshev_rows(xp: Namespace, t: Array, m: int) -> Array:
    """Return the Chebyshev polynomials of the first kind at points.

    Parameters
    ----------
    t : array, shape (n,)
        Real floating; values beyond [-1, 1] are allowed.
    m : int
        Number of polynomials, at least 1: the degrees are 0 to ``m - 1``.

    Returns
    -------
    array, shape (m, n)
        ``T_j(t_i)`` at ``[j, i]``, in the dtype of `t`.

    Notes
    -----
    The three-term recurrence ``T_{j+1} = 2 t T_j - T_{j-1}``; its error at [-1, 1] is that of a few
    roundings of `t`, at most ``O(m^2)`` roundings of the value. Storage: ``m n`` numbers, in the
    portable form twice as many.
    """
    rows = [xp.ones_like(t), t]
    twice = t + t
    with np.errstate(over="ignore", invalid="ignore"):
        while len(rows) < m:
            rows.append(twice * rows[-1] - rows[-2])
    return xp.stack(rows[:m], axis=0)


def _row_contract(xp: Namespace, Y: Array, B: Array) -> Array:
    """Return ``sum_a Y[i, a, b] B[i, a]`` for all rows i; nothing is conjugated.

    Parameters
    ----------
    Y : array, shape (n, a, b)
        Real or complex floating.
    B : array, shape (n, a)
        In the same dtype.

    Returns
    -------
    array, shape (n, b)
        In that dtype.

    Notes
    -----
    Storage: ``n b`` numbers for the answer.
    """
    return xp.matmul(B[:, None, :], Y)[:, 0, :]


def _panel_rows(xp: Namespace, panel: Array, s: Array, L: Array) -> Array:
    """Return functions that have a Chebyshev expansion of their own on every panel.

    Parameters
    ----------
    panel : array of integers, shape (n,)
        The panel of each point.
    s : array, shape (n,)
        Its place there, in [-1, 1]; real floating.
    L : array, shape (panels, terms, r)
        Coefficients on each panel, in the same precision, real or complex.

    Returns
    -------
    array, shape (n, r)
        In the dtype of `L`.

    Notes
    -----
    Storage: ``n r`` numbers, in the portable form three times as many and ``2 n terms``.
    """
    rows = xp.astype(_chebyshev_rows(xp, s, int(L.shape[1])), L.dtype, copy=False)
    result = xp.take(L[:, 0, :], panel, axis=0)
    for k in range(1, int(L.shape[1])):
        result = result + rows[k, :, None] * xp.take(L[:, k, :], panel, axis=0)
    return result


def _rows_fit(form: str, t: Array, m: int) -> bool:
    return t.ndim == 1 and t.dtype.char in "fd" and bool(t.dtype.isnative)


def _contraction_fits(form: str, Y: Array, B: Array) -> bool:
    return (
        Y.ndim == 3
        and Y.dtype.char in "fdFD"
        and Y.dtype == B.dtype
        and bool(Y.dtype.isnative)
        and bool(Y.flags.c_contiguous)
    )


def _panels_fit(form: str, panel: Array, s: Array, L: Array) -> bool:
    return (
        L.dtype.char in "fdFD"
        and bool(L.dtype.isnative)
        and bool(L.flags.c_contiguous)
        and s.dtype.char == L.dtype.char.lower()
        and bool(s.dtype.isnative)
        and panel.dtype.kind == "i"
        and bool(panel.dtype.isnative)
    )


chebyshev_rows = Kernel(
    "chebyshev_rows",
    portable=_chebyshev_rows,
    numba="linalgkit._kernels.numba_forms.chebyshev:chebyshev_rows",
    cupy="linalgkit._kernels.cupy_forms.chebyshev:chebyshev_rows",
    supports=_rows_fit,
)

row_contract = Kernel(
    "row_contract",
    portable=_row_contract,
    numba="linalgkit._kernels.numba_forms.chebyshev:row_contract",
    cupy="linalgkit._kernels.cupy_forms.chebyshev:row_contract",
    supports=_contraction_fits,
)

panel_rows = Kernel(
    "panel_rows",
    portable=_panel_rows,
    numba="linalgkit._kernels.numba_forms.chebyshev:panel_rows",
    cupy="linalgkit._kernels.cupy_forms.chebyshev:panel_rows",
    supports=_panels_fit,
)
