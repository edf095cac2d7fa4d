"""Sparse Bayesian learning of one vector: ``a = H x + noise`` with ``x ~ N(0, diag(gamma))``.

The evidence is known exactly after any change of one variance (fast marginal likelihood), so that
the support moves by the entry, the removal or the exchange of a column, each against its price::

    found = solve_single(H, a, noise, kappa, price_of)
    found.support, found.mean[found.support], found.covariance
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from scipy.linalg import lapack

from linalgkit._core.array import Array, numpy_namespace
from linalgkit.bayes._pursuit import best_supports
from linalgkit.bayes._state import abs2

_HOST = numpy_namespace()
# Supports of the pursuit that are refined.
_STARTS = 3
_CLIMB = 60
# Climbs end where a step raises the evidence by less than this many nats, or share of it; between
# moves sooner.
_STILL, _NEARLY_STILL, _ROUNDING = 1e-7, 1e-2, 1e-14
# A change is made if it raises the penalised evidence by this many nats.
_WORTH = 1e-6
_MAX_MOVES = 500
# A column of which less than this share is left beside those that are in depends on them.
_DEPENDENT = 1e-12
# Variances of a start are at least this share of the largest.
_LEAST_SHARE = 1e-3
# Steps without a cheaper support after which the paths of the pursuit end.
_PATIENCE = 2
# Of a re-estimation: the longest step, the least share of a column that the data decide about, and
# the least variance.
_LONGEST, _UNSEEN, _TINY = 1e3, 1e-14, 1e-200


@dataclass(frozen=True, eq=False)
class Single:
    """The posterior of one vector, at variances that maximise its penalised evidence.

    Attributes
    ----------
    gamma : host array (n,)
        Prior variances; zero outside the support.
    mean : host array (n,)
        Posterior mean.
    support : host array (k,)
        Ascending indices of positive variance.
    covariance : host array (k, k)
        Posterior covariance on the support.
    evidence : float
        Log-evidence of the data.
    score : float
        `evidence` less the price of the support.

    Notes
    -----
    Storage: ``2 n + k**2`` numbers.
    """

    gamma: Array
    mean: Array
    support: Array
    covariance: Array
    evidence: float
    score: float


class _Problem(NamedTuple):
    """The data of one vector, and what every point asks for."""

    H: Array
    adjoint: Array
    a: Array
    noise: float
    kappa: float
    price_of: Callable[[int], float]
    squares: Array
    projected: Array
    constant: float

    def columns(self, support: Array) -> _Columns:
        """Return what the columns of a support have to do with all."""
        B = self.H[:, support]
        inner = (self.adjoint @ B) / self.noise
        return _Columns(support, B, inner, inner[support, :], self.projected[support])


class _Columns(NamedTuple):
    """Columns B of a support, and inner products with all, themselves and the data, over v."""

    support: Array
    B: Array
    inner: Array
    gram: Array
    projected: Array


class _Point(NamedTuple):
    """Variances on a support with their posterior and the evidence."""

    columns: _Columns
    gamma: Array
    mean: Array
    covariance: Array
    variance: Array
    evidence: float


def solve_single(
    H: Array,
    a: Array,
    noise: float,
    kappa: float,
    price_of: Callable[[int], float],
    gamma0: Array | None = None,
    search: bool = True,
) -> Single:
    """Return the sparse Bayesian estimate of x from ``a = H x + noise``.

    Parameters
    ----------
    H : host array (m, n)
        Unit columns, or zeros, which never enter.
    a : host array (m,)
        Data.
    noise : float
        Variance of the noise in every entry, positive.
    kappa : float
        1 for circular complex data, 1/2 for real ones.
    price_of : callable
        Nats that a support of k columns must raise the evidence by.
    gamma0 : host array (n,), optional
        Variances to start from too; the answer scores no less.
    search : bool, default True
        Whether to start from the supports of a pursuit and from nothing as well.

    Returns
    -------
    Single
        Of all starts the one of largest score. With an empty support if no support has more
        evidence than noise alone.

    Notes
    -----
    Storage: ``2 m n + O(n k)`` numbers, and what the pursuit takes.

    References
    ----------
    .. [1] M. E. Tipping, A. C. Faul, "Fast marginal likelihood maximisation for sparse Bayesian
       models", AISTATS 2003.
    """
    problem = _problem(H, a, noise, kappa, price_of)
    best: _Point | None = None
    seen: set[tuple[int, ...]] = set()
    for support, gamma in _starts(problem, gamma0, search or gamma0 is None):
        point = _refined(problem, _at(problem, problem.columns(support), gamma), seen)
        if best is None or _score(problem, point) > _score(problem, best):
            best = point
    return _answer(problem, None if best is None else _climbed(problem, best, _STILL))


def _problem(
    H: Array, a: Array, noise: float, kappa: float, price_of: Callable[[int], float]
) -> _Problem:
    """Return the problem with its constants; real columns become complex where the data are."""
    dtype = _HOST.result_type(H, a)
    H, a = _HOST.astype(H, dtype, copy=False), _HOST.astype(a, dtype, copy=False)
    adjoint = _HOST.conj(H.T)
    squares = _HOST.sum(abs2(H), axis=0) / noise
    constant = -kappa * H.shape[0] * math.log(math.pi / kappa * noise)
    projected = (adjoint @ a) / noise
    return _Problem(H, adjoint, a, noise, kappa, price_of, squares, projected, constant)


# ---------------------------------------------------------------------------------- starts


def _starts(problem: _Problem, gamma0: Array | None, search: bool) -> Iterator[tuple[Array, Array]]:
    """Yield supports and variances to start from, the warm one first."""
    if gamma0 is not None and bool(_HOST.any(gamma0 > 0)):
        support = _HOST.flatnonzero(gamma0 > 0)
        yield support, gamma0[support]
    if not search:
        return
    R = problem.a[:, None]
    found = best_supports(problem.H, R, problem.noise, problem.kappa, problem.price_of, _PATIENCE)
    for item in found[:_STARTS]:
        support = _HOST.asarray(item.columns, dtype=_HOST.int64)
        x = _HOST.linalg.lstsq(problem.H[:, support], problem.a, rcond=None)[0]
        sizes = abs2(x)
        if (largest := float(_HOST.max(sizes))) > 0:
            yield support, _HOST.maximum(sizes, _LEAST_SHARE * largest)


# ---------------------------------------------------------------------------------- points


def _at(problem: _Problem, columns: _Columns, gamma: Array) -> _Point:
    """Return the posterior and the evidence at given variances, by a factor of k x k.

    ``S = r (I + r B^H B r / v)^-1 r`` with ``r = sqrt(gamma)``; the quadratic form is the sum of
    what the mean leaves and of the mean itself, not a difference.
    """
    roots = _HOST.sqrt(gamma)
    scaled = roots[:, None] * columns.gram * roots
    scaled.flat[:: gamma.shape[0] + 1] += 1.0
    half, log_det = _inverse_factor(scaled)
    half = half * roots
    covariance = half.conj().T @ half
    mean = covariance @ columns.projected
    rest = problem.a - columns.B @ mean
    quadratic = float(_HOST.vdot(rest, rest).real) / problem.noise
    quadratic += float((abs2(mean) / gamma).sum())
    evidence = problem.constant - problem.kappa * (log_det + quadratic)
    variance = covariance.diagonal().real
    return _Point(columns, gamma, mean, covariance, variance, evidence)


def _inverse_factor(A: Array) -> tuple[Array, float]:
    """Return L^-1 of a Hermitian matrix ``A = L L^H`` not below I, and its log-determinant."""
    is_complex = A.dtype.kind == "c"
    factor, invert = (
        (lapack.zpotrf, lapack.ztrtri) if is_complex else (lapack.dpotrf, lapack.dtrtri)
    )
    L, info = factor(A, lower=1, clean=1)
    if info:  # rounding made it indefinite: dependent columns at a noise near none
        values, V = _HOST.linalg.eigh(A)
        values = _HOST.maximum(values, 1.0)
        return (V / _HOST.sqrt(values)).conj().T, float(_HOST.log(values).sum())
    log_det = 2 * float(_HOST.log(L.diagonal().real).sum())
    return invert(L, lower=1)[0], log_det


def _score(problem: _Problem, point: _Point) -> float:
    """Return the evidence less the price."""
    return point.evidence - problem.price_of(point.gamma.shape[0])


def _answer(problem: _Problem, point: _Point | None) -> Single:
    """Return the point over all columns; nothing where noise alone has as much evidence."""
    n = problem.H.shape[1]
    nothing = problem.constant - problem.kappa * float(abs2(problem.a).sum()) / problem.noise
    gamma, mean = _HOST.zeros(n), _HOST.zeros(n, dtype=problem.H.dtype)
    least = nothing + _STILL + _ROUNDING * abs(nothing)
    if point is None or not point.evidence > least:
        none = _HOST.zeros(0, dtype=_HOST.int64)
        empty = _HOST.zeros((0, 0), dtype=problem.H.dtype)
        return Single(gamma, mean, none, empty, nothing, nothing)
    support = point.columns.support
    gamma[support], mean[support] = point.gamma, point.mean
    score = _score(problem, point)
    return Single(gamma, mean, support, point.covariance, point.evidence, score)


# ------------------------------------------------------------------------- ascent and moves


def _refined(problem: _Problem, point: _Point, seen: set[tuple[int, ...]]) -> _Point:
    """Climb and move until no move pays, or where a support is met that was refined before."""
    for _ in range(_MAX_MOVES):
        name = tuple(point.columns.support.tolist())
        if name in seen:
            break
        seen.add(name)
        point = _climbed(problem, point, _NEARLY_STILL)
        moved = _best_move(problem, point)
        if moved is None:
            break
        point = moved
    return point


# Tipping and Faul (2003). Differs from it:
# 1. All variances are re-estimated together by MacKay's rule, or where that lowers the evidence by
#    its square root, which maximises a tangent bound and cannot.
# 2. Moves are of the support alone, are priced, and exchange columns too.
# 3. The posterior is factored anew at every point: k is small.
def _climbed(problem: _Problem, point: _Point, still: float) -> _Point:
    """Re-estimate the variances on the support until the evidence stands still."""
    for _ in range(_CLIMB):
        gamma = point.gamma
        used = _HOST.maximum(1 - point.variance / gamma, _UNSEEN)
        ratio = abs2(point.mean) / gamma / used
        ratio = _HOST.minimum(_HOST.maximum(ratio, 1 / _LONGEST), _LONGEST)
        better = _at(problem, point.columns, _HOST.maximum(gamma * ratio, _TINY))
        if not better.evidence >= point.evidence:
            gamma = _HOST.maximum(gamma * _HOST.sqrt(ratio), _TINY)
            better = _at(problem, point.columns, gamma)
        rise = better.evidence - point.evidence
        if not rise > 0:
            break
        point = better
        if rise < still + _ROUNDING * abs(point.evidence):
            break
    return point


def _best_move(problem: _Problem, point: _Point) -> _Point | None:
    """Make the change of the support that raises the penalised evidence most; None without one.

    Row j of the table stands for the entry of column j, the last row for none; column l + 1 for
    the removal of the l-th of the support, the first column for none.
    """
    k, n = point.gamma.shape[0], problem.H.shape[1]
    losses = _losses(problem, point)
    gains, variances = _entries(problem, point)
    dearer = problem.price_of(k + 1) - problem.price_of(k) if k < n else math.inf
    table = _HOST.full((n + 1, k + 1), -_HOST.inf)
    table[:n, 0] = gains[:, 0] - dearer
    table[:n, 1:] = gains[:, 1:] - losses
    if k > 1:
        table[n, 1:] = problem.price_of(k) - problem.price_of(k - 1) - losses
    place = int(_HOST.argmax(table))
    entry, removal = divmod(place, k + 1)
    if not table[entry, removal] > _WORTH:
        return None
    support, gamma = point.columns.support, point.gamma
    if removal:
        kept = _HOST.arange(k) != removal - 1
        support, gamma = support[kept], gamma[kept]
    if entry < n:
        at = int(_HOST.searchsorted(support, entry))
        support = _HOST.insert(support, at, entry)
        gamma = _HOST.insert(gamma, at, variances[entry, removal])
    moved = _at(problem, problem.columns(support), gamma)
    return moved if _score(problem, moved) > _score(problem, point) else None


def _losses(problem: _Problem, point: _Point) -> Array:
    """Return the evidence lost by the removal of each column of the support."""
    share = abs2(point.mean) / point.variance
    return problem.kappa * (share - _HOST.log(point.gamma / point.variance))


def _entries(problem: _Problem, point: _Point) -> tuple[Array, Array]:
    """Return what the entry of each column brings, and its variance, (n, k + 1) each.

    The first column with the support as it is, column l + 1 without its l-th: with T = C^-1-inner
    products of the columns, ``s = h^H C^-1 h`` grows by ``|T_l|^2 / S_ll`` and ``q = h^H C^-1 a``
    by ``T_l m_l / S_ll``, where C is the covariance of the data and S that of the posterior.
    """
    inner, k = point.columns.inner, point.gamma.shape[0]
    T = inner @ point.covariance
    shape = (inner.shape[0], k + 1)
    s, q = _HOST.empty(shape), _HOST.empty(shape, dtype=T.dtype)
    left = problem.squares - (T.real * inner.real).sum(axis=1)
    if T.dtype.kind == "c":
        left -= (T.imag * inner.imag).sum(axis=1)
    s[:, 0], q[:, 0] = left, problem.projected - inner @ point.mean
    s[:, 1:] = left[:, None] + abs2(T) / point.variance
    q[:, 1:] = q[:, :1] + T * (point.mean / point.variance)
    least = _DEPENDENT * problem.squares[:, None]
    usable = (s > least) & (s > 0)
    usable[point.columns.support, :] = False
    s = _HOST.where(usable, s, 1.0)
    share = _HOST.where(usable, abs2(q) / s, 0.0)
    rising = share > 1
    share = _HOST.where(rising, share, 1.0)
    gains = _HOST.where(rising, problem.kappa * (share - 1 - _HOST.log(share)), -_HOST.inf)
    return gains, (share - 1) / s
