"""Jacobi polynomials, with envelopes that take singular weights apart.

::

    family = Jacobi(0.5, 2.0, low=0.0, high=3.0)
    family.evaluate(points, 7)              # (n, 8): degrees 0 to 7
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from linalgkit._core.array import Array, numpy_namespace
from linalgkit._core.capabilities import capability
from linalgkit._core.validation import check_float
from linalgkit.sampling._family import check_ends
from linalgkit.sampling._induced import HIGH_POWER, LOW_POWER, Cells, subdivided, uniform_cells
from linalgkit.sampling._recurrence import PER_LOBE, Polynomials, lobe_cells, log_slope

_HOST = numpy_namespace()


@capability("sampling.Jacobi", synchronisations={"evaluation": 4})
@dataclass(frozen=True)
class Jacobi(Polynomials):
    """Jacobi polynomials, orthonormal for a beta law on an interval.

    Parameters
    ----------
    a, b : float
        Exponents of the weight ``(1 - t)^a (1 + t)^b`` on [-1, 1], greater than -1 and at most
        100. On [0, 1] this is the law Beta(b + 1, a + 1).
    low, high : float, default -1, 1
        Ends of the interval.

    Raises
    ------
    TypeError
        If an argument is no real number.
    ValueError
        If an exponent or an end is not allowed.

    Notes
    -----
    Draws of ``psi_j^2 dmu`` come from a piecewise envelope, made when a degree is first drawn
    from and kept: between two zeros of ``psi_j`` the density (without a factor of negative
    exponent) is log-concave, so that its tangents bound it; about nine in ten proposals are kept.
    Near an end of exponent `e` the law has a share of about ``eps^(1 + e)`` within rounding of
    that end (2 % for ``e = -0.9``), which is drawn as the end itself.

    Storage: about ``640 (j + 1)`` bytes for the envelope of degree `j`.

    Examples
    --------
    >>> import numpy as np
    >>> Jacobi(-0.5, -0.5).evaluate(np.asarray([1.0]), 3).round(4)  # Chebyshev polynomials
    array([[1.    , 1.4142, 1.4142, 1.4142]])
    """

    a: float
    b: float
    low: float = -1.0
    high: float = 1.0
    _may_overflow: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for name in ("a", "b"):
            value = check_float(name, getattr(self, name), -1, 100, low_open=True)
            object.__setattr__(self, name, value)
        for name, value in zip(("low", "high"), check_ends(self.low, self.high), strict=True):
            object.__setattr__(self, name, value)

    @property
    def domain(self) -> tuple[float, float]:
        """The ends of the interval."""
        return self.low, self.high

    @property
    def _map(self) -> tuple[float, float]:
        return 0.5 * self.low + 0.5 * self.high, 0.5 * (self.high - self.low)

    def _jacobi_matrix(self, p: int) -> tuple[Array, Array]:
        a, b = self.a, self.b
        k = _HOST.arange(1.0, p + 1)
        s = 2 * k + a + b
        diagonal = _HOST.empty(p)
        diagonal[:1] = (b - a) / (a + b + 2)
        diagonal[1:] = (b - a) * (b + a) / (s * (s + 2))[: p - 1]
        square = _HOST.empty(p)
        square[:1] = 4 * (a + 1) * (b + 1) / ((a + b + 2) ** 2 * (a + b + 3))
        k, s = k[1:], s[1:]
        square[1:] = 4 * k * (k + a) * (k + b) * (k + a + b) / (s * s * (s + 1) * (s - 1))
        return diagonal, _HOST.sqrt(square)

    def _draw(self, count: int, rng: Any) -> Array:
        return self._from_standard(2 * rng.beta(self.b + 1, self.a + 1, count) - 1)

    def _powers(self) -> tuple[float, float]:
        return min(self.b, 0.0), min(self.a, 0.0)

    def _density(self, t: Array, degrees: Array, kind: Array) -> Array:
        root = self._values(t, degrees)
        for exponent, distance, own in ((self.a, 1 - t, HIGH_POWER), (self.b, 1 + t, LOW_POWER)):
            if exponent > 0:
                root *= distance ** (exponent / 2)
            elif exponent < 0:
                root *= _HOST.where(kind == own, 1.0, distance) ** (exponent / 2)
        return root * root

    def _cells(self, degree: int) -> Cells:
        zeros = self._zeros(degree)
        parts = _HOST.full(degree + 1, PER_LOBE)
        # The outer lobes reach far where the exponents are large.
        parts[[0, -1]] *= [1 + math.ceil(math.sqrt(max(e, 0.0))) for e in (self.b, self.a)]
        angles = subdivided(_HOST.arccos(_HOST.concatenate(([-1.0], zeros, [1.0]))), parts)
        edges = _HOST.cos(angles)
        below, above = 2 * _HOST.cos(0.5 * angles) ** 2, 2 * _HOST.sin(0.5 * angles) ** 2
        edges[0], edges[-1], below[0], above[-1] = -1.0, 1.0, 0.0, 0.0
        regular = _HOST.zeros(edges.size)
        slope = log_slope(edges, zeros)
        at_zero = _HOST.zeros(edges.size, dtype="bool")
        at_zero[_HOST.cumsum(parts)[:-1]] = True
        for exponent, distance, sign in ((self.a, above, -1), (self.b, below, 1)):
            if exponent > 0:
                with _HOST.errstate(divide="ignore"):
                    regular += exponent * _HOST.log(distance)
                    slope += sign * exponent / distance
                at_zero |= distance == 0
        with _HOST.errstate(divide="ignore"):
            psi = self._values(edges, _HOST.full(edges.size, degree))
            if not bool(_HOST.isfinite(psi).all()):
                raise ValueError(
                    f"the degree must be small enough for values of {self!r} to stay within the "
                    f"range of double precision, got {degree}."
                )
            regular += 2 * _HOST.log(_HOST.abs(psi))
        bounds = lobe_cells(edges, at_zero, regular, slope)
        return self._with_singular_factors(edges, bounds, above, below)

    def _with_singular_factors(
        self, edges: Array, bounds: Array, above: Array, below: Array
    ) -> Cells:
        """Return cells of the density itself from bounds of its log-concave part."""
        low, high = self._powers()
        # A factor of negative exponent is largest where it is nearest to its end.
        with _HOST.errstate(divide="ignore", invalid="ignore"):
            at_high, at_low = high * _HOST.log(above[1:]), low * _HOST.log(below[:-1])
        at_high = _HOST.where(above[1:] > 0, at_high, 0.0)
        at_low = _HOST.where(below[:-1] > 0, at_low, 0.0)
        cells = uniform_cells(edges, bounds + at_high + at_low)
        start, width, bound, mass, kind = cells
        for place, exponent, own, end, signed in (
            (0, low, LOW_POWER, -1.0, below[1]),
            (-1, high, HIGH_POWER, 1.0, -above[-2]),
        ):
            if exponent < 0:
                start[place], width[place], kind[place] = end, signed, own
                mass[place] = bound[place] * abs(signed) ** (1 + exponent) / (1 + exponent)
        return Cells(start, width, bound, mass, kind)
