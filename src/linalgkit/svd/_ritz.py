"""Leading eigenvectors of a large Hermitian operator, and a bound on what they leave.

Block Lanczos with narrow blocks and full reorthogonalisation, for ``K = M^H M`` known by its
products; afterwards a Chebyshev polynomial of fresh random vectors bounds the norm of the rest::

    found = leading(times, start, cap=120, wanted=100, energy=trace)
    delta, _ = remainder_bound(times, found.vectors, found.others[0], rng)
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import scipy.special

from linalgkit._core.array import Array, Namespace, adjoint, array_namespace, device, eps
from linalgkit._core.linalg import eigh_desc, hermitian_part, svd_desc
from linalgkit._core.random import standard_normal
from linalgkit.svd._steps import factored

Times = Callable[[Array], Array]
_ALL = 64.0  # roundoffs of the energy: no more is missing of a space that has everything
_DEEPEST = 5  # vectors of the space, over those that are kept
_SETTLED = 1e-5  # of what is missing: what a further block must gain
_DEGREE = 6  # of the polynomial behind a bound
_FAILURE = 1e-14  # probability with which a bound may fail
_NOISE = 1e-13  # of the largest of some singular values: one below is rounding error
_LOOSE = 1.8  # over its estimate: such a bound is made again with a better estimate
_ABOVE = 1.05  # where the polynomial begins to grow, over the estimate of the norm


class Leading(NamedTuple):
    """Ritz pairs of a Krylov space.

    Attributes
    ----------
    vectors : array (n, k)
        Orthonormal, by descending value.
    values : list of float
        Their Ritz values, at most those of the operator.
    others : list of float
        The further Ritz values.
    is_exhausted : bool
        Whether the space holds all of the operator that is not rounding error.
    """

    vectors: Array
    values: list[float]
    others: list[float]
    is_exhausted: bool


def leading(times: Times, start: Array, *, cap: int, wanted: int, energy: float) -> Leading:
    """Return the leading pairs of a positive semi-definite operator.

    Parameters
    ----------
    times : callable
        ``times(X)`` is ``K X`` for `X` (n, w).
    start : array (n, w)
        The first block; the others are no wider.
    cap : int
        Pairs to return at most.
    wanted : int
        Pairs whose sum must have settled.
    energy : float
        ``trace(K)``.

    Notes
    -----
    The space grows until a block adds less than 1e-5 of the energy that is missing, or it is
    invariant, or has five times `cap` vectors. It is blind for further vectors of a value that has
    more of them than a block: :func:`remainder_bound` is not. Storage: ``n`` numbers a vector.
    """
    xp, n = array_namespace(start), int(start.shape[0])
    space = _orthonormal(start, None, 0.0, xp)
    newest, T = space, xp.zeros((0, 0), dtype=start.dtype, device=device(start))
    most, width = min(n, _DEEPEST * cap), int(start.shape[1])
    before = -math.inf
    while True:
        image = times(newest)
        coordinates = adjoint(space, xp) @ image
        T = _bordered(T, coordinates, xp)
        k = int(space.shape[1])
        if k >= cap or k >= most:
            values = [float(v) for v in _values(T, xp)]
            kept = math.fsum(values[:wanted])
            missing = max(energy - kept, eps(xp, start.dtype) * energy)
            if k >= min(most, cap + width) and kept - before <= _SETTLED * missing:
                return _pairs(space, T, cap, energy, xp)
            before = kept
        scale = float(xp.max(xp.linalg.vector_norm(image, axis=0)))
        rest = _orthonormal(image - space @ coordinates, space, scale, xp)
        if k + int(rest.shape[1]) > most or int(rest.shape[1]) == 0:
            return _pairs(space, T, cap, energy, xp)
        newest = rest
        space = xp.concat([space, rest], axis=1)


def remainder_bound(
    times: Times, vectors: Array, estimate: float, rng: Any, width: int = 16
) -> tuple[float, Array | None]:
    """Return what ``||P K P||_2`` does not exceed, ``P`` the projector off some vectors.

    Parameters
    ----------
    times : callable
        ``times(X)`` is ``K X``, `K` positive semi-definite.
    vectors : array (n, k)
        Orthonormal.
    estimate : float
        Of the norm, positive, from below or above.
    rng : Generator
        Draws the vectors of the test.
    width : int
        How many.

    Returns
    -------
    bound : float
        The bound.
    block : array (n, w) or None
        Vectors near the leading ones of ``P K P``, where the norm is well above the estimate.

    Notes
    -----
    A random block has a share of at least `x` in the leading eigenvector with probability
    ``1 - 1e-14``; a polynomial that is small up to `estimate` and grows beyond it magnifies that
    share, so that the norm of what comes out bounds the eigenvalue from above.
    """
    xp = array_namespace(vectors)
    place = {"xp": xp, "device": device(vectors), "dtype": vectors.dtype}
    start = standard_normal(rng, (int(vectors.shape[0]), width), **place)

    def projected(X: Array) -> Array:
        return X - vectors @ (adjoint(vectors, xp) @ X)

    start = projected(start)
    bound, block = _polynomial_bound(times, projected, start, estimate, xp)
    if bound <= _LOOSE * estimate:
        return bound, None
    Q = _factored(block, float(xp.linalg.matrix_norm(block)), xp)
    better = float(_values(adjoint(Q, xp) @ projected(times(Q)), xp)[0])
    if better <= 0.0:
        return bound, None
    bound = min(bound, _polynomial_bound(times, projected, start, better, xp)[0])
    return bound, Q if better > _ABOVE * estimate else None


def _polynomial_bound(
    times: Times, projected: Times, start: Array, estimate: float, xp: Namespace
) -> tuple[float, Array]:
    """Return the bound from a Chebyshev polynomial that is small up to an estimate; its block."""
    edge = _ABOVE * estimate

    def mapped(X: Array) -> Array:
        return (2.0 / edge) * projected(times(X)) - X

    before, now = start, mapped(start)
    for _ in range(_DEGREE - 1):
        before, now = now, 2.0 * mapped(now) - before
    size = float(xp.linalg.matrix_norm(now))
    grown = max(1.0, size / math.sqrt(_least_share(int(start.shape[1]))))
    return 0.5 * edge * (1.0 + math.cosh(math.acosh(grown) / _DEGREE)), now


@functools.cache
def _least_share(width: int) -> float:
    """Return what the sum of squares of so many normal numbers falls below all but never."""
    return 2.0 * float(scipy.special.gammaincinv(0.5 * width, _FAILURE))


def _values(T: Array, xp: Namespace) -> Array:
    return xp.flip(xp.linalg.eigvalsh(hermitian_part(T, xp)), axis=0)


def _bordered(T: Array, coordinates: Array, xp: Namespace) -> Array:
    """Return the projected operator with a further block of columns, and its adjoint below."""
    k = int(T.shape[0])
    if k == 0:
        return coordinates
    side = coordinates[:k, :]
    top = xp.concat([T, side], axis=1)
    low = xp.concat([adjoint(side, xp), coordinates[k:, :]], axis=1)
    return xp.concat([top, low], axis=0)


def _pairs(space: Array, T: Array, cap: int, energy: float, xp: Namespace) -> Leading:
    w, Z = eigh_desc(hermitian_part(T, xp), xp)
    values = [max(0.0, float(v)) for v in w]
    is_whole = int(space.shape[0]) == int(space.shape[1])
    is_exhausted = is_whole or energy - math.fsum(values) <= _ALL * eps(xp, space.dtype) * energy
    return Leading(space @ Z[:, :cap], values[:cap], values[cap:], is_exhausted)


def _orthonormal(X: Array, basis: Array | None, scale: float, xp: Namespace) -> Array:
    """Return an orthonormal basis of what columns of norm `scale` add to a basis.

    The columns have been projected once; they are again once they are of norm one.
    """
    X = _factored(X, scale, xp)
    if basis is not None:
        X = X - basis @ (adjoint(basis, xp) @ X)
    room = int(X.shape[0]) - (0 if basis is None else int(basis.shape[1]))
    return _factored(X, 1.0, xp)[:, :room]


def _factored(X: Array, scale: float, xp: Namespace) -> Array:
    """Return an orthonormal basis of the columns, in products wherever that is safe."""
    w = int(X.shape[1])
    if w == 0:
        return X
    floor = 16.0 * eps(xp, X.dtype) * math.sqrt(int(X.shape[0])) * scale
    factor = factored(xp.matrix_transpose(X), xp, least=0.0)  # any basis will do
    if factor is not None and factor.least > floor:
        return X @ xp.matrix_transpose(factor.T)
    Q, R = xp.linalg.qr(X, mode="reduced")
    W, s, _ = svd_desc(R, xp)
    largest = float(s[0])
    return Q @ W[:, : sum(float(v) > max(floor, _NOISE * largest) for v in s)]
