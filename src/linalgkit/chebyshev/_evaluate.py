"""Values of a Chebyshev-Tucker function: at scattered points, on tensor grids, and its gradient.

::

    values = scattered(parts, x, "raise")            # x (..., d) -> (...)
    values = tensor_grid(parts, (x1, x2), "nan")     # -> (n1, n2)
    slopes = gradient(parts, x, "extrapolate")       # -> (..., d)

A point costs about ``2 r_1 ... r_d`` operations: one matrix product with the unfolded core for a
chunk of points, then sums along rows, one variable after another.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from linalgkit._core.array import (
    Array,
    DType,
    Namespace,
    array_namespace,
    asarray,
    device,
    dtype_name,
    eps,
    itemsize,
    library_name,
    numpy_namespace,
    real_dtype,
    to_numpy,
    widest_float,
)
from linalgkit._core.modes import mode_products
from linalgkit._core.validation import check_choice, check_finite_block, message
from linalgkit._kernels.chebyshev import chebyshev_rows, row_contract
from linalgkit.chebyshev._basis import derivative_matrix, on_device
from linalgkit.chebyshev._panels import Plan, basis_at, panel_values, plan
from linalgkit.chebyshev._parts import Interval, Parts

_HOST = numpy_namespace()
OUTSIDE = ("raise", "nan", "extrapolate")
_WAY_OUT = 'Pass outside="nan" for NaN there, or outside="extrapolate" for the polynomial.'
# A chunk of points with all its products: of the second cache, and of a device.
_HOST_BYTES, _DEVICE_BYTES = 3 * 2**19, 2**26
_SMALLEST_CHUNK = 16
# Moving the core pays from so many points on, where another mode has so much larger a rank.
_MOVE_POINTS, _MOVE_GAIN = 256, 1.25
# Rows of a grid whose values are written by one product.
_GRID_ROWS = 128


# ------------------------------------------------------------------------------ scattered points


def scattered(parts: Parts, x: Array, outside: str) -> Array:
    """Return the values at points.

    Parameters
    ----------
    parts : Parts
        In the dtype of the answer.
    x : array, shape (..., d)
        Points, in the library and on the device of the parts.
    outside : {"raise", "nan", "extrapolate"}
        What points outside the domain give: a ValueError, NaN, or the value of the polynomial.

    Returns
    -------
    array, shape (...)

    Raises
    ------
    TypeError
        For another library or device, or complex points.
    ValueError
        For a last axis of another length than d, for NaN or infinity, and for a point outside
        the domain with "raise".

    Notes
    -----
    One synchronisation. Storage: the answer and ``d`` numbers a point; for a chunk of points about
    1.5 MiB on the host, 64 MiB on a device (at least the products of 16 points).
    """
    points = _points(parts, x, outside)
    with _HOST.errstate(over="ignore", invalid="ignore"):
        return _finished(_values(parts, points), points, parts.xp)


def gradient(parts: Parts, x: Array, outside: str) -> Array:
    """Return the derivatives with respect to all variables at points.

    Parameters, exceptions and storage are those of :func:`scattered`; the chunks are half as long.

    Returns
    -------
    array, shape (..., d)
    """
    points = _points(parts, x, outside)
    xp, t = parts.xp, points.wide_unit
    with _HOST.errstate(over="ignore", invalid="ignore"):
        order, core = _unfolded(parts, points.number)
        factors = [parts.factors[k] for k in order]
        slopes = [_slope(parts, k) for k in order]
        back = [order.index(k) for k in range(parts.order)]
        found = []
        for chunk in _chunks(core, points.number, xp, share=2):
            columns = [t[k, chunk] for k in order]
            B = [factor_values(c, F, xp) for c, F in zip(columns, factors, strict=True)]
            D = [factor_values(c, F, xp) for c, F in zip(columns, slopes, strict=True)]
            rows = _all_slopes(core, B, D, xp)
            found.append(xp.stack([rows[k] for k in back], axis=1))
        values = _joined(found, (0, parts.order), parts.core.dtype, parts, xp)
        return _finished(values, points, xp)


def _values(parts: Parts, points: _Points) -> Array:
    """Return the values at points of the unit box, (n,)."""
    xp, t = parts.xp, points.wide_unit
    order, core = _unfolded(parts, points.number)
    factors = [parts.factors[k] for k in order]
    if library_name(xp) == "numpy" and points.clipped:
        precision = 0.25 * eps(xp, core.dtype)
        found = plan(points.number, factors[0].shape[0] - 1, core, precision)
        if found is not None:
            return _values_by_panels(parts, points, order, core, found)
    found_values = []
    for chunk in _chunks(core, points.number, xp):
        bases = [factor_values(t[k, chunk], F, xp) for k, F in zip(order, factors, strict=True)]
        found_values.append(_contracted(bases[0] @ core, bases[1:], xp))
    return _joined(found_values, (0,), parts.core.dtype, parts, xp)


def _values_by_panels(
    parts: Parts, points: _Points, order: list[int], core: Array, found: Plan
) -> Array:
    """Return the same for many points of NumPy."""
    wide, precision = points.wide_unit, 0.25 * eps(_HOST, core.dtype)

    def functions(k: int) -> Callable[[Array], Array]:
        F = parts.factors[k]
        return basis_at(wide[k, :], F, precision, lambda i: factor_values(wide[k, i], F, _HOST))

    bases = [functions(k) for k in order[1:]]

    def rest(Y: Array, places: Array) -> Array:
        return _contracted(Y, (basis(places) for basis in bases), _HOST)

    first = order[0]
    return panel_values(core, parts.factors[first], wide[first, :], found, rest)


def _unfolded(parts: Parts, count: int) -> tuple[list[int], Array]:
    """Return the order in which variables are summed over, and the core as a matrix (r_k, rest).

    The largest rank comes first, since what follows has the size of all others. The core is moved
    only where a mode between the first and the last has it and there are many points.
    """
    xp, core, d = parts.xp, parts.core, parts.order
    ranks = tuple(map(int, core.shape))
    k = 0 if ranks[0] >= ranks[-1] else d - 1
    largest = max(range(d), key=ranks.__getitem__)
    if count >= _MOVE_POINTS and ranks[largest] > _MOVE_GAIN * ranks[k]:
        k = largest
    others = [i for i in range(d) if i != k]
    if k == 0:
        return [0, *others], xp.reshape(core, (ranks[0], -1))
    if k == d - 1:
        return [k, *others], xp.matrix_transpose(xp.reshape(core, (-1, ranks[k])))
    return [k, *others], xp.reshape(xp.permute_dims(core, (k, *others)), (ranks[k], -1))


def _chunks(core: Array, count: int, xp: Namespace, share: int = 1) -> Iterator[slice]:
    """Yield slices of points whose products with the core, `share` of them, take bounded room."""
    on_host = library_name(xp) == "numpy"
    room = (_HOST_BYTES if on_host else _DEVICE_BYTES) // share
    size = max(_SMALLEST_CHUNK, room // (int(core.shape[1]) * itemsize(xp, core.dtype)))
    if on_host:
        size = min(size, 512)
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))


def factor_values(t: Array, F: Array, xp: Namespace) -> Array:
    """Return the functions with coefficients `F` (m, r) at points of [-1, 1], shape (n, r).

    The recurrence runs in the precision of the points, the widest: rounding them to single
    precision costs most near the ends of the interval.
    """
    rows = chebyshev_rows(xp, t, int(F.shape[0]))
    if rows.dtype == F.dtype:  # most often; what is below takes longer than a point
        return rows.T @ F
    rows = xp.astype(rows, real_dtype(xp, F.dtype), copy=False)
    if rows.dtype == F.dtype:
        return xp.matrix_transpose(rows) @ F
    if library_name(xp) == "numpy":
        return (rows.T @ _HOST.ascontiguousarray(F).view(rows.dtype)).view(F.dtype)
    return xp.matrix_transpose(xp.astype(rows, F.dtype)) @ F


def _contracted(Y: Array, bases: Any, xp: Namespace) -> Array:
    """Return rows of products (n, r_2 ... r_d) summed over one variable after another, (n,)."""
    n = int(Y.shape[0])
    for B in bases:
        r = int(B.shape[1])
        Y = row_contract(xp, xp.reshape(Y, (n, r, int(Y.shape[1]) // r)), B)
    return Y[:, 0]


def _slope(parts: Parts, k: int) -> Array:
    """Return the coefficients of the derivative of a factor with respect to its variable."""
    F, (a, b) = parts.factors[k], parts.intervals[k]
    return (on_device(derivative_matrix(int(F.shape[0])), F, parts.xp) @ F) / (0.5 * b - 0.5 * a)


def _all_slopes(core: Array, B: list[Array], D: list[Array], xp: Namespace) -> list[Array]:
    """Return the derivative in each variable, in the order of the bases `B` and their slopes `D`.

    Sums that derivatives share are formed once.
    """
    n = int(B[0].shape[0])
    value, found = B[0] @ core, [D[0] @ core]
    for basis, slope in zip(B[1:], D[1:], strict=True):
        r = int(basis.shape[1])
        shape = (n, r, int(value.shape[1]) // r)
        found = [row_contract(xp, xp.reshape(Y, shape), basis) for Y in found]
        value = xp.reshape(value, shape)
        found.append(row_contract(xp, value, slope))
        value = row_contract(xp, value, basis)
    return [Y[:, 0] for Y in found]


def _joined(
    found: list[Array], empty: tuple[int, ...], dtype: DType, parts: Parts, xp: Namespace
) -> Array:
    """Return chunks as one array, of shape `empty` where there are none."""
    if not found:
        return xp.zeros(empty, dtype=dtype, device=parts.device)
    return found[0] if len(found) == 1 else xp.concat(found, axis=0)


# --------------------------------------------------------------------------------- tensor grids


def tensor_grid(parts: Parts, grids: Sequence[Array], outside: str) -> Array:
    """Return the values on a tensor grid.

    Parameters
    ----------
    parts : Parts
        In the dtype of the answer.
    grids : sequence of array, shape (n_k,)
        Points of each variable, in the library and on the device of the parts.
    outside : {"raise", "nan", "extrapolate"}
        As in :func:`scattered`.

    Returns
    -------
    array, shape (n_1, ..., n_d)

    Raises
    ------
    TypeError, ValueError
        As in :func:`scattered`, and for a number of grids other than d.

    Notes
    -----
    Storage: the answer, the factors on the grid, and a product smaller than the answer by n_k / r_k
    of the last mode.
    """
    xp = parts.xp
    factors = grid_factors(parts, grids, outside)
    with _HOST.errstate(over="ignore", invalid="ignore"):
        growth = [F.shape[0] / F.shape[1] for F in factors]
        if library_name(xp) == "numpy" and len(factors) > 1 and 2 * growth[-1] >= max(growth):
            return _grid_by_rows(parts.core, factors)
        return mode_products(parts.core, factors, xp)


def grid_factors(parts: Parts, grids: Sequence[Array], outside: str) -> list[Array]:
    """Return the factors at points of their variables, (n_k, r_k) each: those of a Tucker tensor.

    Parameters and exceptions are those of :func:`tensor_grid`; one synchronisation.
    """
    xp = parts.xp
    check_choice("outside", outside, OUTSIDE)
    grids = _check_grids(parts, grids)
    unit, inside = [], []
    for grid, interval in zip(grids, parts.intervals, strict=True):
        t, ok = _on_unit(grid[None, :], (interval,), outside, xp)
        unit.append(t[0, :])
        inside.append(ok if ok is None else ok[0, :])
    if outside == "raise":
        _require_inside(parts, grids, inside)
    else:
        for k, grid in enumerate(grids):
            check_finite_block(grid, name=f"grids[{k}]")
    factors = []
    with _HOST.errstate(over="ignore", invalid="ignore"):
        for t, F, ok in zip(unit, parts.factors, inside, strict=True):
            B = factor_values(t, F, xp)
            factors.append(
                _nan_where(ok[:, None], B, xp) if ok is not None and outside == "nan" else B
            )
    return factors


def _grid_by_rows(core: Array, factors: list[Array]) -> Array:
    """Return the same for NumPy: the last two modes a few rows at a time, written where they stay.

    What lies between them stays in cache, and so does what a product adds to.
    """
    *front, B, last = factors
    n, p = B.shape[0], last.shape[0]
    T = mode_products(core, [*front, None, None], _HOST)
    T = _HOST.reshape(T, (-1, *core.shape[-2:]))
    W = _HOST.ascontiguousarray(last.T)
    result = _HOST.empty((*(F.shape[0] for F in factors),), dtype=core.dtype)
    rows = _HOST.reshape(result, (-1, p))
    step = max(1, _GRID_ROWS // max(n, 1))
    for start in range(0, T.shape[0], step):
        P = _HOST.reshape(B @ T[start : start + step, :, :], (-1, W.shape[0]))
        target = rows[start * n : start * n + P.shape[0], :]
        for i in range(0, P.shape[0], _GRID_ROWS):
            _HOST.matmul(P[i : i + _GRID_ROWS, :], W, out=target[i : i + _GRID_ROWS, :])
    return result


# -------------------------------------------------------------------------------- the boundary


class _Points(NamedTuple):
    """Checked points, their variables on [-1, 1] as rows in the widest dtype."""

    shape: tuple[int, ...]
    wide_unit: Array  # (d, n)
    inside: Array | None  # (n,), where NaN is wanted elsewhere
    clipped: bool

    @property
    def number(self) -> int:
        """Number of points."""
        return math.prod(self.shape)


def _points(parts: Parts, x: Array, outside: str) -> _Points:
    """Return scattered points as variables of the unit box."""
    xp, d = parts.xp, parts.order
    check_choice("outside", outside, OUTSIDE)
    _check_place(parts, x, "x")
    if x.ndim == 0 or int(x.shape[-1]) != d:
        rule = f"have a last axis of length {d}, one coordinate a variable"
        raise ValueError(message("x", rule, tuple(x.shape)))
    shape = tuple(map(int, x.shape[:-1]))
    flat = xp.reshape(x, (math.prod(shape), d))
    wide, inside = _on_unit(xp.matrix_transpose(flat), parts.intervals, outside, xp)
    if outside == "raise" and not bool(xp.all(inside)):
        check_finite_block(flat, name="x", unit="point")
        raise _outside_error(parts, flat, inside, shape)
    if outside != "raise":
        check_finite_block(flat, name="x", unit="point")
    mask = xp.all(inside, axis=0) if outside == "nan" else None
    return _Points(shape, wide, mask, outside != "extrapolate")


def _check_place(parts: Parts, x: Any, name: str) -> None:
    """Refuse what is no real array of the library and on the device of the parts."""
    xp = array_namespace(x)
    if xp is not parts.xp:
        raise TypeError(
            f"{name} must be an array of {library_name(parts.xp)}, as the function is, got one of "
            f"{library_name(xp)}. Convert it first."
        )
    if device(x) != parts.device:
        raise TypeError(
            f"{name} must lie on the device of the function, {parts.device}, got one on "
            f"{device(x)}. Move it there first."
        )
    if not xp.isdtype(x.dtype, ("real floating", "integral")):
        raise TypeError(message(name, "be real", dtype_name(xp, x.dtype)))


def _check_grids(parts: Parts, grids: Sequence[Array]) -> list[Array]:
    """Return the grids, checked for their number and shapes."""
    grids = list(grids)
    if len(grids) != parts.order:
        raise ValueError(message("grids", f"be {parts.order} arrays, one a variable", len(grids)))
    for k, grid in enumerate(grids):
        _check_place(parts, grid, f"grids[{k}]")
        if grid.ndim != 1:
            raise ValueError(message(f"grids[{k}]", "be one-dimensional", tuple(grid.shape)))
    return grids


def _on_unit(
    X: Array, intervals: tuple[Interval, ...], outside: str, xp: Namespace
) -> tuple[Array, Array | None]:
    """Return variables (d, n) moved to [-1, 1] in the widest dtype, and where they are inside.

    Inside reaches four roundings of the points beyond the ends. Unless the polynomial is wanted
    elsewhere, nothing beyond [-1, 1] is left.
    """
    wide = widest_float(xp, device(X))
    real = xp.isdtype(X.dtype, "real floating")
    precision = max(eps(xp, X.dtype) if real else 0.0, eps(xp, wide))
    lower, upper, half, reach = _bounds(intervals, precision)
    if library_name(xp) != "numpy":
        place: dict[str, Any] = {"xp": xp, "device": device(X), "dtype": wide}
        lower, upper, half, reach = (asarray(v, **place) for v in (lower, upper, half, reach))
    X = xp.astype(X, wide, copy=False)
    with _HOST.errstate(over="ignore", invalid="ignore"):
        t = (0.5 * (X - lower) - 0.5 * (upper - X)) / half
    if outside == "extrapolate":
        return t, None
    inside = xp.abs(t) <= reach
    if library_name(xp) == "numpy":  # whose clip takes longer than a point
        return _HOST.minimum(_HOST.maximum(t, -1.0), 1.0), inside
    return xp.clip(t, -1.0, 1.0), inside


@functools.lru_cache(maxsize=64)
def _bounds(intervals: tuple[Interval, ...], precision: float) -> tuple[Array, ...]:
    """Return lower ends, upper ends, half-widths, and where a point counts as outside (d, 1).

    The last is on the unit interval, four roundings of the ends of the interval beyond 1.
    """
    lower, upper = (_HOST.asarray(ends)[:, None] for ends in zip(*intervals, strict=True))
    half = 0.5 * upper - 0.5 * lower
    size = _HOST.maximum(_HOST.maximum(_HOST.abs(lower), _HOST.abs(upper)), 2.0 * half)
    return lower, upper, half, 1.0 + 4.0 * precision * (size / half)


def _outside_error(parts: Parts, flat: Array, inside: Array, shape: tuple[int, ...]) -> ValueError:
    """Return the error that names the first point outside."""
    i = int(_HOST.argmin(_HOST.all(to_numpy(inside), axis=0)))
    where = ", ".join(str(int(k)) for k in _HOST.unravel_index(i, shape)) if shape else ""
    point = tuple(float(flat[i, k]) for k in range(parts.order))
    rule = f"lie in the domain {parts.intervals}"
    return ValueError(message(f"x[{where}]" if shape else "x", rule, point, way_out=_WAY_OUT))


def _require_inside(parts: Parts, grids: list[Array], inside: list[Array]) -> None:
    """Refuse grids that hold points outside; one synchronisation."""
    xp = parts.xp
    if bool(xp.all(xp.stack([xp.all(ok) for ok in inside]))):
        return
    for k, grid in enumerate(grids):
        check_finite_block(grid, name=f"grids[{k}]")
    k, bad = next((k, ~to_numpy(ok)) for k, ok in enumerate(inside) if not bool(xp.all(ok)))
    i = int(_HOST.argmax(bad))
    rule, value = f"lie in {parts.intervals[k]}", float(grids[k][i])
    raise ValueError(message(f"grids[{k}][{i}]", rule, value, way_out=_WAY_OUT))


def _finished(values: Array, points: _Points, xp: Namespace) -> Array:
    """Return values in the shape of the points, NaN where that is wanted."""
    tail = tuple(values.shape[1:])
    if points.inside is not None:
        mask = points.inside if not tail else points.inside[:, None]
        values = _nan_where(mask, values, xp)
    return xp.reshape(values, (*points.shape, *tail))


def _nan_where(keep: Array, values: Array, xp: Namespace) -> Array:
    """Return values with NaN where `keep` is False."""
    nan = asarray(math.nan, xp=xp, device=device(values), dtype=values.dtype, copy=False)
    return xp.where(keep, values, nan)
