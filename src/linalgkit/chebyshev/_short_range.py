"""The rest of the Coulomb potential, of short range, by a search for near particles.

::

    u = short_range_potential(points, charges, x, alpha=12.0)      # sum_v q_v erfc(alpha r)/r
"""

from __future__ import annotations

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
from linalgkit._core.scaling import ldexp, ldexp_float, max_abs, scale_exponent, silent
from linalgkit._core.validation import check_finite_block, check_float, message
from linalgkit.chebyshev._particles import checked_particles

_HOST = numpy_namespace()
# Pairs of a point and a particle that are held at a time.
_PAIRS = 2**19
# Limits of coordinates in units of the cutoff, of distances to be found in units of the largest
# coordinate, and of distances whose squares are safe.
_LARGEST = float(_HOST.finfo(_HOST.float64).max)
_FARTHEST, _EVERYTHING, _TINY = 1e150, 4.0, 1e-140


@capability("chebyshev.short_range_potential", synchronisations={"call": 5})
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
        If shapes do not fit, an entry is NaN or infinite, `alpha` or `cutoff` is not positive,
        coordinates are beyond 1e150 cutoffs, or a value is beyond the largest number of the dtype.

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
        with silent():
            cutoff = min(float(erfcinv(0.5 * eps(xp, dtype)) / alpha), _LARGEST)
    cutoff = check_float("cutoff", cutoff, 0.0, low_open=True)
    values = _HOST.zeros(targets.shape[0], dtype=q.dtype)
    if positions.shape[0] and targets.shape[0]:
        values = _near_sums(positions, q, targets, alpha, cutoff)
    _refuse_overflow(values, float(xp.finfo(dtype).max), dtype_name(xp, dtype))
    return asarray(_HOST.reshape(values, shape), xp=xp, device=where, dtype=dtype)


def _refuse_overflow(values: Array, largest: float, dtype: str) -> None:
    """Refuse values that the dtype of the answer does not hold."""
    with silent():
        fits = _HOST.maximum(_HOST.abs(values.real), _HOST.abs(values.imag)) <= largest
    if not bool(_HOST.all(fits)):
        place = int(_HOST.argmin(fits))
        raise ValueError(
            f"the potential must be representable in its dtype, got one beyond the largest number "
            f"of {dtype} at point {place} of x (counted from 0). Divide the charges by a power of "
            "two, or leave that point out."
        )


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
    """Return the sums over near particles.

    Lengths are worked on in the power of two next to the cutoff, or to the largest coordinate where
    this is smaller: there the squares of distances are safe, but for those of tiny ones.
    """
    e = -scale_exponent(min(cutoff, max(max_abs(points, _HOST), max_abs(x, _HOST))))
    unit = scale_exponent(max_abs(q, _HOST))
    with silent():
        near_points, near_x = ldexp(points, e, _HOST), ldexp(x, e, _HOST)
        far = max(float(_HOST.max(_HOST.abs(near_points))), float(_HOST.max(_HOST.abs(near_x))))
    if not far < _FARTHEST:
        rule = f"lie, as x, within {_FARTHEST:g} cutoffs of the origin"
        raise ValueError(message("points", rule, far))
    radius = min(ldexp_float(cutoff, e), _EVERYTHING * max(far, 1.0))
    q = ldexp(q, -unit, _HOST)
    tree = cKDTree(near_points)
    values = _HOST.zeros(x.shape[0], dtype=q.dtype)
    for start, stop in _portions(tree, near_x, radius):
        pairs = cKDTree(near_x[start:stop, :]).sparse_distance_matrix(
            tree, radius, output_type="ndarray"
        )
        target, source, r = pairs["i"], pairs["j"], pairs["v"]
        with silent():
            kernel = _kernel(r, x[start + target, :], points[source, :], alpha, e)
            values[start:stop] = _added(target, q[source] * kernel, stop - start)
    with silent():
        return ldexp(values, unit + e, _HOST)


def _kernel(r: Array, x: Array, y: Array, alpha: float, e: int) -> Array:
    """Return ``erfc(alpha r)/r`` in units of ``2**-e``; 0 at distance 0."""
    scaled_alpha = ldexp_float(alpha, -e)
    safe = _HOST.where(r > 0, r, 1.0)
    values = erfc(scaled_alpha * safe) / safe
    tiny = r < _TINY
    if bool(tiny.any()):  # their squares are none: from the coordinates themselves
        own = _HOST.abs(x[tiny, :] - y[tiny, :])
        own = _HOST.hypot(_HOST.hypot(own[:, 0], own[:, 1]), own[:, 2])
        safe = _HOST.where(own > 0, own, 1.0)
        near = erfc(alpha * safe) * ldexp(1 / safe, -e, _HOST)
        values[tiny] = _HOST.where(own > 0, near, 0.0)
    return values


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
