"""Derivatives, integrals, inner products, slices and smaller boxes of Chebyshev-Tucker functions.

All of it acts on the factors, one variable at a time, and leaves the core to carry the scale::

    fx = differentiate(parts, 0)                 # exact to rounding, factors orthonormal again
    integral = integrate_over(parts, (0, 1, 2))  # a Python number
    plane = fix(parts, {2: 0.5})                 # one variable less

Sums of squares need no Gram matrix of polynomials: with the positive weights ``w`` of the
Clenshaw-Curtis rule at ``2 m - 1`` nodes the rows ``sqrt(w_i) f(x_i)`` have the L2 norm of f as
their 2-norm, exactly for polynomials of m coefficients, so that nothing cancels.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Mapping
from typing import Any

import scipy.fft

from linalgkit._core.array import (
    Array,
    eps,
    matmul_h,
    numpy_namespace,
)
from linalgkit._core.modes import mode_product, mode_products
from linalgkit._core.scaling import ldexp_float, norm_fro
from linalgkit._core.validation import check_float, check_int, message
from linalgkit.chebyshev._basis import (
    derivative_matrix,
    integrals,
    nodes,
    on_device,
    resized,
    scaled,
    to_coefficients,
    to_unit,
    to_values,
    vandermonde,
)
from linalgkit.chebyshev._numbers import (
    Number,
    contracted,
    contracted_core,
    for_numbers,
    half_volume,
    python_number,
    scaled_number,
)
from linalgkit.chebyshev._parts import Interval, Parts, check_domain, orthonormal
from linalgkit.chebyshev._recompress import match, recompress, zero_like

_HOST = numpy_namespace()


# ------------------------------------------------------------------------------------ derivatives


def differentiate(parts: Parts, axis: int, order: int = 1) -> Parts:
    """Return a partial derivative.

    Parameters
    ----------
    parts : Parts
        The function, in the widest dtype of its device.
    axis : int
        The variable, counted from 0 or, if negative, from the end.
    order : int, default 1
        How often; 0 returns the function itself.

    Returns
    -------
    Parts
        The derivative in the unit of f over that of the variable to the power `order`, its
        factors orthonormal. The zero function of degree 0 if `order` is above the degree.

    Raises
    ------
    TypeError
        If `axis` or `order` is no integer.
    ValueError
        If there is no such axis or `order` is negative.

    Notes
    -----
    Exact for the polynomial up to rounding, whose share grows as the square of the degree an
    order: differentiation amplifies it, here as everywhere. Storage: ``m^2`` numbers on the host.
    """
    axis = check_axis(axis, parts.order)
    order = check_int("order", order, low=0)
    if order == 0:
        return parts
    xp, F = parts.xp, parts.factors[axis]
    m = int(F.shape[0])
    if order >= m:
        return zero_like(parts)
    for step in range(order):
        F = on_device(derivative_matrix(m - step), F, xp) @ F
    a, b = parts.intervals[axis]
    result = orthonormal(_with_factor(parts, axis, F))
    core = result.core
    for _ in range(order):
        core = core * (1.0 / (0.5 * b - 0.5 * a))
    return Parts(core, result.factors, parts.intervals, xp)


def check_axis(axis: Any, d: int, name: str = "axis") -> int:
    """Return an axis as an index from 0 to d - 1."""
    why = f"for a function of {d} variable{'s' if d > 1 else ''}"
    return check_int(name, axis, low=-d, high=d - 1, why=why) % d


def _with_factor(parts: Parts, axis: int, F: Array) -> Parts:
    """Return the same parts with another factor."""
    factors = (*parts.factors[:axis], F, *parts.factors[axis + 1 :])
    return Parts(parts.core, factors, parts.intervals, parts.xp)


# -------------------------------------------------------------------------------------- integrals


def integrate_over(parts: Parts, axes: Any = None) -> Parts | Number:
    """Return the integral over some of the variables, or over all.

    Parameters
    ----------
    parts : Parts
        The function, in the widest dtype of its device.
    axes : int, sequence of int, or None
        The variables that are integrated over; None for all.

    Returns
    -------
    Parts or float or complex
        The function of the variables that remain, or a Python number where none does.

    Raises
    ------
    TypeError
        If an axis is no integer.
    ValueError
        If there is no such axis, or one is named twice.

    Notes
    -----
    Exact for the polynomial up to rounding. A number is accumulated in float64, on the host where
    the device has none. Storage: the core once more.
    """
    axes = _check_axes(axes, parts.order)
    if not axes:
        return parts
    everything = len(axes) == parts.order
    if everything:
        parts, exponent = for_numbers(parts)
    rows = {k: _integral_row(parts, k, everything) for k in axes}
    if not everything:
        return contracted(parts, rows)
    mantissa, shift = half_volume(parts.intervals)
    value = python_number(contracted_core(parts, rows)[(0,) * parts.order], parts)
    return scaled_number(value * mantissa, exponent + shift)


def _check_axes(axes: Any, d: int) -> tuple[int, ...]:
    """Return axes as distinct indices."""
    if axes is None:
        return tuple(range(d))
    given = tuple(axes) if isinstance(axes, Iterable) and not isinstance(axes, str) else (axes,)
    found = tuple(check_axis(axis, d, "axes") for axis in given)
    if len(set(found)) != len(found):
        raise ValueError(message("axes", "name each variable at most once", given))
    return found


def _integral_row(parts: Parts, axis: int, unit: bool) -> Array:
    """Return the integrals of a factor's columns (1, r), over [-1, 1] if `unit`."""
    F = parts.factors[axis]
    a, b = parts.intervals[axis]
    row = integrals(int(F.shape[0])) * (1.0 if unit else 0.5 * b - 0.5 * a)
    return on_device(row[None, :], F, parts.xp) @ F


# -------------------------------------------------------------------------- inner products, norms


@functools.lru_cache(maxsize=16)
def quadrature_weights(n: int) -> Array:
    """Return the weights of Clenshaw and Curtis at the `n` nodes, all positive (host)."""
    if n == 1:
        return _HOST.asarray([2.0])
    w = scipy.fft.dct(integrals(n), type=1) / (n - 1)
    w[[0, -1]] *= 0.5
    return w


def _square_rows(F: Array, n: int, xp: Any) -> Array:
    """Return values (n, r) at nodes whose plain inner products are those of L2 on [-1, 1]."""
    values = to_values(resized(F, n, xp), 0, xp)
    return values * on_device(_HOST.sqrt(quadrature_weights(n)), F, xp)[:, None]


def inner(a: Parts, b: Parts) -> Number:
    """Return the integral of ``conj(a) b`` over the domain.

    Parameters
    ----------
    a, b : Parts
        Functions on one box, in one library, in the widest dtype of the device.

    Returns
    -------
    float or complex
        The inner product of L2, linear in `b`; complex if one of them is.

    Raises
    ------
    TypeError
        If they lie in two libraries.
    ValueError
        If the boxes or devices differ.

    Notes
    -----
    Exact for the polynomials up to rounding, relative to the product of their norms. Accumulated
    in float64. Storage: ``(m_a + m_b) (r_a + r_b)`` numbers a mode and both cores.
    """
    a, b = match(a, b)
    (a, shift_a), (b, shift_b) = for_numbers(a), for_numbers(b)
    xp, core = a.xp, b.core
    for k, (F, G) in enumerate(zip(a.factors, b.factors, strict=True)):
        n = int(F.shape[0]) + int(G.shape[0]) - 1
        between = matmul_h(_square_rows(F, n, xp), _square_rows(G, n, xp), xp)
        core = mode_product(core, between, k, xp)
    flat = xp.reshape(a.core, (-1,)), xp.reshape(core, (-1,))
    mantissa, shift = half_volume(a.intervals)
    value = python_number(xp.vecdot(*flat), a) * mantissa
    return scaled_number(value, shift_a + shift_b + shift)


def l2_norm(parts: Parts) -> float:
    """Return the norm of L2 on the domain.

    Parameters
    ----------
    parts : Parts
        The function, in the widest dtype of its device.

    Returns
    -------
    float
        The square root of the integral of ``|f|^2``, in the unit of f times the root of that of
        the volume. Its relative error is rounding, however small it is beside the factors: no
        square root of a difference is taken.

    Notes
    -----
    Storage: ``(2 m_k - 1) r_k`` numbers for the largest mode and the core once more.
    """
    parts, exponent = for_numbers(parts)
    xp = parts.xp
    remainders = []
    for F in parts.factors:
        rows = _square_rows(F, 2 * int(F.shape[0]) - 1, xp)
        remainders.append(xp.linalg.qr(rows)[1])
    norm = norm_fro(mode_products(parts.core, remainders, xp), xp)
    mantissa, shift = half_volume(parts.intervals)
    if shift % 2:
        mantissa, shift = 2.0 * mantissa, shift - 1
    return ldexp_float(norm * math.sqrt(mantissa), exponent + shift // 2)


# ---------------------------------------------------------------------------- slices, smaller box


def fix(parts: Parts, values: Mapping[int, float]) -> Parts | Number:
    """Return the function with some variables held at values.

    Parameters
    ----------
    parts : Parts
        The function, in the widest dtype of its device.
    values : mapping of int to float
        The value of each variable that is held, inside its interval.

    Returns
    -------
    Parts or float or complex
        The function of the others, or a Python number if all are held.

    Raises
    ------
    TypeError
        If it is no mapping, an axis is no integer or a value no real number.
    ValueError
        If an axis does not exist or is named twice, or a value lies outside the interval.

    Notes
    -----
    Storage: the core once more.
    """
    points = _check_values(values, parts)
    if not points:
        return parts
    everything = len(points) == parts.order
    if everything:
        parts, exponent = for_numbers(parts)
    rows = {k: _value_row(parts, k, x) for k, x in points.items()}
    if not everything:
        return contracted(parts, rows)
    value = contracted_core(parts, rows)[(0,) * parts.order]
    return scaled_number(python_number(value, parts), exponent)


def _check_values(values: Any, parts: Parts) -> dict[int, float]:
    """Return values by axis, each inside its interval."""
    if not isinstance(values, Mapping):
        way_out = "T.slice({0: 0.5}) holds the first variable at 0.5."
        rule = "be a mapping of axes to values"
        raise TypeError(message("values", rule, values, way_out=way_out))
    points: dict[int, float] = {}
    for axis, x in values.items():
        k = check_axis(axis, parts.order, "axes of values")
        if k in points:
            raise ValueError(message("values", "name each variable at most once", values))
        a, b = parts.intervals[k]
        points[k] = check_float(f"values[{axis}]", x, low=a, high=b)
    return points


def _value_row(parts: Parts, axis: int, x: float) -> Array:
    """Return a factor's columns at one point (1, r)."""
    F = parts.factors[axis]
    t = _HOST.asarray([to_unit(x, parts.intervals[axis])])
    row = vandermonde(_HOST.clip(t, -1.0, 1.0), int(F.shape[0]), _HOST)
    return on_device(row, F, parts.xp) @ F


def restrict(parts: Parts, intervals: Any) -> Parts:
    """Return the same function on a smaller box.

    Parameters
    ----------
    parts : Parts
        The function, in the widest dtype of its device.
    intervals : array or sequence, shape (d, 2)
        The smaller box, inside the box of the function.

    Returns
    -------
    Parts
        Its polynomials on the smaller box, factors orthonormal there, without the ranks and
        degrees that are below the rounding of the function's size on the larger box.

    Raises
    ------
    TypeError
        If it is no sequence of pairs of numbers.
    ValueError
        If the number of intervals differs or one is not inside that of the function.

    Notes
    -----
    The values at the nodes of the smaller box determine the polynomials: exact up to rounding.
    Storage: ``m^2`` numbers for the largest mode on the host.
    """
    box = _check_inside(intervals, parts)
    xp, factors = parts.xp, []
    for F, old, new in zip(parts.factors, parts.intervals, box, strict=True):
        if old == new:
            factors.append(F)
            continue
        m = int(F.shape[0])
        t = _HOST.clip(to_unit(scaled(nodes(m), new), old), -1.0, 1.0)
        values = on_device(vandermonde(t, m, _HOST), F, xp) @ F
        factors.append(to_coefficients(values, 0, xp))
    whole = norm_fro(orthonormal(parts).core, xp)
    result = Parts(parts.core, tuple(factors), box, xp)
    return recompress(result, 8.0 * eps(xp, parts.core.dtype) * whole)[0]


def _check_inside(intervals: Any, parts: Parts) -> tuple[Interval, ...]:
    """Return a smaller box as pairs of floats."""
    box = check_domain(intervals)
    if len(box) != parts.order:
        rule = f"have {parts.order} intervals, one for each variable"
        raise ValueError(message("domain", rule, len(box)))
    for k, ((a, b), (low, high)) in enumerate(zip(box, parts.intervals, strict=True)):
        if a < low or b > high:
            rule = f"lie inside {(low, high)}, the function's interval"
            raise ValueError(message(f"domain[{k}]", rule, (a, b)))
    return box
