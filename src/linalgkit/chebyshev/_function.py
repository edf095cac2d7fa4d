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
    widest_float,
    working_dtype,
)
from linalgkit._core.capabilities import capability
from linalgkit._core.scaling import norm_fro
from linalgkit._core.state import State, Stateful
from linalgkit._core.validation import check_choice, check_float, check_int, message
from linalgkit.chebyshev import _arithmetic, _calculus, _evaluate, _extremes
from linalgkit.chebyshev._parts import Interval, Parts, check_domain, orthonormal

_HOST = numpy_namespace()
Number = float | complex
OUTSIDE = ("raise", "nan", "extrapolate")
_SCALE_POINTS = 1000


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
        Absolute error, in the unit of the function, in the norm that it was built for (the maximum
        norm by default); NaN where nothing is known. For a function that was built from samples it
        is the largest error at fresh random points: an estimate from below, not a bound; what no
        sample meets (a needle) it cannot see. Sums, products and derivatives propagate it.
    scale : float
        Largest modulus met; ``error_estimate / scale`` is the relative error.
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
        If shapes do not fit, the box is not one, or d is above 6.

    See Also
    --------
    chebtucker : from a callable.
    chebtucker_from_cp, chebtucker_from_values, chebtucker_from_coefficients : from tensors.

    Notes
    -----
    Arithmetic is done in the widest precision of the device and returned in `dtype`.

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

    def __init__(
        self,
        core: Array,
        factors: Sequence[Array],
        domain: Any,
        *,
        error_estimate: float = math.nan,
    ) -> None:
        parts = _checked_parts(core, factors, domain)
        dtype = parts.core.dtype
        self._hold(orthonormal(parts.widened()).cast(dtype))
        self.error_estimate = float(error_estimate)

    def _hold(self, parts: Parts) -> None:
        """Take parts in the object's own dtype, with what is known of nothing."""
        self._parts = parts
        self.error_estimate = math.nan
        self.n_evals = 0
        self.status = "converged"
        self._scale: float | None = None

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
        """Largest modulus met; where the function was derived, that at 1000 random points."""
        if self._scale is None:
            points = _HOST.random.default_rng(0).random((_SCALE_POINTS, self.ndim))
            self._scale = float(_HOST.max(_HOST.abs(_host_values(self._parts, points))))
        return self._scale

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
            pessimistic away from the faces.

        Raises
        ------
        TypeError, ValueError
            If the axis or the order is none.
        """
        k = self._axis(axis)
        order = check_int("order", order, 0)
        a, b = self.domain[k]
        error = self.error_estimate
        for j in range(order):
            error *= 2.0 * max(self.degrees[k] - j, 0) ** 2 / (b - a)
        if order == 0:
            return self
        return self._new(_calculus.differentiate(self._parts.widened(), k, order), error)

    def integrate(self, axes: int | Sequence[int] | None = None) -> Self | Number:
        """Return the integral over some variables, or all.

        Parameters
        ----------
        axes : int or sequence of int, optional
            Variables that are integrated over their intervals. None: all.

        Returns
        -------
        ChebTucker or number
            A function of the variables that remain; a Python number if none does.

        Raises
        ------
        TypeError, ValueError
            If an axis is none or is named twice.
        """
        wanted = self._axes(axes)
        found = _calculus.integrate_over(self._parts.widened(), wanted)
        volume = math.prod(self.domain[k][1] - self.domain[k][0] for k in wanted)
        return self._new_or_number(found, self.error_estimate * volume)

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
            Value of each variable that is fixed, inside the box.

        Returns
        -------
        ChebTucker or number
            A function of the variables that remain; a Python number if none does.

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
            a, b = self.domain[k]
            fixed[k] = check_float(f"values[{axis}]", value, a, b, "inside the box")
        if not fixed:
            return self
        found = _calculus.fix(self._parts.widened(), fixed)
        return self._new_or_number(found, self.error_estimate)

    def restrict(self, domain: Any) -> Self:
        """Return the function on a smaller box.

        Parameters
        ----------
        domain : sequence of (a_k, b_k)
            Inside the box of this function.

        Returns
        -------
        ChebTucker
            The same function, exact but for rounding.

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
        return self._new(parts, self.error_estimate)

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
        inverse = 1.0 / divisor
        return self._times_number(inverse)

    def conj(self) -> Self:
        """Return the complex conjugate."""
        parts, xp = self._parts, self._parts.xp
        if not is_complex_dtype(xp, self.dtype):
            return self
        conjugate = Parts(
            xp.conj(parts.core), tuple(map(xp.conj, parts.factors)), parts.intervals, xp
        )
        return self._derived(conjugate, self.error_estimate, self._scale)

    def recompress(self, tol: float) -> Self:
        """Return the function with the smallest ranks and degrees that a tolerance allows.

        Parameters
        ----------
        tol : float
            Of the largest modulus (`scale`), positive.

        Returns
        -------
        ChebTucker
            Differs by at most `tol` times `scale` in the weighted L2 norm, and at 1000 random
            points; the difference is added to the error estimate.

        Raises
        ------
        TypeError, ValueError
            If `tol` is no positive number.
        """
        tol = check_float("tol", tol, 0.0, low_open=True)
        return self._recompressed(self._parts.widened(), tol * self.scale, self.error_estimate)

    def merge(self, other: ChebTucker) -> Self:
        """Return the sum, recompressed to the errors that both have: for blocks of particles.

        Parameters
        ----------
        other : ChebTucker
            On the same box.

        Returns
        -------
        ChebTucker
            What it leaves away is at most a quarter of the joint error estimate, and counted;
            where that is not known, rounding. Evaluations are added.

        Raises
        ------
        TypeError, ValueError
            As for the inner product.
        """
        self._same(other)
        error = self.error_estimate + other.error_estimate
        parts = _arithmetic.add(self._parts.widened(), other._parts.widened())
        allowed = 0.25 * error if error > 0.0 else 0.0
        merged = self._recompressed(parts, allowed, error)
        merged.n_evals = self.n_evals + other.n_evals
        merged.status = self.status if self.status != "converged" else other.status
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
            "scale": self._scale,
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
        found._scale = None if state["scale"] is None else float(state["scale"])
        found.n_evals = int(state["n_evals"])
        found.status = str(state["status"])
        return found

    # ------------------------------------------------------------------------------- helpers

    def _derived(self, parts: Parts, error: float, scale: float | None = None) -> Self:
        """Return a function made from this one, in parts of the final dtype."""
        found = type(self).__new__(type(self))
        found._hold(parts)
        found.error_estimate = error
        found.status, found.n_evals, found._scale = self.status, self.n_evals, scale
        return found

    def _new(self, parts: Parts, error: float, scale: float | None = None) -> Self:
        """Return a function made from this one, in its precision."""
        return self._derived(parts.cast(_like(self.dtype, parts)), error, scale)

    def _new_or_number(self, found: Parts | Number, error: float) -> Self | Number:
        return self._new(found, error) if isinstance(found, Parts) else found

    def _sum(self, other: ChebTucker, sign: int) -> Self:
        if not isinstance(other, ChebTucker):
            return NotImplemented
        self._same(other)
        error = self.error_estimate + other.error_estimate
        parts = _arithmetic.add(self._parts.widened(), other._parts.widened(), sign)
        return self._joint(other, parts, error)

    def _times_function(self, other: ChebTucker) -> Self:
        self._same(other)
        rounding = 4.0 * self._rounding() * self.scale * other.scale
        error = self.error_estimate * other.scale + other.error_estimate * self.scale
        allowed = max(0.05 * error if error > 0.0 else 0.0, rounding)
        parts = _arithmetic.multiply(self._parts.widened(), other._parts.widened(), allowed)
        return self._joint(other, parts, error + allowed)

    def _joint(self, other: ChebTucker, parts: Parts, error: float) -> Self:
        """Return a function made from two."""
        xp = self._parts.xp
        dtype = xp.result_type(self.dtype, other.dtype)
        found = self._derived(parts.cast(_like(dtype, parts)), error)
        found.n_evals = self.n_evals + other.n_evals
        if self.status == "converged":
            found.status = other.status
        return found

    def _times_number(self, c: Number) -> Self:
        parts = self._parts
        xp = parts.xp
        core = parts.core
        if isinstance(c, complex) and not is_complex_dtype(xp, self.dtype):
            parts = parts.cast(xp.result_type(self.dtype, xp.complex64))
            core = parts.core
        scale = None if self._scale is None else self._scale * abs(c)
        times = Parts(core * c, parts.factors, parts.intervals, xp)
        return self._derived(times, self.error_estimate * abs(c), scale)

    def _recompressed(self, parts: Parts, allowed: float, error: float) -> Self:
        """Return parts cut by at most `allowed`, in the weighted norm and at random points."""
        rounding = self._rounding() * _safe_norm(parts)
        points = _HOST.random.default_rng(1).random((_SCALE_POINTS, self.ndim))
        before = _host_values(parts, points)
        share = 1.0
        while True:
            found, _ = _arithmetic.recompress(parts, max(share * allowed, rounding))
            lost = float(_HOST.max(_HOST.abs(_host_values(found, points) - before)))
            if lost <= allowed or share * allowed <= rounding:
                break
            share *= 0.3
        return self._new(found, error + lost, float(_HOST.max(_HOST.abs(before))))

    def _rounding(self) -> float:
        return eps(self._parts.xp, self.dtype)

    def _axis(self, axis: int) -> int:
        k = check_int("axis", axis, -self.ndim, self.ndim - 1, f"for {self.ndim} variables")
        return k % self.ndim

    def _axes(self, axes: int | Sequence[int] | None) -> tuple[int, ...]:
        if axes is None:
            return tuple(range(self.ndim))
        if not isinstance(axes, (list, tuple)):
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
) -> ChebTucker:
    """Return the object from parts in any dtype; the factors are made orthonormal."""
    found = ChebTucker.__new__(ChebTucker)
    found._hold(orthonormal(parts.widened()).cast(dtype))
    found.error_estimate = float(error_estimate)
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
    if isinstance(value, complex):
        if not (math.isfinite(value.real) and math.isfinite(value.imag)):
            raise ValueError(message(name, "be finite", value))
        return value
    dtype = str(getattr(value, "dtype", ""))
    if "complex" in dtype and not getattr(value, "shape", ()):
        return _number(name, complex(value))
    return check_float(name, value)


def _safe_norm(parts: Parts) -> float:
    return norm_fro(parts.core, parts.xp)


def _host_values(parts: Parts, unit_points: Array) -> Array:
    """Return the values, on the host, at points of [0, 1]^d moved into the box."""
    xp = parts.xp
    columns = [a + (b - a) * unit_points[:, k] for k, (a, b) in enumerate(parts.intervals)]
    x = asarray(
        _HOST.stack(columns, axis=-1),
        xp=xp,
        device=parts.device,
        dtype=widest_float(xp, parts.device),
    )
    return to_numpy(_evaluate.scattered(parts, x, "extrapolate"))
