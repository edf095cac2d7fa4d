"""Values of a function: how it is called, what it may return, how often it may be asked.

All positions are in [-1, 1] here, and values are divided by a power of two near the largest, so
that neither the box nor the unit of the function matters to what is built from them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from linalgkit._core.array import (
    Array,
    Device,
    DType,
    Namespace,
    array_namespace,
    asarray,
    complex_dtype,
    device,
    dtype_name,
    is_complex_dtype,
    library_name,
    numpy_namespace,
    real_dtype,
    to_numpy,
    widest_dtype,
    widest_float,
    working_dtype,
)
from linalgkit._core.scaling import ldexp, scale_exponent
from linalgkit.chebyshev._basis import scaled
from linalgkit.chebyshev._parts import Interval

_HOST = numpy_namespace()
# At most this many points are handed to a function at once.
_CALL_POINTS = 2**20
Vectorized = str | bool


class BudgetError(Exception):
    """The next evaluation would go beyond the budget: internal, never seen by a caller."""


class Sampler:
    """A function on the unit box, its values as host arrays in double precision.

    Attributes
    ----------
    n_evals : int
        Points asked so far.
    largest : float
        Largest modulus met, divided by ``2**exponent``.
    peak : array (d,)
        Where it was met.
    exponent : int
        Values are divided by this power of two.
    kind : str
        Name of the dtype of the values as the function returned them, None before the first.
    """

    def __init__(
        self,
        f: Callable[..., Any],
        intervals: Sequence[Interval],
        *,
        vectorized: Vectorized,
        xp: Namespace,
        device: Device,
        dtype: DType | None,
        max_evals: int,
    ) -> None:
        self.f = f
        self.intervals = tuple(intervals)
        self.vectorized = vectorized
        self.xp, self.device, self.wanted = xp, device, dtype
        self.position_dtype = widest_float(xp, device) if dtype is None else real_dtype(xp, dtype)
        self.max_evals = max_evals
        self.n_evals = 0
        self.largest = 0.0
        self.peak: Array | None = None
        self.exponent = 0
        self.kind: DType | None = dtype

    @property
    def order(self) -> int:
        """Number of variables."""
        return len(self.intervals)

    @property
    def remaining(self) -> int:
        """Points that may still be asked."""
        return self.max_evals - self.n_evals

    # ------------------------------------------------------------------------------- asking

    def set_unit(self, values: Array) -> Array:
        """Fix the power of two by first values (host), and return them divided by it."""
        self.exponent = scale_exponent(float(_HOST.max(_HOST.abs(values))))
        self.largest = math.ldexp(self.largest, -self.exponent)
        return ldexp(values, -self.exponent, _HOST)

    def points(self, P: Array) -> Array:
        """Return the values (n,) at host points `P` (n, d)."""
        n = int(P.shape[0])
        self._spend(n)
        parts = [
            self._host(self._scattered(P[start : start + _CALL_POINTS, :]))
            for start in range(0, n, _CALL_POINTS)
        ]
        values = parts[0] if len(parts) == 1 else _HOST.concat(parts)
        return self._scaled(values, lambda i: P[i, :])

    def lines(self, k: int, positions: Array, t: Array) -> Array:
        """Return values (m, p) along variable `k` at `t` (m,), the others at `positions` (p, d)."""
        m, p = int(t.shape[0]), int(positions.shape[0])
        if self.vectorized != "grid":
            P = _HOST.repeat(positions[None, :, :], m, axis=0)
            P[:, :, k] = t[:, None]
            return self.points(P.reshape(-1, self.order)).reshape(m, p)
        self._spend(m * p)
        columns = [positions[None, :, j] for j in range(self.order)]
        columns[k] = t[:, None]
        values = self._host(self._open(columns, (m, p)))
        return self._scaled(values, lambda i: self._on_line(k, positions, t, i))

    def tensor(self, ts: Sequence[Array]) -> Array:
        """Return values (n_1, ..., n_d) on a tensor grid, on the device in its widest dtype."""
        shape = tuple(int(t.shape[0]) for t in ts)
        self._spend(math.prod(shape))
        if self.vectorized == "grid":
            values = self._open(_open_grid(ts), shape)
        else:
            values = self.xp.reshape(self._tensor_by_points(ts, shape), shape)
        moduli = self.xp.reshape(self.xp.abs(values), (-1,))
        i = int(self.xp.argmax(moduli))
        largest = float(moduli[i])

        def point(i: int) -> list[float]:
            places = _HOST.unravel_index(i, shape)
            return [float(t[q]) for t, q in zip(ts, places, strict=True)]

        if not math.isfinite(largest):
            self._check_finite(self._host(values), point)
        self._note(math.ldexp(largest, -self.exponent), i, point)
        return ldexp(self._widened(values), -self.exponent, self.xp)

    def host_tensor(self, ts: Sequence[Array]) -> Array:
        """Return the same on the host."""
        return to_numpy(self.tensor(ts))

    # ------------------------------------------------------------------------------ helpers

    def _spend(self, n: int) -> None:
        """Count points, or refuse them."""
        if n > self.remaining:
            raise BudgetError
        self.n_evals += n

    def _positions(self, t: Array, k: int) -> Array:
        """Return host positions of [-1, 1] in the caller's box and library."""
        x = scaled(t, self.intervals[k])
        return asarray(x, xp=self.xp, device=self.device, dtype=self.position_dtype)

    def _scattered(self, P: Array) -> Array:
        """Return values (n,) on the device."""
        n = int(P.shape[0])
        if self.vectorized == "grid":
            return self._open([P[:, k] for k in range(self.order)], (n,))
        host = _HOST.stack([scaled(P[:, k], self.intervals[k]) for k in range(self.order)], axis=-1)
        X = asarray(host, xp=self.xp, device=self.device, dtype=self.position_dtype)
        if self.vectorized == "points":
            return self._checked(self.f(X), (n,), f"an array of shape ({n}, {self.order})")
        return self._checked(self._one_by_one(X), (n,), "single points")

    def _one_by_one(self, X: Array) -> Array:
        """Return the values of a function that takes one point of shape (d,)."""
        values = []
        for i in range(int(X.shape[0])):
            value = self.f(X[i, :])
            if getattr(value, "shape", ()) not in ((), (1,)):
                raise ValueError(
                    f"f must return one number for a point of shape ({self.order},) with "
                    f"vectorized=False, got shape {tuple(value.shape)}."
                )
            try:
                values.append(complex(value) if _is_complex_number(value) else float(value))
            except (TypeError, ValueError):
                raise TypeError(
                    f"f must return one number for a point with vectorized=False, got {value!r}."
                ) from None
        kind = complex if any(isinstance(v, complex) for v in values) else float
        host = _HOST.asarray(values, dtype=kind)
        dtype = self.position_dtype
        if kind is complex:
            dtype = complex_dtype(self.xp, dtype)
        return asarray(host, xp=self.xp, device=self.device, dtype=dtype)

    def _open(self, columns: Sequence[Array], shape: tuple[int, ...]) -> Array:
        """Return values of a function of d arrays that broadcast against each other."""
        arguments = [self._positions(c, k) for k, c in enumerate(columns)]
        values = self.f(*arguments)
        if isinstance(values, (bool, int, float, complex)):
            values = self.xp.asarray(values, device=self.device)
        values = self._checked(values, None, "arrays that broadcast against each other")
        try:
            return self.xp.broadcast_to(values, shape)
        except (ValueError, RuntimeError, TypeError):
            raise ValueError(
                f"f must return values that broadcast to {shape} for vectorized='grid', got shape "
                f"{tuple(values.shape)}."
            ) from None

    def _tensor_by_points(self, ts: Sequence[Array], shape: tuple[int, ...]) -> Array:
        """Return values of all points of a grid, flat, asked in pieces along the first axis."""
        rest = math.prod(shape[1:])
        step = max(1, _CALL_POINTS // rest)
        pieces = []
        for start in range(0, shape[0], step):
            part = [ts[0][start : start + step], *ts[1:]]
            grid = _HOST.meshgrid(*part, indexing="ij")
            pieces.append(self._scattered(_HOST.stack([g.ravel() for g in grid], axis=-1)))
        return pieces[0] if len(pieces) == 1 else self.xp.concat(pieces)

    def _checked(self, values: Any, shape: tuple[int, ...] | None, given: str) -> Array:
        """Return what the function returned as an array of a floating dtype."""
        if library_name(self.xp) == "numpy" and isinstance(values, (list, tuple)):
            values = _HOST.asarray(values)
        try:
            found = array_namespace(values)
        except TypeError as error:
            raise TypeError(f"f must return an array when it is given {given}: {error}") from None
        if found is not self.xp and library_name(found) != library_name(self.xp):
            raise TypeError(
                f"f must return an array of {library_name(self.xp)}, as it is given, got one of "
                f"{library_name(found)}. Pass xp= to have it called with arrays of that library."
            )
        if shape is not None and tuple(values.shape) != shape:
            raise ValueError(
                f"f must return shape {shape} when it is given {given}, got shape "
                f"{tuple(values.shape)}. Pass vectorized='grid' for f(x1, ..., xd) of arrays that "
                "broadcast, or vectorized=False for one point at a time."
            )
        return self._remember(values)

    def _remember(self, values: Array) -> Array:
        """Note the dtype of values, and bring them into it."""
        dtype = working_dtype(self.xp, device(values), values.dtype)
        if self.wanted is not None:
            if is_complex_dtype(self.xp, dtype) and not is_complex_dtype(self.xp, self.wanted):
                raise TypeError(
                    f"f must return real values for dtype={dtype_name(self.xp, self.wanted)}, got "
                    f"{dtype_name(self.xp, dtype)}. Pass a complex dtype, or none."
                )
            dtype = self.wanted
        elif self.kind is not None and self.kind != dtype:
            dtype = self.xp.result_type(dtype, self.kind)
        self.kind = dtype
        return self.xp.astype(values, dtype, copy=False)

    def _widened(self, values: Array) -> Array:
        """Return values in the widest dtype of the device."""
        wide = widest_dtype(self.xp, self.device, values.dtype)
        return self.xp.astype(values, wide, copy=False)

    def _host(self, values: Array) -> Array:
        """Return values on the host in double precision: the one synchronisation of a call."""
        host = to_numpy(values)
        kind = _HOST.complex128 if host.dtype.kind == "c" else _HOST.float64
        return host.astype(kind, copy=False)

    def _scaled(self, values: Array, point: Callable[[int], Any]) -> Array:
        """Return host values divided by the unit, if they are finite; remember the largest."""
        self._check_finite(values, point)
        values = ldexp(values, -self.exponent, _HOST)
        moduli = _HOST.abs(values)
        i = int(_HOST.argmax(moduli))
        self._note(float(moduli.ravel()[i]), i, point)
        return values

    def _note(self, largest: float, i: int, point: Callable[[int], Any]) -> None:
        """Remember the largest modulus and where it was met."""
        if self.peak is None or largest > self.largest:
            self.largest = largest
            self.peak = _HOST.asarray(point(i), dtype=_HOST.float64)

    def _on_line(self, k: int, positions: Array, t: Array, i: int) -> Array:
        row, column = divmod(i, int(positions.shape[0]))
        point = positions[column, :].copy()
        point[k] = t[row]
        return point

    def _check_finite(self, values: Array, point: Callable[[int], Any]) -> None:
        """Refuse NaN and infinity, naming the point."""
        finite = _HOST.isfinite(values)
        if finite.all():
            return
        i = int(_HOST.argmin(finite.ravel()))
        place = [float(scaled(t, self.intervals[k])) for k, t in enumerate(point(i))]
        raise ValueError(
            f"f must be finite on the whole box, got {values.ravel()[i]} at the point "
            f"({', '.join(f'{x:.17g}' for x in place)}). Move the box away from singularities."
        )


def _is_complex_number(value: Any) -> bool:
    """Tell whether a number or an array of one number is complex."""
    if isinstance(value, complex):
        return True
    dtype = getattr(value, "dtype", None)
    return dtype is not None and "complex" in str(dtype)


def _open_grid(ts: Sequence[Array]) -> list[Array]:
    """Return grid points, each along an axis of its own."""
    d = len(ts)
    return [_HOST.reshape(t, (*(1,) * k, -1, *(1,) * (d - k - 1))) for k, t in enumerate(ts)]
