"""Driver ``"cholesky"``: the Gram matrix with columns of unit length, and its Cholesky factor.

One pass of matrix products, then corrections from the data themselves. Each correction shrinks
the error by about ``roundoff * condition^2``, so that the driver serves condition numbers up to
``0.1 / sqrt(roundoff)`` (9e6 in double precision), with one to three corrections; beyond, it
declines. Its singular vectors are not corrected: they serve no truncation.
"""

from __future__ import annotations

import math

from linalgkit._core.array import Array, adjoint
from linalgkit._core.linalg import NotPositiveDefiniteError, cholesky, solve_triangular
from linalgkit._core.operators import Operator
from linalgkit.regression._coordinates import Maps
from linalgkit.regression._precondition import condition_of, singular_values
from linalgkit.regression._solver import DirectSolver
from linalgkit.regression._system import System

LARGEST = 0.1


def cholesky_solver(system: System, tolerance: float) -> DirectSolver | None:
    """Return a solver from the Cholesky factor of the Gram matrix, or None where it is unfit.

    Parameters
    ----------
    system : System
        The problem.
    tolerance : float
        Singular values below it, relative to the largest, count as zero: then None.

    Raises
    ------
    ValueError, OutOfRangeError
        See :meth:`System.check_range`.
    """
    xp = system.xp
    G, state = system.gram()
    diagonal = xp.linalg.diagonal(G)
    squares = xp.real(diagonal) if xp.isdtype(G.dtype, "complex floating") else diagonal
    roots = system.check_range(squares)
    dead = squares == 0
    scale = 1 / xp.sqrt(xp.where(dead, xp.ones_like(squares), squares))
    factor = _equilibrated_factor(G, scale, dead, system)
    if factor is None:
        return None
    condition = condition_of(singular_values(factor, xp))
    if condition * max(math.sqrt(system.roundoff) / LARGEST, tolerance) > 1:
        return None
    alive = system.as_dtype(xp.where(dead, xp.zeros_like(scale), 1 / scale))
    R = adjoint(factor, xp) * alive[None, :]
    rank = sum(root > 0 for root in roots)
    maps, units = _maps(factor, system.as_dtype(scale)[:, None], system), system.units_of(scale)
    return DirectSolver("cholesky", state, maps, R, units, rank, condition)


def _equilibrated_factor(G: Array, scale: Array, dead: Array, system: System) -> Array | None:
    """Return the lower factor of ``D G D``, with ones for columns of zeros, or None."""
    xp, d = system.xp, system.as_dtype(scale)
    ones = system.as_dtype(xp.astype(dead, system.real))
    scaled = (G * d[None, :]) * d[:, None] + system.identity() * ones[:, None]
    try:
        return cholesky(scaled, xp)
    except NotPositiveDefiniteError:
        return None


def _maps(L: Array, scale: Array, system: System) -> Maps:
    """Return ``g -> L^-1 D g`` and ``h -> D L^-H h``, and what wide problems need."""
    xp = system.xp

    def reduce(g: Array) -> Array:
        return solve_triangular(L, scale * g, lower=True, xp=xp)

    def expand(h: Array) -> Array:
        return scale * solve_triangular(L, h, lower=True, adjoint=True, xp=xp)

    def kept(g: Array) -> Array:
        return g if system.is_wide else reduce(g)

    def image(block: Operator, h: Array) -> Array:
        return block.matmul(expand(h))

    return Maps(reduce, expand, kept, image)
