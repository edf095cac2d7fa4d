"""Values, derivatives, integrals, slices and smaller boxes of a function."""

from __future__ import annotations

import cmath
import math
from collections.abc import Mapping, Sequence
from typing import Any, Self

from linalgkit._core.array import Array
from linalgkit._core.estimator import as_array
from linalgkit._core.scaling import silent
from linalgkit._core.validation import check_choice, check_float, check_int, message
from linalgkit.chebyshev import _calculus, _evaluate
from linalgkit.chebyshev._holder import Holder, Number
from linalgkit.chebyshev._parts import Parts, check_domain

OUTSIDE = ("raise", "nan", "extrapolate")


class Calculus(Holder):
    """The values of a :class:`~linalgkit.chebyshev.ChebTucker`, and its calculus."""

    # ---------------------------------------------------------------------------- evaluation

    def __call__(self, x: Array, *, outside: str = "raise") -> Array:
        """Return the values at points.

        Parameters
        ----------
        x : array (..., d)
            Points, in the library and on the device of the core; real.
        outside : {"raise", "nan", "extrapolate"}
            What is done with points outside the box; those within rounding of its faces are inside.

        Returns
        -------
        array (...)
            Values in `dtype`.

        Raises
        ------
        TypeError
            For other kinds, libraries and devices.
        ValueError
            If the last axis is not d long, a coordinate is NaN or infinite, or a point lies
            outside and `outside` is "raise".

        Notes
        -----
        About ``2 prod r_k`` flops a point. Storage: blocks of points, some MiB beyond the result.
        """
        check_choice("outside", outside, OUTSIDE)
        return _evaluate.scattered(self._parts, as_array(x, "x"), outside)

    def grid(self, *grids: Array, outside: str = "raise") -> Array:
        """Return the values on a tensor grid.

        Parameters
        ----------
        *grids : array (n_k,)
            Coordinates of each variable, d arrays.
        outside : {"raise", "nan", "extrapolate"}
            As for values at points.

        Returns
        -------
        array (n_1, ..., n_d)
            Values in `dtype`.

        Raises
        ------
        TypeError, ValueError
            As for values at points, and if there are not d grids.
        """
        check_choice("outside", outside, OUTSIDE)
        return _evaluate.tensor_grid(self._parts, self._listed(grids, "grid"), outside)

    def to_tucker(
        self, grids: Sequence[Array], *, outside: str = "raise"
    ) -> tuple[Array, list[Array]]:
        """Return a Tucker tensor of the values on a grid, which is not formed.

        Parameters
        ----------
        grids : sequence of array (n_k,)
            Coordinates of each variable.
        outside : {"raise", "nan", "extrapolate"}
            As for values at points.

        Returns
        -------
        core : array (r_1, ..., r_d)
            That of this function.
        factors : list of array (n_k, r_k)
            Values of the factor functions.

        Raises
        ------
        TypeError, ValueError
            As for values at points, and if there are not d grids.
        """
        check_choice("outside", outside, OUTSIDE)
        return self.core, _evaluate.grid_factors(
            self._parts, self._listed(grids, "to_tucker"), outside
        )

    def gradient(self, x: Array, *, outside: str = "raise") -> Array:
        """Return the gradients at points.

        Parameters
        ----------
        x : array (..., d)
            Points.
        outside : {"raise", "nan", "extrapolate"}
            As for values at points.

        Returns
        -------
        array (..., d)
            Derivatives by each variable, in `dtype`.

        Raises
        ------
        TypeError, ValueError
            As for values at points.
        """
        check_choice("outside", outside, OUTSIDE)
        return _evaluate.gradient(self._parts, as_array(x, "x"), outside)

    # ------------------------------------------------------------------------------ calculus

    def diff(self, axis: int, order: int = 1) -> Self:
        """Return a partial derivative.

        Parameters
        ----------
        axis : int
            The variable, from 0 (negative: from the end).
        order : int, default 1
            How often.

        Returns
        -------
        ChebTucker
            The derivative, exact but for rounding. Its error estimate is that of this function
            times ``2 m^2 / (b - a)`` an order (Markov's inequality for the degree m), which is
            pessimistic away from the faces; NaN for one in another norm than the maximum.

        Raises
        ------
        TypeError, ValueError
            If the axis or the order is none.
        """
        k = self._axis(axis)
        order = min(check_int("order", order, 0), self.degrees[k] + 1)
        a, b = self.domain[k]
        error = self._maximal_error()
        for j in range(order):
            error *= 2.0 * max(self.degrees[k] - j, 0) ** 2 / (b - a)
        if order == 0:
            return self
        with silent():
            slope = _calculus.differentiate(self._parts.widened(), k, order)
            return self._new(slope, error)

    def integrate(self, axes: int | Sequence[int] | None = None) -> Self | Number:
        """Return the integral over some variables, or all.

        Parameters
        ----------
        axes : int, sequence or array of int, optional
            Variables that are integrated over their intervals. None: all.

        Returns
        -------
        ChebTucker or number
            A function of the variables that remain; a Python number if none does. The error is
            that of this function times the volume v that is integrated over; in L2 its root
            (Cauchy and Schwarz), with the Chebyshev density ``v (pi / sqrt(8))^p`` for p axes.

        Raises
        ------
        TypeError, ValueError
            If an axis is none or is named twice.
        """
        wanted = self._axes(axes)
        with silent():
            found = _calculus.integrate_over(self._parts.widened(), wanted)
        volume = math.prod(self.domain[k][1] - self.domain[k][0] for k in wanted)
        factor = {
            "max": volume,
            "l2": math.sqrt(volume),
            "l2w": volume * (math.pi / math.sqrt(8.0)) ** len(wanted),
        }[self.error_norm]
        size = None if self._known_size is None else self._known_size * volume
        return self._new_or_number(found, self.error_estimate * factor, size)

    def inner(self, other: Holder) -> Number:
        """Return the inner product in L2 of the box, conjugating this function.

        Parameters
        ----------
        other : ChebTucker
            On the same box.

        Returns
        -------
        float or complex
            ``integral of conj(T) S``, in the unit of both times the volume's.

        Raises
        ------
        TypeError
            If `other` is no ChebTucker of this library and device.
        ValueError
            If the boxes differ.
        """
        self._same(other)
        value = _calculus.inner(self._parts.widened(), other._parts.widened())
        if not cmath.isfinite(value):
            raise ValueError(
                "the inner product is beyond the largest float. Rescale the functions first "
                "(T * 1e-100)."
            )
        return value

    def norm(self) -> float:
        """Return the L2 norm on the box, ``sqrt(integral of |T|^2)``."""
        return _calculus.l2_norm(self._parts.widened())

    def slice(self, values: Mapping[int, float]) -> Self | Number:
        """Return the function with some variables fixed.

        Parameters
        ----------
        values : dict of int to float
            Value of each variable that is fixed, inside the box or within rounding of it.

        Returns
        -------
        ChebTucker or number
            A function of the variables that remain; a Python number if none does. An error in
            another norm than the maximum says nothing about a slice: NaN.

        Raises
        ------
        TypeError
            If `values` is no dictionary of numbers.
        ValueError
            If an axis is none or is named twice, or a value lies outside.
        """
        if not isinstance(values, Mapping):
            raise TypeError(message("values", "be a dictionary {axis: value}", values))
        fixed: dict[int, float] = {}
        for axis, value in values.items():
            k = self._axis(axis)
            if k in fixed:
                raise ValueError(message("values", "name an axis once", dict(values)))
            fixed[k] = self._inside(f"values[{axis}]", value, k)
        if not fixed:
            return self
        found = _calculus.fix(self._parts.widened(), fixed)
        return self._new_or_number(found, self._maximal_error(), self._known_size)

    def restrict(self, domain: Any) -> Self:
        """Return the function on a smaller box.

        Parameters
        ----------
        domain : sequence of (a_k, b_k)
            Inside the box of this function.

        Returns
        -------
        ChebTucker
            The same function, exact but for rounding. Its error estimate is this one's, or NaN
            in the norm "l2w", whose density is another one on the smaller box.

        Raises
        ------
        TypeError, ValueError
            If `domain` is no box of d variables, or not inside this one.
        """
        intervals = check_domain(domain)
        if len(intervals) != self.ndim:
            raise ValueError(message("domain", f"have {self.ndim} variables", domain))
        for k, ((a, b), (low, high)) in enumerate(zip(intervals, self.domain, strict=True)):
            if a < low or b > high:
                raise ValueError(message(f"domain[{k}]", f"lie inside [{low:g}, {high:g}]", (a, b)))
        parts = _calculus.restrict(self._parts.widened(), intervals)
        error = math.nan if self.error_norm == "l2w" else self.error_estimate
        return self._new(parts, error, bound=self._known_size)

    # ------------------------------------------------------------------------------- helpers

    def _new_or_number(
        self, found: Parts | Number, error: float, bound: float | None = None
    ) -> Self | Number:
        if not isinstance(found, Parts):
            return found
        with silent():
            return self._new(found, error, bound=bound)

    def _maximal_error(self) -> float:
        """Return the error estimate in the maximum norm, NaN where it is in another."""
        return self.error_estimate if self.error_norm == "max" else math.nan

    def _inside(self, name: str, value: float, axis: int) -> float:
        """Return a value of a variable inside the box, into which rounding is taken back."""
        a, b = self.domain[axis]
        number = check_float(name, value)
        reach = 4.0 * self._rounding() * max(abs(a), abs(b), b - a)
        if a - reach <= number <= b + reach:
            return min(max(number, a), b)
        return check_float(name, value, a, b, "inside the box")

    def _listed(self, grids: Sequence[Array], name: str) -> Sequence[Array]:
        if not isinstance(grids, (list, tuple)) or len(grids) != self.ndim:
            found = len(grids) if isinstance(grids, (list, tuple)) else type(grids).__name__
            raise ValueError(f"{name} takes {self.ndim} arrays of coordinates, got {found}.")
        return grids
