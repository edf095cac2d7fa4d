"""Legendre and Hermite polynomials and trigonometric functions, orthonormal in one variable.

Each is orthonormal with respect to a probability measure, begins with the constant one, and
draws from its measure and from the laws ``psi_j^2 dmu``, exactly::

    family = Legendre(0.0, 3.0)
    family.evaluate(points, 7)              # (n, 8): degrees 0 to 7
    family.draw_induced([7, 7, 2], rng=0)   # one draw for each degree
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from linalgkit._core.array import Array, Namespace, device, numpy_namespace
from linalgkit._core.capabilities import capability
from linalgkit._core.validation import check_choice, check_float
from linalgkit.sampling._family import Family, check_ends
from linalgkit.sampling._induced import (
    HIGH_TAIL,
    LOW_TAIL,
    Cells,
    arcsine_draws,
    subdivided,
    uniform_cells,
)
from linalgkit.sampling._recurrence import PER_LOBE, Polynomials, lobe_cells, log_slope

_HOST = numpy_namespace()


@capability("sampling.Legendre", synchronisations={"evaluation": 3})
@dataclass(frozen=True)
class Legendre(Polynomials):
    """Legendre polynomials, orthonormal for the uniform law on an interval.

    Parameters
    ----------
    low, high : float, default -1, 1
        Ends of the interval.

    Raises
    ------
    TypeError
        If an end is no real number.
    ValueError
        If `low` is not less than `high`, or an end not finite.

    Notes
    -----
    ``psi_j(x) = sqrt(2 j + 1) P_j(t)`` with `t` the place of `x` on [-1, 1]. Draws of
    ``psi_j^2 dmu`` are arcsine draws kept with probability one half, whatever the degree, by
    Bernstein's inequality.

    Storage: the coefficients of the recurrence, 24 bytes a degree.

    Examples
    --------
    >>> import numpy as np
    >>> Legendre(0, 1).evaluate(np.asarray([0.0, 0.5, 1.0]), 2).round(4)
    array([[ 1.    , -1.7321,  2.2361],
           [ 1.    ,  0.    , -1.118 ],
           [ 1.    ,  1.7321,  2.2361]])
    """

    low: float = -1.0
    high: float = 1.0

    def __post_init__(self) -> None:
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
        k = _HOST.arange(1.0, p + 1)
        return _HOST.zeros(p), k / _HOST.sqrt(4 * k * k - 1)

    def _draw(self, count: int, rng: Any) -> Array:
        return self._from_standard(2 * rng.random(count) - 1)

    def _standard_draws(self, degrees: Array, rng: Any) -> Array:
        return arcsine_draws(self._values, degrees, rng)


@capability("sampling.Hermite", synchronisations={"evaluation": 4})
@dataclass(frozen=True)
class Hermite(Polynomials):
    """Hermite polynomials, orthonormal for a normal law.

    Parameters
    ----------
    mean : float, default 0
        Mean of the law.
    std : float, default 1
        Its standard deviation, positive.

    Raises
    ------
    TypeError
        If an argument is no real number.
    ValueError
        If one is not finite, or `std` not positive.

    Notes
    -----
    Degrees reach 300 at most: beyond, squares of values at the points that matter exceed the
    range of float64 (of float32 beyond degree 40). Draws of ``psi_j^2 dmu`` come from a
    piecewise envelope as those of :class:`Jacobi` do; beyond the outermost cells it decays
    exponentially, so that nothing is cut off.

    Storage: about ``640 (j + 1)`` bytes for the envelope of degree `j`.

    Examples
    --------
    >>> import numpy as np
    >>> Hermite(mean=1.0).evaluate(np.asarray([1.0, 3.0]), 2).round(4)
    array([[ 1.    ,  0.    , -0.7071],
           [ 1.    ,  2.    ,  2.1213]])
    """

    mean: float = 0.0
    std: float = 1.0
    _may_overflow: ClassVar[bool] = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "mean", check_float("mean", self.mean))
        object.__setattr__(self, "std", check_float("std", self.std, 0, low_open=True))

    @property
    def max_degree(self) -> int:
        """The largest degree, 300."""
        return 300

    @property
    def domain(self) -> tuple[float, float]:
        """All real numbers."""
        return -math.inf, math.inf

    @property
    def _map(self) -> tuple[float, float]:
        return self.mean, self.std

    def _jacobi_matrix(self, p: int) -> tuple[Array, Array]:
        return _HOST.zeros(p), _HOST.sqrt(_HOST.arange(1.0, p + 1))

    def _draw(self, count: int, rng: Any) -> Array:
        return self.mean + self.std * rng.standard_normal(count)

    def _powers(self) -> tuple[float, float]:
        return 0.0, 0.0

    def _density(self, t: Array, degrees: Array, kind: Array) -> Array:
        with _HOST.errstate(over="ignore", invalid="ignore", under="ignore"):
            half = self._values(t, degrees) * _HOST.exp(-0.25 * t * t)
        # Farther out than any point that can be drawn the product may be inf times 0.
        density: Array = _HOST.where(_HOST.isfinite(half), half, 0.0) ** 2
        return density

    def _cells(self, degree: int) -> Cells:
        zeros = self._zeros(degree)
        # Past the last zero the density turns at 2 sqrt(j + 1/2), on a scale of (j + 1)^(-1/6).
        far = max(zeros[-1], 2 * math.sqrt(degree + 0.5)) + 3 * (degree + 1) ** (-1 / 6)
        edges = subdivided(_HOST.concatenate(([-far], zeros, [far])), PER_LOBE)
        at_zero = _HOST.zeros(edges.size, dtype="bool")
        at_zero[PER_LOBE:-1:PER_LOBE] = True
        psi = self._values(edges, _HOST.full(edges.size, degree))
        with _HOST.errstate(divide="ignore"):
            value = 2 * _HOST.log(_HOST.abs(psi)) - 0.5 * edges**2
        slope = log_slope(edges, zeros) - edges
        cells = uniform_cells(edges, lobe_cells(edges, at_zero, value, slope))
        # Tangents at the outermost edges: exponential laws on both sides.
        scale = 1 / _HOST.abs(slope[[0, -1]])
        bound = _HOST.exp(value[[0, -1]]) * (1 + 1e-9)
        sides = _HOST.asarray([-1.0, 1.0])
        tails = Cells(
            edges[[0, -1]],
            sides * scale,
            bound,
            bound * scale,
            _HOST.asarray([LOW_TAIL, HIGH_TAIL]),
        )
        return Cells(*(_HOST.concatenate(pair) for pair in zip(cells, tails, strict=True)))


# ---------------------------------------------------------------------------- trigonometric


@capability("sampling.Fourier", synchronisations={"evaluation": 3})
@dataclass(frozen=True)
class Fourier(Family):
    """Trigonometric functions, orthonormal for the uniform law on a period.

    Parameters
    ----------
    low, high : float, default 0, 1
        Ends of one period. Points may lie anywhere: the functions are periodic.
    kind : {"real", "complex"}, default "real"
        With `u` the number of periods from `low` to a point and ``k = (j + 1) // 2``, the
        function of index `j` is 1 for ``j = 0``, else for odd and for even `j`

        - ``"real"``: ``sqrt(2) cos(2 pi k u)`` and ``sqrt(2) sin(2 pi k u)``;
        - ``"complex"``: ``exp(2 pi i k u)`` and ``exp(-2 pi i k u)``.

    Raises
    ------
    TypeError
        If an argument is of a wrong kind.
    ValueError
        If `low` is not less than `high`, an end not finite, or `kind` unknown.

    Notes
    -----
    Draws of ``|psi_j|^2 dmu`` are direct: a uniform point is moved by a quarter of a wave with
    the probability that the cosine's square is missing to one.

    Storage: nothing.

    Examples
    --------
    >>> import numpy as np
    >>> Fourier().evaluate(np.asarray([0.0, 0.25]), 2).round(4)
    array([[1.    , 1.4142, 0.    ],
           [1.    , 0.    , 1.4142]])
    """

    low: float = 0.0
    high: float = 1.0
    kind: Literal["real", "complex"] = "real"

    def __post_init__(self) -> None:
        for name, value in zip(("low", "high"), check_ends(self.low, self.high), strict=True):
            object.__setattr__(self, name, value)
        check_choice("kind", self.kind, ("real", "complex"))

    @property
    def domain(self) -> tuple[float, float]:
        """All real numbers."""
        return -math.inf, math.inf

    @property
    def is_complex(self) -> bool:
        """Whether the values are complex."""
        return self.kind == "complex"

    def _table(self, xp: Namespace, x: Array, p: int) -> Array:
        turns = (x - self.low) * (1 / (self.high - self.low))
        turns = turns - xp.floor(turns)
        waves = xp.arange(1, (p + 1) // 2 + 1, dtype=x.dtype, device=device(x))
        angle = (2 * math.pi) * (turns[:, :, None] * waves)
        cosine, sine = xp.cos(angle), xp.sin(angle)
        if self.is_complex:
            first, second = cosine + 1j * sine, cosine - 1j * sine
        else:
            first, second = math.sqrt(2) * cosine, math.sqrt(2) * sine
        n, g = x.shape
        table = xp.reshape(xp.stack((first, second), axis=3), (n, g, 2 * waves.shape[0]))
        return xp.reshape(table[:, :, :p], (n, g * p))

    def _draw(self, count: int, rng: Any) -> Array:
        x: Array = self.low + (self.high - self.low) * rng.random(count)
        return x

    def _draw_positive(self, degrees: Array, rng: Any) -> Array:
        if self.is_complex:
            return self._draw(degrees.size, rng)
        turns, v = rng.random((2, degrees.size))
        waves = (degrees + 1) // 2
        phase = _HOST.where(degrees % 2 == 1, 0.0, 0.25)  # sin is cos a quarter later
        missing = v >= _HOST.cos(2 * math.pi * (waves * turns - phase)) ** 2
        turns = turns + _HOST.where(missing, 0.25 / waves, 0.0)
        x: Array = self.low + (self.high - self.low) * (turns - _HOST.floor(turns))
        return x
