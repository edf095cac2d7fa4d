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
    Device,
    DType,
    Namespace,
    adjoint,
    device,
    dtype_name,
    eps,
    is_complex,
    numpy_namespace,
    real_dtype,
    to_numpy,
    widest_dtype,
)
from linalgkit._core.linalg import eigh_desc, hermitian_part, svd_desc
from linalgkit._core.qr import qr_of_rows
from linalgkit._core.triangular import (
    NotPositiveDefiniteError,
    cholesky,
    solve_triangular,
    solve_unchecked,
)
from linalgkit.svd._columns import Columns, conj, gram, overwritten, summed

_HOST = numpy_namespace()
Budget = Callable[[list[float]], int]
_QUICK = 100.0  # roundoffs that one pass of Cholesky QR may cost; two cost a few
_PIVOT = 0.1  # of columns of norm one: with a smaller one by Householder reflections
_TILT = 0.5  # of the new directions that a second projection may take away
_MOST_PASSES = 4


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
    tilt : float
        Roundoffs by which an orthonormal basis may have become less so.
    is_squared : bool
        Whether the squares are eigenvalues of a Gram matrix.
    sizes : list of float or None
        The new singular values on the host, if nobody has to ask the device for them.
    """

    kept: Kept
    rotation: Array
    squares: list[float]
    tilt: float = 1.0
    is_squared: bool = False
    sizes: list[float] | None = None

    def values(self) -> list[float]:
        """Return the new singular values on the host."""
        return host(self.kept.s) if self.sizes is None else self.sizes


def _roots(squares: list[float], like: Array, xp: Namespace) -> tuple[Array, list[float]]:
    """Return square roots beside `like` in its precision, and the same numbers on the host."""
    roots = [math.sqrt(value) for value in squares]
    dtype = getattr(_HOST, dtype_name(xp, like.dtype))
    values: list[float] = _HOST.asarray(roots, dtype=dtype).tolist()
    return xp.asarray(roots, dtype=like.dtype, device=device(like)), values


def nothing(m: int, dtype: DType, place: Device, xp: Namespace) -> Kept:
    """Return a kept matrix of rank 0 with `m` rows."""
    wide = real_dtype(xp, widest_dtype(xp, place, dtype))
    basis = xp.zeros((0, m), dtype=dtype, device=place)
    return Kept(basis, xp.zeros((0,), dtype=wide, device=place), False)


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
        top = xp.concat([kept_gram(kept, old, xp), cross], axis=1)
        G = xp.concat([top, xp.concat([adjoint(cross, xp), G], axis=1)], axis=0)
    w, Z = eigh_desc(hermitian_part(G, xp), xp)
    squares = [max(0.0, value) for value in host(w)]
    count, target = shrink(squares)
    Z = Z[:, :count]
    small = xp.astype(_scaled_columns(Z, squares, target, xp), block.dtype)
    k = 0 if kept is None else kept.rank
    others = () if old is None else ((small[:k, :], old),)
    basis = block.combined(small[k:, :], *others)
    s, sizes = _roots(target, w, xp)
    return Step(Kept(basis, s, True), Z, squares, is_squared=True, sizes=sizes)


def kept_gram(kept: Kept, old: Array, xp: Namespace) -> Array:
    """Return ``(A^ V)^H A^ V``, (k, k), in the device's widest float.

    It is diagonal; in lower precision the columns have been rounded since, and no longer quite
    orthogonal, which squares would not forgive.
    """
    wide = widest_dtype(xp, device(old), old.dtype)
    if old.dtype != wide:
        return gram(old, old, xp)
    squares = xp.astype(kept.s, wide) ** 2
    return squares[:, None] * xp.eye(kept.rank, dtype=wide, device=device(old))


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
        As for :func:`gram_step`; ``kept.basis`` must be orthonormal, and have
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
    rest = block.without(C, U)
    factor = factored(rest, xp) if by_cholesky else None
    tilt = math.inf if factor is None else factor.tilt(_least_cosine(factor.B, C, xp))
    if factor is not None and tilt <= _QUICK:
        B, T = factor.B, factor.T
        step = _rotated(kept, C, B, lambda X: xp.matrix_transpose(T) @ X, rest, shrink, xp)
        return step._replace(tilt=tilt)
    floor = 8.0 * eps(xp, rest.dtype) * size * math.sqrt(block.b)
    Q, B = _complement(rest, factor, floor, xp)
    for _ in range(_MOST_PASSES):
        again = gram(Q, U, xp)  # of the normalised rest: safe where it is small, too
        Q = overwritten(Q, None, xp.astype(conj(again, xp), Q.dtype), U, xp)
        C = C + _times(xp.matrix_transpose(conj(again, xp)), B, xp)
        if float(xp.linalg.matrix_norm(again)) <= _TILT:
            break
        Q, B = _above(Q, B, floor, xp)  # directions of the old basis had come back
    Q, R = _orthonormal(Q, xp, by_cholesky=by_cholesky)
    return _rotated(kept, C, R @ B, lambda X: X, Q, shrink, xp)


def _rotated(
    kept: Kept,
    C: Array,
    B: Array,
    mapped: Callable[[Array], Array],
    rows: Array,
    shrink: Truncation,
    xp: Namespace,
) -> Step:
    """Decompose ``[[diag(s), C], [0, B]]`` and turn the basis.

    ``mapped(X)^T rows`` are the new directions in which `X` holds coordinates.
    """
    U, k = kept.basis, kept.rank
    X, s, Yh = svd_desc(_core(kept.s, C, B, xp), xp)
    squares = [value * value for value in host(s)]
    count, target = shrink(squares)
    X = X[:, :count]
    pairs = [(xp.astype(X[:k, :], U.dtype), U)]
    if rows.shape[0]:
        pairs.append((xp.astype(mapped(X[k:, :]), U.dtype), rows))
    s, sizes = _roots(target, s, xp)
    basis = summed(pairs, xp)
    return Step(Kept(basis, s, False), adjoint(Yh[:count, :], xp), squares, sizes=sizes)


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


class Factored(NamedTuple):
    """``rest^T = (T rest)^T B`` with nearly orthonormal ``T rest``.

    `pivot` is about the inverse condition of the columns, of norm one each; `least` is the
    smallest norm of a direction.
    """

    B: Array
    T: Array
    pivot: float
    least: float

    def tilt(self, cosine: float) -> float:
        """Return the roundoffs by which ``T rest`` and a basis together are not orthonormal.

        Every column has at least the share `cosine` off that basis.
        """
        smaller = min(self.pivot, cosine)
        return 1.0 / (self.pivot * smaller) if smaller > 0.0 else math.inf


def factored(rest: Array, xp: Namespace, least: float = _PIVOT) -> Factored | None:
    """Return the factor of rows from their Gram matrix, or None where that would not be safe.

    ``(T rest)^T B`` differs from ``rest^T`` by roundoffs over the pivot: `least` is the smallest
    one that is good enough.
    """
    if int(rest.shape[0]) == 0:
        return None
    G = hermitian_part(gram(rest, rest, xp), xp)
    lengths = xp.sqrt(real_diagonal(G, xp))
    # A row of zeros stays one, which has no factor.
    unit = xp.astype(1.0 / xp.where(lengths > 0, lengths, xp.ones_like(lengths)), G.dtype)
    try:
        L = cholesky(unit[:, None] * G * unit[None, :], xp)
    except NotPositiveDefiniteError:
        return None
    b = int(rest.shape[0])
    pivot, shortest = host(xp.stack([xp.min(real_diagonal(L, xp)), xp.min(lengths)]))
    if pivot < max(least, 30.0 * math.sqrt(eps(xp, G.dtype) * b)):
        return None
    B = adjoint(L, xp) * xp.astype(lengths, G.dtype)[None, :]
    identity = xp.eye(b, dtype=B.dtype, device=device(B))
    T = solve_unchecked(xp.matrix_transpose(B), identity, True, False, False, xp)
    return Factored(B, T, pivot, pivot * shortest)


def _least_cosine(B: Array, C: Array, xp: Namespace) -> float:
    """Return the smallest share of a column that lies off the basis: columns of ``[C; B]``."""
    outside, inside = (xp.sum(xp.abs(X) ** 2, axis=0) for X in (B, C))
    return float(xp.min(xp.sqrt(outside / (outside + inside))))


def real_diagonal(G: Array, xp: Namespace) -> Array:
    diagonal = xp.linalg.diagonal(G)
    return xp.real(diagonal) if is_complex(G, xp) else diagonal


def _complement(
    rest: Array, factor: Factored | None, floor: float, xp: Namespace
) -> tuple[Array, Array]:
    """Return rows ``Q`` and ``B`` with ``rest^T = Q^T B``, without directions below a floor.

    Without a safe factor by Householder reflections; `rest` is overwritten where it can be.
    """
    if factor is not None and factor.least >= floor:
        T = xp.astype(factor.T, rest.dtype)
        return overwritten(rest, T, factor.B, None, xp), factor.B
    return _above(rest, None, floor, xp)


def _above(rows: Array, B: Array | None, floor: float, xp: Namespace) -> tuple[Array, Array]:
    """Return orthonormal rows ``Q`` and ``B'`` with ``rows^T B = Q^T B'``, down to a floor."""
    wide = widest_dtype(xp, device(rows), rows.dtype)
    Q, R = qr_of_rows(rows, xp)
    R = xp.astype(R, wide, copy=False)
    W, s, Yh = svd_desc(R if B is None else R @ B, xp)
    count = sum(value > floor for value in host(s))
    T = xp.matrix_transpose(xp.astype(W[:, :count], Q.dtype))
    return overwritten(Q, T, W, None, xp), xp.astype(s[:count], wide)[:, None] * Yh[:count, :]


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
    Q, R = qr_of_rows(Q, xp)
    return Q, xp.astype(R, wide, copy=False)


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
    s, sizes = _roots(target, s, xp)
    basis = xp.matrix_transpose(U)
    return Step(Kept(basis, s, False), adjoint(Yh[:count, :], xp), squares, sizes=sizes)


def refreshed(step: Step, xp: Namespace) -> Step:
    """Return the same step with a basis that is orthonormal to rounding, in the same memory."""
    kept = step.kept
    if kept.rank == 0:
        return step
    factor = factored(kept.basis, xp)
    assert factor is not None  # the rows are orthonormal to a hundred roundoffs
    X, s, Yh = svd_desc(factor.B * xp.astype(kept.s, factor.B.dtype)[None, :], xp)
    T = xp.astype(xp.matrix_transpose(X) @ factor.T, kept.basis.dtype)
    basis = overwritten(kept.basis, T, X, None, xp)
    rotation = step.rotation @ adjoint(Yh, xp)
    return step._replace(kept=Kept(basis, s, False), rotation=rotation, sizes=None)


def decomposed(kept: Kept, xp: Namespace) -> tuple[Array, Array, Array]:
    """Return ``U`` (m, k), `s` (k,), `T` (rank, k) with ``A^ V = U diag(s) T^H``.

    Where the basis is orthonormal these are the kept factors and the identity. Columns that have
    faded to nothing are left out, so that `k` may be smaller than the rank.
    """
    wide = widest_dtype(xp, device(kept.basis), kept.basis.dtype)
    if not kept.is_scaled:
        identity = xp.eye(kept.rank, dtype=wide, device=device(kept.basis))
        return xp.matrix_transpose(kept.basis), kept.s, identity
    least = float(xp.finfo(kept.basis.dtype).smallest_normal)
    count = sum(value >= least for value in host(kept.s))
    full = kept.rank
    kept = Kept(kept.basis[:count, :], kept.s[:count], True)
    Q, R = _unit_rows(kept, xp)
    X, s, Yh = svd_desc(R * xp.astype(kept.s, wide)[None, :], xp)
    U = overwritten(Q, xp.astype(xp.matrix_transpose(X), Q.dtype), X, None, xp)
    rotation = xp.eye(full, count, dtype=wide, device=device(Q)) @ adjoint(Yh, xp)
    return xp.matrix_transpose(U), xp.astype(s, real_dtype(xp, wide)), rotation


def _unit_rows(kept: Kept, xp: Namespace) -> tuple[Array, Array]:
    """Return orthonormal rows `Q` and `R` for a scaled basis ``(diag(s) (Q^T R)^T)``."""
    rows = kept.basis / xp.astype(kept.s, kept.basis.dtype)[:, None]
    wide = widest_dtype(xp, device(rows), rows.dtype)
    R = xp.eye(kept.rank, dtype=wide, device=device(rows))
    for _ in range(2):
        factor = factored(rows, xp)
        if factor is None:
            rows, B = qr_of_rows(rows, xp)
            return rows, xp.astype(B, wide) @ R
        rows = overwritten(rows, xp.astype(factor.T, rows.dtype), factor.B, None, xp)
        R = factor.B @ R
    return rows, R
