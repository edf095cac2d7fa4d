"""The object: a function of up to six variables as a small core and polynomial factors."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Self

from linalgkit._core.array import (
    Array,
    Device,
    DType,
    Namespace,
    array_namespace,
    asarray,
    detached,
    device,
    dtype_from_name,
    dtype_name,
    eps,
    is_complex_dtype,
    itemsize,
    library_name,
    numpy_namespace,
    real_dtype,
    to_numpy,
    working_dtype,
)
from linalgkit._core.capabilities import capability
from linalgkit._core.scaling import ldexp, ldexp_float, norm_fro, scale_exponent, silent
from linalgkit._core.state import State, Stateful
from linalgkit._core.validation import check_choice, check_float, check_int, message
from linalgkit.chebyshev import _arithmetic, _calculus, _evaluate, _extremes
from linalgkit.chebyshev._compare import (
    Comparison,
    compared_product,
    compared_recompression,
    comparison_with,
    comparison_with_product,
    exponent_of,
    modulus_bound,
)
from linalgkit.chebyshev._norms import NORMS, Norm
from linalgkit.chebyshev._parts import (
    Interval,
    Parts,
    check_domain,
    orthonormal,
    require_finite,
    scaled_parts,
)

_HOST = numpy_namespace()
Number = float | complex
OUTSIDE = ("raise", "nan", "extrapolate")
# What a product may add to the errors of its factors.
_PRODUCT_SHARE = 0.05


@capability("chebyshev.ChebTucker")
class ChebTucker(Stateful):
    """A function on a box, as a Tucker core with polynomial factors.

    The function of d variables, ``sum_{i} core[i_1, ..., i_d] prod_k v_{k, i_k}(x_k)``, whose
    factors ``v_{k, i}`` are polynomials by their Chebyshev coefficients. It is evaluated, derived,
    integrated, added and multiplied without its values on a grid. :func:`chebtucker` and
    ``chebtucker_from_...`` make one; the constructor takes what is known already.

    Parameters
    ----------
    core : array (r_1, ..., r_d)
        Real or complex; d from 1 to 6.
    factors : sequence of array (m_k, r_k)
        Chebyshev coefficients, one column a factor function, of the library and device of `core`;
        the degree is ``m_k - 1``. They are made orthonormal, which may lower ranks.
    domain : sequence of (a_k, b_k), shape (d, 2)
        The box, in the units of the variables.
    error_estimate : float, default nan
        What is known of the error, in the unit of the function.
    error_norm : {"max", "l2w", "l2"}
        The norm that `error_estimate` is in.

    Attributes
    ----------
    core : array (r_1, ..., r_d)
        Carries scale and unit of the function.
    factors : tuple of array (m_k, r_k)
        Chebyshev coefficients; the columns are orthonormal in L2 with the Chebyshev density
        ``1 / (pi sqrt(1 - t^2))`` on the interval moved to [-1, 1].
    domain : tuple of (float, float)
        The box.
    ranks, degrees : tuple of int
        Sizes r_k of the core, and highest powers ``m_k - 1``.
    dtype : dtype
        Of core, factors and values.
    error_estimate : float
        Absolute error in the norm `error_norm`; NaN where nothing is known. For a function that
        was built from samples it is the largest error at fresh random points: an estimate from
        below, not a bound; what no sample meets (a needle) it cannot see. What is made of
        functions propagates it (see Notes).
    error_norm : str
        "max", in the unit of the function; "l2w", the root mean square with the Chebyshev density,
        in the same unit; "l2", plain L2 of the box, in that unit times the root of the volume's.
    scale : float
        Largest modulus met, of the function that this one stands for where it was built from one,
        else by a search. In the norm "max" ``error_estimate / scale`` is the relative error.
    n_evals : int
        Evaluations of the function that it was built from.
    status : str
        "converged"; else what kept the tolerance from being met: "max_evals", "max_rank",
        "max_degree", "ranks", "degrees" (those asked for), "inaccurate".

    Raises
    ------
    TypeError
        For arguments of a wrong kind, mixed libraries or devices.
    ValueError
        If shapes do not fit, the box is not one, d is above 6, or the core overflows: so does
        every operation whose result is beyond the largest number of its dtype.

    See Also
    --------
    chebtucker : from a callable.
    chebtucker_from_cp, chebtucker_from_values, chebtucker_from_coefficients : from tensors.

    Notes
    -----
    Arithmetic is done in the widest precision of the device and returned in `dtype`.

    The errors of sums and products in one norm are ``e_T + e_S`` and ``e_T max|S| + e_S max|T|``;
    of two norms the weaker is taken, by its bound. What a product, :meth:`recompress` and
    :meth:`merge` add is measured in the maximum norm, against the exact result, at about 1000
    fixed points and by line searches from peaks and from the worst points; a sum adds two
    roundings of its terms. Slices, derivatives and smaller boxes keep an error in the maximum
    norm; of a mean they say nothing where no bound follows, and the estimate is NaN.

    Storage: ``prod r_k + sum m_k r_k`` numbers.

    References
    ----------
    .. [1] P. Benner, B. Khoromskij, V. Khoromskaia, B. Sun, "A mesh-free hybrid Chebyshev-Tucker
       tensor format with applications to multi-particle modelling", arXiv:2503.01696.

    Examples
    --------
    >>> import numpy as np
    >>> from linalgkit.chebyshev import chebtucker
    >>> T = chebtucker(lambda x: np.exp(-x[:, 0] * x[:, 1]), [(0, 1), (0, 2)], rng=0)
    >>> bool(abs(T(np.array([0.5, 1.0])) - np.exp(-0.5)) < 1e-9)
    True
    >>> T.diff(0).degrees == (T.degrees[0] - 1, T.degrees[1])
    True
    """

    # NumPy arrays and scalars leave an operation with a function to the function.
    __array_ufunc__ = None

    def __init__(
        self,
        core: Array,
        factors: Sequence[Array],
        domain: Any,
        *,
        error_estimate: float = math.nan,
        error_norm: str = "max",
    ) -> None:
        check_choice("error_norm", error_norm, NORMS)
        parts = _checked_parts(core, factors, domain)
        dtype = parts.core.dtype
        with silent():
            parts = orthonormal(parts.widened()).cast(dtype)
        self._hold(parts)
        self.error_estimate = float(error_estimate)
        self.error_norm = error_norm

    def _hold(self, parts: Parts) -> None:
        """Take parts in the object's own dtype, with what is known of nothing."""
        require_finite(parts)
        self._parts = parts
        self.error_estimate = math.nan
        self.error_norm = "max"
        self.n_evals = 0
        self.status = "converged"
        # The largest modulus met, and a bound of it where one follows from those of others.
        self._scale: float | None = None
        self._bound: float | None = None

    # ---------------------------------------------------------------------------- attributes

    @property
    def core(self) -> Array:
        """Core (r_1, ..., r_d)."""
        return self._parts.core

    @property
    def factors(self) -> tuple[Array, ...]:
        """Chebyshev coefficients (m_k, r_k) of the factor functions."""
        return self._parts.factors

    @property
    def domain(self) -> tuple[Interval, ...]:
        """The box, one interval a variable."""
        return self._parts.intervals

    @property
    def ndim(self) -> int:
        """Number of variables."""
        return self._parts.order

    @property
    def ranks(self) -> tuple[int, ...]:
        """Sizes of the core."""
        return tuple(map(int, self.core.shape))

    @property
    def degrees(self) -> tuple[int, ...]:
        """Highest powers."""
        return tuple(m - 1 for m in self._parts.lengths)

    @property
    def dtype(self) -> DType:
        """Dtype of core, factors and values."""
        return self.core.dtype

    @property
    def nbytes(self) -> int:
        """Bytes of core and factors."""
        numbers = math.prod(self.ranks) + sum(
            m * r for m, r in zip(self._parts.lengths, self.ranks, strict=True)
        )
        return numbers * itemsize(self._parts.xp, self.dtype)

    @property
    def scale(self) -> float:
        """Largest modulus met; where the function was derived, by a search on the whole box."""
        if self._scale is None:
            exponent = exponent_of(self._parts)
            found = comparison_with(self._parts, exponent).largest
            self._scale = ldexp_float(found, exponent)
        return self._scale

    @property
    def _known_size(self) -> float | None:
        """A bound of the modulus, or the largest one met; None before any search."""
        return self._scale if self._bound is None else self._bound

    def __repr__(self) -> str:
        box = " x ".join(f"[{a:g}, {b:g}]" for a, b in self.domain)
        return (
            f"ChebTucker(domain={box}, ranks={self.ranks}, degrees={self.degrees}, "
            f"dtype={dtype_name(self._parts.xp, self.dtype)}, "
            f"error_estimate={self.error_estimate:.2g}, status={self.status!r})"
        )

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
        return _evaluate.scattered(self._parts, x, outside)

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
        return _evaluate.gradient(self._parts, x, outside)

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
        order = check_int("order", order, 0)
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

    def inner(self, other: ChebTucker) -> Number:
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
        return _calculus.inner(self._parts.widened(), other._parts.widened())

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

    # ---------------------------------------------------------------------------- arithmetic

    def __add__(self, other: ChebTucker) -> Self:
        return self._sum(other, 1)

    def __sub__(self, other: ChebTucker) -> Self:
        return self._sum(other, -1)

    def __neg__(self) -> Self:
        return self._times_number(-1.0)

    def __mul__(self, other: ChebTucker | Number) -> Self:
        if isinstance(other, ChebTucker):
            return self._times_function(other)
        return self._times_number(_number("factor", other))

    def __rmul__(self, other: Number) -> Self:
        return self._times_number(_number("factor", other))

    def __truediv__(self, other: Number) -> Self:
        divisor = _number("divisor", other)
        if divisor == 0:
            raise ZeroDivisionError("a function was divided by zero.")
        return self._times_number(divisor, divide=True)

    def conj(self) -> Self:
        """Return the complex conjugate."""
        parts, xp = self._parts, self._parts.xp
        if not is_complex_dtype(xp, self.dtype):
            return self
        conjugate = Parts(
            xp.conj(parts.core), tuple(map(xp.conj, parts.factors)), parts.intervals, xp
        )
        return self._derived(conjugate, self.error_estimate, self._scale, self._bound)

    def recompress(self, tol: float) -> Self:
        """Return the function with the smallest ranks and degrees that a tolerance allows.

        Parameters
        ----------
        tol : float
            Of the largest modulus (`scale`), positive.

        Returns
        -------
        ChebTucker
            Differs by at most `tol` times `scale` in the weighted L2 norm, and in the maximum norm
            as far as a search finds (see the class); the difference is added to the error estimate.

        Raises
        ------
        TypeError, ValueError
            If `tol` is no positive number.
        """
        tol = check_float("tol", tol, 0.0, low_open=True)
        exponent = exponent_of(self._parts)
        uncut = comparison_with(self._parts, exponent)
        if self._scale is None:
            self._scale = ldexp_float(uncut.largest, exponent)
        found = self._recompressed(uncut, exponent, tol * self.scale, self.error_estimate)
        found._scale, found._bound = self._scale, self._bound
        return found

    def merge(self, other: ChebTucker) -> Self:
        """Return the sum, recompressed to the errors that both have: for blocks of particles.

        Parameters
        ----------
        other : ChebTucker
            On the same box.

        Returns
        -------
        ChebTucker
            What it leaves away is at most a quarter of the joint error estimate, in the maximum
            norm as far as a search finds, and counted; where that is not known, rounding.
            Evaluations are added.

        Raises
        ------
        TypeError, ValueError
            As for the inner product.
        """
        self._same(other)
        total = self._sum(other, 1)
        error = total.error_estimate
        exponent = exponent_of(total._parts)
        uncut = comparison_with(total._parts, exponent)
        allowed = 0.25 * error / _of_norm(1.0, "max", total.error_norm, self.domain)
        merged = total._recompressed(uncut, exponent, allowed if allowed > 0.0 else 0.0, error)
        merged._scale, merged._bound = ldexp_float(uncut.largest, exponent), total._bound
        return merged

    # ------------------------------------------------------------------------------ extremes

    def minimum(self) -> tuple[float, Array]:
        """Return the smallest value and where it is.

        Returns
        -------
        value : float
            Of a real function.
        point : array (d,)
            In the library and on the device of the core.

        Raises
        ------
        TypeError
            For a complex function.

        Notes
        -----
        A search, not a proof: candidates come from a grid of the whole box, and the best are
        polished.
        """
        return self._extreme(_extremes.minimum)

    def maximum(self) -> tuple[float, Array]:
        """Return the largest value and where it is, as :meth:`minimum` does."""
        return self._extreme(_extremes.maximum)

    def _extreme(self, search: Any) -> tuple[float, Array]:
        value, point = search(self._parts.widened())
        xp = self._parts.xp
        place = {"xp": xp, "device": self._parts.device, "dtype": real_dtype(xp, self.dtype)}
        return float(value), asarray(point, **place)

    # --------------------------------------------------------------------------------- state

    def _get_state(self) -> State:
        return {
            "core": to_numpy(self.core),
            "factors": [to_numpy(F) for F in self.factors],
            "domain": [list(pair) for pair in self.domain],
            "dtype": dtype_name(self._parts.xp, self.dtype),
            "error_estimate": self.error_estimate,
            "error_norm": self.error_norm,
            "scale": self._scale,
            "bound": self._bound,
            "n_evals": self.n_evals,
            "status": self.status,
        }

    @classmethod
    def _from_state(cls, state: State, *, xp: Namespace, device: Device) -> Self:
        place = {"xp": xp, "device": device, "dtype": dtype_from_name(xp, state["dtype"])}
        core = asarray(state["core"], **place)
        factors = tuple(asarray(F, **place) for F in state["factors"])
        found = cls.__new__(cls)
        found._hold(_checked_parts(core, factors, state["domain"]))
        found.error_estimate = float(state["error_estimate"])
        found.error_norm = str(state["error_norm"])
        found._scale = None if state["scale"] is None else float(state["scale"])
        found._bound = None if state["bound"] is None else float(state["bound"])
        found.n_evals = int(state["n_evals"])
        found.status = str(state["status"])
        return found

    # ------------------------------------------------------------------------------- helpers

    def _derived(
        self, parts: Parts, error: float, scale: float | None = None, bound: float | None = None
    ) -> Self:
        """Return a function made from this one, in parts of the final dtype."""
        found = type(self).__new__(type(self))
        found._hold(parts)
        found.error_estimate, found.error_norm = error, self.error_norm
        found.status, found.n_evals = self.status, self.n_evals
        found._scale, found._bound = scale, bound
        return found

    def _new(
        self, parts: Parts, error: float, scale: float | None = None, bound: float | None = None
    ) -> Self:
        """Return a function made from this one, in its precision."""
        return self._derived(parts.cast(_like(self.dtype, parts)), error, scale, bound)

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

    def _sum(self, other: ChebTucker, sign: int) -> Self:
        if not isinstance(other, ChebTucker):
            return NotImplemented
        self._same(other)
        norm, *errors = self._common_errors(other)
        with silent():
            parts = _arithmetic.add(self._parts.widened(), other._parts.widened(), sign)
            found = self._joint(other, parts, norm)
        sizes = [_size_or_norm(f) for f in (self, other)]
        rounding = 2.0 * found._rounding() * max(sizes)
        found.error_estimate = sum(errors) + _of_norm(rounding, "max", norm, self.domain)
        if self._known_size is not None and other._known_size is not None:
            found._bound = min(sum(sizes), modulus_bound(found._parts))
        return found

    def _common_errors(self, other: ChebTucker) -> tuple[str, float, float]:
        """Return the weaker of two norms, and the errors of both functions in it."""
        norm = max(self.error_norm, other.error_norm, key=NORMS.index)
        mine, theirs = (
            _of_norm(f.error_estimate, f.error_norm, norm, f.domain) for f in (self, other)
        )
        return norm, mine, theirs

    def _times_function(self, other: ChebTucker) -> Self:
        """Return the product: of the functions by powers of two, since sizes may overflow."""
        self._same(other)
        both: tuple[ChebTucker, ChebTucker] = (self, other)
        exponents = [exponent_of(f._parts) for f in both]
        exact, largest = comparison_with_product(self._parts, other._parts, exponents)
        norm, *errors = self._common_errors(other)
        sizes = []
        for f, e, met in zip(both, exponents, largest, strict=True):
            if f._scale is None:
                f._scale = ldexp_float(met, e)
            sizes.append(max(met, ldexp_float(_size_or_norm(f), -e)))
        mine, theirs = (ldexp_float(e, -s) for e, s in zip(errors, exponents, strict=True))
        error = mine * sizes[1] + theirs * sizes[0]
        unit = _of_norm(1.0, "max", norm, self.domain)
        dtype = self._parts.xp.result_type(self.dtype, other.dtype)
        rounding = 4.0 * eps(self._parts.xp, dtype) * sizes[0] * sizes[1]
        allowed = max(_PRODUCT_SHARE * error / unit if error > 0.0 else 0.0, rounding)
        one, two = (
            scaled_parts(f._parts, -e).widened() for f, e in zip(both, exponents, strict=True)
        )
        parts, lost = compared_product(one, two, exact, allowed, dtype)
        shift = sum(exponents)
        with silent():
            found = self._joint(other, scaled_parts(parts, shift), norm)
        found.error_estimate = ldexp_float(error + unit * lost, shift)
        found._scale = ldexp_float(exact.largest, shift)
        found._bound = ldexp_float(sizes[0] * sizes[1], shift)
        return found

    def _joint(self, other: ChebTucker, parts: Parts, norm: str) -> Self:
        """Return a function made from two, whose error is set later."""
        dtype = parts.xp.result_type(self.dtype, other.dtype)
        found = self._derived(parts.cast(_like(dtype, parts)), math.nan)
        found.error_norm = norm
        found.n_evals = self.n_evals + other.n_evals
        if self.status == "converged":
            found.status = other.status
        return found

    def _times_number(self, c: Number, *, divide: bool = False) -> Self:
        """Return the function times a number, or over it: by its mantissa and its exponent."""
        parts, xp = self._parts, self._parts.xp
        if isinstance(c, complex) and not is_complex_dtype(xp, self.dtype):
            parts = parts.cast(xp.result_type(self.dtype, xp.complex64))
        mantissa, exponent = _split(c)
        core, size = parts.core * mantissa, abs(mantissa)
        if divide:
            core, size, exponent = parts.core / mantissa, 1.0 / size, -exponent

        def times(value: float | None) -> Any:
            return None if value is None else ldexp_float(value * size, exponent)

        with silent():
            core = ldexp(core, exponent, xp)
        scaled = Parts(core, parts.factors, parts.intervals, xp)
        return self._derived(
            scaled, times(self.error_estimate), times(self._scale), times(self._bound)
        )

    def _recompressed(self, uncut: Comparison, exponent: int, allowed: float, error: float) -> Self:
        """Return the function cut by at most `allowed`; `uncut` has it times ``2^-exponent``."""
        parts = scaled_parts(self._parts, -exponent).widened()
        goal = ldexp_float(allowed, -exponent)
        found, lost, cut = compared_recompression(parts, uncut, goal, self.dtype)
        more = lost if self.error_norm == "max" else cut
        stronger = "max" if self.error_norm == "max" else "l2w"
        more = _of_norm(ldexp_float(more, exponent), stronger, self.error_norm, self.domain)
        return self._derived(scaled_parts(found, exponent), error + more)

    def _rounding(self) -> float:
        return eps(self._parts.xp, self.dtype)

    def _axis(self, axis: int) -> int:
        k = check_int("axis", axis, -self.ndim, self.ndim - 1, f"for {self.ndim} variables")
        return k % self.ndim

    def _axes(self, axes: int | Sequence[int] | None) -> tuple[int, ...]:
        if axes is None:
            return tuple(range(self.ndim))
        if getattr(axes, "ndim", 0) == 1:
            axes = [check_int("axes", axis) for axis in to_numpy(axes)]
        if not isinstance(axes, (list, tuple, range)):
            return (self._axis(axes),)  # type: ignore[arg-type]  # refused there
        wanted = tuple(self._axis(axis) for axis in axes)
        if len(set(wanted)) != len(wanted) or not wanted:
            raise ValueError(message("axes", "name at least one axis, each once", axes))
        return wanted

    def _listed(self, grids: Sequence[Array], name: str) -> Sequence[Array]:
        if not isinstance(grids, (list, tuple)) or len(grids) != self.ndim:
            found = len(grids) if isinstance(grids, (list, tuple)) else type(grids).__name__
            raise ValueError(f"{name} takes {self.ndim} arrays of coordinates, got {found}.")
        return grids

    def _same(self, other: ChebTucker) -> None:
        """Refuse what is no function on the same box, in the same library."""
        if not isinstance(other, ChebTucker):
            raise TypeError(message("other", "be a ChebTucker", other))
        if other.domain != self.domain:
            raise ValueError(
                f"both functions must live on the same box, got {self.domain} and {other.domain}. "
                "Restrict one of them first: T.restrict(domain)."
            )
        mine, theirs = self._parts, other._parts
        if library_name(mine.xp) != library_name(theirs.xp) or mine.device != theirs.device:
            raise TypeError(
                f"both functions must lie in one library on one device, got {mine.device} of "
                f"{library_name(mine.xp)} and {theirs.device} of {library_name(theirs.xp)}. Move "
                "one by from_state(T.to_state(), like=array)."
            )


def assemble(
    parts: Parts,
    *,
    dtype: DType,
    error_estimate: float,
    scale: float,
    n_evals: int = 0,
    status: str = "converged",
    norm: str = "max",
) -> ChebTucker:
    """Return the object from parts in any dtype; the factors are made orthonormal.

    `norm` is the one of `error_estimate`.
    """
    found = ChebTucker.__new__(ChebTucker)
    with silent():
        parts = orthonormal(parts.widened()).cast(dtype)
    found._hold(parts)
    found.error_estimate, found.error_norm = float(error_estimate), norm
    found._scale = None if math.isnan(scale) else float(scale)
    found.n_evals, found.status = int(n_evals), status
    return found


def _checked_parts(core: Array, factors: Sequence[Array], domain: Any) -> Parts:
    """Return parts of a caller, in one working dtype."""
    if not isinstance(factors, (list, tuple)):
        raise TypeError(message("factors", "be a list or tuple of matrices", factors))
    intervals = check_domain(domain)
    arrays = [detached(x) for x in (core, *factors)]
    xp = array_namespace(*arrays)
    where = device(arrays[0])
    for k, x in enumerate(arrays[1:]):
        if device(x) != where:
            raise TypeError(f"factors[{k}] must lie on {where} as the core does, got {device(x)}.")
    d = len(intervals)
    if len(factors) != d or arrays[0].ndim != d:
        raise ValueError(
            f"core and factors must be of {d} modes, as the domain is, got a core of shape "
            f"{tuple(arrays[0].shape)} and {len(factors)} factors."
        )
    for k, F in enumerate(arrays[1:]):
        if F.ndim != 2 or F.shape[0] < 1 or F.shape[1] < 1 or F.shape[1] != arrays[0].shape[k]:
            raise ValueError(
                f"factors[{k}] must be of shape (m, {arrays[0].shape[k]}) with m at least 1, got "
                f"{tuple(F.shape)}."
            )
    for name, x in zip(["core", *(f"factors[{k}]" for k in range(d))], arrays, strict=True):
        if not bool(xp.all(xp.isfinite(x))):
            raise ValueError(f"{name} must not contain NaN or infinity.")
    kinds = [working_dtype(xp, where, x.dtype) for x in arrays]
    dtype = working_dtype(xp, where, xp.result_type(*kinds))
    cast = [xp.astype(x, dtype, copy=False) for x in arrays]
    return Parts(cast[0], tuple(cast[1:]), intervals, xp)


def _like(dtype: DType, parts: Parts) -> DType:
    """Return `dtype`, complex where the parts are."""
    xp = parts.xp
    if is_complex_dtype(xp, parts.core.dtype) and not is_complex_dtype(xp, dtype):
        return xp.result_type(dtype, xp.complex64)
    return dtype


def _number(name: str, value: Any) -> Number:
    """Return a finite Python number."""
    if getattr(value, "ndim", 0):
        raise TypeError(message(name, "be a number", value, way_out="Multiply by one at a time."))
    if isinstance(value, complex):
        if not (math.isfinite(value.real) and math.isfinite(value.imag)):
            raise ValueError(message(name, "be finite", value))
        return value
    dtype = str(getattr(value, "dtype", ""))
    if "complex" in dtype and not getattr(value, "shape", ()):
        return _number(name, complex(value))
    return check_float(name, value)


def _split(c: Number) -> tuple[Number, int]:
    """Return a number as a mantissa of modulus between 0.5 and 1.5, and a power of two."""
    largest = max(abs(c.real), abs(c.imag))
    exponent = scale_exponent(largest)
    if isinstance(c, complex):
        return complex(math.ldexp(c.real, -exponent), math.ldexp(c.imag, -exponent)), exponent
    return math.ldexp(c, -exponent), exponent


def _size_or_norm(f: ChebTucker) -> float:
    """Return what is known of the largest modulus, or the weighted norm, which is not above it."""
    size = f._known_size
    return norm_fro(f.core, f._parts.xp) if size is None else size


def _of_norm(error: float, norm: str, weaker: str, domain: Sequence[Interval]) -> float:
    """Return the bound of an error in one norm by that in a stronger one, of :data:`NORMS`."""
    if norm == weaker or weaker == "l2w":
        return error
    root = math.prod(math.sqrt(b - a) for a, b in domain)
    return error * root * (Norm("l2").weighted_factor(len(domain)) if norm == "l2w" else 1.0)
