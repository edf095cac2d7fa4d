"""The rest of the Coulomb potential, of short range, by a search for near particles.

::

    u = short_range_potential(points, charges, x, alpha=12.0)      # sum_v q_v erfc(alpha r)/r
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from scipy.spatial import cKDTree
from scipy.special import erfc, erfcinv

from linalgkit._core.array import (
    Array,
    array_namespace,
    asarray,
    detached,
    device,
    dtype_name,
    eps,
    is_complex,
    numpy_namespace,
    to_numpy,
    working_dtype,
)
from linalgkit._core.capabilities import capability
from linalgkit._core.scaling import ldexp, max_abs, scale_exponent, silent
from linalgkit._core.validation import check_finite_block, check_float, message
from linalgkit.chebyshev._particles import checked_particles

_HOST = numpy_namespace()
# Pairs of a point and a particle that are held at a time.
_PAIRS = 2**19


@capability("chebyshev.short_range_potential")
def short_range_potential(
    points: Array, charges: Array, x: Array, *, alpha: float, cutoff: float | None = None
) -> Array:
    """Return the potential ``sum_v q_v erfc(alpha r_v) / r_v`` with ``r_v = |x - x_v|``.

    Parameters
    ----------
    points : array (N, 3)
        Positions of the particles.
    charges : array (N,)
        Real or complex.
    x : array (..., 3)
        Where the potential is wanted, in the library of `points`.
    alpha : float
        Inverse length of the split, as for :func:`long_range_potential`.
    cutoff : float, optional
        Particles farther away are left out. By default the distance at which
        ``erfc(alpha r)`` is half a unit roundoff of the answer's precision: about ``5.8 / alpha``,
        in single precision ``3.8 / alpha``. What is left out of each term is then less than half a
        unit roundoff of the particle's Coulomb potential ``q_v / r_v``.

    Returns
    -------
    array (...)
        In the library, on the device and in the precision of `points` and `charges`.

    Raises
    ------
    TypeError
        If an argument is of the wrong kind, or arrays are of two libraries.
    ValueError
        If shapes do not fit, an entry is NaN or infinite, or `alpha` or `cutoff` is not positive.

    See Also
    --------
    long_range_potential : the smooth part; the sum of both is the Coulomb potential.

    Notes
    -----
    A particle at distance exactly 0 is left out. There the sum of both parts is the Coulomb
    potential of the *other* particles plus ``2 alpha q_v / sqrt(pi)``, the long-range part of the
    particle itself, as in Ewald's method.

    All is done on the host (one transfer of the particles and points, one of the answer): SciPy's
    k-d tree finds the near particles, in about ``N log N + n (log N + p)`` operations for n points
    with p particles each within the cutoff. Storage: ``9 N + 4 n`` numbers and 20 MiB for pairs, or
    those of one point where these are more.

    References
    ----------
    .. [1] P. P. Ewald, "Die Berechnung optischer und elektrostatischer Gitterpotentiale", Ann.
       Phys. 369 (1921), 253-287.

    Examples
    --------
    >>> import numpy as np
    >>> from linalgkit.chebyshev import short_range_potential
    >>> points, charges = np.asarray([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0]]), np.asarray([1.0, -1.0])
    >>> u = short_range_potential(points, charges, np.asarray([[0.5, 0.0, 0.0]]), alpha=2.0)
    >>> float(u[0])
    0.0
    """
    positions, q, like, dtype = checked_particles(points, charges)
    xp, where = array_namespace(like), device(like)
    targets, shape = _checked_targets(x, like)
    alpha = check_float("alpha", alpha, 0.0, low_open=True)
    if cutoff is None:
        cutoff = float(erfcinv(0.5 * eps(xp, dtype))) / alpha
    cutoff = check_float("cutoff", cutoff, 0.0, low_open=True)
    values = _HOST.zeros(targets.shape[0], dtype=q.dtype)
    if positions.shape[0] and targets.shape[0]:
        values = _near_sums(positions, q, targets, alpha, cutoff)
    return asarray(_HOST.reshape(values, shape), xp=xp, device=where, dtype=dtype)


def _checked_targets(x: Any, like: Array) -> tuple[Array, tuple[int, ...]]:
    """Return points (n, 3) on the host, and the shape of the answer."""
    x = detached(x)
    xp = array_namespace(like, x)
    if device(x) != device(like):
        raise ValueError(message("x", f"lie on {device(like)} as points do", device(x)))
    if is_complex(x, xp):
        raise TypeError(message("x", "be real", dtype_name(xp, x.dtype)))
    working_dtype(xp, device(x), x.dtype)
    shape = tuple(int(n) for n in x.shape)
    if not shape or shape[-1] != 3:
        raise ValueError(message("x", "have the shape (..., 3)", shape))
    host = _HOST.reshape(_HOST.asarray(to_numpy(x), dtype=_HOST.float64), (-1, 3))
    check_finite_block(host, name="x", unit="point")
    return host, shape[:-1]


def _near_sums(points: Array, q: Array, x: Array, alpha: float, cutoff: float) -> Array:
    """Return the sums over near particles, in units in which `alpha` is of order one."""
    e = scale_exponent(alpha)
    unit = scale_exponent(max_abs(q, _HOST))
    with silent():
        points, x = ldexp(points, e, _HOST), ldexp(x, e, _HOST)
        alpha, cutoff = math.ldexp(alpha, -e), min(math.ldexp(cutoff, e), 1e150)
    q = ldexp(q, -unit, _HOST)
    tree = cKDTree(points)
    values = _HOST.zeros(x.shape[0], dtype=q.dtype)
    for start, stop in _portions(tree, x, cutoff):
        pairs = cKDTree(x[start:stop, :]).sparse_distance_matrix(
            tree, cutoff, output_type="ndarray"
        )
        target, source, r = pairs["i"], pairs["j"], pairs["v"]
        r = _HOST.where(r > 0, r, _HOST.inf)
        terms = q[source] * (erfc(alpha * r) / r)
        values[start:stop] = _added(target, terms, stop - start)
    return ldexp(values, unit + e, _HOST)


def _portions(tree: Any, x: Array, cutoff: float) -> Iterator[tuple[int, int]]:
    """Yield ranges of points that have few enough near particles together."""
    counts = tree.query_ball_point(x, cutoff, return_length=True)
    ends = _HOST.cumsum(counts)
    start = 0
    while start < x.shape[0]:
        done = int(ends[start - 1]) if start else 0
        stop = int(_HOST.searchsorted(ends, done + _PAIRS, side="right"))
        stop = min(max(stop, start + 1), x.shape[0])
        yield start, stop
        start = stop


def _added(target: Array, terms: Array, n: int) -> Array:
    """Return the sums of terms by target."""
    if terms.dtype.kind != "c":
        return _HOST.bincount(target, weights=terms, minlength=n)
    real = _HOST.bincount(target, weights=terms.real, minlength=n)
    return real + 1j * _HOST.bincount(target, weights=terms.imag, minlength=n)
