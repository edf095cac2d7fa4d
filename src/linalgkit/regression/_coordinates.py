"""Coordinates in which the tall matrix `M` of a problem is nearly orthonormal.

They come from the singular value decomposition of a sketch, split at its numerical rank::

    basis = scaled_basis(system, sketched, tolerance)
    coordinates = leading(basis, system)            # M P with P = V diag(1 / s)

"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from linalgkit._core.array import Array, matmul_h
from linalgkit._core.operators import Operator
from linalgkit.regression._certificate import floats
from linalgkit.regression._precondition import Basis, Sketched, singular_basis
from linalgkit.regression._system import System

Map: TypeAlias = Callable[[Array], Array]
Rows: TypeAlias = Callable[[Operator], Array]

# A direction that the sketch takes for zero must be as small in the data, up to this factor.
_DISTORTION = 8


@dataclass(frozen=True)
class Maps:
    """To and from coordinates ``M P`` in which `M` is nearly orthonormal.

    Attributes
    ----------
    reduce : callable
        ``g -> P^H g``.
    expand : callable
        ``h -> P h``.
    kept : callable
        See :meth:`Solver.kept`.
    image : callable
        ``(block, h) -> block P h`` for wide problems. The product ``block P`` is made first, and
        is the one whose Gram matrix was factorised: ``P h`` is so long that ``block (P h)`` has no
        digits left where the condition number is above 1e8.
    """

    reduce: Map
    expand: Map
    kept: Map
    image: Callable[[Operator, Array], Array]


@dataclass(frozen=True)
class Coordinates:
    """Coordinates ``M P`` in which `M` is nearly orthonormal.

    Attributes
    ----------
    rows : callable
        ``X -> X P`` for a block of rows of `M`.
    n_kept : int
        Columns of `P`.
    reduce, expand : callable
        ``g -> P^H g`` and ``h -> P h``.
    inverse : array (r, p)
        ``P^-1``, or its rows for the directions that are kept.
    is_quick : bool
        Whether a Gram matrix in single precision will do.
    """

    rows: Rows
    n_kept: int
    reduce: Map
    expand: Map
    inverse: Array
    is_quick: bool = False


def scaled_basis(system: System, sketched: Sketched, tolerance: float) -> Basis:
    """Return right singular vectors, in the units of `M`, of what is kept and what is not.

    The columns of tall problems are scaled, so that their units do not count. For wide ones
    they are equations, whose scale does. Columns of zeros are not kept.
    """
    xp, scale = system.xp, sketched.scale
    alive = alive_columns(system, sketched)
    if system.is_wide:
        return singular_basis(sketched.R * system.as_dtype(alive / scale)[None, :], tolerance, xp)
    basis = singular_basis(sketched.R * system.as_dtype(alive)[None, :], tolerance, xp)
    scale = system.as_dtype(scale)
    return basis._replace(
        vectors=basis.vectors * scale[:, None],
        lost_vectors=basis.lost_vectors * scale[:, None],
        rows=basis.rows / scale[None, :],
        lost_rows=basis.lost_rows / scale[None, :],
    )


def alive_columns(system: System, sketched: Sketched) -> Array:
    """Return ones, and zeros for the columns of zeros, (p,)."""
    xp = system.xp
    ones = xp.ones((system.size,), dtype=system.real, device=system.device)
    return ones if sketched.dead is None else xp.where(sketched.dead, xp.zeros_like(ones), ones)


def leading(basis: Basis, system: System) -> Coordinates:
    """Return ``P = V diag(1 / s)`` for the directions that are kept."""
    s = system.as_dtype(basis.values)
    P = basis.vectors / s[None, :]

    def product(block: Operator) -> Array:
        return block.matmul(P)

    def reduce(g: Array) -> Array:
        return matmul_h(P, g, system.xp)

    def expand(h: Array) -> Array:
        return P @ h

    return Coordinates(product, basis.rank, reduce, expand, basis.rows * s[:, None])


def is_confirmed(system: System, basis: Basis, tolerance: float) -> bool:
    """Tell whether what the sketch takes for zero is as small in the data: one pass."""
    if not basis.lost_values.shape[0]:
        return True
    lost = basis.lost_vectors
    (squares,) = system.total(lambda _, block: (system.squares(block.matmul(lost)),))
    largest = float(basis.values[0]) if basis.rank else 0.0
    limit = _DISTORTION * max(tolerance * largest, float(basis.lost_values[0]))
    return all(math.sqrt(value) <= limit for value in floats(squares))


def whole_factor(R: Array, basis: Basis, system: System) -> Array:
    """Return the factor `R` of the kept directions with the rows of the others below it."""
    lost = system.as_dtype(basis.lost_values)[:, None] * basis.lost_rows
    return system.xp.concat([R, lost], axis=0)
