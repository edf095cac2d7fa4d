"""Forward substitution for a ladder of rates: the exact block form of Oja's row updates.

Over the rows ``x_1, ..., x_b`` of a block `X`, the row loop ``v <- v + eta conj(x_i) (x_i v)``
equals ``v + eta X^H c`` where ``(I - eta tril(G, -1)) c = X v`` and ``G = X X^H``. One call
solves this unit lower-triangular system for every rate of the ladder.
"""

from __future__ import annotations

import numpy as np

from linalgkit._core.array import Array, Namespace, device, widest_dtype, widest_float
from linalgkit._kernels._kernel import Kernel


def _ladder_solve(xp: Namespace, G: Array, rates: Array, P: Array) -> Array:
    """Solve ``(I - rates[j] tril(G, -1)) C[:, j] = P[:, j]`` for every `j`.

    Forward substitution without pivoting: it follows the row loop even where that grows by
    many orders of magnitude, where an elimination with pivoting loses all digits.

    Parameters
    ----------
    G : array, shape (b, b)
        Gram matrix of the rows; only the part below the diagonal is read.
    rates : array, shape (m,)
        Real rates.
    P : array, shape (b, m)

    Returns
    -------
    array, shape (b, m)
        In the widest float. A column that overflows holds inf or NaN.
    """
    wide = widest_dtype(xp, device(P), P.dtype)
    b = P.shape[0]
    rates = xp.astype(rates, widest_float(xp, device(P)), copy=False)
    # Column i of G acts on the rows below i only; the rows above are finished, and adding to
    # them would do no more than spread an overflow.
    G = xp.astype(G, wide, copy=False)
    rest = xp.astype(P, wide, copy=False)
    rows = []
    with np.errstate(over="ignore", invalid="ignore"):
        for i in range(b):
            row = rest[:1, :]
            rows.append(row)
            rest = rest[1:, :] + G[i + 1 :, i : i + 1] * (row * rates[None, :])
    return xp.concat(rows, axis=0) if rows else rest


def _supports(form: str, G: Array, rates: Array, P: Array) -> bool:
    chars = "fdFD"
    return (
        G.dtype.char in chars
        and P.dtype.char in chars
        and (G.dtype.kind == "c") <= (P.dtype.kind == "c")
        and (form == "numba" or G.shape[0] <= 512)
    )


ladder_solve = Kernel(
    "ladder_solve",
    portable=_ladder_solve,
    numba="linalgkit._kernels.numba_forms.ladder:ladder_solve",
    cupy="linalgkit._kernels.cupy_forms.ladder:ladder_solve",
    supports=_supports,
)
