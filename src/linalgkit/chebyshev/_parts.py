"""A Tucker core with polynomial factors: what the functions of this room work on.

::

    parts = Parts(core, factors, intervals, xp)     # in the widest dtype of the device
    parts = orthonormal(parts)                      # factors orthonormal in the weighted norm

In that form the Frobenius norm of the core is the weighted L2 norm of the function, and so is that
of whatever a truncation of the core leaves away. The core carries the scale and the unit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from linalgkit._core.array import (
    Array,
    Device,
    Namespace,
    device,
    numpy_namespace,
    to_numpy,
    widest_dtype,
)
from linalgkit._core.modes import mode_products
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
    factors, remainders = [], []
    for F in parts.factors:
        Q, R = xp.linalg.qr(weighted(F, xp))
        factors.append(unweighted(Q, xp))
        remainders.append(R)
    core = mode_products(parts.core, remainders, xp)
    return Parts(core, tuple(factors), parts.intervals, xp)


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
        host = _HOST.asarray(to_numpy(domain), dtype=_HOST.float64)
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
    for k, (a, b) in enumerate(host):
        if not (math.isfinite(a) and math.isfinite(b) and a < b and math.isfinite(b - a)):
            raise ValueError(message(f"{name}[{k}]", "be (a, b) with finite a < b", (a, b)))
    return tuple((float(a), float(b)) for a, b in host)
