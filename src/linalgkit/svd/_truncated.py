"""Truncated singular value decomposition of a matrix that can be multiplied again and again.

::

    result = truncated_svd(A, 20)           # dense, sparse or LinearOperator
    result = truncated_svd(A, tol=0.01)     # as many triplets as one percent takes

"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, replace
from typing import Any

from linalgkit._core.array import Array, adjoint, eps, real_dtype, widest_dtype
from linalgkit._core.capabilities import capability
from linalgkit._core.linalg import eigh_top, svd_desc
from linalgkit._core.operators import DenseOperator, Operator
from linalgkit._core.qr import cholesky_qr2
from linalgkit._core.random import as_generator, undone_on_error
from linalgkit._core.scaling import ldexp, ldexp_float
from linalgkit._core.validation import AccuracyWarning, check_float, check_int
from linalgkit.svd._account import Account, Enclosure
from linalgkit.svd._krylov import UNRESOLVED, leading_space, missing, orthonormal
from linalgkit.svd._matrices import checked_matrix, normalised
from linalgkit.svd._options import least_rank
from linalgkit.svd._result import SVDResult, signed
from linalgkit.svd._ritz import remainder_bound
from linalgkit.svd._steps import host

_DIRECT = 256  # shorter side up to which the whole decomposition is made
_GRAM = 1024  # shorter side up to which a Gram matrix is cheaper than many products
_GRAM_SHARE = 16  # the same, of a triplet
_CERTAIN = 1e-8  # squared tolerance that squares resolve


@capability("svd.truncated_svd", sparse=True, synchronisations={"call": 6})
def truncated_svd(
    A: Any, rank: int | None = None, *, tol: float | None = None, rng: Any = None
) -> SVDResult:
    """Return the leading singular triplets of a matrix, and what is certain about them.

    Parameters
    ----------
    A : array (m, n), list, dataframe, scipy.sparse or cupyx.scipy.sparse matrix, LinearOperator
        Real or complex.
    rank : int, optional
        Triplets, 1 to ``min(m, n)``. This or `tol` must be given.
    tol : float, optional
        Frobenius error that is allowed, relative to ``||A||_F``; the answer has as few triplets as
        its space allows. Less than 32 roundoffs count as so many.
    rng : None, int, SeedSequence, BitGenerator or Generator, optional
        Start of the Krylov space, and fresh vectors for it. After an error a generator is as it
        was.

    Returns
    -------
    SVDResult
        With ``error_fro`` exact to rounding, as for :class:`IncrementalSVD`.

    Raises
    ------
    TypeError
        For what is no matrix of numbers, and an operator without adjoint.
    ValueError
        If neither `rank` nor `tol` is given, one is out of range, numbers are not finite, or the
        products of an operator do not belong to one matrix.

    Warns
    -----
    AccuracyWarning
        If `rank` is too small for the tolerance, or the Krylov space has not settled.

    Notes
    -----
    A space on the right is found, by the largest eigenvectors of the smaller one of ``A^H A`` and
    ``A A^H``; ``A`` is then projected on it from the right, so that the square of ``error_fro`` is
    ``||A||_F^2 - sum s^2`` to rounding, whatever the space is worth. Of the ways there the first
    that fits is taken:

    - all of a dense matrix with a side of up to 256 is decomposed;
    - the eigenvectors of a dense matrix with a side of up to 1024 or ``16 rank`` are those of the
      Gram matrix itself, wherever squares resolve the singular values;
    - else a block Krylov space [1]_ grows and restarts with its leading vectors [2]_ until each
      singular value has settled to ten digits, as residuals and gaps tell, and a fresh block of
      random vectors adds nothing for four more blocks; 200 restarts at most. For a tolerance
      without `rank` it grows until that is met with as many triplets as at the look before.

    ``||A||_F`` of an operator takes products with the identity, as many as its shorter side has
    entries. An operator is scaled by a power of two, and its products are checked: for NaN and
    infinity, and for one that is none with the adjoint.

    The bound on the 2-norm of the error is the next eigenvalue of the Gram matrix, or comes from
    a polynomial of random vectors: about 1.2 times the truth, and below it with a probability of
    1e-14.

    Storage: with ``l = 2 rank + 10 b`` and blocks of ``b`` = 4, 8, 16, 32 for ranks up to 32, 128,
    256 and beyond (16 at least for dense matrices and operators), ``min(m, n) l`` numbers, and
    before the end at most ``5 (m + n) (1.1 rank + 2)``; ``min(m, n)^2`` with a Gram matrix. A wide
    sparse matrix is copied once, transposed. A tolerance without `rank` takes ``l`` of
    about 1.5 times the triplets.

    References
    ----------
    .. [1] C. Musco, C. Musco, "Randomized block Krylov methods for stronger and faster approximate
       singular value decomposition", NIPS 2015, arXiv:1504.05477.
    .. [2] K. Wu, H. Simon, "Thick-restart Lanczos method for large symmetric eigenvalue problems",
       SIAM J. Matrix Anal. Appl. 22 (2000).

    Examples
    --------
    >>> import numpy as np
    >>> from linalgkit.svd import truncated_svd
    >>> A = np.diag(1.0 / np.arange(1, 401))
    >>> found = truncated_svd(A, 3, rng=0)
    >>> found.s.round(8).tolist(), bool(np.isclose(found.error_fro, np.linalg.norm(A[3:])))
    ([1.0, 0.5, 0.33333333], True)
    """
    operator = checked_matrix(A)
    m, n = operator.shape
    if rank is None and tol is None:
        raise ValueError("rank or tol must be given, got neither.")
    if rank is not None:
        rank = check_int("rank", rank, 1, min(m, n), why=f"for a matrix of shape ({m}, {n})")
    if tol is not None:
        tol = max(check_float("tol", tol, 0.0), 32.0 * eps(operator.xp, operator.dtype))
    draws = as_generator(rng)
    operator, exponent, energy = normalised(operator)
    with undone_on_error(rng):
        found = _decomposed(operator, energy, rank, tol, draws)
    return _result(operator, found, exponent, rank, tol)


@dataclass(frozen=True, eq=False)
class _Projected:
    """Decomposition of ``A V``: left vectors, values, right vectors, and what is outside of it."""

    U: Array
    s: Array
    V: Array
    energy: float
    lost: float
    delta: float
    is_settled: bool


def _decomposed(
    A: Operator, energy: float, rank: int | None, tol: float | None, draws: Any
) -> _Projected:
    if min(A.shape) <= _DIRECT and isinstance(A, DenseOperator):
        return _whole(A)
    if energy == 0.0:
        return _empty(A)
    found = _gram_space(A, rank, tol, energy) if isinstance(A, DenseOperator) else None
    if found is not None:
        return _projected(A, found[0], energy, found[1], is_settled=True)
    V, is_settled = leading_space(A, rank, tol, energy, draws)
    krylov = _cut(_projected(A, V, energy, math.inf, is_settled=is_settled), rank)
    return replace(krylov, delta=min(krylov.lost, _outside(A, krylov, draws)))


def _cut(found: _Projected, rank: int | None) -> _Projected:
    """Return the decomposition with no more triplets than are wanted."""
    if rank is None or rank >= int(found.s.shape[0]):
        return found
    lost = found.lost + math.fsum(v * v for v in host(found.s)[rank:])
    U, s, V = found.U[:, :rank], found.s[:rank], found.V[:, :rank]
    return replace(found, U=U, s=s, V=V, lost=lost)


def _outside(A: Operator, found: _Projected, draws: Any) -> float:
    """Return a bound on the largest square outside, with room for rounding."""
    xp, smallest = A.xp, host(found.s)[-1:]
    if not smallest or found.lost == 0.0:
        return found.lost

    def times(X: Array) -> Array:
        P = A.rmatmul(A.matmul(xp.astype(X, A.dtype, copy=False)))
        return xp.astype(P, X.dtype, copy=False)

    bound, _ = remainder_bound(times, found.V, smallest[0] ** 2, draws)
    return bound + 16.0 * eps(xp, A.dtype) * found.energy


def _whole(A: DenseOperator) -> _Projected:
    xp = A.xp
    wide = widest_dtype(xp, A.device, A.dtype)
    U, s, Vh = svd_desc(xp.astype(A.A, wide, copy=False), xp)
    energy = math.fsum(v * v for v in host(s))
    return _Projected(U, s, adjoint(Vh, xp), energy, 0.0, 0.0, True)


def _empty(A: Operator) -> _Projected:
    xp, (m, n) = A.xp, A.shape
    wide = widest_dtype(xp, A.device, A.dtype)
    place = {"dtype": wide, "device": A.device}
    s = xp.zeros((0,), dtype=real_dtype(xp, wide), device=A.device)
    U, V = xp.zeros((m, 0), **place), xp.zeros((n, 0), **place)
    return _Projected(U, s, V, 0.0, 0.0, 0.0, True)


def _gram_space(
    A: DenseOperator, rank: int | None, tol: float | None, energy: float
) -> tuple[Array, float] | None:
    """Return a space on the right from the smaller Gram matrix, and the largest square outside.

    None where that is too large for the triplets wanted, or squares do not resolve them.
    """
    xp, (m, n) = A.xp, A.shape
    length = min(m, n)
    if length > max(_GRAM, _GRAM_SHARE * (rank or 0)):
        return None
    if tol is not None and tol * tol < _CERTAIN:
        return None
    G = A.gram() if n <= m else A.H.gram()
    roundoff = eps(xp, G.dtype)
    count = length if rank is None else rank
    w, X = eigh_top(G, min(count + 1, length), xp)
    squares = [max(0.0, value) for value in host(w)]
    if rank is None:
        assert tol is not None
        count = max(1, least_rank(squares, tol * tol * energy))
    if squares[count - 1] <= UNRESOLVED * roundoff * squares[0]:
        return None
    V = X[:, :count]
    if n > m:
        V = xp.astype(A.rmatmul(xp.astype(V, A.dtype, copy=False)), G.dtype, copy=False)
    outside = squares[count] if count < len(squares) else 0.0
    slack = 16.0 * eps(xp, A.dtype) * energy
    return orthonormal(V, eps(xp, A.dtype), xp), outside + slack


def _projected(
    A: Operator, V: Array, energy: float, delta: float, *, is_settled: bool
) -> _Projected:
    """Return the decomposition of ``A V V^H``."""
    xp = A.xp
    wide = V.dtype
    P = xp.astype(A.matmul(xp.astype(V, A.dtype, copy=False)), wide, copy=False)
    Q, R = cholesky_qr2(P, xp) if P.shape[0] >= P.shape[1] else (None, P)
    X, s, Yh = svd_desc(R, xp)
    lost = missing(A, lambda: P, V, energy, [v * v for v in host(s)])
    U = X if Q is None else Q @ X
    return _Projected(U, s, V @ adjoint(Yh, xp), energy, lost, min(lost, delta), is_settled)


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
    account = Account(energy=found.energy).leaf(found.lost, found.delta)
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
            "the Krylov space has not settled: singular values agree to fewer than ten digits. The "
            "enclosures hold all the same."
        )
    else:
        return
    warnings.warn(text, AccuracyWarning, stacklevel=4)
