"""Copies of a cell in one coordinate: the nearest one, and sums of Gaussians over all of them.

::

    copied_gaussians(t, x - y, (n, a))      # sum_j exp(-t^2 (x - y - j a)^2), 0 <= j < n

Narrow Gaussians reach few copies; the sum of a wide one over many copies is an integral with
corrections at the ends. Either way the cost has a bound that does not depend on n.
"""

from __future__ import annotations

import math

from scipy.special import erf, erfc

from linalgkit._core.array import Array, numpy_namespace
from linalgkit._core.scaling import silent
from linalgkit.chebyshev._parts import Interval

_HOST = numpy_namespace()
# Copies always added one by one; steps of copies, in widths of a Gaussian, below which their sum is
# an integral with corrections; widths beyond which a Gaussian is nothing beside its nearest copy.
_FEW_COPIES, _SMOOTH, _BEYOND = 64, 0.06, 6.5
# Euler and Maclaurin's corrections of the midpoint rule: order of the derivative, coefficient.
_MIDPOINT = ((1, -1 / 24), (3, 7 / 5760), (5, -31 / 967680), (7, 127 / 154828800))

#: Copies of a Gaussian that are added at most.
MOST_TERMS = 220

Copies = tuple[int, float]
#: One cell only.
NO_COPIES: Copies = (1, 0.0)


def least_gap(extent: Interval, box: Interval, copies: Copies) -> float:
    """Return the least distance between an interval's copies and another interval."""
    middles = _HOST.asarray([0.5 * (a + b) for a, b in (extent, box)])
    shifts = nearest_copy(middles[1:] - middles[:1], copies) * copies[1]
    low, high = extent[0] + shifts, extent[1] + shifts
    gap = _HOST.maximum(_HOST.maximum(box[0] - high, low - box[1]), 0.0)
    return float(_HOST.min(gap))


def nearest_copy(differences: Array, copies: Copies) -> Array:
    """Return the number of the copy nearest to places, given their differences from the first."""
    count, period = copies
    if count == 1:
        return _HOST.zeros_like(differences)
    with silent():
        exact = _HOST.nan_to_num(differences / period)
    return _HOST.clip(_HOST.rint(exact), 0.0, count - 1.0)


def copied_gaussians(t: float | Array, differences: Array, copies: Copies) -> Array:
    """Return ``sum_j exp(-t^2 (d - j a)^2)`` over the copies, to rounding of its largest value.

    An array `t` has one axis longer than 1, along which `differences` have the length 1. The cost
    is that of at most some 220 copies.
    """
    if copies[0] == 1:
        with silent():
            return _HOST.exp(-((t * differences) ** 2))
    widths = _HOST.asarray(t)
    if widths.ndim == 0:
        return _of_one_width(float(widths), differences, copies)
    values = _HOST.empty(_HOST.broadcast_shapes(widths.shape, differences.shape))
    sizes = zip(widths.shape, differences.shape, strict=True)
    axis = max(enumerate(sizes), key=lambda one: (one[1][0], -one[1][1]))[0]
    rows = _HOST.moveaxis(values, axis, 0)
    d = _HOST.moveaxis(differences, axis, 0)[0, ...]
    for k, one in enumerate(widths.reshape(-1)):
        rows[k, ...] = _of_one_width(float(one), d, copies)
    return values


def _of_one_width(t: float, d: Array, copies: Copies) -> Array:
    """Return the sum for one width, in the way that takes fewest terms."""
    count, period = copies
    if count > _FEW_COPIES and t * period < _SMOOTH:
        return _euler_maclaurin(t * d, t * period, count)
    width = math.ceil(min(_BEYOND / max(t * period, _SMOOTH), count))
    total = _HOST.zeros(d.shape)
    if count <= max(2 * width + 1, _FEW_COPIES):
        with silent():
            for j in range(count):
                total += _HOST.exp(-((t * (d - j * period)) ** 2))
        return total
    nearest = nearest_copy(d, copies)
    for k in range(-width, width + 1):
        j = nearest + k
        terms = _HOST.exp(-((t * (d - j * period)) ** 2))
        total += _HOST.where((j >= 0) & (j < count), terms, 0.0)
    return total


def _euler_maclaurin(x: Array, step: float, count: int) -> Array:
    """Return ``sum_j exp(-(x - j step)^2)`` for a short step: an integral and its corrections."""
    total = _gaussian_integral(x, step, count)
    for sign, s in ((-1.0, -0.5), (1.0, count - 0.5)):
        y = x - s * step
        near = _HOST.abs(y) < 30
        y = _HOST.where(near, y, 0.0)
        terms = [0.0] * (_MIDPOINT[-1][0] + 1)
        for n, c in _MIDPOINT:
            terms[n] = sign * c * step**n
        ends = _HOST.polynomial.hermite.hermval(y, terms) * _HOST.exp(-(y * y))
        total += _HOST.where(near, ends, 0.0)
    return total


def _gaussian_integral(x: Array, step: float, count: int) -> Array:
    """Return the integral of ``exp(-(x - s step)^2)`` from -1/2 to count - 1/2."""
    if count * step <= 1:
        nodes, weights = _HOST.polynomial.legendre.leggauss(16)
        s = 0.5 * (count - 1) + 0.5 * count * nodes
        return sum(
            0.5 * count * w * _HOST.exp(-((x - p * step) ** 2))
            for p, w in zip(s, weights, strict=True)
        )
    left, right = x - (count - 0.5) * step, x + 0.5 * step
    # The difference of two complementary functions keeps all digits beside the copies.
    outside = _HOST.where(left > 0, erfc(left) - erfc(right), erfc(-right) - erfc(-left))
    inside = erf(right) - erf(left)
    size = 0.5 * math.sqrt(math.pi) / step
    return size * _HOST.where((left > 0) | (right < 0), outside, inside)
