"""Truncated singular value decomposition of a matrix that can be multiplied again and again.

::

    result = truncated_svd(A, 20)           # dense, sparse or LinearOperator
    result = truncated_svd(A, tol=0.01)     # as many triplets as one percent takes

"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any

from linalgkit._core.array import (
    Array,
    Namespace,
    adjoint,
    eps,
    is_sparse,
    real_dtype,
    widest_dtype,
)
from linalgkit._core.capabilities import capability
from linalgkit._core.linalg import svd_desc
from linalgkit._core.operators import DenseOperator, Operator, SparseOperator, as_operator
from linalgkit._core.random import as_generator, standard_normal, undone_on_error
from linalgkit._core.scaling import ldexp, ldexp_float, max_abs, norm_fro, scale_exponent
from linalgkit._core.validation import (
    AccuracyWarning,
    check_array_2d,
    check_finite_block,
    check_float,
    check_int,
)
from linalgkit.svd._account import Account, Enclosure
from linalgkit.svd._options import least_rank
from linalgkit.svd._result import SVDResult, signed
from linalgkit.svd._steps import host

_DIRECT = 256  # shorter side up to which the whole decomposition is made
_MOST_DEPTH = 12  # blocks of a Krylov space
_CANCELLED = 1e-6  # of the energy: a smaller difference is computed from its entries
_CHUNK = 1 << 20  # entries of the difference at a time
_SETTLED = 1e-9  # of the energy that is missing: what a further block must gain


@capability("svd.truncated_svd", sparse=True)
def truncated_svd(
    A: Any, rank: int | None = None, *, tol: float | None = None, rng: Any = None
) -> SVDResult:
    """Return the leading singular triplets of a matrix, and what is certain about them.

    Parameters
    ----------
    A : array (m, n), scipy.sparse or cupyx.scipy.sparse matrix, LinearOperator
        Real or complex.
    rank : int, optional
        Triplets, 1 to ``min(m, n)``. This or `tol` must be given.
    tol : float, optional
        Frobenius error that is allowed, relative to ``||A||_F``; the answer has as few triplets as
        its space allows.
    rng : None, int, SeedSequence, BitGenerator or Generator, optional
        Start of the Krylov space.

    Returns
    -------
    SVDResult
        With ``error_fro`` exact to rounding, as for :class:`IncrementalSVD`.

    Raises
    ------
    TypeError
        For what is no matrix of numbers.
    ValueError
        If neither `rank` nor `tol` is given, one is out of range, or numbers are not finite.

    Warns
    -----
    AccuracyWarning
        If `rank` is too small for the tolerance, or the Krylov space has not settled.

    Notes
    -----
    A block Krylov space of ``A^H A`` of `rank` plus a few vectors grows until a further block
    gains nothing; ``A`` is then projected on it from the right, so that the square of ``error_fro``
    is ``||A||_F^2 - sum s^2`` to rounding, whatever the space is worth [1]_. Matrices with a side
    of up to 256 are decomposed as a whole. ``||A||_F`` of an operator takes products with the
    identity, as many as its shorter side has entries.

    The bound on the 2-norm of the error is its Frobenius norm, the only one that a random space
    gives for certain.

    Storage: ``(m + n) l`` numbers for a space of dimension `l`, at most 12 blocks.

    References
    ----------
    .. [1] C. Musco, C. Musco, "Randomized block Krylov methods for stronger and faster approximate
       singular value decomposition", NIPS 2015, arXiv:1504.05477.

    Examples
    --------
    >>> import numpy as np
    >>> from linalgkit.svd import truncated_svd
    >>> A = np.diag(1.0 / np.arange(1, 401))
    >>> found = truncated_svd(A, 3, rng=0)
    >>> found.s.round(8).tolist(), bool(np.isclose(found.error_fro, np.linalg.norm(A[3:])))
    ([1.0, 0.5, 0.33333333], True)
    """
    operator, exponent = _checked_operator(A)
    m, n = operator.shape
    if rank is None and tol is None:
        raise ValueError("rank or tol must be given, got neither.")
    if rank is not None:
        rank = check_int("rank", rank, 1, min(m, n), why=f"for a matrix of shape ({m}, {n})")
    tol = None if tol is None else check_float("tol", tol, 0.0)
    with undone_on_error(rng):
        found = _decomposed(operator, rank, tol, rng)
    return _result(operator, found, exponent, rank, tol)


@dataclass(frozen=True, eq=False)
class _Projected:
    """``A V``'s decomposition: left vectors, values, right vectors, and the energy of `A`."""

    U: Array
    s: Array
    V: Array
    energy: float
    lost: float
    is_settled: bool


def _checked_operator(A: Any) -> tuple[Operator, int]:
    """Return the matrix as an operator, normalised where its squares would not fit."""
    if is_sparse(A) or not (hasattr(A, "matmat") and hasattr(A, "rmatmat")):
        check_array_2d("A", A, min_rows=1, allow_sparse=True)
        check_finite_block(A, name="A")
    operator = as_operator(A)
    if not isinstance(operator, (DenseOperator, SparseOperator)):
        return operator, 0
    exponent = scale_exponent(max_abs(operator.A, operator.xp))
    if abs(exponent) <= 100 and not _is_single(operator):
        return operator, 0
    return as_operator(ldexp(operator.A, -exponent, operator.xp)), exponent


def _is_single(operator: Operator) -> bool:
    return bool(eps(operator.xp, operator.dtype) > 1e-10)


def _decomposed(A: Operator, rank: int | None, tol: float | None, rng: Any) -> _Projected:
    m, n = A.shape
    if min(m, n) <= _DIRECT and isinstance(A, DenseOperator):
        return _whole(A)
    energy = _energy(A)
    if energy == 0.0:
        return _empty(A)
    start = _block_size(A, rank)
    return _krylov(A, rank, tol, energy, start, rng)


def _whole(A: DenseOperator) -> _Projected:
    xp = A.xp
    wide = widest_dtype(xp, A.device, A.dtype)
    U, s, Vh = svd_desc(xp.astype(A.A, wide, copy=False), xp)
    squares = host(s)
    energy = math.fsum(v * v for v in squares)
    return _Projected(U, s, adjoint(Vh, xp), energy, 0.0, True)


def _empty(A: Operator) -> _Projected:
    xp, (m, n) = A.xp, A.shape
    wide = widest_dtype(xp, A.device, A.dtype)
    place = {"dtype": wide, "device": A.device}
    s = xp.zeros((0,), dtype=real_dtype(xp, wide), device=A.device)
    return _Projected(xp.zeros((m, 0), **place), s, xp.zeros((n, 0), **place), 0.0, 0.0, True)


def _block_size(A: Operator, rank: int | None) -> int:
    wanted = 20 if rank is None else rank + max(5, rank // 10)
    return min(wanted, *A.shape)


def _energy(A: Operator) -> float:
    """Return ``||A||_F^2``, by products with the identity where there are no entries."""
    if isinstance(A, (DenseOperator, SparseOperator)):
        return norm_fro(A.A, A.xp) ** 2
    xp, (m, n) = A.xp, A.shape
    total, step = 0.0, 64
    for start in range(0, min(m, n), step):
        width = min(step, min(m, n) - start)
        E = xp.eye(min(m, n), width, k=-start, dtype=A.dtype, device=A.device)
        total += norm_fro(A.matmul(E) if n <= m else A.rmatmul(E), xp) ** 2
    return total


def _krylov(
    A: Operator, rank: int | None, tol: float | None, energy: float, width: int, rng: Any
) -> _Projected:
    """Grow a space on the right until it has what was asked for."""
    xp, n = A.xp, A.shape[1]
    wide = widest_dtype(xp, A.device, A.dtype)
    real = real_dtype(xp, wide)
    G = standard_normal(as_generator(rng), (n, width), xp=xp, device=A.device, dtype=real)
    basis = _orthonormal(xp.astype(G, wide), None, xp)
    product = _product(A, basis)
    newest = basis, product
    before, found, needed = -math.inf, None, -1
    for depth in range(_MOST_DEPTH):
        X, s, Yh = svd_desc(product, xp)
        squares = [v * v for v in host(s)]
        lost = _missing(A, product, basis, energy, squares)
        found = _Projected(X, s, basis @ adjoint(Yh, xp), energy, lost, False)
        was = needed
        if rank is None and tol is not None:
            needed = least_rank(squares, max(0.0, tol * tol * energy - lost))
            if lost <= tol * tol * energy and needed == was:
                return _Projected(found.U, s, found.V, energy, lost, True)
        kept = math.fsum(squares[: len(squares) if rank is None else rank])
        if _is_enough(kept, before, energy, depth, xp, A):
            return _Projected(found.U, s, found.V, energy, lost, True)
        if int(basis.shape[1]) >= min(A.shape):
            return _Projected(found.U, s, found.V, energy, lost, True)
        before = kept
        more = xp.astype(A.rmatmul(xp.astype(newest[1], A.dtype)), wide)
        more = _orthonormal(more, basis, xp)
        if int(more.shape[1]) == 0:
            return _Projected(found.U, s, found.V, energy, lost, True)
        newest = more, _product(A, more)
        basis = xp.concat([basis, newest[0]], axis=1)
        product = xp.concat([product, newest[1]], axis=1)
    assert found is not None
    return found


def _missing(
    A: Operator, product: Array, basis: Array, energy: float, squares: list[float]
) -> float:
    """Return ``||A - A V V^H||_F^2``: a difference of squares, or itself where digits cancel."""
    lost = energy - math.fsum(squares)
    if lost > _CANCELLED * energy:
        return lost
    xp, (m, n) = A.xp, A.shape
    right = adjoint(basis, xp)
    by_columns = n <= m
    count = min(m, n)
    total, step = 0.0, max(1, _CHUNK // max(m, n))
    for start in range(0, count, step):
        stop = min(start + step, count)
        E = xp.eye(count, stop - start, k=-start, dtype=A.dtype, device=A.device)
        if by_columns:
            rest = xp.astype(A.matmul(E), basis.dtype) - product @ right[:, start:stop]
        else:
            kept = adjoint(product[start:stop, :] @ right, xp)
            rest = xp.astype(A.rmatmul(E), basis.dtype) - kept
        total += norm_fro(rest, xp) ** 2
    return total


def _is_enough(
    kept: float, before: float, energy: float, depth: int, xp: Namespace, A: Operator
) -> bool:
    """Tell whether a further block gained next to nothing."""
    missing = max(energy - kept, eps(xp, A.dtype) * energy)
    return depth > 0 and kept - before <= _SETTLED * missing


def _product(A: Operator, basis: Array) -> Array:
    xp = A.xp
    wide = basis.dtype
    return xp.astype(A.matmul(xp.astype(basis, A.dtype)), wide, copy=False)


def _orthonormal(X: Array, basis: Array | None, xp: Namespace) -> Array:
    """Return an orthonormal basis of what the columns add to a basis, without rounding noise."""
    for _ in range(2):
        if basis is not None:
            X = X - basis @ (adjoint(basis, xp) @ X)
        size = float(xp.max(xp.linalg.vector_norm(X, axis=0))) if X.shape[1] else 0.0
        if size == 0.0:
            return X[:, :0]
        Q, R = xp.linalg.qr(X / size, mode="reduced")
        W, s, _ = svd_desc(R, xp)
        values = host(s)
        floor = 1e-12 if eps(xp, X.dtype) < 1e-10 else 1e-5
        room = int(X.shape[0]) - (0 if basis is None else int(basis.shape[1]))
        count = min(room, sum(value > floor * values[0] for value in values))
        X = Q @ W[:, :count]
    return X


def _result(
    A: Operator, found: _Projected, exponent: int, rank: int | None, tol: float | None
) -> SVDResult:
    """Cut the answer, and write down what is certain."""
    xp = A.xp
    squares = [v * v for v in host(found.s)]
    top = squares[0] if squares else 0.0
    floor = (4.0 * eps(xp, A.dtype)) ** 2 * top
    count = sum(value > floor for value in squares)
    status = "converged"
    if tol is not None:
        needed = least_rank(squares, max(0.0, tol * tol * found.energy - found.lost))
        is_met = found.lost <= tol * tol * found.energy * (1 + 1e-9)
        cap = count if rank is None else min(rank, count)
        status = "converged" if is_met and needed <= cap else "max_rank"
        count = min(needed, cap)
    elif rank is not None:
        status = "rank_deficient" if count < rank else "converged"
        count = min(rank, count)
    if status == "converged" and not found.is_settled:
        status = "max_iter"
    _warn(status, rank, tol)
    U, V = signed(found.U[:, :count], found.V[:, :count], xp)
    assert V is not None
    roundoff = eps(xp, A.dtype)
    slack = 8.0 * roundoff * math.sqrt(top * max(A.shape))
    account = Account(energy=found.energy).leaf(found.lost, found.lost)
    enclosure = Enclosure(tuple(squares), account, slack, 8.0 * roundoff * found.energy)
    s = xp.astype(found.s[:count], real_dtype(xp, A.dtype), copy=False)
    return SVDResult(
        U=xp.astype(U, A.dtype, copy=False),
        s=ldexp(s, exponent, xp),
        Vh=adjoint(xp.astype(V, A.dtype, copy=False), xp),
        rank=count,
        norm_fro=ldexp_float(math.sqrt(found.energy), exponent),
        error_fro=ldexp_float(enclosure.error(count), exponent),
        error_kind="exact",
        error_spectral_bound=ldexp_float(enclosure.spectral_bound(count), exponent),
        n_columns=A.shape[1],
        status=status,
        _enclosure=enclosure,
        _exponent=exponent,
    )


def _warn(status: str, rank: int | None, tol: float | None) -> None:
    if status == "max_rank":
        text = f"the error is above tol={tol} with rank={rank}. Raise rank, or leave it None."
    elif status == "max_iter":
        text = (
            f"the Krylov space of {_MOST_DEPTH} blocks has not settled: singular values agree to "
            "fewer digits than rounding. The enclosures hold all the same."
        )
    else:
        return
    warnings.warn(text, AccuracyWarning, stacklevel=4)
