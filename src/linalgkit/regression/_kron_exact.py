"""Kronecker least squares by the singular values of the factors.

::

    eq = kron_equations(factors, B)         # checked, of one library and dtype
    solved = solve_exactly(eq, alpha)
    solved.X                                # (d1, ..., dq, k)
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from linalgkit._core.array import (
    Array,
    DType,
    Namespace,
    adjoint,
    array_namespace,
    detached,
    device,
    eps,
    real_dtype,
    to_numpy,
    widest_dtype,
    working_dtype,
)
from linalgkit._core.linalg import svd_desc
from linalgkit._core.modes import mode_products
from linalgkit._core.scaling import ldexp, ldexp_float, max_abs, norm_fro, scale_exponent, silent
from linalgkit._core.validation import check_array_2d, check_finite_block
from linalgkit.regression._intervals import column_norms
from linalgkit.regression._reduced import rank_tolerance
from linalgkit.regression._scaled import maxima, power_factors


@dataclass(frozen=True, eq=False)
class KronEquations:
    """``(A1 kron A2 kron ...) x = vec(B)``, checked.

    Attributes
    ----------
    factors : list of array (n_t, d_t)
        In the joint working dtype.
    B : array (n1, ..., nq, k)
        Right sides.
    is_flat, has_sides : bool
        Whether `B` came flat, and with an axis of right sides.
    xp : module
        Namespace.
    dtype : dtype
        The joint working dtype.
    """

    factors: list[Array]
    B: Array
    is_flat: bool
    has_sides: bool
    xp: Namespace
    dtype: DType

    @property
    def n(self) -> int:
        """Number of equations."""
        return math.prod(int(A.shape[0]) for A in self.factors)

    @property
    def widths(self) -> tuple[int, ...]:
        """Columns of the factors."""
        return tuple(int(A.shape[1]) for A in self.factors)

    @property
    def d(self) -> int:
        """Number of unknowns."""
        return math.prod(self.widths)

    @property
    def k(self) -> int:
        """Number of right sides."""
        return int(self.B.shape[-1])


class Solved(NamedTuple):
    """Unknowns (d1, ..., dq, k), norms of the residuals, rank and condition."""

    X: Array
    residuals: list[float]
    rank: int
    condition: float


class Factor(NamedTuple):
    """Singular values of one matrix ``W diag(s) V^H D diag(2**exponents)``, of its rank.

    ``inverse`` is ``diag(2**-exponents) D^-1 V``. `D` holds the norms of the columns in these
    units where they were brought to unit norm, and is the identity elsewhere.
    """

    W: Array
    s: Array
    inverse: Array
    exponents: list[int]
    rank: int
    condition: float


def kron_equations(factors: Sequence[Array], B: Array) -> KronEquations:
    """Return the equations that a caller's arguments stand for.

    Raises
    ------
    TypeError, ValueError
        For kinds and shapes that do not fit, naming the argument.
    """
    if not isinstance(factors, (list, tuple)) or not factors:
        raise TypeError(
            f"factors must be a list of at least one matrix, got {type(factors).__name__}. "
            "A single matrix goes into a list, or to lstsq."
        )
    factors = [check_array_2d(f"factors[{t}]", A, min_rows=1)[0] for t, A in enumerate(factors)]
    xp, B = array_namespace(*factors, B), detached(B)
    where = device(B)
    dtype = xp.result_type(*(working_dtype(xp, where, X.dtype) for X in (*factors, B)))
    arrays = [xp.astype(A, dtype, copy=False) for A in factors]
    sizes = tuple(int(A.shape[0]) for A in arrays)
    is_flat, has_sides = _layout(sizes, tuple(B.shape))
    tensor = xp.reshape(xp.astype(B, dtype, copy=False), (*sizes, -1))
    return KronEquations(arrays, tensor, is_flat, has_sides, xp, dtype)


def _layout(sizes: tuple[int, ...], shape: tuple[int, ...]) -> tuple[bool, bool]:
    """Tell from the shape of `B` whether it is flat, and whether it has several right sides."""
    q, n = len(sizes), math.prod(sizes)
    if math.prod(shape) and shape[:q] == sizes and len(shape) in (q, q + 1):
        return False, len(shape) == q + 1
    if math.prod(shape) and shape[0] == n and len(shape) in (1, 2):
        return True, len(shape) == 2
    raise ValueError(
        f"B must be of shape {sizes} or ({n},) for factors with {sizes} rows, with one axis more "
        f"for several right sides, got shape {shape}."
    )


# ------------------------------------------------------------------------------ solution


# Fausett and Fulton 1994 solve by the QR factors of the matrices. Differs from it:
# 1. The triangular factors are decomposed by their singular values, which decide the rank.
# 2. Ridge regression filters the products of singular values.
# 3. The norm of the residual is the difference of two norms, unless digits would cancel.
def solve_exactly(eq: KronEquations, alpha: float) -> Solved:
    """Solve for the minimum norm, or with a ridge.

    Parameters
    ----------
    eq : KronEquations
        What to solve.
    alpha : float
        Weight of ``||x||^2``.

    Returns
    -------
    Solved
        In the device's widest dtype; residuals are those of ``A x - b`` alone.
    """
    xp = eq.xp
    parts = decomposed(eq, in_one_unit=alpha > 0)
    norms = _side_norms(eq.B, xp, "B")
    Z = mode_products(eq.B, [adjoint(part.W, xp) for part in parts], xp)
    Z = xp.astype(Z, widest_dtype(xp, device(Z), eq.dtype), copy=False)
    outside = [_remainder(*pair) for pair in zip(norms, _side_norms(Z, xp), strict=True)]
    if alpha > 0:
        Z, lost = _filtered(Z, parts, alpha, xp)
        residuals = list(map(math.hypot, outside, lost))
        inverses = [part.inverse for part in parts]
    else:
        residuals = outside
        inverses = [_divided(part, xp) for part in parts]
    with silent():
        X = mode_products(Z, inverses, xp)
        _check_unknowns(xp.astype(X, eq.dtype, copy=False), xp)
    # Digits cancel in the difference of two squared norms that are nearly equal.
    threshold = eps(xp, eq.dtype) ** 0.125
    if any(small < threshold * whole for small, whole in zip(residuals, norms, strict=True)):
        residuals = _side_norms(kron_residual(eq, xp.astype(X, eq.dtype, copy=False)), xp)
    rank = math.prod(part.rank for part in parts)
    return Solved(X, residuals, rank, math.prod(part.condition for part in parts))


def decomposed(eq: KronEquations, *, in_one_unit: bool) -> list[Factor]:
    """Return the singular values of all factors, which are refused if they are not finite.

    Parameters
    ----------
    eq : KronEquations
        The equations.
    in_one_unit : bool
        Whether columns must keep their ratios, as a ridge asks for; otherwise they do where the
        rank is deficient.
    """
    parts = []
    for t, A in enumerate(eq.factors):
        Q, R = eq.xp.linalg.qr(A, mode="reduced")
        R = eq.xp.astype(R, widest_dtype(eq.xp, device(R), R.dtype), copy=False)
        largest = maxima(R, eq.xp)
        if not all(math.isfinite(value) for value in largest):
            check_finite_block(A, name=f"factors[{t}]")
            raise ValueError(
                f"factors[{t}] must have columns of finite norm, got one that overflows. Divide "
                "it by a power of two first."
            )
        part = None if in_one_unit else _factor(Q, R, largest, eq, unit_columns=True)
        if part is None or part.rank < A.shape[1]:
            part = _factor(Q, R, [max(largest)] * len(largest), eq)
        parts.append(part)
    return parts


def _factor(
    Q: Array, R: Array, largest: list[float], eq: KronEquations, *, unit_columns: bool = False
) -> Factor:
    """Return singular values of ``Q R``, the columns divided by powers of two or their norms."""
    xp, d = eq.xp, int(R.shape[1])
    exponents = [scale_exponent(value) for value in largest]
    inverse_units = power_factors([-e for e in exponents], xp, device(R), real_dtype(xp, R.dtype))
    scaled = R
    for powers in inverse_units:
        scaled = scaled * powers[None, :]
    lengths = _lengths(scaled, xp) if unit_columns else None
    U, s, Vh = svd_desc(scaled if lengths is None else scaled / lengths[None, :], xp)
    values = [float(value) for value in to_numpy(s)]
    floor = rank_tolerance(eps(xp, eq.dtype), d) * values[0]
    rank = sum(value > floor for value in values)
    W = Q @ xp.astype(U[:, :rank], eq.dtype, copy=False)
    inverse = adjoint(Vh[:rank, :], xp)
    inverse = inverse if lengths is None else inverse / lengths[:, None]
    for powers in inverse_units:
        inverse = powers[:, None] * inverse
    condition = values[0] / values[rank - 1] if rank else 1.0
    return Factor(W, s[:rank], inverse, exponents, rank, condition)


def _lengths(R: Array, xp: Namespace) -> Array:
    """Return the norms of the columns, 1 for a column of zeros."""
    lengths = xp.linalg.vector_norm(R, axis=0)
    return xp.where(lengths > 0, lengths, xp.ones_like(lengths))


def _divided(part: Factor, xp: Namespace) -> Array:
    """Return the pseudo-inverse of a factor but for its left vectors."""
    return part.inverse / xp.astype(part.s, part.inverse.dtype, copy=False)[None, :]


def kron_residual(eq: KronEquations, X: Array) -> Array:
    """Return ``B - (A1 kron A2 kron ...) X``, of the shape of `B`, for `X` (d1, ..., dq, k)."""
    return eq.B - mode_products(X, eq.factors, eq.xp)


def _side_norms(T: Array, xp: Namespace, name: str = "") -> list[float]:
    """Return the 2-norm of each right side; with a name, NaN and infinity are refused."""
    k = int(T.shape[-1])
    if k == 1:
        norms = [norm_fro(xp.reshape(T, (int(T.shape[0]), -1)) if T.shape[0] else T, xp)]
    else:
        norms = column_norms(xp.reshape(T, (-1, k)), xp)
    if name and not all(math.isfinite(norm) for norm in norms):
        check_finite_block(xp.reshape(T, (int(T.shape[0]), -1)), name=name)
    return norms


def _remainder(whole: float, part: float) -> float:
    """Return ``sqrt(whole^2 - part^2)``, 0 where rounding made `part` the larger one."""
    if whole <= part:
        return 0.0
    ratio = part / whole
    return whole * math.sqrt((1.0 - ratio) * (1.0 + ratio))


def _along(values: Array, axis: int, ndim: int, xp: Namespace) -> Array:
    """Return a 1-D array in the shape in which it multiplies a tensor along an axis."""
    return xp.reshape(values, tuple(-1 if i == axis else 1 for i in range(ndim)))


def _filtered(
    Z: Array, parts: Sequence[Factor], alpha: float, xp: Namespace
) -> tuple[Array, list[float]]:
    """Return the core times ``s / (s^2 + alpha)``, and the norms of what that leaves of it."""
    ndim = int(Z.ndim)
    s = xp.ones((1,) * ndim, dtype=real_dtype(xp, Z.dtype), device=device(Z))
    for axis, part in enumerate(parts):
        s = s * _along(part.s, axis, ndim, xp)
    unit = sum(part.exponents[0] for part in parts)
    weight = ldexp_float(alpha, -2 * unit)
    weight = max(weight, sys.float_info.min)
    share = s * s / weight
    left = xp.astype(1.0 / (1.0 + share), Z.dtype) * Z
    return xp.astype(s / (s * s + weight), Z.dtype) * Z, _side_norms(left, xp)


def _check_unknowns(X: Array, xp: Namespace) -> None:
    if not bool(xp.all(xp.isfinite(X))):
        raise ValueError(
            "factors must be of a size for which the unknowns are finite numbers, got unknowns "
            "that overflow. Multiply the factors, or divide B, by a power of two first."
        )


# --------------------------------------------------------------------------- certificate


def stewart_bound(eq: KronEquations, X: Array, alpha: float) -> float:
    """Return a bound on the relative backward error of `X` (d1, ..., dq, k).

    Notes
    -----
    For ``r = b - A x`` both ``E = -r (A^H r)^H / ||r||^2`` and ``E = r x^H / ||x||^2`` make `x` a
    least-squares solution with ``A + E`` (G. W. Stewart, "Research, development, and LINPACK",
    1977). Factors are scaled by powers of two, which changes no ratio.
    """
    xp = eq.xp
    units = [scale_exponent(max_abs(A, xp)) for A in eq.factors]
    factors = [ldexp(A, -e, xp) for A, e in zip(eq.factors, units, strict=True)]
    unit = sum(units)
    weight = ldexp_float(alpha, -2 * unit)
    wide = widest_dtype(xp, device(X), eq.dtype)
    X = ldexp(xp.astype(X, wide, copy=False), unit, xp)
    R = xp.astype(eq.B, wide, copy=False) - mode_products(X, factors, xp)
    gradient = mode_products(R, [adjoint(A, xp) for A in factors], xp) - weight * X
    size = math.hypot(math.prod(norm_fro(A, xp) for A in factors), math.sqrt(weight * eq.d))
    lengths = _side_norms(X, xp)
    misfits = map(math.hypot, _side_norms(R, xp), [math.sqrt(weight) * v for v in lengths])
    worst = 0.0
    for slope, misfit, length in zip(_side_norms(gradient, xp), misfits, lengths, strict=True):
        bounds = [slope / misfit if misfit else 0.0]
        if length > 0.0:
            bounds.append(misfit / length)
        worst = max(worst, min(bounds) / size if size else 0.0)
    return worst
