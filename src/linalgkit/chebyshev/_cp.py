"""A canonical (CP) tensor, gridded or of functions, as a Chebyshev-Tucker function.

::

    T = chebtucker_from_cp(weights, [U1, U2, U3], [(-1, 1)] * 3, tol=1e-7)      # on uniform grids
    T = chebtucker_from_cp(weights, [u1, u2, u3], [(-1, 1)] * 3, nodes="callables")

The sum of R products of columns is resampled mode by mode at Chebyshev points, reduced to the
leading directions of its weighted columns, contracted to a core, and truncated to the tolerance.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from linalgkit._core.array import Array, eps, numpy_namespace
from linalgkit._core.capabilities import capability
from linalgkit._core.scaling import ldexp, max_abs
from linalgkit._core.validation import check_choice
from linalgkit.chebyshev._cp_input import Canonical, canonical, checked_degrees, settled
from linalgkit.chebyshev._cp_reduction import published_reduction, weighted_reduction
from linalgkit.chebyshev._evaluate import scattered
from linalgkit.chebyshev._function import ChebTucker
from linalgkit.chebyshev._max_norm import (
    N_CHECK,
    SPLINE_GAIN,
    Rounded,
    chebyshev_way_out,
    check_points,
    checked_tolerance,
    finished,
    placed,
    remainder,
    rounded,
    truncation_target,
    within_reach,
)
from linalgkit.chebyshev._parts import Interval, Parts, check_domain
from linalgkit.chebyshev._resample import Mode, columns_times_powers, resolved_length

_HOST = numpy_namespace()
# Shares of the tolerance that the degrees may take, and the bases in the weighted norm: the
# smaller ones where a peak is seen to be cut away. The degrees may take a part of what the splines
# miss, if that is too much already.
_MISSED_SHARE = 0.3
_DEGREE_SHARE, _BASIS_SHARES = 0.1, (0.02, 2e-4, 2e-6, 2e-8)
# Bases that are off by no more than this share are not looked for anew.
_OFF_SHARE = 0.1
# Beyond so many terms what splines miss is estimated at every fourth check point.
_MANY_TERMS = 4096
# Roundings of a term that its rounding error counts for.
_ROUNDINGS = 8
# What stands for a tolerance where the function is zero.
_NOTHING = 1e-300


@capability("chebyshev.chebtucker_from_cp", synchronisations={"call": 47})
def chebtucker_from_cp(
    weights: Array,
    factors: Sequence[Array | Callable[[Array], Array]],
    domain: Any,
    *,
    nodes: str | Sequence[Array] = "uniform",
    degrees: int | Sequence[int] | None = None,
    tol: float | None = None,
    method: str = "weighted",
) -> ChebTucker:
    """Return the function of a canonical (CP) tensor: a sum of products of functions.

    ``f(x) = sum_l weights[l] u_{1, l}(x_1) ... u_{d, l}(x_d)``, reduced to a Tucker core whose
    ranks are those that `f` needs, not the number R of terms.

    Parameters
    ----------
    weights : array (R,)
        Real or complex, of any sign; their library and device are those of the answer.
    factors : sequence of d arrays (n_k, R), or of d callables
        Values of the functions of each variable, a column a term; or ``U(x)`` that takes positions
        (n,) in the domain, an array of the library of `weights`, and returns values (n, R).
    domain : array or sequence, shape (d, 2)
        Ends of the interval of each variable; d from 1 to 6.
    nodes : {"uniform", "cheb2", "callables"} or sequence of d arrays (n_k,)
        Where the values are taken. "uniform": at the centres of n_k equal cells,
        ``a + (b - a) (k + 1/2) / n_k``; positions from ``linspace(a, b, n_k)`` are others and are
        passed as arrays. "cheb2": at Chebyshev points of the second kind (ends included),
        ascending, which are ``numpy.polynomial.chebyshev.chebpts2(n_k)`` moved to the interval;
        values at descending ones give a mirrored function. Arrays: at ascending positions in the
        domain. "callables" may be left out for callables.
    degrees : int or sequence of int, optional
        Highest powers, one a variable, from 1 to 16384. None: found.
    tol : float, optional
        Largest error asked for, relative to the largest value met. None: 1e-10 for callables and
        at Chebyshev points, 1e-6 through splines ("uniform" and arrays of positions), in single
        precision 1e-5, also where that of a factor alone is single.
    method : {"weighted", "rhosvd"}
        "weighted": bases of the modes from columns weighted by the norms of their terms, then a
        truncation of the core. "rhosvd": the published reduced HOSVD, which cuts the columns at an
        absolute tolerance whatever their weights; see Notes.

    Returns
    -------
    ChebTucker
        In the library and device of `weights` and the joint precision; `n_evals` is the number of
        values of the factors that went in.

    Raises
    ------
    TypeError
        If an argument is of a wrong kind, arrays of two libraries or devices meet, or a callable
        returns real values first and complex ones later.
    ValueError
        If ranks or lengths do not fit, data or positions are not finite, positions are not
        ascending or outside the domain, a spline would have fewer than 4, a callable returns a
        wrong shape or NaN (the position is named), numbers are out of range, or d is above 6.

    Warns
    -----
    AccuracyWarning
        If `error_estimate` exceeds `tol` times the largest value met (`status` is "inaccurate"
        then; where the grid limits, not the truncation, the message says so), if `tol` is below
        4 eps (which is taken), or if positions end far from an end of the domain.

    See Also
    --------
    chebtucker_from_values, chebtucker
    linalgkit.chebyshev.theory : the published algorithms with their constants.

    Notes
    -----
    Through values on a grid go not-a-knot cubic splines, extrapolated to the ends; through values
    at Chebyshev points polynomials; callables are asked at Chebyshev points. Degrees are read off
    the coefficients of the columns, weighted by the largest moduli of their terms: on a grid of n
    points those at 2 n nodes, where what only follows the kinks of the splines is left away. Up to
    1024 grid points with many columns a spline is a matrix product on the device; else columns are
    copied to the host and back, chunk by chunk. One sketch of at most 64 columns a mode goes to the
    host in any case where degrees are found.

    Callables are sampled at 4096 positions first (fewer for more than 8192 terms), and degrees are
    looked for from as many nodes on. Columns that turn out larger than a sample told are measured
    anew. Peaks of a column narrower than about 1/2000 of the interval are not seen for certain.

    `error_estimate` is the largest difference between the sum of splines, polynomials or callables
    and the answer at 1024 points and up to 256 at, beside and between the largest places of the
    largest and the narrowest terms, by which the truncation is chosen too: an estimate from below,
    no bound. On grids the distance of the splines to those through every second position, over 16,
    is added (at every fourth point, for more than 4096 terms): what the splines miss, for functions
    that the grid resolves. The truncation takes 2/5 of the tolerance, or less for that. Otherwise
    the sum of the coefficients beyond those found, extrapolated from their decay, is added. All of
    it is relative to the values of `f` itself, also where the terms cancel.

    What the bases leave out of `f` is bounded, before the core is formed, by ``sqrt(sum_l w_l)``
    times the norms of discarded singular values (Cauchy and Schwarz), where w_l are the norms of
    the terms; they are cut where this is 1/50 of the tolerance times the largest value of `f`.
    Columns are divided by powers of two, with which the weights are multiplied: a scaling of
    columns by factors that the weights undo, by 1e100 as well, changes nothing but roundings. This
    does not hold for "rhosvd" [measured]: columns times 1, 1e-3 and 1e-6 with weights that make up
    for it gave errors of 1.9e-8, 1.3e-5 and 1.2e-2 at a tolerance of 1e-7.

    Storage: ``R sum m_k`` numbers of the coefficients and two cores before the truncation, of at
    most ``prod min(m_k, R)`` numbers each, in the widest dtype of the device, and about 64 MiB. A
    callable returns all R columns at once, (m_k, R), and the first 4096 positions in pieces.

    References
    ----------
    .. [1] P. Benner, B. Khoromskij, V. Khoromskaia, B. Sun, "A mesh-free hybrid Chebyshev-Tucker
       tensor format with applications to multi-particle modelling", arXiv:2503.01696.
    .. [2] B. Khoromskij, V. Khoromskaia, "Multigrid accelerated tensor approximation of function
       related multidimensional arrays", SIAM J. Sci. Comput. 31 (2009) 3002-3026: reduced HOSVD.

    Examples
    --------
    >>> import numpy as np
    >>> c = np.linspace(-0.5, 0.5, 40)
    >>> def gaussians(x):
    ...     return np.exp(-8.0 * (x[:, None] - c) ** 2)
    >>> T = chebtucker_from_cp(np.ones(40), [gaussians] * 3, [(-1, 1)] * 3, tol=1e-8)
    >>> x = np.array([0.1, -0.2, 0.3])
    >>> exact = np.prod(gaussians(x), axis=0).sum()
    >>> max(T.ranks) < 15, bool(abs(T(x) - exact) < 1e-7)
    (True, True)
    """
    intervals = check_domain(domain)
    check_choice("method", method, ("weighted", "rhosvd"))
    wanted = checked_degrees(degrees, len(intervals))
    cp = canonical(weights, factors, intervals, nodes)
    tolerance = checked_tolerance(tol, cp.place.xp, cp.coarsest, by_splines=cp.is_on_grids)
    answer: ChebTucker = settled(cp, lambda c: _built(c, intervals, wanted, tolerance, method))
    return answer


def _built(
    cp: Canonical,
    intervals: Sequence[Interval],
    degrees: tuple[int, ...] | None,
    tol: float,
    method: str,
) -> ChebTucker:
    """Return the function from a checked sum."""
    xp = cp.place.xp
    reference = sampled(cp)
    target = max(tol * reference.scale, reference.noise, _NOTHING)
    if degrees is None:
        lengths = found_lengths(cp, target, reference.missed)
    else:
        lengths = [m + 1 for m in degrees]
    if method == "rhosvd":
        parts = _as_published(cp, [mode.coefficients(m) for mode, m in _each(cp, lengths)], tol)
        values = scattered(parts, placed(reference.points, xp, cp.place.device), "extrapolate")
        unseen = reference.missed if cp.is_called else _unseen(cp, parts, reference)
    else:
        unseen, result = _reduced(cp, lengths, reference, target, degrees is not None)
        parts, values = result.parts, result.values
    return finished(
        parts,
        intervals,
        cp.exponent,
        dtype=cp.dtype,
        error=max_abs(reference.values - values, xp) + unseen,
        scale=reference.scale,
        tol=tol,
        n_evals=cp.n_values,
        way_out=_way_out(cp, degrees, reference, tol, unseen),
        missed=reference.missed,
    )


def _each(cp: Canonical, lengths: Sequence[int]) -> Iterator[tuple[Mode, int]]:
    """Return pairs of a mode and its number of nodes."""
    return zip(cp.modes, lengths, strict=True)


def _reduced(
    cp: Canonical, lengths: Sequence[int], reference: Reference, target: float, keep: bool
) -> tuple[float, Rounded]:
    """Return what the data leave open, and truncated parts.

    The norm of a narrow peak is small, so that bases may lack it. Where they are off at the check
    points they are found anew, with smaller shares of the target as long as that helps.
    """
    xp, off = cp.place.xp, math.inf
    for share in _BASIS_SHARES:
        C = [mode.coefficients(m) for mode, m in _each(cp, lengths)]
        fine = weighted_reduction(C, cp.weights, share * target, xp)
        del C
        unseen = _unseen(cp, fine, reference)
        result = rounded(
            fine, truncation_target(target, unseen), reference.points, keep_degrees=keep
        )
        before, off = off, max_abs(reference.values - result.reference, xp)
        enough = _OFF_SHARE * target if within_reach(target, unseen) else max(target, unseen)
        if off <= enough or off > 0.5 * before:
            break
    return unseen, result


def _unseen(cp: Canonical, fine: Parts, reference: Reference) -> float:
    """Return what splines miss, or what the coefficients beyond those found add up to."""
    if cp.is_on_grids:
        return reference.missed
    return remainder(fine, reference.noise, reference.points[N_CHECK:, :])


class Reference(NamedTuple):
    """The sum at check points, its largest modulus, its rounding errors, what splines miss."""

    points: Array
    values: Array
    scale: float
    noise: float
    missed: float


def sampled(cp: Canonical) -> Reference:
    """Return the sum at the check points."""
    xp = cp.place.xp
    points = _HOST.concat([check_points(len(cp.modes)), cp.peaks()], axis=0)
    values = cp.at(points)
    unit = eps(xp, cp.place.dtype)
    if cp.is_called:
        unit = max(unit, eps(xp, cp.coarsest))
    noise = _ROUNDINGS * unit * float(cp.sizes.sum())
    missed = 0.0
    if cp.is_on_grids:
        step = 1 if int(cp.weights.shape[0]) <= _MANY_TERMS else 4
        coarse = cp.thinned().at(points[::step, :])
        missed = max_abs(values[::step] - coarse, xp) / SPLINE_GAIN
    return Reference(points, values, max_abs(values, xp), noise, missed)


def found_lengths(cp: Canonical, target: float, missed: float = 0.0) -> list[int]:
    """Return how many nodes each mode takes for an error of `target`, or what splines miss."""
    heights = cp.heights
    total = max(float(heights.sum()), _NOTHING)
    level = _DEGREE_SHARE * target / len(cp.modes)
    if not within_reach(target, missed):
        level = max(level, _MISSED_SHARE * missed)
    level /= math.sqrt(total)
    lengths = []
    for mode in cp.modes:
        amplitudes = _HOST.sqrt(heights) / _HOST.where(mode.tops > 0, mode.tops, 1.0)
        lengths.append(resolved_length(mode, amplitudes, level))
    return lengths


def _as_published(cp: Canonical, C: Sequence[Array], tol: float) -> Parts:
    """Return the reduced HOSVD of the columns in their own units, divided by the common one."""
    xp = cp.place.xp
    raw = [columns_times_powers(X, mode.exponents, xp) for X, mode in zip(C, cp.modes, strict=True)]
    parts = published_reduction(raw, cp.original, tol, xp)
    return Parts(ldexp(parts.core, -cp.exponent, xp), parts.factors, parts.intervals, xp)


def _way_out(
    cp: Canonical, degrees: tuple[int, ...] | None, reference: Reference, tol: float, unseen: float
) -> str:
    """Return what would help where the tolerance is missed."""
    open_data = unseen > 0.5 * tol * reference.scale
    if reference.noise > tol * reference.scale:
        return "The terms cancel so far that their rounding errors show: no smaller tol is met."
    if degrees is not None and not (cp.is_on_grids and open_data):
        return "Leave degrees to None, or raise them."
    if cp.is_called:
        return "Cut the box where the functions are not smooth, or take a larger tol."
    if not cp.is_on_grids:
        way_out = "Take a larger tol, or method='weighted' in place of 'rhosvd'."
        return chebyshev_way_out("cheb2") if open_data else way_out
    return "Take a finer grid, a larger tol, or functions as factors with nodes='callables'."
