"""The smallest and the largest value of a real Chebyshev-Tucker function, and where.

::

    value, point = maximum(parts)

*Exact*, to rounding: functions of one variable, products of functions of one variable (rank one),
and such products times a function of one more. In every mode of rank one the largest and the
smallest value are found by all stationary points of the polynomial, and the extremes of a product
follow from those of its factors.

*A search*: what remains of two or more modes of a higher rank. Its candidates are the local maxima
of a grid over the box where that can be afforded, else points that were moved to the largest value
along one axis after the other; hundreds of them are polished by Newton's method on the polynomials.

All of it is done on the host, in float64, from one copy of the core and the factors, and without
random numbers.
"""

from __future__ import annotations

from collections.abc import Sequence

from linalgkit._core.array import Array, is_complex, numpy_namespace, to_numpy
from linalgkit._core.modes import mode_gram
from linalgkit._core.scaling import ldexp, ldexp_float, max_abs, norm_fro, scale_exponent
from linalgkit.chebyshev._basis import (
    scaled,
)
from linalgkit.chebyshev._extreme_points import largest_point
from linalgkit.chebyshev._line_extremes import line_maximum
from linalgkit.chebyshev._parts import Parts, orthonormal
from linalgkit.chebyshev._polish import EPS, HostFunction, polish
from linalgkit.chebyshev._sthosvd import truncate

_HOST = numpy_namespace()
# What is left away of the core before the search, relative; the last polish has all of it.
_NEGLIGIBLE = 16 * EPS


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
    Exact for one variable and rank one, otherwise a search; see :func:`maximum`, whose storage it
    has.

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
    The value is attained at the point, to a few roundings of the function's size. Exact, that is
    no larger value exists but for rounding, where at most one mode has a rank above one: an even
    function of the angle is cut into cells of an eighth of its shortest wave, where it equals its
    interpolant of degree 11 to 1e-17, and in all cells that may hold the largest value the roots
    of the derivative are looked at.

    Otherwise a search, not a proof: a larger value elsewhere is not excluded. What speaks against
    it: where ``prod (2 m_k + 1)`` is at most 4e6 over the modes of a higher rank, candidates are
    the local maxima of a grid of four to eight points on the shortest wave of every mode; they are
    ordered by the peak that three points along each axis foretell. Of them the first 60 to 3000
    (fewer the larger the core is) are polished, each until it is at its maximum or can hardly reach
    the best. On more modes or higher degrees the grid is coarser, and its best local maxima and as
    many points of a low-discrepancy sequence are first moved to the largest value along one axis
    after the other. Either way no line along an axis through the point found has a larger value,
    which is exact again (unless six rounds over the axes did not do to get there).

    Storage: two numbers for each of at most 4e6 grid points and about 4e6 more, beside the core and
    the factors; of one variable ``150 m`` numbers.

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


def _largest(parts: Parts, sign: float) -> tuple[float, list[float]]:
    """Return the largest value of `sign` times the function, and where."""
    if is_complex(parts.core, parts.xp):
        raise TypeError(
            "the function must be real to have a smallest and a largest value, got a complex one. "
            "Take those of its real part or modulus on a grid (T.grid)."
        )
    f, small, exponent = _on_host(parts, sign)
    values, T = polish(f, _place(small)[None, :])
    point = [_inside(float(x), ab) for x, ab in zip(T[0, :], parts.intervals, strict=True)]
    return ldexp_float(float(values[0]), exponent), point


def _on_host(parts: Parts, sign: float) -> tuple[HostFunction, HostFunction, int]:
    """Return `sign` times the function, the same of the least ranks, and the exponent taken out."""
    core, *factors = (
        _HOST.asarray(to_numpy(A), dtype=_HOST.float64) for A in (parts.core, *parts.factors)
    )
    host = orthonormal(Parts(core, tuple(factors), parts.intervals, _HOST))
    exponent = scale_exponent(max_abs(host.core, _HOST))
    small = ldexp(host.core, -exponent, _HOST)
    size = norm_fro(small, _HOST)
    full = HostFunction(sign * ldexp(core, -exponent, _HOST), factors, size)
    return full, _of_least_ranks(sign * small, list(host.factors), size), exponent


def _of_least_ranks(core: Array, factors: list[Array], size: float) -> HostFunction:
    """Return a function of orthonormal factors without the directions that are rounding only."""
    energies = [_HOST.linalg.eigvalsh(mode_gram(core, k, _HOST)) for k in range(core.ndim)]
    if core.ndim > 1 and any(float(w[0]) <= 1e-8 * float(w[-1]) for w in energies):
        core, bases, _ = truncate(core, _NEGLIGIBLE * size, _HOST)
        factors = [F @ B for F, B in zip(factors, bases, strict=True)]
    return HostFunction(core, factors, size)


def _inside(t: float, interval: tuple[float, float]) -> float:
    """Return a point of [-1, 1] moved to an interval, never beyond its ends."""
    return min(max(float(scaled(t, interval)), interval[0]), interval[1])


# --------------------------------------------------------------------------- products of functions

# A value, and the places of the modes that it depends on.
_End = tuple[float, dict[int, float]]


def _place(f: HostFunction) -> Array:
    """Return where a function is largest: modes of rank one apart, the others together."""
    single = [k for k, r in enumerate(f.core.shape) if r == 1]
    rest = [k for k in range(f.core.ndim) if k not in single]
    high: _End = (1.0, {})
    low: _End = (1.0, {})
    for k in single:
        ends = [_line_end(f.factors[k][:, 0], k, s) for s in (1.0, -1.0)]
        pairs = [_times(a, b) for a in ends for b in (high, low)]
        high, low = max(pairs, key=_value), min(pairs, key=_value)
    core = _HOST.reshape(f.core, [f.core.shape[k] for k in rest])
    g = HostFunction(core, [f.factors[k] for k in rest], norm_fro(core, _HOST))
    # A positive product goes with the largest value of the rest, a negative one with the smallest.
    signs = [s for s, needed in ((1.0, high[0] > 0), (-1.0, low[0] < 0)) if needed]
    ends = [_rest_end(g, rest, s) for s in signs]
    pairs = [_times(a, b) for a in (high, low) for b in ends]
    place = max(pairs, key=_value)[1]
    return _HOST.asarray([place[k] for k in range(f.core.ndim)])


def _value(end: _End) -> float:
    """Return the value of an end."""
    return end[0]


def _times(a: _End, b: _End) -> _End:
    """Return the product of values of different modes."""
    return a[0] * b[0], {**a[1], **b[1]}


def _line_end(c: Array, mode: int, sign: float) -> _End:
    """Return the largest value of a polynomial in a mode, or for sign -1 the smallest."""
    value, t = line_maximum(sign * c)
    return sign * value, {mode: t}


def _rest_end(g: HostFunction, modes: Sequence[int], sign: float) -> _End:
    """Return the largest value of a function of the modes, or for sign -1 the smallest."""
    if not modes:
        return float(g.core), {}
    if len(modes) == 1:
        return _line_end(g.factors[0] @ g.core, modes[0], sign)
    value, t = largest_point(g._replace(core=sign * g.core))
    return sign * value, {k: float(x) for k, x in zip(modes, t, strict=True)}
