"""Exact scaling by powers of two, and norms that neither overflow nor lose digits.

A power of two changes the exponent of a floating-point number and nothing else, so that data
of any magnitude can be brought to order one and back without a rounding error::

    e = scale_exponent(float(xp.max(xp.abs(A))))
    B = ldexp(A, -e)            # largest entry in [1/2, 1)
    ...                         # squares cannot overflow here
    answer = ldexp(result, e)
"""

from __future__ import annotations

import math
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from linalgkit._core.array import (
    Array,
    Namespace,
    is_complex,
    is_sparse,
    namespace_of,
    real_dtype,
    widest_dtype,
)

# Past this, the smallest subnormal number times the factor is beyond the largest number.
_LARGEST_EXPONENT = 2200


def scale_exponent(maxabs: float) -> int:
    """Return the exponent ``e`` with ``maxabs * 2**-e`` in [1/2, 1); 0 for zero.

    Parameters
    ----------
    maxabs : float
        The largest modulus of some data, subnormal numbers included.

    Returns
    -------
    int
        The exponent.

    Raises
    ------
    ValueError
        If `maxabs` is negative, infinite or NaN.

    Examples
    --------
    >>> scale_exponent(1.0), scale_exponent(6e-3), scale_exponent(0.0)
    (1, -7, 0)
    """
    if not (math.isfinite(maxabs) and maxabs >= 0):
        raise ValueError(
            f"maxabs must be finite and not negative, got {maxabs}. "
            "Remove NaN and infinity from the data first."
        )
    return math.frexp(maxabs)[1]


def ldexp(A: Any, exponent: int, xp: Namespace | None = None) -> Any:
    """Return ``A * 2**exponent``, exact wherever the result can be represented.

    Parameters
    ----------
    A : array or sparse container
        Real or complex floating-point numbers of any shape.
    exponent : int
        May be far beyond the exponents of the dtype: the scaling is done in equal steps, each
        so long that an intermediate result is rounded only where the final one is zero.
    xp : module, optional
        Namespace of `A`.

    Returns
    -------
    array or sparse container
        A new array, or `A` itself where `exponent` is 0. Results below the smallest normal
        number are rounded once (and are zero on devices that flush such numbers).
    """
    if exponent == 0:
        return A
    steps = _exponent_steps(exponent, _normal_exponent(A, xp))
    for step in steps:
        A = A * math.ldexp(1.0, step)
    return A


def ldexp_float(value: float, exponent: int) -> float:
    """Return ``value * 2**exponent`` as a Python float, infinite where it is too large for one."""
    try:
        return math.ldexp(value, exponent)
    except OverflowError:
        return math.copysign(math.inf, value)


def _normal_exponent(A: Any, xp: Namespace | None) -> int:
    """Return the largest ``k`` for which ``2**k`` and ``2**-k`` are both normal numbers."""
    if xp is None or is_sparse(A):
        xp, _ = namespace_of(A)
    smallest = float(xp.finfo(real_dtype(xp, A.dtype)).smallest_normal)
    return 1 - math.frexp(smallest)[1]


def _exponent_steps(exponent: int, longest: int) -> list[int]:
    """Cut an exponent into steps of nearly equal size, none beyond `longest`."""
    exponent = max(-_LARGEST_EXPONENT, min(_LARGEST_EXPONENT, exponent))
    count = -(-abs(exponent) // longest)
    size, longer = divmod(abs(exponent), count)
    sign = 1 if exponent > 0 else -1
    return [sign * (size + (i < longer)) for i in range(count)]


def max_abs(A: Any, xp: Namespace | None = None) -> float:
    """Return the largest modulus as a Python float (one synchronisation); 0.0 if `A` is empty."""
    values = A.data if is_sparse(A) else A
    if math.prod(values.shape) == 0:
        return 0.0
    if xp is None:
        xp, _ = namespace_of(values)
    if is_complex(values, xp):
        return float(xp.max(xp.abs(values)))
    # Two reductions read the data twice but write no copy of it.
    highest, lowest = xp.max(values), xp.min(values)
    if xp.isdtype(values.dtype, "real floating"):
        return float(xp.maximum(highest, -lowest))
    return max(float(highest), -float(lowest))


def silent() -> AbstractContextManager[None]:
    """Let overflow and NaN pass without NumPy's warnings, where the result is looked at."""
    return np.errstate(all="ignore")


def norm_fro(A: Any, xp: Namespace | None = None) -> float:
    """Return the Frobenius norm as a Python float, accumulated in the device's widest float.

    Parameters
    ----------
    A : array or sparse container
        Floating-point numbers of any shape and any magnitude.
    xp : module, optional
        Namespace of `A`.

    Returns
    -------
    float
        ``sqrt(sum |a|^2)``; squares that would overflow or vanish are scaled first. One
        synchronisation, two more where scaling was needed.
    """
    values = A.data if is_sparse(A) else A
    xp, dev = namespace_of(values)
    if math.prod(values.shape) == 0:
        return 0.0
    wide = xp.astype(values, widest_dtype(xp, dev, values.dtype), copy=False)
    tiny = float(xp.finfo(real_dtype(xp, wide.dtype)).smallest_normal)
    safe = math.sqrt(tiny) * 2.0**60, math.sqrt(1 / tiny) / 2.0**60
    norm = math.sqrt(_sum_of_squares(wide, xp))
    if safe[0] < norm < safe[1]:
        return norm
    largest = max_abs(wide, xp)
    if largest == 0 or not math.isfinite(largest):
        return largest
    exponent = scale_exponent(largest)
    return ldexp_float(math.sqrt(_sum_of_squares(ldexp(wide, -exponent, xp), xp)), exponent)


def rough_norm(*arrays: Any) -> float:
    """Return the joint Frobenius norm of several arrays with one synchronisation.

    Parameters
    ----------
    *arrays : array or sparse container
        Floating-point numbers of one library and device.

    Returns
    -------
    float
        NaN or infinity where an entry is, and infinity or 0.0 where squares overflow or vanish.
    """
    stored = [A.data if is_sparse(A) else A for A in arrays]
    xp, dev = namespace_of(stored[0])
    wide = [xp.astype(A, widest_dtype(xp, dev, A.dtype), copy=False) for A in stored]
    with np.errstate(all="ignore"):
        squares = [_squares(A, xp) for A in wide]
        return math.sqrt(float(sum(squares[1:], start=squares[0])))


def _sum_of_squares(A: Array, xp: Namespace) -> float:
    """Return ``sum |a|^2`` on the host."""
    if A.ndim == 0:
        return float(xp.abs(A)) ** 2
    with np.errstate(all="ignore"):  # an overflow is seen by the caller and scaled away
        return float(_squares(A, xp))


def _squares(A: Array, xp: Namespace) -> Array:
    """Return ``sum |a|^2``, summed along the last axis first and without a temporary array."""
    total = xp.sum(xp.vecdot(A, A))
    return xp.real(total) if is_complex(A, xp) else total
