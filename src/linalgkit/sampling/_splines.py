"""Splines on an interval, orthonormal for the uniform law: polynomials first, then the rest.

::

    family = BSpline([0.0, 0.25, 0.5, 1.0], 3)
    family.dim                              # 6: three intervals, cubic
    family.evaluate(points, 5)              # (n, 6)
"""

from __future__ import annotations

import functools
import itertools
import math
from dataclasses import dataclass
from typing import Any

import scipy.linalg
import scipy.special

from linalgkit._core.array import Array, Namespace, asarray, device, numpy_namespace, to_numpy
from linalgkit._core.capabilities import capability
from linalgkit._core.validation import check_float, check_int, message
from linalgkit.sampling._family import Family
from linalgkit.sampling._induced import Cells, envelope_of, subdivided, uniform_cells

_HOST = numpy_namespace()
_LARGEST_DEGREE = 15
_PER_PIECE = 16  # cells of an envelope, for each degree
_MARGIN = 1e-7  # of the largest modulus, for the rounding of Bernstein coefficients


@capability("sampling.BSpline", synchronisations={"evaluation": 3})
@dataclass(frozen=True)
class BSpline(Family):
    """Splines of one degree, orthonormal for the uniform law between the outermost knots.

    Parameters
    ----------
    knots : sequence of float
        Ascending; at least two. An inner knot repeated `r` times lowers the smoothness there to
        ``degree - r`` continuous derivatives; repetitions of the outermost knots count once.
    degree : int
        Degree of the pieces, 0 to 15.

    Raises
    ------
    TypeError
        If a knot is no real number or the degree no integer.
    ValueError
        If the knots do not ascend, are fewer than two different ones, not finite, or repeated
        too often, or the degree is not allowed.

    Notes
    -----
    There are ``dim = degree + 1 + (number of inner knots)`` functions. The first ``degree + 1``
    are the orthonormal Legendre polynomials of the whole interval, the constant one first; the
    others follow by orthogonalising the B-splines from left to right. Between two knots the
    square of a function is bounded on short cells by its Bernstein coefficients, from which
    draws of ``psi_j^2 dmu`` come by rejection.

    Storage: ``8 dim^2`` bytes, and ``640 dim degree`` for each interval for the
    envelopes.

    Examples
    --------
    >>> import numpy as np
    >>> hats = BSpline([0, 1, 2], 1)
    >>> hats.dim
    3
    >>> hats.evaluate(np.asarray([0.0, 2.0]), 2).round(4)
    array([[ 1.    , -1.7321,  1.7321],
           [ 1.    ,  1.7321,  1.7321]])
    """

    knots: tuple[float, ...]
    degree: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "degree", check_int("degree", self.degree, 0, _LARGEST_DEGREE))
        object.__setattr__(self, "knots", _checked_knots(self.knots, self.degree))

    @property
    def dim(self) -> int:
        """The number of functions."""
        return len(self.knots) - 2 + self.degree + 1

    @property
    def max_degree(self) -> int:
        """The largest index, ``dim - 1``."""
        return self.dim - 1

    @property
    def domain(self) -> tuple[float, float]:
        """The outermost knots."""
        return self.knots[0], self.knots[-1]

    def _table(self, xp: Namespace, x: Array, p: int) -> Array:
        n, g = x.shape
        C = _coefficients(self)[:, 1 : p + 1]
        values = _b_splines(xp, xp.reshape(x, (-1,)), self.knots, self.degree)
        table = values @ asarray(C, xp=xp, device=device(x), dtype=x.dtype, copy=False)
        return xp.reshape(table, (n, g * p))

    def _draw(self, count: int, rng: Any) -> Array:
        low, high = self.domain
        x: Array = low + (high - low) * rng.random(count)
        return x

    def _draw_positive(self, degrees: Array, rng: Any) -> Array:
        low, high = self.domain
        draws = envelope_of(self).draw(degrees, rng)
        inside: Array = _HOST.minimum(_HOST.maximum(draws, low), high)
        return inside

    def _powers(self) -> tuple[float, float]:
        return 0.0, 0.0

    def _density(self, t: Array, degrees: Array, kind: Array) -> Array:
        p = int(_HOST.max(degrees))
        values = self._table(_HOST, t[:, None], p)
        density: Array = _HOST.take_along_axis(values, degrees[:, None] - 1, axis=1)[:, 0] ** 2
        return density

    def _cells(self, degree: int) -> Cells:
        edges, largest = _bernstein_bounds(self)
        with _HOST.errstate(divide="ignore"):
            return uniform_cells(edges, 2 * _HOST.log(largest[:, degree]))


def _checked_knots(knots: Any, degree: int) -> tuple[float, ...]:
    """Return ascending knots, the outermost ones once."""
    if hasattr(knots, "shape"):
        knots = to_numpy(knots).tolist()
    if not isinstance(knots, (list, tuple)):
        raise TypeError(f"knots must be a sequence of numbers, got {knots!r}.")
    found = [check_float(f"knots[{i}]", knot) for i, knot in enumerate(knots)]
    if any(left > right for left, right in itertools.pairwise(found)):
        raise ValueError(message("knots", "ascend", knots))
    if len(set(found)) < 2:
        raise ValueError(message("knots", "hold at least two different numbers", knots))
    if not math.isfinite(found[-1] - found[0]):
        raise ValueError(message("knots", "span a finite interval", knots))
    inner = [knot for knot in found if found[0] < knot < found[-1]]
    most = max((inner.count(knot) for knot in set(inner)), default=0)
    if most > max(1, degree):
        rule = f"repeat no inner knot more than {max(1, degree)} times for degree {degree}"
        raise ValueError(message("knots", rule, knots))
    return (found[0], *inner, found[-1])


# De Boor, "A practical guide to splines" (1978), chapter X, (4) and (5): the stable recurrence.
# Differs from it: all B-splines of a point at once instead of those that do not vanish there, so
# that no library needs a gather.
def _b_splines(xp: Namespace, x: Array, knots: tuple[float, ...], degree: int) -> Array:
    """Return all B-splines at points: (n, dim). Beyond the ends their pieces go on."""
    clamped = _HOST.asarray((*(knots[:1] * degree), *knots, *(knots[-1:] * degree)))
    tau = asarray(clamped, xp=xp, device=device(x), dtype=x.dtype, copy=False)
    left, right = clamped[:-1].copy(), clamped[1:].copy()
    left[: degree + 1], right[left.size - degree - 1 :] = -math.inf, math.inf
    inner = slice(degree, left.size - degree)
    x = x[:, None]
    low = asarray(left[inner], xp=xp, device=device(x), dtype=x.dtype, copy=False)
    high = asarray(right[inner], xp=xp, device=device(x), dtype=x.dtype, copy=False)
    N = xp.astype((low <= x) & (x < high), x.dtype)
    none = xp.zeros((x.shape[0], 1), dtype=x.dtype, device=device(x))
    for q in range(1, degree + 1):
        # First and last spline of this degree that do not vanish everywhere.
        first, stop = degree - q, left.size - degree
        N = xp.concat((none, N, none), axis=1)
        span = clamped[first + q : stop + q + 1] - clamped[first : stop + 1]
        inverse = _HOST.where(span > 0, 1 / _HOST.where(span > 0, span, 1.0), 0.0)
        scale = asarray(inverse, xp=xp, device=device(x), dtype=x.dtype, copy=False)
        rising = (x - tau[first:stop]) * scale[:-1] * N[:, :-1]
        falling = (tau[first + q + 1 : stop + q + 1] - x) * scale[1:] * N[:, 1:]
        N = rising + falling
    return N


@functools.lru_cache(maxsize=64)
def _coefficients(family: BSpline) -> Array:
    """Return `C` (dim, dim): the B-splines times `C` are the orthonormal functions."""
    k, dim = family.degree, family.dim
    x, w = _gauss_points(family, k + 1)
    B = _b_splines(_HOST, x, family.knots, k)
    low, high = family.domain
    t = (2 * x - low - high) / (high - low)
    # Legendre polynomials, then all B-splines but the first k + 1: on the first interval those
    # vanish, so that the whole is a basis.
    columns = [math.sqrt(2 * j + 1) * scipy.special.eval_legendre(j, t) for j in range(k + 1)]
    root = _HOST.sqrt(w)[:, None]
    wanted = root * _HOST.concatenate((_HOST.stack(columns, axis=1), B[:, k + 1 :]), axis=1)
    Q, R = scipy.linalg.qr(wanted, mode="economic")
    signs = _HOST.where(_HOST.diagonal(R) < 0, -1.0, 1.0)
    C = scipy.linalg.lstsq(root * B, Q * signs)[0]
    C[:, 0] = 1.0  # B-splines sum to one
    result: Array = C.reshape(dim, dim)
    return result


def _gauss_points(family: BSpline, count: int) -> tuple[Array, Array]:
    """Return points and weights that integrate products of two splines, the mean of the law."""
    t, w = scipy.special.roots_legendre(count)
    nodes = _HOST.unique(_HOST.asarray(family.knots))
    width = _HOST.diff(nodes)
    x = nodes[:-1, None] + width[:, None] * (0.5 + 0.5 * t)
    weights = width[:, None] * (0.5 * w) / (nodes[-1] - nodes[0])
    return x.reshape(-1), weights.reshape(-1)


@functools.lru_cache(maxsize=64)
def _bernstein_bounds(family: BSpline) -> tuple[Array, Array]:
    """Return the edges of cells and bounds (cells, dim) of the moduli of the functions there."""
    k = family.degree
    edges = subdivided(_HOST.unique(_HOST.asarray(family.knots)), _PER_PIECE * max(1, k))
    s = (0.5 + _HOST.arange(k + 1)) / (k + 1)
    powers = _HOST.arange(k + 1)
    bernstein = (
        scipy.special.comb(k, powers) * s[:, None] ** powers * (1 - s[:, None]) ** (k - powers)
    )
    x = edges[:-1, None] + _HOST.diff(edges)[:, None] * s
    values = _b_splines(_HOST, x.reshape(-1), family.knots, k) @ _coefficients(family)
    values = values.reshape(edges.size - 1, k + 1, family.dim)
    coefficients = _HOST.linalg.solve(bernstein[None, :, :], values)
    largest = _HOST.max(_HOST.abs(coefficients), axis=1)
    return edges, largest + _MARGIN * _HOST.max(largest, axis=0)
