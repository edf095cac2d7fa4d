"""Ranks and degrees that an error needs, for every operation that makes a larger function.

::

    smaller, error = recompress(parts, 1e-6)

With orthonormal factors the weighted norm of a function is the Frobenius norm of its core, so that
discarded singular values and trailing coefficients are an error in that norm.
"""

from __future__ import annotations

import math

from linalgkit._core.array import (
    Array,
    Namespace,
    adjoint,
    array_namespace,
    complex_dtype,
    is_complex,
    numpy_namespace,
    to_numpy,
)
from linalgkit._core.scaling import ldexp, ldexp_float, max_abs, scale_exponent
from linalgkit._core.validation import message
from linalgkit.chebyshev._parts import Parts, orthonormal, require_finite, weighted
from linalgkit.chebyshev._sthosvd import truncate

_HOST = numpy_namespace()

# The share of the squared error that truncation may take; the rest is for the degrees.
_TRUNCATION_SHARE = 0.75


def recompress(parts: Parts, absolute: float) -> tuple[Parts, float]:
    """Return the function with the ranks and degrees that an error needs.

    Parameters
    ----------
    parts : Parts
        The function, in the widest dtype of its device.
    absolute : float
        The error allowed, in the weighted L2 norm and the unit of f.

    Returns
    -------
    parts : Parts
        The smaller function, factors orthonormal.
    error : float
        The weighted L2 norm of what was left away, at most `absolute`: the discarded singular
        values and coefficients, summed by Pythagoras, not a difference of norms. An upper bound
        only in that coefficients cut in two modes are counted twice.

    Raises
    ------
    ValueError
        If the core holds NaN or infinity.

    Notes
    -----
    Storage: the core and the factors twice.
    """
    xp = parts.xp
    require_finite(parts)
    parts = orthonormal(parts)
    core, bases, cut = truncate(parts.core, math.sqrt(_TRUNCATION_SHARE) * absolute, xp)
    factors = tuple(F @ U for F, U in zip(parts.factors, bases, strict=True))
    parts = Parts(core, factors, parts.intervals, xp)
    left = math.sqrt(max(0.0, 1.0 - (cut / absolute) ** 2)) * absolute if absolute > 0 else 0.0
    parts, chopped = trimmed(parts, left)
    return parts, math.hypot(cut, chopped)


def trimmed(parts: Parts, absolute: float) -> tuple[Parts, float]:
    """Return an orthonormal function without the trailing coefficients that an error allows.

    The squared error is shared equally among the modes, and what is cut in two is counted twice.
    """
    xp, d = parts.xp, parts.order
    exponent = scale_exponent(max_abs(parts.core, xp))
    core = ldexp(parts.core, -exponent, xp)
    share = ldexp_float(absolute, -exponent) / math.sqrt(d)
    cut, squares = [], 0.0
    for k, F in enumerate(parts.factors):
        tails = _tails(F, core, k, xp)
        m = max(1, int(_HOST.argmax(tails <= share)))
        squares += float(tails[m]) ** 2
        cut.append(F[:m, :])
    if tuple(F.shape[0] for F in cut) == parts.lengths:
        return parts, 0.0
    smaller = orthonormal(Parts(parts.core, tuple(cut), parts.intervals, xp))
    return smaller, ldexp_float(math.sqrt(squares), exponent)


def _tails(F: Array, core: Array, axis: int, xp: Namespace) -> Array:
    """Return the weighted norm of all coefficients of a mode from index j on, j = 0..m (host)."""
    L = lower_factor(core, axis, xp)
    return tail_norms(xp.linalg.vector_norm(weighted(F, xp) @ L, axis=1))


def lower_factor(core: Array, axis: int, xp: Namespace) -> Array:
    """Return ``L`` (r, s) with ``L L^H`` the Gram matrix of an unfolding, without squaring it."""
    r = int(core.shape[axis])
    U = xp.reshape(xp.moveaxis(core, axis, 0), (r, -1))
    if U.shape[1] <= r:
        return U
    return adjoint(xp.linalg.qr(adjoint(U, xp))[1], xp)


# ------------------------------------------------------------------------------------------ helpers


def match(a: Parts, b: Parts) -> tuple[Parts, Parts]:
    """Return two functions in one dtype, or say why they do not go together."""
    array_namespace(a.core, b.core)
    if a.device != b.device:
        rule = f"lie on the device of the first function, {a.device}"
        raise ValueError(message("the second function", rule, b.device))
    if a.intervals != b.intervals:
        rule = f"have the domain of the first, {a.intervals}"
        way_out = "Restrict both to a common box first (T.restrict)."
        raise ValueError(message("the second function", rule, b.intervals, way_out=way_out))
    xp = a.xp
    if is_complex(a.core, xp) != is_complex(b.core, xp):
        a, b = (f.cast(complex_dtype(xp, f.core.dtype)) for f in (a, b))
    return a, b


def kept(values: Array, absolute: float) -> int:
    """Return how many leading numbers, at least 1, leave a rest of a small norm."""
    return max(1, int(_HOST.argmax(tail_norms(values) <= absolute)))


def tail_norms(values: Array) -> Array:
    """Return the 2-norms of ``values[j:]`` for j from 0 to their number, in float64 (host)."""
    squares = _HOST.asarray(to_numpy(values), dtype=_HOST.float64) ** 2
    return _HOST.sqrt(_HOST.append(_HOST.cumsum(squares[::-1])[::-1], 0.0))


def zero_like(parts: Parts) -> Parts:
    """Return the function 0 of rank 1 and degree 0 on the same box."""
    xp, d = parts.xp, parts.order
    core = xp.zeros((1,) * d, dtype=parts.core.dtype, device=parts.device)
    one = xp.ones((1, 1), dtype=parts.core.dtype, device=parts.device)
    return Parts(core, (one,) * d, parts.intervals, xp)
