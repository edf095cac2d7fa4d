"""The largest difference of two functions on a box, as far as a search finds it.

::

    comparison = Comparison(on_host(parts, exponent), energetic_points(host))
    error = comparison.error(on_host(smaller, exponent))       # in units of 2^exponent

The values of an exact function, be it the product of two, are free here, so that what arithmetic
loses is measured in the maximum norm: at fixed points of the whole box, at the peaks of the exact
function, and along lines through the points where the difference is largest. A lower bound, whose
points are kept for the next approximation. All of it is done on the host, in float64.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Sequence

from linalgkit._core.array import (
    Array,
    DType,
    eps,
    is_complex,
    numpy_namespace,
    to_numpy,
)
from linalgkit._core.modes import mode_product
from linalgkit._core.scaling import max_abs, norm_fro, scale_exponent
from linalgkit.chebyshev._arithmetic import add, multiply
from linalgkit.chebyshev._basis import nodes, vandermonde
from linalgkit.chebyshev._evaluate import scattered
from linalgkit.chebyshev._parts import Parts, scaled_parts
from linalgkit.chebyshev._recompress import recompress

_HOST = numpy_namespace()
Function = Callable[[Array], Array]

_SEED = 20250301
_UNIFORM, _CHEBYSHEV, _ON_FACES = 450, 450, 100
# Lines start at so many of the best points, and go round all variables so often.
_STARTS, _SWEEPS = 4, 3
# Points of a search that are kept for the next approximation.
_KEPT = 100
# Tries to bring what is lost under what may be, and how much stricter each may be.
_TRIES, _FIRST, _STRICTEST = 6, 0.3, 0.02
# Points of a line: anywhere, and on either side at distances of all scales.
_ANYWHERE, _SCALES, _DECADES = 24, 14, 4.5


# ----------------------------------------------------------------------------------- functions


def exponent_of(parts: Parts) -> int:
    """Return the power of two by which the core is of order one."""
    return scale_exponent(max_abs(parts.core, parts.xp))


def host_parts(parts: Parts, exponent: int) -> Parts:
    """Return parts times ``2^-exponent`` on the host, in double precision and on [-1, 1]^d."""
    dtype = _HOST.complex128 if is_complex(parts.core, parts.xp) else _HOST.float64
    core, *factors = (_HOST.astype(to_numpy(A), dtype) for A in (parts.core, *parts.factors))
    unit = ((-1.0, 1.0),) * parts.order
    return scaled_parts(Parts(core, tuple(factors), unit, _HOST), -exponent)


def on_host(parts: Parts, exponent: int) -> Function:
    """Return the function times ``2^-exponent``, of points (n, d) of [-1, 1]^d on the host."""
    host = host_parts(parts, exponent)
    return lambda P: scattered(host, P, "extrapolate")


def modulus_bound(parts: Parts) -> float:
    """Return a bound of the modulus of an orthonormal function, by its weighted norm.

    The squares of orthonormal polynomials of m coefficients sum up to at most ``2 m - 1``.
    """
    return norm_fro(parts.core, parts.xp) * math.prod(
        math.sqrt(2.0 * m - 1.0) for m in parts.lengths
    )


# -------------------------------------------------------------------------------------- points


@functools.lru_cache(maxsize=8)
def fixed_points(d: int) -> Array:
    """Return about 1000 points (n, d) of [-1, 1]^d, always the same; not to be written.

    Half of them uniform, half with the Chebyshev density, the corners, and some on faces.
    """
    rng = _HOST.random.default_rng(_SEED)
    uniform = rng.uniform(-1.0, 1.0, (_UNIFORM, d))
    dense = _HOST.sin(0.5 * math.pi * rng.uniform(-1.0, 1.0, (_CHEBYSHEV, d)))
    faces = rng.uniform(-1.0, 1.0, (_ON_FACES, d))
    held = _HOST.arange(_ON_FACES) % d
    faces[_HOST.arange(_ON_FACES), held] = _HOST.sign(rng.uniform(-1.0, 1.0, _ON_FACES))
    corners = _HOST.asarray(list(itertools.product((-1.0, 1.0), repeat=d)))
    points = _HOST.concat([uniform, dense, faces, corners])
    points.flags.writeable = False
    return points


def energetic_points(parts: Parts) -> Array:
    """Return points (d, d) where the squared modulus is concentrated, of parts of `host_parts`.

    One variable after another is fixed where the weighted norm over those not yet fixed is
    largest; each variable comes first once. A peak is found that no grid of points meets.
    """
    d = parts.order
    grids = [nodes(2 * m + 1) for m in parts.lengths]
    rows = [
        vandermonde(t, F.shape[0], _HOST) @ F for t, F in zip(grids, parts.factors, strict=True)
    ]
    found = _HOST.empty((d, d))
    for first in range(d):
        core = parts.core
        for k in [(first + shift) % d for shift in range(d)]:
            values = _HOST.moveaxis(mode_product(core, rows[k], k, _HOST), k, 0)
            flat = _HOST.reshape(values, (values.shape[0], -1))
            i = int(_HOST.argmax(_HOST.linalg.vector_norm(flat, axis=1)))
            found[first, k] = grids[k][i]
            core = _HOST.moveaxis(values[i : i + 1, ...], 0, k)
    return found


def _line_points(centres: Array) -> Array:
    """Return points (m, p) of [-1, 1] on lines through `centres` (p,)."""
    steps = 2.0 * 10.0 ** -_HOST.linspace(0.0, _DECADES, _SCALES + 1)[1:]
    near = centres[None, :] + _HOST.concat([steps, -steps])[:, None]
    anywhere = _HOST.broadcast_to(nodes(_ANYWHERE)[:, None], (_ANYWHERE, centres.shape[0]))
    return _HOST.concat([_HOST.clip(near, -1.0, 1.0), anywhere])


def climb(f: Function, starts: Array) -> tuple[Array, Array]:
    """Return points (n, d) and values of line searches for larger moduli, along each variable."""
    P, best = starts.copy(), _HOST.full(starts.shape[0], -1.0)
    points, values = [], []
    for k in [*range(P.shape[1])] * _SWEEPS:
        t = _line_points(P[:, k])
        Q = _HOST.repeat(P[None, :, :], t.shape[0], axis=0)
        Q[:, :, k] = t
        V = f(Q.reshape(-1, P.shape[1]))
        points.append(Q.reshape(-1, P.shape[1]))
        values.append(V)
        V = _HOST.abs(V).reshape(t.shape)
        i, columns = _HOST.argmax(V, axis=0), _HOST.arange(t.shape[1])
        rises = V[i, columns] > best
        P[rises, k] = t[i, columns][rises]
        best = _HOST.where(rises, V[i, columns], best)
    return _HOST.concat(points), _HOST.concat(values)


def _largest(values: Array, count: int) -> Array:
    """Return the indices of the largest moduli."""
    return _HOST.argsort(-_HOST.abs(values), stable=True)[:count]


def _largest_points(points: Array, values: Array, count: int) -> Array:
    """Return the points of the largest moduli."""
    return points[_largest(values, count), :]


# ---------------------------------------------------------------------------------- comparisons


class Comparison:
    """Points with the values of an exact function, at which approximations of it are tried.

    `peaks` (q, d) are points where it, or what it is made of, may be large.
    """

    def __init__(self, exact: Function, peaks: Array) -> None:
        self.exact = exact
        self.points = _HOST.concat([fixed_points(int(peaks.shape[1])), peaks])
        self.values = exact(self.points)
        found, values = climb(exact, _largest_points(self.points, self.values, _STARTS))
        chosen = _largest(values, _KEPT)
        self._join(found[chosen, :], values[chosen])

    def _join(self, points: Array, values: Array) -> None:
        """Keep points of a search for later."""
        self.points = _HOST.concat([self.points, points])
        self.values = _HOST.concat([self.values, values])

    def look_at(self, points: Array) -> None:
        """Take further points in."""
        self._join(points, self.exact(points))

    @property
    def largest(self) -> float:
        """The largest modulus met."""
        return float(_HOST.max(_HOST.abs(self.values)))

    def error(self, approximation: Function) -> float:
        """Return the largest difference met; the points of its line searches are kept."""
        rest = self.values - approximation(self.points)
        starts = _largest_points(self.points, rest, _STARTS)
        found, differences = climb(lambda P: self.exact(P) - approximation(P), starts)
        kept = found[_largest(differences, _KEPT), :]
        self._join(kept, self.exact(kept))
        return max(float(_HOST.max(_HOST.abs(v))) for v in (rest, differences))


def comparison_with(parts: Parts, exponent: int) -> Comparison:
    """Return the comparison with one function times ``2^-exponent``."""
    host = host_parts(parts, exponent)
    return Comparison(lambda P: scattered(host, P, "extrapolate"), energetic_points(host))


def comparison_with_product(
    a: Parts, b: Parts, exponents: Sequence[int]
) -> tuple[Comparison, list[float]]:
    """Return that with a product, each factor times its ``2^-exponent``, and their largest moduli.

    The peaks of each factor are among its points, as they may be those of a difference.
    """
    hosts = [host_parts(f, e) for f, e in zip((a, b), exponents, strict=True)]
    both = [comparison_with(host, 0) for host in hosts]
    peaks = _HOST.concat([_largest_points(one.points, one.values, _STARTS) for one in both])
    peaks = _HOST.concat([peaks, *(energetic_points(host) for host in hosts)])
    f, g = (one.exact for one in both)
    return Comparison(lambda P: f(P) * g(P), peaks), [one.largest for one in both]


# ------------------------------------------------------------------------ operations, compared


def compared_product(
    a: Parts, b: Parts, exact: Comparison, allowed: float, dtype: DType
) -> tuple[Parts, float]:
    """Return the product, and the largest difference that is found.

    Parameters
    ----------
    a, b : Parts
        Of order one, in the widest dtype.
    exact : Comparison
        With the product.
    allowed : float
        Difference at which no better product is tried; the tolerance in the weighted norm, which a
        peak may exceed many times, is made stricter until then.
    dtype : dtype
        Of the result, in which it is compared, and below whose rounding nothing is tried.
    """
    size = norm_fro(a.core, a.xp) * norm_fro(b.core, b.xp)
    least = eps(a.xp, dtype) * size
    best, lost = a, math.inf
    # The more a peak stands out from the weighted norm, the more an error may.
    share = _FIRST * min(1.0, max(size / exact.largest, _STRICTEST)) if size > 0.0 else 1.0
    for _ in range(_TRIES):
        product = multiply(a, b, max(share * allowed, least))
        product = product.cast(dtype)
        error = exact.error(on_host(product, 0))
        if error < lost:
            best, lost = product, error
        if lost <= allowed or share * allowed <= least:
            break
        share *= _stricter(allowed, error)
    return best, lost


def compared_recompression(
    parts: Parts, exact: Comparison, allowed: float, dtype: DType
) -> tuple[Parts, float, float]:
    """Return smaller parts, the largest difference found, and the weighted norm of what was cut.

    Arguments are those of :func:`compared_product`; at machine epsilon the cut stays as it is.
    """
    least = eps(parts.xp, dtype) * norm_fro(parts.core, parts.xp)
    share = 1.0
    while True:
        found, cut = recompress(parts, max(share * allowed, least))
        found = found.cast(dtype)
        difference = add(parts, found.widened(), -1)
        exact.look_at(energetic_points(host_parts(difference, 0)))
        lost = exact.error(on_host(found, 0))
        if lost <= allowed or share * allowed <= least:
            return found, lost, math.hypot(cut, least)
        share *= _stricter(allowed, lost)


def _stricter(allowed: float, error: float) -> float:
    """Return by what to make a tolerance stricter."""
    return min(max(0.5 * allowed / error, _STRICTEST), 0.5) if error < math.inf else _STRICTEST
