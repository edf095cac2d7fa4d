"""Left singular vectors of an unfolding, in three ways, with the energy they leave away.

::

    Request(allowed=share, most=m, norm2=n2)      # energy that may go, columns that may stay
    left_basis(T, axis, request, "auto", rng, xp) # -> Basis(U, core, lost)

`lost` is a true bound of ``||T - T x_k U U^H||_F^2``: from singular values where these are seen,
plus what rounding hides from them, or from an explicit difference.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

from linalgkit._core.array import (
    Array,
    Namespace,
    adjoint,
    device,
    eps,
    is_complex,
    itemsize,
    numpy_namespace,
    to_numpy,
)
from linalgkit._core.linalg import eigh_desc, svd_desc, tsqr
from linalgkit._core.modes import mode_gram, mode_product
from linalgkit._core.random import signs, standard_normal
from linalgkit._core.scaling import norm_fro
from linalgkit._core.triangular import NotPositiveDefiniteError, cholesky

_HOST = numpy_namespace()

# Pieces that fit in a processor's cache; columns drawn at a time, whatever the dtype.
_PIECE_BYTES = 2**19
_TSQR_ROWS = 8
# Energy that a Gram matrix hides, in units of eps ||T||^2, and how far above it must be asked.
GRAM_BLUR = 4.0
GRAM_MARGIN = 3.0
# Energy lost, in units of the length of a mode times that, below which eigenvalues are not trusted.
_DOUBTFUL = 0.75
# Of the energy allowed: what a Gram matrix may hide without a look at the residual.
_SMALL = 0.25
# Energy below which an explicit residual is rounding alone, in units of (eps ||T||)^2.
_ROUNDING = 16.0**2
# Longest mode whose Gram matrix is formed before a sketch has been tried.
_GRAM_MODE = 192
# Shortest mode of which a sketch is tried by "auto": below, LQ is as quick.
_SKETCHED_MODE = 64
_OVERSAMPLING = 8
_LEAST_SKETCH = 16
# Groups of columns a row; part of the energy allowed that may lie outside a sketch.
_GROUPS = 4
_SPARED = 0.05
# Least pivot of a scaled Gram matrix that keeps relative accuracy.
_LEAST_PIVOT = 0.03


class Request(NamedTuple):
    """What is asked of one mode: energy that may go, most columns, and ``||T||_F^2``."""

    allowed: float
    most: int
    norm2: float

    def rank(self, tails: Array, hidden: float = 0.0) -> int:
        """Return the least rank whose discarded energy is allowed, at least 1."""
        fits = tails + hidden <= self.allowed
        r = int(_HOST.argmax(fits)) if bool(_HOST.any(fits)) else tails.shape[0] - 1
        return max(1, min(r, self.most))


class Basis(NamedTuple):
    """Orthonormal columns (m, r), the tensor times their adjoint, and the energy lost."""

    U: Array
    core: Array
    lost: float


def left_basis(T: Array, axis: int, request: Request, svd: str, rng: Any, xp: Namespace) -> Basis:
    """Return the leading left singular vectors of an unfolding by the method named."""
    m = int(T.shape[axis])
    q = math.prod(map(int, T.shape)) // m
    if q < 2 * m:  # hardly wider than tall: no method beats a decomposition of the matrix itself
        return _by_svd(T, axis, request, xp)
    found = None
    for method in _order_of_trial(T, axis, request, svd, xp):
        if method == "gram":
            found = _by_gram(T, axis, request, svd == "gram", xp)
        elif method == "randomized":
            found = _by_sketch(T, axis, request, rng, xp)
        if found is not None:
            return found
    return _by_svd(T, axis, request, xp)


def _order_of_trial(
    T: Array, axis: int, request: Request, svd: str, xp: Namespace
) -> tuple[str, ...]:
    """Return the methods to try before LQ, cheapest first."""
    if svd != "auto":
        return (svd,)
    m = int(T.shape[axis])
    visible = request.allowed >= GRAM_MARGIN * gram_blur(T, request.norm2, xp)
    capped = request.most < m
    gram = ("gram",) if visible or capped else ()
    sketch = ("randomized",) if m >= _SKETCHED_MODE else ()
    small = visible and m <= _GRAM_MODE
    return (*gram, *sketch) if small else (*sketch, *gram)


def tails_of(squares: Array) -> Array:
    """Return the sums of the last n, n - 1, ..., 0 energies, on the host in double."""
    host = _HOST.asarray(to_numpy(squares), dtype=_HOST.float64)
    return _HOST.append(_HOST.cumsum(host[::-1])[::-1], 0.0)


# ------------------------------------------------------------------------ singular values


def _by_svd(T: Array, axis: int, request: Request, xp: Namespace) -> Basis:
    """Return the basis by LQ and SVD: singular values to roundoff of the largest."""
    W, s = _left_vectors(T, axis, xp)
    tails = tails_of(s * s)
    r = request.rank(tails)
    U = W[:, :r]
    return Basis(U, mode_product(T, adjoint(U, xp), axis, xp), float(tails[r]))


def _left_vectors(T: Array, axis: int, xp: Namespace) -> tuple[Array, Array]:
    """Return left singular vectors and singular values of an unfolding, (m, p) and (p,)."""
    m = int(T.shape[axis])
    q = math.prod(map(int, T.shape)) // m
    if 2 * q < 3 * m:
        A = xp.reshape(xp.moveaxis(T, axis, 0), (m, q))
    else:
        columns = max(_TSQR_ROWS * m, _columns(T, axis, xp))
        A = adjoint(tsqr(adjoint(U, xp) for U in _unfolded_pieces(T, axis, columns, xp)), xp)
    U, s, _ = svd_desc(A, xp)
    return U, s


def leading_vectors(T: Array, axis: int, r: int, xp: Namespace) -> Array:
    """Return the r leading left singular vectors of an unfolding, by LQ and SVD."""
    return _left_vectors(T, axis, xp)[0][:, :r]


# --------------------------------------------------------------------------- Gram matrices


def gram_blur(T: Array, norm2: float, xp: Namespace) -> float:
    """Return the energy that a Gram matrix of an unfolding does not resolve."""
    return GRAM_BLUR * eps(xp, T.dtype) * norm2


def _by_gram(T: Array, axis: int, request: Request, by_name: bool, xp: Namespace) -> Basis | None:
    """Return the basis by eigenvectors of the Gram matrix; None where these see too little."""
    w, V = eigh_desc(mode_gram(T, axis, xp), xp)
    tails = tails_of(xp.where(w > 0, w, xp.zeros_like(w)))
    m, blur = int(V.shape[0]), gram_blur(T, request.norm2, xp)
    r = request.rank(tails, blur)
    expected = float(tails[r]) + blur
    if not by_name and request.allowed < expected < GRAM_MARGIN * blur:
        return None
    # The smallest eigenvalues were chosen by their errors, each up to about eps ||T||^2.
    hidden = blur * _HOST.maximum(1.0, (m - _HOST.arange(m + 1)) / GRAM_BLUR)
    if r == m or expected > _DOUBTFUL * m * blur or hidden[r] <= _SMALL * request.allowed:
        r = request.rank(tails, hidden)
        return _inside(T, V, axis, r, float(tails[r] + hidden[r]) if r < m else 0.0, xp)
    step, found = 1, _inside(T, V, axis, r, math.nan, xp)
    found = _with_residual(T, found, axis, request.norm2, xp)
    while by_name and found.lost > request.allowed and r < min(m, request.most):
        r, step = min(r + step, m, request.most), 2 * step
        found = _with_residual(T, _inside(T, V, axis, r, math.nan, xp), axis, request.norm2, xp)
    reliable = by_name or found.lost <= max(expected, request.allowed)
    return found if reliable else None


def _inside(T: Array, V: Array, axis: int, r: int, lost: float, xp: Namespace) -> Basis:
    """Return a basis of the first vectors and the tensor in it."""
    U = V[:, :r]
    return Basis(U, mode_product(T, adjoint(U, xp), axis, xp), lost)


def _with_residual(T: Array, basis: Basis, axis: int, norm2: float, xp: Namespace) -> Basis:
    """Return a basis with the energy it loses, from the difference itself, rounding included."""
    rounding = 4 * eps(xp, T.dtype) * math.sqrt(norm2)
    residual = math.sqrt(residual_energy(T, basis.core, basis.U, axis, xp))
    return basis._replace(lost=(residual + rounding) ** 2)


# -------------------------------------------------------------------------------- sketches


# Halko, Martinsson, Tropp, "Finding structure with randomness" (SIAM Review 2011), Algorithm
# 4.2. Differs from it:
# 1. The columns of the unfolding are first added up, with random signs, in some 4 m groups
#    (Clarkson, Woodruff 2013): one pass over the tensor, however often the sketch grows.
# 2. Columns come in blocks; the last few of all so far test the others, then join the basis.
# 3. The estimate decides on growth only. What is claimed is the explicit residual.
# 4. The projected tensor is decomposed once more and cut to the energy that is left.
def _by_sketch(T: Array, axis: int, request: Request, rng: Any, xp: Namespace) -> Basis | None:
    """Return the basis by a growing range finder; None where it would span most of the mode."""
    m = int(T.shape[axis])
    floor = _ROUNDING * (eps(xp, T.dtype) ** 2) * request.norm2
    if request.most == m and request.allowed <= floor:
        return None
    Z = _grouped_columns(T, axis, rng, xp)
    target = max(_SPARED * request.allowed, floor)
    capped = request.most + _OVERSAMPLING if request.most < m else m
    # Where nothing may go the ranks are given, and are kept even beyond the rank of the tensor.
    given = request.allowed < 0
    width, Y = capped if given else min(max(_LEAST_SKETCH, m // 4), capped), Z[:, :0]
    widest = 2 * m // 3
    while width <= widest:
        shape = (int(Z.shape[1]), width - int(Y.shape[1]))
        draw = standard_normal(rng, shape, xp=xp, device=device(T), dtype=T.dtype)
        Y = xp.concat([Y, Z @ draw], axis=1)
        Q, R = xp.linalg.qr(Y)
        if _tested(R, xp) <= target or width >= capped:
            W, s, _ = svd_desc(R, xp)
            fits = tails_of(s * s) <= _SPARED * width * target
            kept = capped if given else max(1, min(int(_HOST.argmax(fits)), capped))
            found = _projected(T, axis, Q @ W[:, :kept], request, floor, xp)
            if found is not None:
                return found
            target *= _SPARED**2
        wider = width + max(_LEAST_SKETCH, width // 2)
        width = wider if width == widest else min(wider, widest)
    return None


def _grouped_columns(T: Array, axis: int, rng: Any, xp: Namespace) -> Array:
    """Return signed sums of the columns of an unfolding, every so many in a group, (m, groups)."""
    T3 = _three(T, axis, xp)
    lead, m, rest = map(int, T3.shape)
    q = lead * rest
    groups = _GROUPS * m
    while math.gcd(groups, q) > 1:  # so that no axis is in step with the groups
        groups += 1
    if q <= 2 * groups:
        return next(_unfolded_pieces(T, axis, q, xp))
    turn = signs(rng, (-(-q // groups),), xp=xp, device=device(T), dtype=T.dtype)
    if rest == 1:  # rows of a matrix that lies transposed: no copies
        return xp.matrix_transpose(_summed_rows(xp.reshape(T3, (lead, m)), turn, groups, xp))
    total, start = xp.zeros((m, groups), dtype=T.dtype, device=device(T)), 0
    columns = q if lead == 1 else groups * max(1, _columns(T, axis, xp) // groups)
    for U in _unfolded_pieces(T, axis, columns, xp):
        share = _summed_columns(U, turn[start // groups :], groups, xp)
        total = total + xp.roll(share, start % groups, axis=1)
        start += int(U.shape[1])
    return total


def _summed_columns(U: Array, turn: Array, groups: int, xp: Namespace) -> Array:
    """Return the sum over a of ``turn[a] U[:, a groups : (a + 1) groups]``, (m, groups)."""
    m, q = map(int, U.shape)
    whole = q // groups
    total = xp.zeros((m, groups), dtype=U.dtype, device=device(U))
    if whole:
        stacked = xp.reshape(U[:, : whole * groups], (m, whole, groups))
        total = total + (turn[None, None, :whole] @ stacked)[:, 0, :]
    if whole * groups < q:
        rest = turn[whole] * U[:, whole * groups :]
        blank = xp.zeros((m, (whole + 1) * groups - q), dtype=U.dtype, device=device(U))
        total = total + xp.concat([rest, blank], axis=1)
    return total


def _summed_rows(U: Array, turn: Array, groups: int, xp: Namespace) -> Array:
    """Return the sum over a of ``turn[a] U[a groups : (a + 1) groups, :]``, (groups, m)."""
    q, m = map(int, U.shape)
    whole = q // groups
    stacked = xp.reshape(U[: whole * groups, :], (whole, groups * m))
    total = xp.reshape(turn[None, :whole] @ stacked, (groups, m))
    if whole * groups < q:
        rest = turn[whole] * U[whole * groups :, :]
        blank = xp.zeros(((whole + 1) * groups - q, m), dtype=U.dtype, device=device(U))
        total = total + xp.concat([rest, blank], axis=0)
    return total


def _tested(R: Array, xp: Namespace) -> float:
    """Estimate the energy outside all but the last columns of a sketch from its QR factor."""
    first = max(0, int(R.shape[1]) - _OVERSAMPLING)
    return norm_fro(R[first:, first:], xp) ** 2 / min(_OVERSAMPLING, int(R.shape[1]))


def _projected(
    T: Array, axis: int, Q: Array, request: Request, floor: float, xp: Namespace
) -> Basis | None:
    """Return the best basis inside the span of Q; None where that span loses too much."""
    B = mode_product(T, adjoint(Q, xp), axis, xp)
    outside = residual_energy(T, B, Q, axis, xp)
    W, s = _graded_vectors(B, axis, xp) or _left_vectors(B, axis, xp)
    tails = tails_of(s * s)
    r = request.rank(tails, outside)
    capped = r == request.most and 50 * outside <= float(tails[r])
    if not (capped or outside <= max(0.5 * request.allowed, floor)):
        return None
    U = W[:, :r]
    return Basis(Q @ U, mode_product(B, adjoint(U, xp), axis, xp), float(tails[r]) + outside)


# Demmel, Veselic, "Jacobi's method is more accurate than QR" (SIAM J. Matrix Anal. Appl. 13,
# 1992): of a Gram matrix whose rows and columns only differ in scale Cholesky's factor has all
# singular values to a relative accuracy.
def _graded_vectors(T: Array, axis: int, xp: Namespace) -> tuple[Array, Array] | None:
    """Return left singular vectors and values of an unfolding with nearly orthogonal rows.

    None where the rows are not; from a Gram matrix, but without its loss of half of the digits.
    """
    G = mode_gram(T, axis, xp)
    squares = xp.linalg.diagonal(G)
    squares = xp.real(squares) if is_complex(G, xp) else squares
    lengths = xp.sqrt(xp.where(squares > 0, squares, xp.ones_like(squares)))
    try:
        L = cholesky(G / (lengths[:, None] * lengths[None, :]), xp)
    except NotPositiveDefiniteError:
        return None
    pivots = xp.linalg.diagonal(L)
    if float(xp.min(xp.real(pivots) if is_complex(L, xp) else pivots)) < _LEAST_PIVOT:
        return None
    U, s, _ = svd_desc(L * lengths[:, None], xp)
    return U, s


def residual_energy(T: Array, B: Array, U: Array, axis: int, xp: Namespace) -> float:
    """Return ``||T - B x_k U||_F^2`` from the differences themselves, piece by piece."""
    total = xp.zeros((), dtype=T.dtype, device=device(T))
    B3 = _three(B, axis, xp)
    for piece, (i, j, k, n) in _pieces(T, axis, _columns(T, axis, xp), xp):
        E = piece - mode_product(B3[i:j, :, k:n], U, 1, xp)
        E = xp.reshape(E, (-1,))
        total = total + xp.vecdot(E, E)
    return float(xp.real(total) if is_complex(T, xp) else total)


# --------------------------------------------------------------------------------- pieces


def _three(T: Array, axis: int, xp: Namespace) -> Array:
    """Return a tensor as (before, m, behind)."""
    shape = tuple(map(int, T.shape))
    return xp.reshape(T, (math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :])))


def _columns(T: Array, axis: int, xp: Namespace) -> int:
    """Return how many columns of an unfolding make a piece."""
    return max(1, _PIECE_BYTES // (itemsize(xp, T.dtype) * int(T.shape[axis])))


def _pieces(
    T: Array, axis: int, columns: int, xp: Namespace
) -> Iterator[tuple[Array, tuple[int, int, int, int]]]:
    """Yield views (a, m, b) of about so many columns of the unfolding, and their places."""
    T3 = _three(T, axis, xp)
    lead, _, rest = map(int, T3.shape)
    ahead, behind = max(1, columns // rest), min(rest, columns)
    for i in range(0, lead, ahead):
        for k in range(0, rest, behind):
            place = (i, min(i + ahead, lead), k, min(k + behind, rest))
            yield T3[place[0] : place[1], :, place[2] : place[3]], place


def _unfolded_pieces(T: Array, axis: int, columns: int, xp: Namespace) -> Iterator[Array]:
    """Yield the unfolding (m, q) in groups of its columns, views where memory allows."""
    m = int(T.shape[axis])
    for piece, _ in _pieces(T, axis, columns, xp):
        if piece.shape[0] == 1:
            yield piece[0, :, :]
        elif piece.shape[2] == 1:
            yield xp.matrix_transpose(piece[:, :, 0])
        else:
            yield xp.reshape(xp.permute_dims(piece, (1, 0, 2)), (m, -1))
