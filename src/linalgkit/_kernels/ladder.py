"""Forward substitution for a ladder of rates: the exact block form of Oja's row updates.

Over the rows ``x_1, ..., x_b`` of a block `X`, the row loop ``v <- v + eta conj(x_i) (x_i v)``
equals ``v + eta X^H c`` where ``(I - eta tril(G, -1)) c = X v`` and ``G = X X^H``. One call
solves this unit lower-triangular system for every rate of the ladder.
"""

from __future__ import annotations

from collections.abc import Iterator

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
    rates = xp.astype(rates, widest_float(xp, device(P)), copy=False)
    rest = xp.astype(P, wide)
    rows = []
    with np.errstate(over="ignore", invalid="ignore"):
        for index, column in _steps(xp, xp.astype(G, wide, copy=False)):
            row = xp.take(rest, index, axis=0)
            rows.append(row)
            # Rows up to this one are finished: what an overflow does to them here is not read.
            rest = rest + column[:, None] * (row * rates[None, :])
    return xp.concat(rows, axis=0) if rows else rest


def _steps(xp: Namespace, G: Array) -> Iterator[tuple[Array, Array]]:
    """Yield ``[i]`` and column `i` of ``tril(G, -1)`` as arrays of fixed shape.

    Libraries that compile every shape they meet (JAX) then compile once, not once a row.
    """
    if G.shape[0] == 0:
        return
    places = xp.reshape(xp.arange(G.shape[0], device=device(G)), (-1, 1))
    lower = xp.tril(G, k=-1)
    yield from zip(xp.unstack(places, axis=0), xp.unstack(lower, axis=1), strict=True)


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
