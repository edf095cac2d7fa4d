"""A Tucker core with polynomial factors: what the functions of this room work on.

::

    parts = Parts(core, factors, intervals, xp)     # in the widest dtype of the device
    parts = orthonormal(parts)                      # factors orthonormal in the weighted norm

In that form the Frobenius norm of the core is the weighted L2 norm of the function, and so is that
of whatever a truncation of the core leaves away. The core carries the scale and the unit.
"""

from __future__ import annotations

import math
import numbers
from dataclasses import dataclass
from typing import Any

from linalgkit._core.array import (
    Array,
    Device,
    Namespace,
    device,
    dtype_name,
    numpy_namespace,
    real_dtype,
    to_numpy,
    widest_dtype,
)
from linalgkit._core.modes import mode_products
from linalgkit._core.scaling import ldexp, norm_fro, scale_exponent
from linalgkit._core.state import PortablePickle
from linalgkit._core.validation import message
from linalgkit.chebyshev._basis import on_device, parseval

_HOST = numpy_namespace()

Interval = tuple[float, float]
MOST_VARIABLES = 6


@dataclass(frozen=True, eq=False)
class Parts(PortablePickle):
    """Core (r_1, ..., r_d), coefficients (m_k, r_k) of the factors, and the box; one dtype."""

    core: Array
    factors: tuple[Array, ...]
    intervals: tuple[Interval, ...]
    xp: Namespace

    @property
    def device(self) -> Device:
        """Where the arrays lie."""
        return device(self.core)

    @property
    def order(self) -> int:
        """Number of variables d."""
        return len(self.factors)

    @property
    def lengths(self) -> tuple[int, ...]:
        """Coefficients m_k of each mode, one more than the degree."""
        return tuple(int(F.shape[0]) for F in self.factors)

    def widened(self) -> Parts:
        """Return the same in the widest dtype of the device."""
        dtype = widest_dtype(self.xp, self.device, self.core.dtype)
        return self.cast(dtype)

    def cast(self, dtype: Any) -> Parts:
        """Return the same in a dtype."""
        core = self.xp.astype(self.core, dtype, copy=False)
        factors = tuple(self.xp.astype(F, dtype, copy=False) for F in self.factors)
        return Parts(core, factors, self.intervals, self.xp)


def weighted(F: Array, xp: Namespace) -> Array:
    """Return coefficients whose plain 2-norm is the weighted norm."""
    return F * on_device(parseval(int(F.shape[0])), F, xp)[:, None]


def unweighted(F: Array, xp: Namespace) -> Array:
    """Return the coefficients of what :func:`weighted` made."""
    return F * on_device(1.0 / parseval(int(F.shape[0])), F, xp)[:, None]


def orthonormal(parts: Parts) -> Parts:
    """Return the same function with factors that are orthonormal in the weighted norm.

    Where a mode has more columns than coefficients, its rank falls to their number.
    """
    xp = parts.xp
    parts, exponent = _balanced(parts)
    factors, remainders = [], []
    for F in parts.factors:
        Q, R = xp.linalg.qr(weighted(F, xp))
        factors.append(unweighted(Q, xp))
        remainders.append(R)
    core = ldexp(mode_products(parts.core, remainders, xp), exponent, xp)
    return Parts(core, tuple(factors), parts.intervals, xp)


def _balanced(parts: Parts) -> tuple[Parts, int]:
    """Return parts whose products cannot overflow, and the power of two taken from the core.

    The columns of the factors are scaled by powers of two, which the core takes over. What is of
    moderate size already, as almost always, is returned as it is.
    """
    xp = parts.xp
    columns = [xp.max(xp.abs(F), axis=0) for F in parts.factors]
    largest = _HOST.asarray(
        to_numpy(xp.concat([*columns, xp.reshape(xp.max(xp.abs(parts.core)), (1,))]))
    )
    nonzero = largest[largest > 0]
    limit = 2.0 ** _moderate(parts)
    if bool(_HOST.all((nonzero < limit) & (nonzero > 1 / limit))) or not bool(
        _HOST.all(_HOST.isfinite(largest))
    ):
        return parts, 0
    core, factors = parts.core, []
    exponent = scale_exponent(float(largest[-1]))
    core = ldexp(core, -exponent, xp)
    for k, (F, column) in enumerate(zip(parts.factors, columns, strict=True)):
        shifts = _HOST.frexp(_HOST.asarray(to_numpy(column)))[1]
        factors.append(_shifted(F, -shifts, 1, xp))
        others = tuple(j for j in range(parts.order) if j != k)
        moduli = xp.max(xp.abs(core), axis=others) if others else xp.abs(core)
        slices = _HOST.asarray(to_numpy(moduli))
        reached = (_HOST.frexp(slices)[1] + shifts)[slices > 0]
        top = int(_HOST.max(reached)) if reached.shape[0] else 0
        core = _shifted(core, _HOST.where(slices > 0, shifts - top, 0), k, xp)
        exponent += top
    return Parts(core, tuple(factors), parts.intervals, xp), exponent


def _moderate(parts: Parts) -> int:
    """Return the exponent up to which numbers, one of each factor and the core, multiply safely."""
    smallest = float(parts.xp.finfo(real_dtype(parts.xp, parts.core.dtype)).smallest_normal)
    return -math.frexp(smallest)[1] // (2 * (parts.order + 1))


def _shifted(A: Array, exponents: Array, axis: int, xp: Namespace) -> Array:
    """Return slices along an axis times powers of two, each its own, in steps that are numbers."""
    longest = -math.frexp(float(xp.finfo(real_dtype(xp, A.dtype)).smallest_normal))[1]
    shape = tuple(-1 if k == axis else 1 for k in range(A.ndim))
    count = max(1, -(-int(_HOST.max(_HOST.abs(exponents))) // longest))
    for step in range(count):
        part = (exponents * (step + 1)) // count - (exponents * step) // count
        A = A * xp.reshape(on_device(_HOST.ldexp(1.0, part), A, xp), shape)
    return A


def scaled_parts(parts: Parts, exponent: int) -> Parts:
    """Return parts times a power of two."""
    core = ldexp(parts.core, exponent, parts.xp)
    return Parts(core, parts.factors, parts.intervals, parts.xp)


def require_finite(parts: Parts) -> None:
    """Raise ValueError where the core has overflowed; one synchronisation."""
    xp = parts.xp
    if not math.isfinite(norm_fro(parts.core, xp)):
        raise ValueError(
            f"the function is beyond the largest {dtype_name(xp, parts.core.dtype)} number: its "
            "core overflows. Rescale what it is made of first (T * 1e-100), or compute in a wider "
            "dtype."
        )


# ------------------------------------------------------------------------------------ the domain


def check_domain(domain: Any, name: str = "domain") -> tuple[Interval, ...]:
    """Return the box as pairs of floats.

    Parameters
    ----------
    domain : array or sequence, shape (d, 2)
        Lower and upper end of each variable.
    name : str
        The argument's name.

    Returns
    -------
    tuple of (float, float)
        One pair a variable.

    Raises
    ------
    TypeError
        If it is no sequence of pairs of numbers.
    ValueError
        If there is none, more than 6, an end is not finite, or the ends are out of order.
    """
    rule = "be pairs (a, b) of finite numbers with a < b, one a variable"
    way_out = "A function of two variables on the unit square has domain=[(0, 1), (0, 1)]."
    try:
        host = _real_numbers(_HOST.asarray(to_numpy(domain)))
    except (TypeError, ValueError):
        raise TypeError(message(name, rule, domain, way_out=way_out)) from None
    if host.ndim != 2 or host.shape[1] != 2 or host.shape[0] == 0:
        raise ValueError(message(name, rule, domain, way_out=way_out))
    if host.shape[0] > MOST_VARIABLES:
        raise ValueError(
            f"{name} must have at most {MOST_VARIABLES} variables, got {host.shape[0]}: the core "
            "of a Tucker format grows exponentially with their number. Take a tensor train "
            "(TT) library for more."
        )
    intervals = tuple((float(a), float(b)) for a, b in host)
    for k, (a, b) in enumerate(intervals):
        if not (math.isfinite(a) and math.isfinite(b) and a < b and math.isfinite(b - a)):
            raise ValueError(message(f"{name}[{k}]", "be (a, b) with finite a < b", (a, b)))
    return intervals


def _real_numbers(host: Array) -> Array:
    """Return a host array as floats, or raise TypeError where it holds other things."""
    if host.dtype.kind == "O":
        if not all(isinstance(v, numbers.Real) and not isinstance(v, bool) for v in host.flat):
            raise TypeError
    elif host.dtype.kind not in "iuf":
        raise TypeError
    return _HOST.asarray(host, dtype=_HOST.float64)
