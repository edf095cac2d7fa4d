"""What every family of one variable is, and the checks of points.

A family is a frozen dataclass: it gives its functions at points (`_table`), draws of its measure
(`_draw`) and of the laws ``|psi_j|^2 dmu`` (`_draw_positive`); the rest is here.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, ClassVar

from linalgkit._core.array import (
    Array,
    Namespace,
    array_namespace,
    device,
    eps,
    is_complex_dtype,
    numpy_namespace,
    to_numpy,
    working_dtype,
)
from linalgkit._core.estimator import as_array
from linalgkit._core.random import as_generator, undone_on_error
from linalgkit._core.validation import check_finite_block, check_float, check_int, message

_HOST = numpy_namespace()
_DOMAIN_ULPS = 8  # by which a point may leave the domain


class Family(ABC):
    """Orthonormal functions ``psi_0 = 1, psi_1, psi_2, ...`` of one variable.

    Subclasses are frozen dataclasses, so that they compare, hash and print by their parameters.
    """

    #: Whether values may leave the range of floats inside the domain.
    _may_overflow: ClassVar[bool] = False

    @property
    def max_degree(self) -> int | None:
        """The largest index, or None where there is none."""
        return None

    @property
    def is_complex(self) -> bool:
        """Whether the values are complex."""
        return False

    @property
    @abstractmethod
    def domain(self) -> tuple[float, float]:
        """The interval on which the measure lies; its ends may be infinite."""

    def evaluate(self, points: Any, degree: int) -> Array:
        """Return all functions up to an index at points.

        Parameters
        ----------
        points : array (n,)
            Real, of any library, inside the domain.
        degree : int
            The largest index.

        Returns
        -------
        array (n, degree + 1)
            In the library, on the device and in the precision of the points.

        Raises
        ------
        TypeError
            If `points` is no real array or `degree` no integer.
        ValueError
            If a point is NaN, infinite or outside the domain, a degree too large, or a value
            beyond the range of the floats.

        Notes
        -----
        Storage: twice the result.
        """
        degree = check_int("degree", degree, 0, self.max_degree, f"for {self!r}")
        x, xp = real_points(points)
        if x.ndim != 1:
            raise ValueError(f"points must be 1-D, got shape {tuple(x.shape)}.")
        columns = xp.reshape(x, (-1, 1))
        check_inside(columns, xp, (self.domain,))
        ones = xp.ones_like(columns)
        if degree == 0:
            return ones
        table = self._table(xp, columns, degree)
        result = xp.concat((xp.astype(ones, table.dtype, copy=False), table), axis=1)
        if self._may_overflow:
            check_finite_values(result, xp)
        return result

    def draw(self, count: int, rng: object = None) -> Array:
        """Return independent draws of the measure.

        Parameters
        ----------
        count : int
            How many.
        rng : None, int, SeedSequence, BitGenerator or Generator, optional
            Where the numbers come from.

        Returns
        -------
        numpy.ndarray of float64, shape (count,)
        """
        count = check_int("count", count, 0)
        with undone_on_error(rng):
            return self._draw(count, as_generator(rng))

    def draw_induced(self, degrees: Any, rng: object = None) -> Array:
        """Return a draw of ``|psi_j|^2 dmu`` for every degree `j`, exact to rounding.

        Parameters
        ----------
        degrees : sequence or array of int, shape (n,)
            Not negative.
        rng : None, int, SeedSequence, BitGenerator or Generator, optional
            Where the numbers come from.

        Returns
        -------
        numpy.ndarray of float64, shape (n,)

        Raises
        ------
        TypeError
            If the degrees are no integers.
        ValueError
            If one is negative or too large.
        """
        wanted = _HOST.asarray(to_numpy(degrees) if hasattr(degrees, "shape") else degrees)
        if wanted.ndim != 1 or (wanted.size and wanted.dtype.kind not in "iu"):
            raise TypeError(f"degrees must be a 1-D sequence of integers, got {degrees!r}.")
        wanted = wanted.astype(_HOST.int64)
        for extreme in (wanted.min(initial=0), wanted.max(initial=0)):
            check_int("degrees", extreme, 0, self.max_degree, f"for {self!r}")
        with undone_on_error(rng):
            return self._draw_degrees(wanted, as_generator(rng))

    def _draw_degrees(self, degrees: Array, rng: Any) -> Array:
        """Return a draw for every degree, 0 among them."""
        positive = _HOST.flatnonzero(degrees)
        if 0 < positive.size == degrees.size:
            return self._draw_positive(degrees, rng)
        result = self._draw(degrees.size, rng)
        if positive.size:
            result[positive] = self._draw_positive(degrees[positive], rng)
        return result

    @abstractmethod
    def _table(self, xp: Namespace, x: Array, p: int) -> Array:
        """Return degrees 1 to `p` at points (n, g): (n, g p), degrees of a variable together."""

    @abstractmethod
    def _draw(self, count: int, rng: Any) -> Array:
        """Return host draws of the measure."""

    @abstractmethod
    def _draw_positive(self, degrees: Array, rng: Any) -> Array:
        """Return host draws for degrees that are all positive."""


# ------------------------------------------------------------------------------------ checks


def real_points(points: Any) -> tuple[Array, Namespace]:
    """Return points as a real floating array without NaN, and their namespace."""
    x = as_array(points, "points")
    xp = array_namespace(x)
    dtype = working_dtype(xp, device(x), x.dtype)
    if is_complex_dtype(xp, dtype):
        raise TypeError("points must be real, got complex numbers.")
    check_finite_block(x, name="points")
    return xp.astype(x, dtype, copy=False), xp


def check_inside(x: Array, xp: Namespace, domains: tuple[tuple[float, float], ...]) -> None:
    """Refuse points (n, d) outside the product of intervals; rounding at the ends passes."""
    if x.shape[0] == 0:
        return
    lowest, highest = to_numpy(xp.min(x, axis=0)), to_numpy(xp.max(x, axis=0))
    for c, (low, high) in enumerate(domains):
        slack = _DOMAIN_ULPS * eps(xp, x.dtype) * _largest(low, high)
        for value in (float(lowest[c]), float(highest[c])):
            if not low - slack <= value <= high + slack:
                where = f" in variable {c}" if len(domains) > 1 else ""
                rule = f"lie in [{low}, {high}]{where}"
                way_out = "Give the family other ends, or scale the points."
                raise ValueError(message("points", rule, value, way_out=way_out))


def _largest(low: float, high: float) -> float:
    """Return the largest finite modulus of two ends."""
    return max((abs(end) for end in (low, high) if math.isfinite(end)), default=0.0)


def check_finite_values(values: Array, xp: Namespace) -> None:
    """Refuse values that have left the range of the floats."""
    if not bool(xp.all(xp.isfinite(values))):
        raise ValueError(
            "points must not lie where a function of the basis exceeds the range of "
            f"{values.dtype}, got such a value. Use lower degrees, or float64."
        )


def check_ends(low: object, high: object) -> tuple[float, float]:
    """Return the ends of an interval."""
    low, high = check_float("low", low), check_float("high", high)
    if not (low < high and math.isfinite(high - low)):
        raise ValueError(message("high", f"be greater than low={low}, and high - low finite", high))
    return low, high
