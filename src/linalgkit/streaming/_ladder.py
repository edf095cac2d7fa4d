"""Oja's rule for a block of rows at many rates, exactly, in matrix products.

Row after row, ``v <- (I + eta x x^H) v``. For a block the product of these factors is a
triangular system and two matrix products, for every rate at once::

    V, Y = ladder_step(block, G, V, rates, V0, xp=xp)
    V, growth = normalise(V, 1, xp=xp)

"""

from __future__ import annotations

import math

from linalgkit._core.array import Array, Namespace
from linalgkit._core.operators import Operator
from linalgkit._kernels import ladder_solve


def ladder_step(
    block: Operator, G: Array, V: Array, rates: Array, V0: Array, *, xp: Namespace
) -> tuple[Array, Array]:
    """Apply Oja's rule, row after row, to the columns of `V` at their own rates.

    Parameters
    ----------
    block : Operator (b, d)
        Rows.
    G : array (b, b)
        Their products with each other, ``X X^H``.
    V : array (d, m)
        Vectors.
    rates : array (m,)
        Real, not negative.
    V0 : array (d, k)
        The start, for the first-order sum.
    xp : module
        Namespace.

    Returns
    -------
    V : array (d, m)
        ``(I + eta x_b x_b^H) ... (I + eta x_1 x_1^H) v`` for each column, not normalised. With
        ``c = (I - eta tril(X X^H, -1))^{-1} X v`` that product is ``v + eta X^H c``.
    Y : array (d, k)
        ``X^H X V0``.
    """
    m, narrow = V.shape[1], block.dtype
    joint = xp.astype(xp.concat([V, V0], axis=1), narrow, copy=False)
    P = xp.astype(block.matmul(joint), V.dtype, copy=False)
    C = ladder_solve(xp, G, rates, P[:, :m]) * xp.astype(rates[None, :], V.dtype, copy=False)
    steps = xp.concat([C, P[:, m:]], axis=1)
    if narrow == V.dtype:
        D = block.rmatmul(steps)
    else:  # growth that a wide number holds may be beyond the range of a narrow one
        largest = xp.max(xp.abs(steps), axis=0)
        unit = xp.astype(xp.where(largest > 0, largest, xp.ones_like(largest)), V.dtype)[None, :]
        D = xp.astype(block.rmatmul(xp.astype(steps / unit, narrow)), V.dtype) * unit
    return V + D[:, :m], D[:, m:]


def normalise(V: Array, k: int, *, xp: Namespace) -> tuple[Array, Array]:
    """Orthonormalise each group of `k` neighbouring columns.

    Returns
    -------
    V : array (d, m k)
        Each group with the spans of its leading columns kept.
    growth : array (m, k)
        Logarithms of the lengths that were divided by (minus infinity for a zero column).
    """
    d, columns = V.shape
    if k == 1:
        lengths = xp.linalg.vector_norm(V, axis=0)
        safe = xp.where(lengths > 0, lengths, xp.ones_like(lengths))
        V = V / xp.astype(safe[None, :], V.dtype, copy=False)
    else:
        groups = xp.permute_dims(xp.reshape(V, (d, columns // k, k)), (1, 0, 2))
        Q, R = xp.linalg.qr(groups)
        lengths = xp.reshape(xp.abs(xp.linalg.diagonal(R)), (columns,))
        V = xp.reshape(xp.permute_dims(Q, (1, 0, 2)), (d, columns))
        safe = xp.where(lengths > 0, lengths, xp.ones_like(lengths))
    growth = xp.where(lengths > 0, xp.log(safe), xp.full_like(lengths, -math.inf))
    return V, xp.reshape(growth, (columns // k, k))


def add_scaled(a: tuple[float, int], b: tuple[float, int]) -> tuple[float, int]:
    """Add two numbers given as mantissa and exponent."""
    if a[0] == 0.0 or b[0] == 0.0:
        return a if b[0] == 0.0 else b
    high, low = (a, b) if a[1] >= b[1] else (b, a)
    total = high[0] + math.ldexp(low[0], max(low[1] - high[1], -1100))
    mantissa, exponent = math.frexp(total)
    return mantissa, exponent + high[1]
