"""A tensor of values on a grid, or of Chebyshev coefficients, as a Chebyshev-Tucker function.

::

    T = chebtucker_from_values(F, [(-1, 1)] * 3)                       # at Chebyshev points
    T = chebtucker_from_values(F, [(0, 1)] * 2, nodes=(x1, x2))        # through cubic splines
    T = chebtucker_from_coefficients(C, [(-1, 1)] * 3)

Values at Chebyshev points are transformed exactly. Those on another grid are decomposed first, so
that splines go through the few columns of the bases and not through the tensor.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from scipy.interpolate import CubicSpline

from linalgkit._core.array import (
    Array,
    DType,
    Namespace,
    array_namespace,
    asarray,
    detached,
    device,
    eps,
    is_complex,
    numpy_namespace,
    to_numpy,
    widest_dtype,
    working_dtype,
)
from linalgkit._core.capabilities import capability
from linalgkit._core.modes import mode_product
from linalgkit._core.random import as_generator
from linalgkit._core.scaling import ldexp, max_abs, norm_fro, scale_exponent
from linalgkit._core.validation import check_choice
from linalgkit.chebyshev._at_data import beside, peak_places, peak_points, residual
from linalgkit.chebyshev._basis import along, nodes_first_kind, on_device, parseval, to_coefficients
from linalgkit.chebyshev._basis import nodes as chebyshev_nodes
from linalgkit.chebyshev._evaluate import scattered
from linalgkit.chebyshev._function import ChebTucker
from linalgkit.chebyshev._grid import weighted_coefficients
from linalgkit.chebyshev._max_norm import (
    SPLINE_GAIN,
    Rounded,
    chebyshev_way_out,
    check_points,
    checked_tolerance,
    contracted,
    fine_parts,
    finished,
    placed,
    remainder,
    rounded,
    truncation_target,
    unit_box,
    within_reach,
)
from linalgkit.chebyshev._node_grids import checked_grids
from linalgkit.chebyshev._parts import Interval, Parts, check_domain, orthonormal
from linalgkit.chebyshev._resample import spline_length, spline_matrix
from linalgkit.chebyshev._sthosvd import truncate

_HOST = numpy_namespace()
# Shares of the tolerance: of the version that stands for the data (the smaller ones where a peak
# is seen to be cut away), and of the degrees on a grid.
_FINE_SHARES, _DEGREE_SHARE = (0.01, 1e-4, 1e-6, 0.0), 0.1
# Roundings of the largest value that the data are met to.
_ROUNDINGS = 32
# Entries unlike the mean by which lines and check points are laid.
_PEAKS = 64
# How often lines are laid through what is worst.
_ATTEMPTS = 4
# Up to this many points a transform is one matrix product, beyond it a Fourier transform.
_GEMM_POINTS = 513
# Lines along a mode of a grid by which its degree is chosen.
_LINES = 64
_SEED = 503016
# Numbers in a block of direct evaluations.
_BLOCK = 2**21
_NOTHING = 1e-300


@capability("chebyshev.chebtucker_from_values", synchronisations={"call": 30})
def chebtucker_from_values(
    values: Array,
    domain: Any,
    *,
    nodes: str | Sequence[Array] = "cheb2",
    tol: float | None = None,
) -> ChebTucker:
    """Return the function through a full tensor of values.

    Parameters
    ----------
    values : array (n_1, ..., n_d)
        Real or complex, d from 1 to 6.
    domain : array or sequence, shape (d, 2)
        Ends of the interval of each variable.
    nodes : {"cheb2", "cheb1", "uniform"} or sequence of d arrays (n_k,)
        Where the values are taken. "cheb2", "cheb1": at Chebyshev points of the second kind (ends
        included) or of the first, ascending, which are ``numpy.polynomial.chebyshev.chebpts2(n)``
        or ``chebpts1(n)`` moved to the interval; values at descending ones, ``cos(pi k / (n - 1))``
        for k = 0, 1, ..., give a mirrored function. "uniform": at the centres of n_k equal cells,
        ``a + (b - a) (k + 1/2) / n_k``; positions from ``linspace(a, b, n_k)`` are others and are
        passed as arrays. Arrays: at ascending positions in the domain. Through the last two go
        not-a-knot cubic splines, extrapolated to the ends.
    tol : float, optional
        Largest error asked for, relative to the largest value. None: 1e-10 at Chebyshev points,
        1e-6 through splines, in single precision 1e-5.

    Returns
    -------
    ChebTucker
        In the library, device and precision of `values`; `n_evals` is their number.

    Raises
    ------
    TypeError
        If an argument is of a wrong kind.
    ValueError
        If shapes do not fit, values or positions are not finite, positions are not ascending or
        outside the domain, a spline would have fewer than 4, or d is above 6.

    Warns
    -----
    AccuracyWarning
        If `error_estimate` exceeds `tol` times the largest value (`status` is "inaccurate" then):
        the data do not resolve the function. If `tol` is below 4 eps (which is taken), or if
        positions end far from an end of the domain.

    See Also
    --------
    chebtucker_from_coefficients, chebtucker_from_cp, chebtucker

    Notes
    -----
    `error_estimate` counts the truncation, at all the data and at 1024 points and some near the
    largest values against a hundred times finer version of the same data, and what the data leave
    open. At Chebyshev points that is the sum of all further coefficients, extrapolated from the
    decay of the last quarter of those found; a mode with one value is taken as constant. On other
    grids it is the distance to the splines, and that of those from splines through every second
    position, over 16: an estimate of what the splines miss, which holds for functions that the grid
    resolves. The truncation takes 2/5 of the tolerance, or less for what the data leave open; where
    that alone is above the tolerance, the warning names the grid and its size. Degrees end at about
    twice the number of grid points, and earlier where more would only follow the kinks of the
    splines.

    No truncation is taken that is off at any of the data by more than the tolerance, so that a
    peak of a few values is kept, small as its norm is.

    The positions and the columns that splines go through (n_k numbers for each rank) are copied to
    the host and back.

    Storage: the values in the widest dtype of the device and three tensors of their size.

    References
    ----------
    .. [1] P. Benner, B. Khoromskij, V. Khoromskaia, B. Sun, "A mesh-free hybrid Chebyshev-Tucker
       tensor format with applications to multi-particle modelling", arXiv:2503.01696.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.cos(np.pi * np.arange(32, -1, -1) / 32)
    >>> T = chebtucker_from_values(np.exp(x[:, None] * x[None, :]), [(-1, 1), (-1, 1)])
    >>> bool(abs(T(np.array([0.3, -0.7])) - np.exp(-0.21)) < 1e-9)
    True
    """
    intervals = check_domain(domain)
    data = check_tensor("values", values, len(intervals))
    if isinstance(nodes, str):
        check_choice("nodes", nodes, ("cheb2", "cheb1", "uniform"))
    by_splines = not isinstance(nodes, str) or nodes == "uniform"
    tolerance = checked_tolerance(tol, data.xp, data.dtype, by_splines=by_splines)
    if isinstance(nodes, str) and nodes != "uniform":
        return _from_chebyshev(data, intervals, nodes, tolerance)
    grids = checked_grids(nodes, data.F.shape, intervals)
    return _from_grid(data, intervals, grids, tolerance)


@capability("chebyshev.chebtucker_from_coefficients", synchronisations={"call": 26})
def chebtucker_from_coefficients(C: Array, domain: Any, *, tol: float | None = None) -> ChebTucker:
    """Return a polynomial, given by all its Chebyshev coefficients, with low ranks.

    Parameters
    ----------
    C : array (m_1, ..., m_d)
        Coefficients of ``T_{j_1}(t_1) ... T_{j_d}(t_d)``, where the t_k are the variables moved
        to [-1, 1]; real or complex, d from 1 to 6.
    domain : array or sequence, shape (d, 2)
        Ends of the interval of each variable.
    tol : float, optional
        Largest error asked for, relative to the largest value at 1024 points and the corners.
        None: 1e-10, in single precision 1e-5.

    Returns
    -------
    ChebTucker
        In the library, device and precision of `C`; `n_evals` is the number of coefficients.

    Raises
    ------
    TypeError
        If an argument is of a wrong kind.
    ValueError
        If the tensor has not d axes, an empty one, NaN or infinity, or d is above 6.

    Warns
    -----
    AccuracyWarning
        If `error_estimate` exceeds `tol` times the largest value met (`status` is "inaccurate"
        then), or if `tol` is below 4 eps (which is taken).

    See Also
    --------
    chebtucker_from_values, chebtucker_from_cp, chebtucker

    Notes
    -----
    `error_estimate` adds the roundings of a sum of all coefficients at the ends of the box, where
    the polynomials are most sensitive.

    The polynomial itself is what the error refers to, so that coefficients which have not decayed
    are no reason for a warning. The truncation is measured in L2 with the Chebyshev density, where
    discarded singular values are its error, and repeated until no check point is off by more than
    the tolerance. Trailing degrees that do not matter are left away.

    Storage: the coefficients in the widest dtype of the device and two tensors of their size.

    References
    ----------
    .. [1] P. Benner, B. Khoromskij, V. Khoromskaia, B. Sun, "A mesh-free hybrid Chebyshev-Tucker
       tensor format with applications to multi-particle modelling", arXiv:2503.01696.

    Examples
    --------
    >>> import numpy as np
    >>> T = chebtucker_from_coefficients(np.array([[0.0, 0.0], [0.0, 1.0]]), [(-1, 1), (0, 2)])
    >>> T.ranks, bool(abs(T(np.array([0.5, 1.5])) - 0.25) < 1e-14)
    ((1, 1), True)
    """
    intervals = check_domain(domain)
    data = check_tensor("C", C, len(intervals))
    tolerance = checked_tolerance(tol, data.xp, data.dtype)
    W, xp = data.F, data.xp
    for axis, m in enumerate(W.shape):
        W = W * along(on_device(parseval(int(m)), W, xp), axis, W.ndim, xp)
    least = norm_fro(W, xp)
    fine, lost = fine_parts(W, max(_FINE_SHARES[0] * tolerance * least, _NOTHING), xp)
    corners = _HOST.asarray(list(itertools.product((-1.0, 1.0), repeat=len(intervals))))
    points = _HOST.concat([check_points(len(intervals)), corners], axis=0)
    sample = scattered(fine, placed(points, xp, fine.device), "extrapolate")
    scale = max(max_abs(sample, xp), least)
    rounding = 2.0 * eps(xp, W.dtype) * sum(W.shape) * float(xp.sum(xp.abs(data.F)))
    target = truncation_target(tolerance * scale, lost + rounding)
    result = rounded(fine, max(target, _NOTHING), points)
    error = result.largest + lost + rounding
    way_out = "Take a larger tol."
    if rounding > target:
        way_out = "Rounding errors show: take a larger tol, or double precision."
    return _finished(result, error, data, intervals, tolerance, scale, way_out)


class Data(NamedTuple):
    """A checked tensor over ``2**exponent``, in the widest dtype of its device."""

    F: Array
    exponent: int
    xp: Namespace
    dtype: DType


def _finished(
    result: Rounded,
    error: float,
    data: Data,
    intervals: Sequence[Interval],
    tol: float,
    scale: float,
    way_out: str,
    missed: float = 0.0,
) -> ChebTucker:
    """Return the function from truncated parts."""
    return finished(
        result.parts,
        intervals,
        data.exponent,
        dtype=data.dtype,
        error=error,
        scale=scale,
        tol=tol,
        n_evals=math.prod(data.F.shape),
        way_out=way_out,
        missed=missed,
    )


def _goal(error: float, unseen: float, rounding: float) -> float:
    """Return the largest error that a truncation may make, not below what roundings make."""
    return max(truncation_target(error, unseen), _ROUNDINGS * rounding, _NOTHING)


# ------------------------------------------------------------------------- Chebyshev points


def _from_chebyshev(
    data: Data, intervals: Sequence[Interval], nodes: str, tol: float
) -> ChebTucker:
    """Return the function through values at Chebyshev points."""
    xp, scale = data.xp, max_abs(data.F, data.xp)
    F, at = data.F, chebyshev_nodes if nodes == "cheb2" else nodes_first_kind
    grids = [_HOST.array(at(int(m))) for m in F.shape]
    C = (weighted_coefficients if nodes == "cheb2" else _weighted_first_kind)(F, xp)
    peaks = peak_points(F, grids, xp)
    points = _HOST.concat([check_points(F.ndim), peaks], axis=0)
    for share in _FINE_SHARES:
        fine, lost = fine_parts(C, max(share * tol * scale, _NOTHING), xp)
        unseen = lost + remainder(fine, 4 * eps(xp, data.dtype) * scale, peaks)
        goal = _goal(tol * scale, unseen, eps(xp, F.dtype) * scale)
        result = rounded(fine, goal, points, at_data=lambda p: residual(p, F, grids, xp)[0])
        if result.before <= goal:
            break
    error = max(result.largest, result.seen) + unseen
    decayed = unseen <= 0.5 * tol * scale
    way_out = "Take a larger tol." if decayed else chebyshev_way_out(nodes)
    return _finished(result, error, data, intervals, tol, scale, way_out)


def _weighted_first_kind(F: Array, xp: Namespace) -> Array:
    """Return weighted coefficients of values at points of the first kind along all axes."""
    for axis in range(F.ndim):
        m = int(F.shape[axis])
        F = first_kind_coefficients(F, axis, xp)
        F = F * along(on_device(parseval(m), F, xp), axis, F.ndim, xp)
    return F


def first_kind_coefficients(F: Array, axis: int, xp: Namespace) -> Array:
    """Return the coefficients of values at Chebyshev points of the first kind along an axis."""
    m = int(F.shape[axis])
    if m > _GEMM_POINTS:
        return _fourier_first_kind(F, axis, xp)
    j, odd = _HOST.arange(m)[:, None], _HOST.arange(2 * m - 1, 0, -2)[None, :]
    A = _HOST.cos(math.pi / (2 * m) * ((j * odd) % (4 * m))) * (2.0 / m)
    A[0, :] *= 0.5
    return mode_product(F, on_device(A, F, xp), axis, xp)


def _fourier_first_kind(F: Array, axis: int, xp: Namespace) -> Array:
    """Return the same by a Fourier transform of the even extension."""
    m = int(F.shape[axis])
    E = xp.moveaxis(xp.concat([xp.flip(F, axis=axis), F], axis=axis), axis, F.ndim - 1)
    turn = _HOST.exp(-0.5j * math.pi / m * _HOST.arange(m)) / m
    turn[0] *= 0.5
    G = xp.fft.fft(E, axis=-1) if is_complex(E, xp) else xp.fft.rfft(E, axis=-1)
    G = G[..., :m] * asarray(turn, xp=xp, device=device(F), dtype=G.dtype)
    return xp.moveaxis(G if is_complex(F, xp) else xp.real(G), F.ndim - 1, axis)


# ---------------------------------------------------------------------------- other grids


def _from_grid(
    data: Data, intervals: Sequence[Interval], grids: Sequence[Array], tol: float
) -> ChebTucker:
    """Return the function by splines through the bases of the modes."""
    xp, F = data.xp, data.F
    scale = max_abs(F, xp)
    core, bases, lost = truncate(F, max(_FINE_SHARES[0] * tol * scale, _NOTHING), xp)
    places = peak_places(F, xp)
    points = _HOST.concat([check_points(F.ndim), beside(places, grids)], axis=0)
    columns = [to_numpy(B) for B in bases]
    splines = [CubicSpline(t, B) for t, B in zip(grids, columns, strict=True)]
    reference = _at(core, splines, points, xp)
    coarse = [CubicSpline(t[::2], B[::2, :]) for t, B in zip(grids, columns, strict=True)]
    missed = max_abs(reference - _at(core, coarse, points, xp), xp) / SPLINE_GAIN
    goal = _goal(tol * scale, lost + missed, eps(xp, F.dtype) * scale)
    enough = goal if within_reach(tol * scale, lost + missed) else max(goal, missed)
    level = 2.0 * _DEGREE_SHARE * goal / F.ndim
    lines = _HOST.concat([_random_places(F.shape), places], axis=0)
    lengths: list[int] = []
    for _ in range(_ATTEMPTS):
        before = lengths
        lengths = [
            _length(t, _fibres(core, bases, k, lines, xp), level) for k, t in enumerate(grids)
        ]
        if lengths == before:
            break
        fine = _through(core, splines, lengths, xp)
        result = rounded(fine, goal, points, at_data=lambda p: residual(p, F, grids, xp)[0])
        if result.before <= enough:
            break
        worst = residual(fine, F, grids, xp)[1]
        lines = _HOST.concat([lines, _HOST.asarray([worst])], axis=0)
    error = max(max_abs(reference - result.values, xp), result.seen) + lost + missed
    way_out = "Take a finer grid, values at Chebyshev points, or a larger tol."
    return _finished(result, error, data, intervals, tol, scale, way_out, missed)


def _at(core: Array, splines: Sequence[CubicSpline], points: Array, xp: Namespace) -> Array:
    """Return a core times values of splines at host points."""
    rows = [
        asarray(spline(points[:, k]), xp=xp, device=device(core), dtype=core.dtype)
        for k, spline in enumerate(splines)
    ]
    return xp.sum(contracted(core, rows, 0, xp) * rows[0], axis=1)


def _through(
    core: Array, splines: Sequence[CubicSpline], lengths: Sequence[int], xp: Namespace
) -> Parts:
    """Return the polynomials through splines at Chebyshev points, with orthonormal factors."""
    factors = []
    for spline, m in zip(splines, lengths, strict=True):
        C = to_coefficients(spline(chebyshev_nodes(m)), 0, _HOST)
        factors.append(asarray(C, xp=xp, device=device(core), dtype=core.dtype))
    return orthonormal(Parts(core, tuple(factors), unit_box(core.ndim), xp))


def _random_places(shape: Sequence[int]) -> Array:
    """Return random places of a tensor (64, d), on the host."""
    rng = as_generator(_SEED)
    return _HOST.stack([rng.integers(0, int(n), _LINES) for n in shape], axis=1)


def _fibres(core: Array, bases: Sequence[Array], k: int, places: Array, xp: Namespace) -> Array:
    """Return the lines of the tensor along a mode through places (n, d), on the host (n_k, n)."""
    rows = [
        xp.take(B, asarray(places[:, j], xp=xp, device=device(B)), axis=0)
        for j, B in enumerate(bases)
    ]
    return to_numpy(bases[k] @ xp.matrix_transpose(contracted(core, rows, k, xp)))


def _length(t: Array, fibres: Array, level: float) -> int:
    """Return how many nodes a mode takes, for lines (n, q) of the data along it (host)."""
    through = CubicSpline(t, fibres)

    def envelope(m: int) -> Array:
        C = to_coefficients(through(chebyshev_nodes(m)), 0, _HOST)
        return _HOST.max(_HOST.abs(C), axis=1)

    return spline_length(envelope, level, int(t.shape[0]))


def spline_values(F: Array, grids: Sequence[Array], points: Array, xp: Namespace) -> Array:
    """Return the spline through a full tensor at host points (n, d), a few at a time."""
    rest = math.prod(map(int, F.shape[1:]))
    step = max(1, _BLOCK // rest)
    values = []
    for start in range(0, int(points.shape[0]), step):
        block = points[start : start + step, :]
        rows = [on_device(spline_matrix(t, block[:, k]), F, xp) for k, t in enumerate(grids)]
        values.append(xp.sum(contracted(F, rows, 0, xp) * rows[0], axis=1))
    return xp.concat(values)


# -------------------------------------------------------------------------------- the check


def check_tensor(name: str, F: Any, d: int) -> Data:
    """Return a tensor of d axes, checked, of order one and in the widest dtype."""
    xp = array_namespace(F)
    F = detached(F)
    if F.ndim != d:
        raise ValueError(
            f"{name} must have {d} axes, one a variable of domain, got shape {tuple(F.shape)}."
        )
    if math.prod(F.shape) == 0:
        raise ValueError(f"{name} must not be empty, got shape {tuple(F.shape)}.")
    dtype = working_dtype(xp, device(F), F.dtype)
    F = xp.astype(F, dtype, copy=False)
    finite = xp.isfinite(F)
    if not bool(xp.all(finite)):
        place = int(_HOST.argmin(_HOST.ravel(to_numpy(finite))))
        index = tuple(int(i) for i in _HOST.unravel_index(place, tuple(F.shape)))
        raise ValueError(
            f"{name} must not contain NaN or infinity, got one at {index}. Remove or replace it."
        )
    wide = xp.astype(F, widest_dtype(xp, device(F), dtype), copy=False)
    exponent = scale_exponent(max_abs(wide, xp))
    return Data(ldexp(wide, -exponent, xp), exponent, xp, dtype)
