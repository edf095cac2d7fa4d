"""One step of an incremental singular value decomposition: new columns come in, small ones go.

Everything lies transposed: a basis is (k, m), a block of b columns is (b, m), so that a column is
contiguous in memory and blocks are cut by rows. A kept matrix is ``A^ = U diag(s) V^H``; of `V`
only the rotation of the step is told::

    step = gram_step(kept, block, cap)              # kept.basis holds columns of A^ V
    step = orthogonal_step(kept, block, cap, ...)   # kept.basis is orthonormal

The first squares the condition and is three times as fast: products with the block, one
eigen-decomposition of order ``k + b``. The second is backward stable.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from linalgkit._core.array import (
    Array,
    Namespace,
    adjoint,
    device,
    eps,
    is_complex,
    real_dtype,
    to_numpy,
    widest_dtype,
)
from linalgkit._core.linalg import eigh_desc, hermitian_part, svd_desc
from linalgkit._core.triangular import NotPositiveDefiniteError, cholesky, solve_triangular
from linalgkit.svd._columns import Columns, conj, gram, overwritten, summed

Budget = Callable[[list[float]], int]


class Truncation:
    """How many singular values stay, and what becomes of them.

    Parameters
    ----------
    cap : int
        At most so many.
    budget : callable or None
        ``budget(squares)`` returns how many must stay for a tolerance.
    shrinks : bool
        Whether the squares are lowered by the first that is dropped (Frequent Directions).
    floor : float
        Share of the largest singular value below which one is rounding error.
    """

    def __init__(
        self, cap: int, budget: Budget | None = None, *, shrinks: bool = False, floor: float = 0.0
    ) -> None:
        self.cap, self.budget, self.shrinks, self.floor = cap, budget, shrinks, floor

    def __call__(self, squares: list[float]) -> tuple[int, list[float]]:
        least = (self.floor**2) * (squares[0] if squares else 0.0)
        count = sum(value > least for value in squares)
        count = min(count, self.cap)
        if self.budget is not None:
            count = min(count, self.budget(squares))
        amount = squares[count] if self.shrinks and count < len(squares) else 0.0
        if amount > 0:
            count = sum(value > amount for value in squares[:count])
        return count, [value - amount for value in squares[:count]]


class Kept(NamedTuple):
    """What is left of a matrix: ``A^ = basis^T diag(s) V^H``.

    Attributes
    ----------
    basis : array (k, m)
        Orthonormal rows; where `is_scaled`, rows of norm ``s[i]`` instead: ``(A^ V)^T``.
    s : array (k,)
        Singular values, descending, in the device's widest float.
    is_scaled : bool
        Whether the basis has been multiplied by them.
    """

    basis: Array
    s: Array
    is_scaled: bool

    @property
    def rank(self) -> int:
        """Number of rows of the basis."""
        return int(self.basis.shape[0])


class Step(NamedTuple):
    """Outcome of a step.

    Attributes
    ----------
    kept : Kept
        The new matrix.
    rotation : array (k + b, l)
        ``V`` of the step in terms of the old `V` and the new columns.
    squares : list of float
        Squares of all singular values before the truncation, descending.
    """

    kept: Kept
    rotation: Array
    squares: list[float]


def columns(kept: Kept, xp: Namespace) -> Array:
    """Return ``(A^ V)^T``, (k, m)."""
    if kept.is_scaled:
        return kept.basis
    return xp.astype(kept.s, kept.basis.dtype)[:, None] * kept.basis


def host(values: Array) -> list[float]:
    """Return real numbers as Python floats (one synchronisation)."""
    return [float(value) for value in to_numpy(values)]


# ------------------------------------------------------------------------------ by squares


def gram_step(kept: Kept | None, block: Columns, shrink: Truncation, xp: Namespace) -> Step:
    """Add columns by the eigenvalues of the Gram matrix ``[A^ V, A]^H [A^ V, A]``.

    Parameters
    ----------
    kept : Kept or None
        The matrix so far.
    block : Columns
        New columns.
    shrink : callable
        ``shrink(squares)`` returns how many are kept and the squares that replace them.
    xp : module
        Namespace.

    Returns
    -------
    Step
        The projection on the leading right singular vectors, which keeps ``E A^^H = 0`` whatever
        the rounding errors of the vectors.
    """
    old = None if kept is None else columns(kept, xp)
    G = block.gram()
    if old is not None and kept is not None:
        cross = block.cross(old)
        squared = xp.astype(kept.s, cross.dtype) ** 2
        k = kept.rank
        first = squared[:, None] * xp.eye(k, dtype=cross.dtype, device=device(cross))
        top = xp.concat([first, cross], axis=1)
        G = xp.concat([top, xp.concat([adjoint(cross, xp), G], axis=1)], axis=0)
    w, Z = eigh_desc(hermitian_part(G, xp), xp)
    squares = [max(0.0, value) for value in host(w)]
    count, target = shrink(squares)
    Z = Z[:, :count]
    small = xp.astype(_scaled_columns(Z, squares, target, xp), block.dtype)
    k = 0 if kept is None else kept.rank
    others = () if old is None else ((small[:k, :], old),)
    basis = block.combined(small[k:, :], *others)
    s = xp.asarray([math.sqrt(v) for v in target], dtype=w.dtype, device=device(w))
    return Step(Kept(basis, s, True), Z, squares)


def _scaled_columns(Z: Array, squares: list[float], target: list[float], xp: Namespace) -> Array:
    """Return eigenvectors times what turns their singular values into those wanted."""
    if target == squares[: len(target)]:
        return Z
    ratios = [math.sqrt(t / v) for t, v in zip(target, squares, strict=False)]
    return Z * xp.asarray(ratios, dtype=Z.dtype, device=device(Z))[None, :]


# ------------------------------------------------------------------------- orthogonally


def orthogonal_step(
    kept: Kept,
    block: Columns,
    shrink: Truncation,
    xp: Namespace,
    *,
    size: float,
    by_cholesky: bool,
) -> Step:
    """Add columns by a QR factorisation of what the basis does not span.

    Parameters
    ----------
    kept, block, shrink, xp
        As for :func:`gram_step`; ``kept.basis`` must be orthonormal and not empty, and have
        room for as many more rows as there are new columns.
    size : float
        Norm of old and new columns, of which rounding errors are a few roundoffs.
    by_cholesky : bool
        Whether that is done by two Cholesky factorisations wherever they are safe, else by
        Householder reflections.

    Returns
    -------
    Step
        The best approximation of the concatenated matrix, to a few roundoffs of its norm.
    """
    U = kept.basis
    C = block.cross(U)
    Q, B = _complement(block.without(C, U), size, xp, by_cholesky=by_cholesky)
    again = gram(Q, U, xp)  # of the normalised rest: safe where it is small, too
    Q = overwritten(Q, None, xp.astype(conj(again, xp), Q.dtype), U, xp)
    C = C + _times(xp.matrix_transpose(conj(again, xp)), B, xp)
    Q, R = _orthonormal(Q, xp, by_cholesky=by_cholesky)
    B = R @ B
    K = _core(kept.s, C, B, xp)
    X, s, Yh = svd_desc(K, xp)
    squares = [value * value for value in host(s)]
    count, target = shrink(squares)
    small = xp.astype(X[:, :count], U.dtype)
    k = kept.rank
    pairs = [(small[:k, :], U)]
    basis = summed([*pairs, (small[k:, :], Q)] if Q.shape[0] else pairs, xp)
    s = xp.asarray([math.sqrt(v) for v in target], dtype=s.dtype, device=device(s))
    return Step(Kept(basis, s, False), adjoint(Yh[:count, :], xp), squares)


def _core(s: Array, C: Array, B: Array, xp: Namespace) -> Array:
    """Return ``[[diag(s), C], [0, B]]``."""
    k, q = int(s.shape[0]), int(B.shape[0])
    place = {"dtype": C.dtype, "device": device(C)}
    diagonal = xp.astype(s, C.dtype)[:, None] * xp.eye(k, **place)
    top = xp.concat([diagonal, C], axis=1)
    if q == 0:
        return top
    return xp.concat([top, xp.concat([xp.zeros((q, k), **place), B], axis=1)], axis=0)


def _times(X: Array, Y: Array, xp: Namespace) -> Array:
    """Return a product in the wider of two precisions."""
    wide = xp.result_type(X, Y)
    return xp.astype(X, wide, copy=False) @ xp.astype(Y, wide, copy=False)


def _complement(
    rest: Array, size: float, xp: Namespace, *, by_cholesky: bool
) -> tuple[Array, Array]:
    """Return rows ``Q`` and ``B`` with ``rest^T = Q^T B``, without directions of rounding size."""
    floor = 8.0 * eps(xp, rest.dtype) * size * math.sqrt(int(rest.shape[0]))
    if by_cholesky:
        found = _by_cholesky(rest, floor, xp)
        if found is not None:
            return found
    wide = widest_dtype(xp, device(rest), rest.dtype)
    Q, R = xp.linalg.qr(xp.matrix_transpose(rest), mode="reduced")
    R = xp.astype(R, wide, copy=False)
    W, s, Yh = svd_desc(R, xp)
    count = sum(value > floor for value in host(s))
    turned = xp.matrix_transpose(xp.astype(W[:, :count], Q.dtype)) @ xp.matrix_transpose(Q)
    return turned, xp.astype(s[:count], wide)[:, None] * Yh[:count, :]


def _by_cholesky(rest: Array, floor: float, xp: Namespace) -> tuple[Array, Array] | None:
    """Return the same from a Gram matrix, or None where that would not be safe."""
    G = hermitian_part(gram(rest, rest, xp), xp)
    lengths = (
        xp.sqrt(xp.real(xp.linalg.diagonal(G)))
        if is_complex(G, xp)
        else xp.sqrt(xp.linalg.diagonal(G))
    )
    if not bool(xp.all(lengths > floor)):
        return None
    unit = xp.astype(1.0 / lengths, G.dtype)
    try:
        L = cholesky(unit[:, None] * G * unit[None, :], xp)
    except NotPositiveDefiniteError:
        return None
    pivots = xp.linalg.diagonal(L)
    least = float(xp.min(xp.real(pivots) if is_complex(L, xp) else pivots))
    b = int(rest.shape[0])
    wide_eps = eps(xp, G.dtype)
    if least < 30.0 * math.sqrt(wide_eps * b):
        return None
    B = adjoint(L, xp) * xp.astype(lengths, G.dtype)[None, :]
    if min(host(lengths)) * least < floor:
        return None
    # rest^T = Q^T B, so that Q = B^-T rest.
    inverse = solve_triangular(
        xp.matrix_transpose(B), xp.eye(b, dtype=B.dtype, device=device(B)), lower=True, xp=xp
    )
    return overwritten(rest, xp.astype(inverse, rest.dtype), B, None, xp), B


def _orthonormal(Q: Array, xp: Namespace, *, by_cholesky: bool) -> tuple[Array, Array]:
    """Return orthonormal rows and ``R`` with ``Q^T = Q'^T R`` for rows that nearly are."""
    wide = widest_dtype(xp, device(Q), Q.dtype)
    b = int(Q.shape[0])
    if b == 0:
        return Q, xp.zeros((0, 0), dtype=wide, device=device(Q))
    if by_cholesky:
        L = cholesky(hermitian_part(gram(Q, Q, xp), xp), xp)
        R = adjoint(L, xp)
        identity = xp.eye(b, dtype=wide, device=device(Q))
        inverse = solve_triangular(xp.matrix_transpose(R), identity, lower=True, xp=xp)
        return overwritten(Q, xp.astype(inverse, Q.dtype), R, None, xp), R
    P, R = xp.linalg.qr(xp.matrix_transpose(Q), mode="reduced")
    return xp.matrix_transpose(P), xp.astype(R, wide, copy=False)


def direct_step(kept: Kept | None, block: Columns, shrink: Truncation, xp: Namespace) -> Step:
    """Decompose the concatenated matrix as a whole: there is none before, or it is wide."""
    P = block.dense()
    wide = widest_dtype(xp, device(P), P.dtype)
    if kept is not None and kept.rank:
        P = xp.concat([columns(kept, xp), P], axis=0)
    A = xp.matrix_transpose(P)
    if A.shape[0] > A.shape[1]:
        Q, R = xp.linalg.qr(A, mode="reduced")
        X, s, Yh = svd_desc(xp.astype(R, wide, copy=False), xp)
    else:
        Q = None
        X, s, Yh = svd_desc(xp.astype(A, wide, copy=False), xp)
    squares = [value * value for value in host(s)]
    count, target = shrink(squares)
    X = xp.astype(X[:, :count], P.dtype)
    U = X if Q is None else Q @ X
    s = xp.asarray([math.sqrt(v) for v in target], dtype=s.dtype, device=device(s))
    basis = xp.matrix_transpose(U)
    return Step(Kept(basis, s, False), adjoint(Yh[:count, :], xp), squares)


def refreshed(kept: Kept, xp: Namespace) -> Kept:
    """Return the same matrix with a basis that is orthonormal to rounding.

    The factor that is taken out differs from the identity by rounding errors alone, and is
    dropped as such.
    """
    Q, _ = _orthonormal(xp.asarray(kept.basis, copy=True), xp, by_cholesky=True)
    return kept._replace(basis=Q)


def decomposed(kept: Kept, xp: Namespace) -> tuple[Array, Array, Array]:
    """Return ``U`` (m, k), `s` (k,) and the rotation (k, k) with ``A^ V = U diag(s) rotation^H``.

    Where the basis is orthonormal these are the kept factors and the identity.
    """
    wide = widest_dtype(xp, device(kept.basis), kept.basis.dtype)
    if not kept.is_scaled:
        identity = xp.eye(kept.rank, dtype=wide, device=device(kept.basis))
        return xp.matrix_transpose(kept.basis), kept.s, identity
    Q, R = xp.linalg.qr(xp.matrix_transpose(kept.basis), mode="reduced")
    X, s, Yh = svd_desc(xp.astype(R, wide, copy=False), xp)
    return Q @ xp.astype(X, Q.dtype), xp.astype(s, real_dtype(xp, wide)), adjoint(Yh, xp)
