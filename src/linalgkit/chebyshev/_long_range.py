"""The smooth part of the Coulomb potential of many particles, as a Chebyshev-Tucker function.

::

    T = long_range_potential(points, charges, [(-1, 1)] * 3, alpha=12.0)
    T(x) + short_range_potential(points, charges, x, alpha=12.0)      # sum_v q_v / |x - x_v|

Its ranks depend on alpha and the box, hardly on the number of particles. :mod:`._moments` reads the
particles once; the route of the paper, by one Gaussian for each particle and quadrature term, is
there by name. Either answer is checked against direct sums, and made again to a smaller tolerance
where it falls short.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from linalgkit._core.array import (
    Array,
    DType,
    array_namespace,
    asarray,
    complex_dtype,
    device,
    dtype_from_name,
    dtype_name,
    eps,
    numpy_namespace,
    to_numpy,
    widest_dtype,
    widest_float,
)
from linalgkit._core.capabilities import capability
from linalgkit._core.scaling import ldexp, ldexp_float, max_abs, scale_exponent, silent
from linalgkit._core.validation import check_choice, check_float, check_int, message
from linalgkit.chebyshev._arithmetic import add, recompress
from linalgkit.chebyshev._basis import coefficient_matrix, nodes, scaled
from linalgkit.chebyshev._copies import NO_COPIES, Copies, copied_gaussians
from linalgkit.chebyshev._cp_reduction import weighted_reduction
from linalgkit.chebyshev._evaluate import scattered
from linalgkit.chebyshev._function import ChebTucker, assemble
from linalgkit.chebyshev._max_norm import warn_caller
from linalgkit.chebyshev._moments import gaussian_degree, moments_parts, quadrature
from linalgkit.chebyshev._particles import (
    System,
    check_points,
    checked_particles,
    direct_sum,
    merged,
    on_host,
    prepare,
    shells,
)
from linalgkit.chebyshev._parts import Interval, Parts, check_domain

_HOST = numpy_namespace()
_SINGLE = ("float32", "complex64")
DEFAULT_TOL = {True: 1e-5, False: 1e-7}
# Attempts with smaller and smaller tolerances, the first this share of what is asked for.
_ATTEMPTS = 5
_START = 0.25
_LEAST_TOLERANCE = 1e-16
# Limits of the inverse length and of distances, in units of the domain.
_LEAST_ALPHA, _FARTHEST = 1e-290, 1e150
# A sum this small beside the sum of the moduli of its terms is rounding.
_ROUNDING = 1e-15
# Truncations tried, the first as a share of the tolerance in the weighted norm. A peak at one
# particle is much larger than its weighted norm.
_TRUNCATIONS, _FIRST_CUT = 6, 0.5
_TOO_LARGE = (
    "the potential must be representable in its dtype, got values beyond the largest number of "
    "{}. Divide the charges by a power of two first."
)
# Numbers in the factors of a block of particles on the route of the paper.
_CP_NUMBERS = 2**23


@capability("chebyshev.long_range_potential", synchronisations={"call": 13})
def long_range_potential(
    points: Array,
    charges: Array,
    domain: Any,
    *,
    alpha: float,
    tol: float | None = None,
    method: str = "moments",
    lattice: Any = None,
) -> ChebTucker:
    """Return the potential ``sum_v q_v erf(alpha |x - x_v|) / |x - x_v|`` on a box.

    Parameters
    ----------
    points : array (N, 3)
        Positions, anywhere, outside the box too.
    charges : array (N,)
        Real or complex, of any sign.
    domain : sequence of (a_k, b_k), shape (3, 2)
        The box on which the potential is wanted.
    alpha : float
        Inverse length at which the potential is split, that of Ewald's method: the rest is
        ``sum_v q_v erfc(alpha r)/r``, :func:`short_range_potential`.
    tol : float, optional
        Error allowed, relative to the largest modulus of the potential on the box. 1e-7, in single
        precision 1e-5, by default.
    method : {"moments", "cp"}, default "moments"
        "moments": the particles are read once for all quadrature terms. "cp": the route of [1]_,
        the reduction of a canonical sum of one Gaussian for each particle and quadrature term.
    lattice : sequence of (n_k, a_k), or array (3, 2), optional
        The particles are one cell, of which copies lie at ``x_v + (j_1 a_1, j_2 a_2, j_3 a_3)`` for
        ``0 <= j_k < n_k``. The sums over copies factorise: the cost of a particle of the cell and
        of a Gaussian is that of ``n_1 + n_2 + n_3`` copies, of about 220 for each ``n_k`` at most.

    Returns
    -------
    ChebTucker
        In the library, on the device and in the precision of `points` and `charges`. Its
        `error_estimate` (absolute) is the largest error at 248 check points, against direct sums,
        after rounding to that precision; `n_evals` is the number of these points. `status` is
        "converged" or "inaccurate".

    Raises
    ------
    TypeError
        If an argument is of the wrong kind, or arrays are of two libraries.
    ValueError
        If shapes do not fit, an entry is NaN or infinite, the domain has not three variables,
        `alpha`, `tol`, a number of copies or a period is out of range, particles lie farther away
        than 1e150 widths of the domain, a Gaussian of width ``1/alpha`` needs more than 4096
        coefficients on the domain, or the potential is beyond the largest number of its dtype.

    Warns
    -----
    AccuracyWarning
        If the estimate exceeds ``tol`` times the largest modulus, `tol` was below 4 eps and raised
        to that, or charges cancel to rounding: the answer is the zero function then, its estimate
        what the potential and its rounding errors may be.

    See Also
    --------
    short_range_potential : the rest of the Coulomb potential.

    Notes
    -----
    At a particle the term of that particle is its limit, ``2 alpha q_v / sqrt(pi)``: subtract it
    where the particle should not act on itself. The field is minus :meth:`ChebTucker.gradient`; its
    error is larger than that of the potential by about ``alpha`` times a small factor.

    Check points are random points of the box, points about ``1/(2 alpha)`` from random particles,
    the 30 particles whose own potential is largest in the box and points ``0.3/alpha`` to
    ``5/alpha`` from these (all moved to the box where they lie outside), and the corners; the same
    ones in every call. The estimate is a sample, not a bound. Where charges cancel so that the
    potential is tiny beside its terms, working tolerances are smaller and ranks larger; what
    rounding forbids is told.

    With ranks r, "moments" costs ``2 N r^3`` operations and 248 N error functions for the check,
    "cp" ``2 N R r^3`` for R quadrature terms (about 20). Positions and charges are copied to the
    host once, for the check and the set-up; the particles are read on their device, the core is
    truncated on the host. Storage: ``r^3 + sum_k m_k r_k`` numbers for the answer, a few times
    that at work, ``9 N`` numbers for the particles and 15 MiB for blocks (80 MiB on a device; for
    "cp" 140 MiB).

    References
    ----------
    .. [1] P. Benner, B. N. Khoromskij, V. Khoromskaia, B. Sun, "A mesh-free hybrid
       Chebyshev-Tucker tensor format with applications to multi-particle modelling",
       arXiv:2503.01696.
    .. [2] P. Benner, V. Khoromskaia, B. N. Khoromskij, "Range-separated tensor format for
       many-particle modeling", SIAM J. Sci. Comput. 40 (2018), A1034-A1062.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy.special import erf
    >>> from linalgkit.chebyshev import long_range_potential
    >>> rng = np.random.default_rng(0)
    >>> points, charges = rng.uniform(-1, 1, (50, 3)), rng.standard_normal(50)
    >>> T = long_range_potential(points, charges, [(-1, 1)] * 3, alpha=4.0, tol=1e-6)
    >>> x = np.asarray([0.1, -0.2, 0.3])
    >>> r = np.linalg.norm(x - points, axis=1)
    >>> bool(abs(T(x) - np.sum(charges * erf(4.0 * r) / r)) < 1e-4)
    True
    """
    box, alpha, copies = checked_box(domain, alpha, lattice, method)
    x, q, like, dtype = checked_particles(points, charges)
    xp = array_namespace(like)
    tol = checked_tol(tol, dtype_name(xp, dtype) in _SINGLE, eps(xp, dtype))
    charged = q != 0
    if not bool(charged.any()):
        return zero_potential(box, like, dtype)
    x, q = x[charged, :], q[charged]
    system = prepare(x, q, box, alpha, copies, xp, device(like), dtype)
    check_reach(system, alpha)
    return _solve(system, method, tol, like)


# ------------------------------------------------------------------------------ the boundary


def checked_box(
    domain: Any, alpha: float, lattice: Any, method: str
) -> tuple[tuple[Interval, ...], float, tuple[Copies, ...]]:
    """Return the domain, the inverse length and the lattice of a request."""
    box = check_domain(domain)
    if len(box) != 3:
        raise ValueError(message("domain", "have 3 variables", len(box)))
    alpha = check_float("alpha", alpha, 0.0, low_open=True)
    check_choice("method", method, ("moments", "cp"))
    return box, alpha, _checked_lattice(lattice)


def check_reach(system: System, alpha: float) -> None:
    """Refuse lengths that do not fit the domain's."""
    if not _LEAST_ALPHA < system.alpha < math.inf:
        raise ValueError(message("alpha", "be of a size that fits that of the domain", alpha))
    if not system.reach < _FARTHEST:
        rule = f"lie within {_FARTHEST:g} widths of the domain, copies included"
        raise ValueError(message("points", rule, system.reach))


def _checked_lattice(lattice: Any) -> tuple[Copies, ...]:
    """Return numbers of copies and periods."""
    if lattice is None:
        return (NO_COPIES,) * 3
    rule = "be three pairs (number of copies, period)"
    if hasattr(lattice, "shape"):
        lattice = _pairs_of(lattice, rule)
    if not isinstance(lattice, (list, tuple)) or any(
        not isinstance(pair, (list, tuple)) for pair in lattice
    ):
        raise TypeError(message("lattice", rule, lattice))
    if len(lattice) != 3 or any(len(pair) != 2 for pair in lattice):
        raise ValueError(message("lattice", rule, lattice))
    found = []
    for k, (count, period) in enumerate(lattice):
        n = check_int(f"lattice[{k}][0]", count, 1)
        a = check_float(f"lattice[{k}][1]", period, 0.0, low_open=n > 1)
        found.append((n, a) if n > 1 else NO_COPIES)
    return tuple(found)


def _pairs_of(lattice: Array, rule: str) -> list[list[float]]:
    """Return the pairs of an array, whose numbers of copies may be floats of whole value."""
    host = to_numpy(lattice)
    if host.ndim != 2 or host.shape[1] != 2:
        raise ValueError(message("lattice", rule, host))
    if host.dtype.kind not in "iuf":
        raise TypeError(message("lattice", "hold real numbers", host.dtype))
    pairs = host.tolist()
    return [[int(n) if n % 1 == 0 else n, a] for n, a in pairs]


def checked_tol(tol: float | None, is_single: bool, precision: float) -> float:
    """Return the tolerance, raised to 4 eps with a warning."""
    if tol is None:
        return DEFAULT_TOL[is_single]
    tol = check_float("tol", tol, 0.0, low_open=True)
    if tol < 4 * precision:
        warn_caller(
            f"tol={tol:g} is below what the precision of the particles allows; "
            f"{4 * precision:.2g} is taken (4 eps)."
        )
    return max(tol, 4 * precision)


def zero_potential(
    box: tuple[Interval, ...], like: Array, dtype: DType, error: float = 0.0
) -> ChebTucker:
    """Return the potential of no charge, or of charges that cancel to rounding."""
    xp = array_namespace(like)
    core = xp.zeros((1, 1, 1), dtype=dtype, device=device(like))
    factor = xp.ones((1, 1), dtype=dtype, device=device(like))
    parts = Parts(core, (factor,) * 3, box, xp)
    status = "inaccurate" if error > 0 else "converged"
    return assemble(parts, dtype=dtype, error_estimate=error, scale=error, status=status)


# ----------------------------------------------------------------------------------- attempts


def _solve(system: System, method: str, tol: float, like: Array) -> ChebTucker:
    """Return the potential to a tolerance, or the best of some attempts with a warning."""
    x = check_points(system)
    sums = direct_sum(system, x)
    if cancels(sums):
        return _cancelled(system, method, tol, like, size_of(sums))
    groups = shells(system)
    sizes = group_sizes(groups)

    def raw(absolute: float) -> Parts:
        return untruncated(groups, sizes, method, absolute)

    return solved(system, x, sums, tol, raw, max(sizes))


def group_sizes(groups: list[System]) -> list[float]:
    """Return about how large the potential of each group is, which its tolerance refers to."""
    return [quadrature(group, 1e-2).total * group.charge_norm for group in groups]


def cancels(sums: Array) -> bool:
    """Tell whether the potential is at rounding at all check points."""
    return float(_HOST.max(_HOST.abs(_complex(sums[:, :-1])))) <= _ROUNDING * _largest(sums)


def size_of(sums: Array) -> float:
    """Return what the potential and its rounding errors may be, where charges cancel."""
    return float(_HOST.max(_HOST.abs(_complex(sums[:, :-1])))) + _ROUNDING * _largest(sums)


def _largest(sums: Array) -> float:
    return float(_HOST.max(sums[:, -1]))


def solved(
    system: System,
    x: Array,
    sums: Array,
    tol: float,
    raw: Callable[[float], Parts],
    size: float,
) -> ChebTucker:
    """Return the potential to a tolerance from what finds it to an absolute one.

    Parameters
    ----------
    system : System
        Its units, domain and place are those of the answer.
    x, sums : host arrays (n, 3), (n, c + 1)
        Check points, and the direct sums there with the sums of the moduli.
    tol : float
        Relative to the largest modulus of the sums.
    raw : callable
        ``raw(absolute)`` returns host parts before the last truncation.
    size : float
        Size of the terms, for which rounding is the limit.
    """
    reference = _complex(sums[:, :-1])
    scale = float(_HOST.max(_HOST.abs(reference)))
    goal = tol * scale

    def error_of(parts: Parts) -> float:
        return float(_HOST.max(_HOST.abs(_values(parts, x) - reference)))

    dtype = dtype_name(system.xp, system.dtype)
    parts, error = _attempts(raw, size, goal, dtype, error_of)
    largest = ldexp_float(scale, system.exponent)
    if largest > float(system.xp.finfo(system.dtype).max):
        raise ValueError(_TOO_LARGE.format(dtype))
    if error > goal:
        warn_caller(
            f"the potential has an error of {error / scale:.2g} of its size where {tol:.2g} was "
            "asked for: charges cancel, or the precision of the particles is not enough. Take a "
            "larger tol, or double precision."
        )
    return assemble(
        _placed(parts, system),
        dtype=system.dtype,
        error_estimate=ldexp_float(error, system.exponent),
        scale=largest,
        n_evals=int(x.shape[0]),
        status="converged" if error <= goal else "inaccurate",
    )


def _cancelled(system: System, method: str, tol: float, like: Array, error: float) -> ChebTucker:
    """Return the potential of charges that cancel to rounding, if they do so at single places."""
    x, q = merged(system.points, system.charges)
    if x.shape[0] == 0:
        return zero_potential(system.own_domain, like, system.dtype)
    if x.shape[0] < system.points.shape[0]:
        e = scale_exponent(max_abs(q, _HOST))
        fewer = replace(system, points=x, charges=ldexp(q, -e, _HOST), exponent=system.exponent + e)
        return _solve(fewer, method, tol, like)
    error = ldexp_float(error, system.exponent)
    warn_caller(
        f"the charges cancel to rounding on the whole domain: the potential is zero but for an "
        f"error of up to {error:.2g}, which may be all of it. Take a larger alpha, or particles "
        "that do not cancel."
    )
    return zero_potential(system.own_domain, like, system.dtype, error)


def _placed(parts: Parts, system: System) -> Parts:
    """Return host parts on the caller's device and in the caller's units, in the widest dtype."""
    xp, where = system.xp, system.device
    dtype = widest_dtype(xp, where, system.dtype)
    core, *factors = (
        asarray(A, xp=xp, device=where, dtype=dtype) for A in (parts.core, *parts.factors)
    )
    with silent():
        core = ldexp(core, system.exponent, xp)
        finite = bool(xp.all(xp.isfinite(xp.astype(core, system.dtype, copy=False))))
    if not finite:
        raise ValueError(_TOO_LARGE.format(dtype_name(xp, system.dtype)))
    return Parts(core, tuple(factors), system.own_domain, xp)


def _attempts(
    raw: Callable[[float], Parts],
    size: float,
    goal: float,
    dtype: str,
    error_of: Callable[[Parts], float],
) -> tuple[Parts, float]:
    """Return the first answer with an error below the goal, or the best one, on the host."""
    absolute, least = _START * goal, _LEAST_TOLERANCE * size
    raws = [math.inf]
    for attempt in range(_ATTEMPTS):
        parts = raw(absolute)
        raws.append(error_of(parts))
        stalled = raws[-1] > 0.5 * raws[-2] or absolute <= least or attempt == _ATTEMPTS - 1
        if raws[-1] <= 0.5 * goal or stalled:
            break
        absolute = max(absolute * max(1e-3, min(0.1, 0.2 * goal / raws[-1])), least)
    return _truncated(parts, goal, dtype, error_of)


def untruncated(groups: list[System], sizes: list[float], method: str, absolute: float) -> Parts:
    """Return the potential of all particles before the last truncation (host)."""
    total = None
    for group, size in zip(groups, sizes, strict=True):
        tolerance = min(max(absolute / size, _LEAST_TOLERANCE), 0.1)
        if method == "moments":
            parts = moments_parts(group, tolerance)
        else:
            parts = _canonical_parts(group, tolerance, tolerance * size)
        parts = _to_host(parts)
        total = parts if total is None else recompress(add(total, parts), 0.1 * absolute)[0]
    assert total is not None
    return total


def _truncated(
    parts: Parts, goal: float, dtype: str, error_of: Callable[[Parts], float]
) -> tuple[Parts, float]:
    """Return the first of some truncations with an error below the goal, or the best answer."""
    kind = dtype_from_name(_HOST, dtype)
    best, least = parts, error_of(parts.cast(kind))
    cut = _FIRST_CUT * goal
    for _ in range(_TRUNCATIONS):
        small = recompress(parts, cut)[0]
        error = error_of(small.cast(kind))
        if error <= max(goal, least):
            best, least = small, error
        if error <= goal:
            break
        cut *= max(0.01, min(0.6, 0.7 * goal / error))
    return best, least


def _complex(columns: Array) -> Array:
    """Return one column, or the complex numbers of two."""
    return columns[:, 0] if columns.shape[1] == 1 else columns[:, 0] + 1j * columns[:, 1]


def _values(parts: Parts, x: Array) -> Array:
    """Return the values of host parts, in double precision."""
    return scattered(_to_host(parts), x, "raise")


def _to_host(parts: Parts) -> Parts:
    """Return the same parts on the host in double precision."""
    core, *factors = (on_host(A) for A in (parts.core, *parts.factors))
    return Parts(core, tuple(factors), parts.intervals, _HOST)


# ----------------------------------------------------------------------- the route of the paper

# Benner et al., arXiv:2503.01696, canonical input. Differs from it:
# 1. the factors are Gaussians themselves at Chebyshev points, not splines of gridded vectors;
# 2. columns are weighted by what their terms contribute, so that the cut is one of the sum;
# 3. particles come in blocks, whose cores are added and recompressed.


def _canonical_parts(system: System, tolerance: float, absolute: float) -> Parts:
    """Return the potential as a reduced canonical sum, in the widest dtype of the device."""
    rule = quadrature(system, tolerance)
    half = [0.5 * (b - a) for a, b in system.domain]
    lengths = [gaussian_degree(float(rule.t[-1]) * h, 0.1 * tolerance) for h in half]
    step = max(1, _CP_NUMBERS // (sum(lengths) * rule.t.shape[0]))
    n = int(system.points.shape[0])
    share = absolute / math.sqrt(-(-n // step))
    total = None
    for start in range(0, n, step):
        block = slice(start, start + step)
        factors = [
            _gaussian_columns(system, k, lengths[k], system.points[block, k], rule.t)
            for k in range(3)
        ]
        weights = _HOST.multiply.outer(_complex(system.charges[block, :]), rule.w).reshape(-1)
        parts = weighted_reduction(factors, weights, share, system.xp)
        parts = Parts(parts.core, parts.factors, system.domain, system.xp)
        total = parts if total is None else recompress(add(total, parts), share)[0]
    assert total is not None
    return total


def _gaussian_columns(system: System, k: int, m: int, y: Array, t: Array) -> Array:
    """Return the coefficients (m, N R) of the Gaussians about sources, for every term."""
    xp, where = system.xp, system.device
    dtype = widest_float(xp, where)
    x = scaled(nodes(m), system.domain[k])
    differences = x[:, None, None] - y[None, :, None]
    values = copied_gaussians(t[None, None, :], differences, system.lattice[k])
    columns = coefficient_matrix(m) @ values.reshape(m, -1)
    columns = asarray(columns, xp=xp, device=where, dtype=dtype)
    return xp.astype(columns, complex_dtype(xp, dtype)) if system.is_complex else columns
