"""The smallest and the largest value of a real Chebyshev-Tucker function, and where.

::

    value, point = maximum(parts)

Candidates come from a grid over the whole box, finer than the polynomials where that can be
afforded; the best of them are polished by Newton's method on the polynomials. All of it is done on
the host, in float64, from one copy of the core and the factors.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from linalgkit._core.array import Array, is_complex, numpy_namespace, to_numpy
from linalgkit._core.modes import mode_products
from linalgkit._core.scaling import ldexp, ldexp_float, max_abs, norm_fro, scale_exponent
from linalgkit.chebyshev._basis import (
    derivative_matrix,
    nodes,
    resized,
    scaled,
    to_values,
    vandermonde,
)
from linalgkit.chebyshev._parts import Parts, orthonormal

_HOST = numpy_namespace()

_GRID_POINTS = 2_000_000
# The roots of a derivative come from eigenvalues up to this many coefficients, of a start's less.
_MOST_ROOTS, _MOST_ROOTS_OF_STARTS = 300, 40
# Candidates that are polished; starts of the search along axes; grid maxima that are compared.
_CANDIDATES, _STARTS, _LOOKED_AT = 10, 60, 4000
_SWEEPS, _NEWTON_STEPS, _SHORTER = 8, 30, 15
_EPS = 2.0**-52


def minimum(parts: Parts) -> tuple[float, list[float]]:
    """Return the smallest value of a real function on its box, and a point that has it.

    Parameters
    ----------
    parts : Parts
        A real function.

    Returns
    -------
    value : float
        The function's value at `point`.
    point : list of float, length d
        A point of the box.

    Raises
    ------
    TypeError
        If the function is complex.

    Notes
    -----
    A search, not a proof; see :func:`maximum`, whose storage it has.

    Examples
    --------
    >>> import numpy as np
    >>> from linalgkit._core.array import numpy_namespace
    >>> factors = (np.asarray([[0.5], [0.0], [0.5]]), np.asarray([[0.0], [1.0]]))
    >>> f = Parts(np.ones((1, 1)), factors, ((-1.0, 1.0), (0.0, 4.0)), numpy_namespace())
    >>> minimum(f)                                        # x^2 (y/2 - 1)
    (-1.0, [-1.0, 0.0])
    """
    value, point = _largest(parts, -1.0)
    return 0.0 - value, point


def maximum(parts: Parts) -> tuple[float, list[float]]:
    """Return the largest value of a real function on its box, and a point that has it.

    Parameters
    ----------
    parts : Parts
        A real function.

    Returns
    -------
    value : float
        The function's value at `point`.
    point : list of float, length d
        A point of the box.

    Raises
    ------
    TypeError
        If the function is complex.

    Notes
    -----
    A search, not a proof: the value is attained at the point, to a few roundings of the function's
    size, but a larger one elsewhere is not excluded. What speaks against it: candidates come from
    a grid over the whole box. Where ``prod (2 m_k + 1)`` is at most 2e6 that grid has more than
    twice as many Chebyshev points a mode as the degree, and along an axis the polynomial rises
    above the largest modulus on it by at most a factor ``1 / cos(pi / 4)``; its ten highest local
    maxima, apart from each other, are polished. On larger grids fewer points a mode are taken, and
    sixty local maxima are first improved by maximisation along one axis after the other (by the
    roots of the derivative, or the best of four times as many nodes as coefficients). Of one
    variable and at most 300 coefficients, all roots of the derivative are looked at. Storage: three
    numbers for each of at most 2e6 grid points, beside the core.

    Examples
    --------
    >>> import numpy as np
    >>> from linalgkit._core.array import numpy_namespace
    >>> factors = (np.asarray([[0.5], [0.0], [-0.5]]), np.asarray([[0.0], [1.0]]))
    >>> f = Parts(np.ones((1, 1)), factors, ((-1.0, 1.0), (0.0, 4.0)), numpy_namespace())
    >>> maximum(f)                                        # (1 - x^2) (y/2 - 1)
    (1.0, [0.0, 4.0])
    """
    return _largest(parts, 1.0)


class _Function(NamedTuple):
    """A real function on [-1, 1]^d on the host, its core of order one."""

    core: Array
    factors: list[Array]
    triples: list[Array]  # (m, 3 r): coefficients of the factors and of their two derivatives
    size: float

    def value(self, t: Array) -> float:
        """Return the value at a point."""
        rows = [_row(F, x) for F, x in zip(self.factors, t, strict=True)]
        return float(mode_products(self.core, rows, _HOST)[(0,) * len(rows)])


def _largest(parts: Parts, sign: float) -> tuple[float, list[float]]:
    """Return the largest value of `sign` times the function, and where."""
    if is_complex(parts.core, parts.xp):
        raise TypeError(
            "the function must be real to have a smallest and a largest value, got a complex one. "
            "Take those of its real part or modulus on a grid (T.grid)."
        )
    f, exponent = _on_host(parts, sign)
    value, t = _search(f)
    point = [_inside(x, interval) for x, interval in zip(t, parts.intervals, strict=True)]
    return ldexp_float(value, exponent), point


def _on_host(parts: Parts, sign: float) -> tuple[_Function, int]:
    """Return `sign` times the function on the host, and the exponent taken from it."""
    core, *factors = (
        _HOST.asarray(to_numpy(A), dtype=_HOST.float64) for A in (parts.core, *parts.factors)
    )
    host = orthonormal(Parts(core, tuple(factors), parts.intervals, _HOST))
    exponent = scale_exponent(max_abs(host.core, _HOST))
    size = norm_fro(ldexp(host.core, -exponent, _HOST), _HOST)
    core = sign * ldexp(core, -exponent, _HOST)
    return _Function(core, factors, [_with_derivatives(F) for F in factors], size), exponent


def _with_derivatives(F: Array) -> Array:
    """Return coefficients of columns and of their first two derivatives, (m, 3 r)."""
    m = int(F.shape[0])
    first = derivative_matrix(m) @ F
    second = derivative_matrix(int(first.shape[0])) @ first
    return _HOST.concatenate([F, resized(first, m, _HOST), resized(second, m, _HOST)], axis=1)


def _row(F: Array, x: float) -> Array:
    """Return the values of columns at one point, (1, r)."""
    return vandermonde(_HOST.asarray([x]), int(F.shape[0]), _HOST) @ F


def _inside(t: float, interval: tuple[float, float]) -> float:
    """Return a point of [-1, 1] moved to an interval, never beyond its ends."""
    return min(max(float(scaled(t, interval)), interval[0]), interval[1])


def _search(f: _Function) -> tuple[float, Array]:
    """Return the largest value found and its point."""
    starts, fine = _grid_candidates(f)
    if not fine:
        starts = [_climb_axes(f, t, _MOST_ROOTS_OF_STARTS) for t in starts]
    starts = sorted(starts, key=f.value, reverse=True)[:_CANDIDATES]
    best = max((_polish(f, t) for t in starts), key=lambda found: found[0])
    # Another local maximum on an axis through the best one is seen here.
    again = _polish(f, _climb_axes(f, best[1], _MOST_ROOTS))
    return again if again[0] > best[0] + 4 * _EPS * f.size else best


# --------------------------------------------------------------------------------- the whole grid


def _grid_candidates(f: _Function) -> tuple[list[Array], bool]:
    """Return the best local maxima of a grid, apart from each other, and whether it is fine."""
    wanted = [2 * int(F.shape[0]) + 1 if F.shape[0] > 1 else 1 for F in f.factors]
    counts = _affordable(wanted)
    points = [nodes(n) for n in counts]
    rows = [
        vandermonde(t, int(F.shape[0]), _HOST) @ F for t, F in zip(points, f.factors, strict=True)
    ]
    fine = counts == wanted
    chosen = _apart(mode_products(f.core, rows, _HOST), _CANDIDATES if fine else _STARTS)
    return [_HOST.asarray([t[i] for t, i in zip(points, c, strict=True)]) for c in chosen], fine


def _affordable(wanted: Sequence[int]) -> list[int]:
    """Return counts of points a mode whose product is within the limit, the largest cut first."""
    low, high = 1, max(wanted) + 1
    while high - low > 1:
        cap = (low + high) // 2
        if math.prod(min(n, cap) for n in wanted) <= _GRID_POINTS:
            low = cap
        else:
            high = cap
    return [min(n, low) for n in wanted]


def _apart(V: Array, most: int) -> list[tuple[int, ...]]:
    """Return the indices of the largest local maxima, no two of them close neighbours."""
    flat = _HOST.flatnonzero(_local_maxima(V))
    order = flat[_HOST.argsort(-V.ravel()[flat], kind="stable")][:_LOOKED_AT]
    places = _HOST.stack(_HOST.unravel_index(order, V.shape), axis=1)
    chosen: list[tuple[int, ...]] = []
    while places.shape[0] and len(chosen) < most:
        chosen.append(tuple(int(n) for n in places[0]))
        places = places[_HOST.max(_HOST.abs(places - places[0]), axis=1) > 3]
    return chosen


def _local_maxima(V: Array) -> Array:
    """Return the mask of values that no neighbour along an axis exceeds."""
    mask = _HOST.ones(V.shape, dtype=bool)
    for axis in range(V.ndim):
        v, m = _HOST.moveaxis(V, axis, 0), _HOST.moveaxis(mask, axis, 0)
        rises = v[1:] > v[:-1]
        m[:-1] &= ~rises
        m[1:] &= v[1:] >= v[:-1]
    return mask


# ---------------------------------------------------------------------------------- along an axis


def _climb_axes(f: _Function, t: Array, most: int) -> Array:
    """Return the point after maximisations along one axis after the other."""
    t, before = t.copy(), -math.inf
    for _ in range(_SWEEPS):
        for k in range(t.shape[0]):
            t[k], value = _fibre_maximum(_fibre(f, t, k), t[k], most)
        if not value > before + 1e-6 * f.size:
            break
        before = value
    return t


def _fibre(f: _Function, t: Array, axis: int) -> Array:
    """Return the coefficients of the function along one axis through a point."""
    rows = [None if k == axis else _row(F, t[k]) for k, F in enumerate(f.factors)]
    return f.factors[axis] @ mode_products(f.core, rows, _HOST).ravel()


def _fibre_maximum(c: Array, start: float, most: int) -> tuple[float, float]:
    """Return where a polynomial of one variable is largest, and its value."""
    t = _HOST.concatenate([[start, -1.0, 1.0], _stationary(c, most)])
    values = vandermonde(t, int(c.shape[0]), _HOST) @ c
    i = int(_HOST.argmax(values))
    return float(t[i]), float(values[i])


def _stationary(c: Array, most: int) -> Array:
    """Return the stationary points of a polynomial, or nodes close to them for a high degree."""
    if c.shape[0] > most:
        n = 4 * int(c.shape[0])
        values = to_values(resized(c[:, None], n, _HOST), 0, _HOST)[:, 0]
        return nodes(n)[_local_maxima(values)]
    slope = derivative_matrix(int(c.shape[0])) @ c
    large = _HOST.flatnonzero(_HOST.abs(slope) > _EPS * _HOST.max(_HOST.abs(slope)))
    if large.shape[0] == 0:
        return _HOST.zeros(0)
    roots = _HOST.polynomial.chebyshev.chebroots(slope[: int(large[-1]) + 1])
    near = (_HOST.abs(_HOST.imag(roots)) < 1e-3) & (_HOST.abs(_HOST.real(roots)) < 1.0 + 1e-3)
    return _HOST.clip(_HOST.real(roots[near]), -1.0, 1.0)


# -------------------------------------------------------------------------------- Newton's method


def _derivatives(f: _Function, t: Array) -> tuple[float, Array, Array]:
    """Return value, gradient and Hessian at a point, from one pass over the core."""
    d = int(t.shape[0])
    rows = [_HOST.reshape(_row(F, x), (3, -1)) for F, x in zip(f.triples, t, strict=True)]
    Y = mode_products(f.core, rows, _HOST)
    e = _HOST.eye(d, dtype=int)
    gradient = _HOST.asarray([Y[tuple(e[k])] for k in range(d)])
    hessian = _HOST.asarray([[Y[tuple(e[k] + e[j])] for j in range(d)] for k in range(d)])
    return float(Y[(0,) * d]), gradient, hessian


def _polish(f: _Function, t: Array) -> tuple[float, Array]:
    """Return value and point of the local maximum that Newton's method reaches inside the box."""
    value, g, H = _derivatives(f, t)
    for _ in range(_NEWTON_STEPS):
        if _ascent(t, g) <= _EPS * f.size:
            break
        step = _newton_step(t, g, H)
        for _ in range(_SHORTER):
            new = _HOST.clip(t + step, -1.0, 1.0)
            found = _derivatives(f, new)
            if _better(found, new, value, g, t, f.size):
                break
            step = 0.25 * step
        else:
            break
        t, (value, g, H) = new, found
    return value, t


def _better(
    found: tuple[float, Array, Array], new: Array, value: float, g: Array, t: Array, size: float
) -> bool:
    """Tell whether a point is higher, or as high to rounding and closer to stationary."""
    if found[0] > value + 4 * _EPS * size:
        return True
    closer = _ascent(new, found[1]) < 0.5 * _ascent(t, g)
    return closer and found[0] >= value - 4 * _EPS * size


def _held(t: Array, g: Array) -> Array:
    """Return the mask of the variables at an end of their interval beyond which f would rise."""
    return ((t >= 1.0) & (g >= 0)) | ((t <= -1.0) & (g <= 0))


def _ascent(t: Array, g: Array) -> float:
    """Return the largest slope inside the box: 0 at a local maximum."""
    return float(_HOST.max(_HOST.where(_held(t, g), 0.0, _HOST.abs(g))))


def _newton_step(t: Array, g: Array, H: Array) -> Array:
    """Return Newton's step of the variables that are not held, along which f rises."""
    free = _HOST.flatnonzero(~_held(t, g))
    step = _HOST.zeros(t.shape)
    if free.shape[0]:
        w, V = _HOST.linalg.eigh(H[_HOST.ix_(free, free)])
        largest = float(_HOST.max(_HOST.abs(w)))
        slope = V.T @ g[free]
        curvature = _HOST.maximum(_HOST.abs(w), 1e-10 * largest + 1e-300)
        step[free] = V @ _HOST.clip(slope / curvature, -1.0, 1.0)
    return step
