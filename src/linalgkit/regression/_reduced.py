"""The small least-squares problem that a sketch leaves, solved in the widest precision.

::

    small = solve_reduced(SA, SB, roundoff, xp=xp)
    small.spread.X, small.rank, small.condition     # minimum norm where the rank is deficient
    small.null                                      # what `SA` maps to zero, or None
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

from linalgkit._core.array import Array, Namespace, adjoint, device, to_numpy, widest_dtype
from linalgkit._core.linalg import matmul_h, svd_desc
from linalgkit._core.scaling import scale_exponent, silent
from linalgkit.regression._intervals import Spread, column_norms, row_lengths, times_row_powers
from linalgkit.regression._scaled import finite_as, maxima, times_outer_powers, times_powers

_LARGEST_INVERSE = 1000


@dataclass(frozen=True, eq=False)
class Reduced:
    """Solution of ``min ||M X - B||`` for a matrix of few rows.

    Attributes
    ----------
    spread : Spread
        `X` and the factor of ``(M^H M)^+``; its scales are ones.
    misfits : tuple of float
        ``||M x - b||`` for each right side, in units of ``2**spread.side_exponents``.
    rank : int
        Numerical rank of `M`.
    condition : float
        Ratio of the largest to the smallest singular value that counts, after each column has
        been brought to unit norm where the rank is full (1 for rank 0).
    null : array (d, q) or None
        Where the rank is deficient: vectors that `M`, its columns divided by their norms, maps
        to zero up to rounding, each divided by these norms. Those of zero columns come last.
    null_exponent : int
        They are in units of two to this power, 0 unless columns are of the smallest numbers.
    n_zero : int
        Columns of zeros.
    """

    spread: Spread
    misfits: tuple[float, ...]
    rank: int
    condition: float
    null: Array | None
    n_zero: int
    null_exponent: int = 0


class _Solved(NamedTuple):
    """Solution, factor of the covariance, rank, condition, null vectors and units of columns."""

    X: Array
    F: Array
    rank: int
    condition: float
    null: Array
    exponents: list[int]


def rank_tolerance(roundoff: float, d: int) -> float:
    """Return the share of the largest singular value below which one counts as zero.

    Parameters
    ----------
    roundoff : float
        Spacing of the numbers that were summed.
    d : int
        Number of columns.

    Returns
    -------
    float
        ``16 roundoff max(sqrt(d), 8)``: rounding errors of different columns of a sketch are
        unrelated, and sums inside a block of rows lose a few bits.
    """
    return 16.0 * roundoff * max(math.sqrt(d), 8.0)


def solve_reduced(M: Array, B: Array, roundoff: float, *, xp: Namespace) -> Reduced:
    """Solve a small dense least-squares problem of any scale and rank.

    Parameters
    ----------
    M : array (m, d)
        The matrix; its columns may be of any magnitudes.
    B : array (m, k)
        Right sides.
    roundoff : float
        Spacing of the numbers from which `M` was computed; see :func:`rank_tolerance`.
    xp : module
        Namespace.

    Returns
    -------
    Reduced
        Arrays in the device's widest dtype.

    Raises
    ------
    ValueError
        If `M` or `B` is not finite, which finite data can cause near the end of their range, or
        `X` would overflow.

    Notes
    -----
    With columns of unit norm, the singular values tell whether the rank is full, whatever the
    units of the unknowns. Where it is not, the minimum-norm solution depends on the units, and
    the singular values of the matrix as it is count, as in ``numpy.linalg.lstsq``; columns of
    zeros are set aside before.
    """
    wide = widest_dtype(xp, device(M), xp.result_type(M, B))
    M, B = xp.astype(M, wide, copy=False), xp.astype(B, wide, copy=False)
    M, exponents = _unit_columns(M, "A", xp)
    B, side_exponents = _unit_columns(B, "b", xp)
    Q, R = xp.linalg.qr(M, mode="reduced")
    C = matmul_h(Q, B, xp)
    misfits = column_norms(B - Q @ C, xp)
    lengths = column_norms(R, xp)
    full = [j for j, length in enumerate(lengths) if length > 0]
    R, more = _unit_columns(R, "A", xp)
    exponents = [a + b for a, b in zip(exponents, more, strict=True)]
    solved = _solve_columns(R, C, exponents, full, roundoff, xp)
    with silent():
        X = times_outer_powers(solved.X, [-a for a in solved.exponents], side_exponents, xp)
    X = finite_as(X, wide, "x", xp)
    ones = (1.0,) * len(side_exponents)
    units = tuple(solved.exponents), ones, tuple(side_exponents)
    null = solved.null if solved.null.shape[1] else None
    n_zero = len(lengths) - len(full)
    spread = Spread(X, solved.F, *units)
    exponent = 0 if null is None else _null_exponent([exponents[j] for j in full])
    return Reduced(spread, tuple(misfits), solved.rank, solved.condition, null, n_zero, exponent)


def _solve_columns(
    R: Array, C: Array, exponents: list[int], full: list[int], roundoff: float, xp: Namespace
) -> _Solved:
    """Solve for the columns that are not zero, and set the other unknowns to zero."""
    d = int(R.shape[1])
    if len(full) == d:
        return _solve(R, C, exponents, roundoff, xp)
    index = xp.asarray(full, dtype=xp.int64, device=device(R))
    part = _solve(xp.take(R, index, axis=1), C, [exponents[j] for j in full], roundoff, xp)
    places = {j: i for i, j in enumerate(full)}
    units = [part.exponents[places[j]] if j in places else 0 for j in range(d)]
    sources = [places.get(j, len(full)) for j in range(d)]
    rows = xp.asarray(sources, dtype=xp.int64, device=device(R))

    def spread_out(T: Array) -> Array:
        zero = xp.zeros((1, T.shape[1]), dtype=T.dtype, device=device(T))
        return xp.take(xp.concat([T, zero], axis=0), rows, axis=0)

    identity = xp.eye(d, dtype=R.dtype, device=device(R))
    empty = [j for j in range(d) if j not in places]
    units_of_empty = xp.take(identity, xp.asarray(empty, dtype=xp.int64, device=device(R)), axis=1)
    null = xp.concat([spread_out(part.null), units_of_empty], axis=1)
    return _Solved(spread_out(part.X), spread_out(part.F), part.rank, part.condition, null, units)


def _solve(R: Array, C: Array, exponents: list[int], roundoff: float, xp: Namespace) -> _Solved:
    """Solve with columns of unit norm if that shows full rank, else for the minimum norm."""
    d = int(R.shape[1])
    if d == 0:
        return _Solved(R[:0, :] @ C[:0, :], R[:0, :], 0, 1.0, R[:0, :], exponents)
    lengths = xp.astype(row_lengths(xp.matrix_transpose(R), xp)[0], R.dtype, copy=False)
    solved = _by_singular_values(R / lengths[None, :], C, exponents, roundoff, xp)
    inverse = 1.0 / lengths[:, None]
    if solved.rank == d:
        return solved._replace(X=inverse * solved.X, F=inverse * solved.F)
    unit = _null_exponent(exponents)
    null = times_row_powers(inverse * solved.null, [-a - unit for a in exponents], xp)
    most = max(exponents)
    R = times_powers(R, [a - most for a in exponents], xp)
    return _by_singular_values(R, C, [most] * d, roundoff, xp)._replace(null=null)


def _by_singular_values(
    R: Array, C: Array, exponents: list[int], roundoff: float, xp: Namespace
) -> _Solved:
    U, s, Vh = svd_desc(R, xp)
    values = [float(v) for v in to_numpy(s)]
    floor = rank_tolerance(roundoff, int(R.shape[1])) * values[0]
    rank = sum(v > floor for v in values)
    V = adjoint(Vh, xp)
    F = V[:, :rank] / xp.astype(s[:rank], R.dtype, copy=False)[None, :]
    X = F @ matmul_h(U[:, :rank], C, xp)
    return _Solved(X, F, rank, values[0] / values[rank - 1], V[:, rank:], exponents)


def _null_exponent(exponents: list[int]) -> int:
    """Return the unit in which vectors divided by columns of such sizes do not overflow."""
    return max(0, max(-a for a in exponents) - _LARGEST_INVERSE) if exponents else 0


# ------------------------------------------------------------------------------- columns


def _unit_columns(T: Array, name: str, xp: Namespace) -> tuple[Array, list[int]]:
    """Return columns with largest entries in [1/2, 1), and the powers of two taken out."""
    largest = maxima(T, xp)
    if not all(math.isfinite(value) for value in largest):
        raise ValueError(
            f"{name} must be small enough for sums of its entries to be finite, got a sketch "
            f"that is not. Divide {name} by a power of two first."
        )
    exponents = [scale_exponent(value) for value in largest]
    return times_powers(T, [-e for e in exponents], xp), exponents
