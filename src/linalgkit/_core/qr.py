"""QR factors that are the same on every library, of tall matrices and of streams of rows.

The diagonal of ``R`` is real and not negative, which makes the factors unique::

    Q, R = qr_positive(A)       # Householder: orthonormal whatever the rank
    Q, R = cholesky_qr2(A)      # the same for tall A, several times faster
    R = tsqr(blocks)            # R alone, from rows that are never held together
    T = damped_r_factor(R, mu)  # of [R; mu I]
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import scipy.linalg

from linalgkit._core.array import (
    Array,
    Namespace,
    adjoint,
    array_namespace,
    device,
    eps,
    is_complex,
    library_name,
    matmul_h,
    real_dtype,
)
from linalgkit._core.scaling import ldexp, max_abs, norm_fro, scale_exponent
from linalgkit._core.triangular import NotPositiveDefiniteError, cholesky, solve_unchecked

_LAPACK_BLOCK = 32
_lapack_function: Any = scipy.linalg.get_lapack_funcs


class LstsqSolution(NamedTuple):
    """Minimum-norm least-squares solution, numerical rank, and singular values."""

    x: Array
    rank: int
    singular_values: Array


# ---------------------------------------------------------------------- orthogonalisation


def qr_positive(A: Array, xp: Namespace | None = None) -> tuple[Array, Array]:
    """Return the Householder factors ``Q R = A`` with a real, non-negative diagonal of ``R``.

    That makes the factors of a matrix of full rank unique, so that every library returns the
    same ones up to rounding. ``Q`` is orthonormal whatever the rank.

    Parameters
    ----------
    A : array (m, n)
        Any matrix.
    xp : module, optional
        Namespace of `A`.

    Returns
    -------
    Q : array (m, min(m, n))
        Orthonormal columns.
    R : array (min(m, n), n)
        Upper triangular.
    """
    xp = array_namespace(A) if xp is None else xp
    Q, R = xp.linalg.qr(A, mode="reduced")
    phase = _phases(xp.linalg.diagonal(R), xp)
    inverse = xp.conj(phase) if is_complex(A, xp) else phase
    return Q * phase[None, :], R * inverse[:, None]


def qr_of_rows(rows: Array, xp: Namespace) -> tuple[Array, Array]:
    """Return the Householder factors of a transposed matrix, in its own memory on NumPy.

    Parameters
    ----------
    rows : array (n, m)
        ``n <= m``; lost on NumPy where rows lie one after another.
    xp : module
        Namespace of `rows`.

    Returns
    -------
    Q : array (n, m)
        Orthonormal rows.
    R : array (n, n)
        Upper triangular, with ``rows^T = Q^T R``.
    """
    A = xp.matrix_transpose(rows)
    if library_name(xp) == "numpy":
        Q, R = scipy.linalg.qr(A, mode="economic", overwrite_a=True, check_finite=False)
    else:
        Q, R = xp.linalg.qr(A, mode="reduced")
    return xp.matrix_transpose(Q), R


def _phases(d: Array, xp: Namespace) -> Array:
    """Return ``d / |d|``, and 1 where ``d`` is 0."""
    modulus = xp.abs(d)
    if is_complex(d, xp):  # whose division forms the reciprocal, too large for a denormal number
        smallest = float(xp.finfo(modulus.dtype).smallest_normal)
        lift = xp.where(modulus < 4 * smallest, 1 / (16 * smallest), xp.ones_like(modulus))
        d = d * xp.astype(lift, d.dtype)
        modulus = xp.abs(d)
    safe = xp.where(modulus > 0, modulus, xp.ones_like(modulus))
    return xp.where(modulus > 0, d / xp.astype(safe, d.dtype, copy=False), xp.ones_like(d))


def cholesky_qr2(A: Array, xp: Namespace | None = None) -> tuple[Array, Array]:
    """Return the thin QR factors of a tall matrix by repeated Cholesky QR.

    Parameters
    ----------
    A : array (m, n)
        ``m >= n``, of any scale and any rank.
    xp : module, optional
        Namespace of `A`.

    Returns
    -------
    Q : array (m, n)
        Orthonormal to a small multiple of the roundoff.
    R : array (n, n)
        Upper triangular with a real, non-negative diagonal.

    Raises
    ------
    ValueError
        If `A` is not 2-D or has fewer rows than columns.

    Notes
    -----
    Costs ``4 m n^2`` flops a two passes, all in matrix products: several times faster than
    Householder QR for tall matrices [1]_. Storage: one matrix of the size of `A` beyond the
    result. The Gram matrix of the current Q tells how far it is from orthonormal; a pass is the
    last one only if that was below 0.1 before it, which is what the theory asks for.

    References
    ----------
    .. [1] Y. Yamamoto, Y. Nakatsukasa, Y. Yanagisawa, T. Fukaya, "Roundoff error analysis of
       the CholeskyQR2 algorithm", ETNA 44 (2015).
    .. [2] T. Fukaya, R. Kannan, Y. Nakatsukasa, Y. Yamamoto, Y. Yanagisawa, "Shifted Cholesky
       QR for computing the QR factorization of ill-conditioned matrices", SIAM J. Sci.
       Comput. 42 (2020).
    """
    xp = array_namespace(A) if xp is None else xp
    if A.ndim != 2 or A.shape[0] < A.shape[1]:
        raise ValueError(
            f"A must be 2-D with at least as many rows as columns, got shape {tuple(A.shape)}. "
            "Pass its transpose, or use qr_positive."
        )
    if A.shape[1] == 0:
        return A, xp.zeros((0, 0), dtype=A.dtype, device=device(A))
    exponent = scale_exponent(max_abs(A, xp))
    # Only magnitudes whose squares leave the range cost a scaled copy.
    exponent = exponent if abs(exponent) > _square_safe_exponent(A, xp) else 0
    factors = _repeated_cholesky_qr(ldexp(A, -exponent, xp), xp)
    Q, R = qr_positive(A, xp) if factors is None else factors
    return Q, R if factors is None else ldexp(R, exponent, xp)


def _square_safe_exponent(A: Array, xp: Namespace) -> int:
    """Return an exponent up to which squares and long sums of squares stay normal numbers."""
    largest = float(xp.finfo(real_dtype(xp, A.dtype)).max)
    return math.frexp(largest)[1] // 4


# Fukaya et al. 2020, Algorithm 4.2 (shifted CholeskyQR3). Differs from it:
# 1. The shift is tried only after the plain factorisation has failed, as CholeskyQR2 does not
#    need it up to condition numbers of about 1/sqrt(eps).
# 2. ||A||_2^2 in the shift is replaced by trace(G), which is cheap and never smaller.
# 3. The number of passes follows from the measured distance of Q^H Q from the identity.
# 4. A matrix on which five passes do not suffice is left to Householder QR.
def _repeated_cholesky_qr(A: Array, xp: Namespace) -> tuple[Array, Array] | None:
    """Return (Q, R), or None where `A` is too close to a matrix of lower rank."""
    m, n = A.shape
    identity = xp.eye(n, dtype=A.dtype, device=device(A))
    Q, R = A, None
    for attempt in range(5):
        G = matmul_h(Q, Q, xp)
        near = attempt > 0 and norm_fro(G - identity, xp) <= 0.1
        try:
            L = cholesky(G, xp)
        except NotPositiveDefiniteError:
            diagonal = xp.linalg.diagonal(G)
            trace = float(xp.sum(xp.real(diagonal) if is_complex(G, xp) else diagonal))
            shift = 11 * (m * n + n * (n + 1)) * eps(xp, A.dtype) / 2 * trace
            if attempt > 1 or not 0 < shift < trace:
                return None
            try:
                L = cholesky(G + shift * identity, xp)
            except NotPositiveDefiniteError:
                return None
        U = adjoint(L, xp)
        Q = adjoint(solve_unchecked(L, adjoint(Q, xp), True, False, False, xp), xp)
        R = U if R is None else U @ R
        if near:
            return Q, R
    return None


def tsqr(blocks: Iterable[Array]) -> Array:
    """Return the triangular factor of a tall matrix that comes in blocks of rows.

    Parameters
    ----------
    blocks : iterable of array (b, n)
        The rows, cut anyhow; they are never held together.

    Returns
    -------
    array (min(m, n), n)
        Upper trapezoidal ``R`` with a real, non-negative diagonal, ``R^H R = A^H A``: for a
        matrix of full column rank it does not depend on the cuts, up to rounding.

    Raises
    ------
    ValueError
        If there is no block, or two blocks differ in their number of columns.

    Notes
    -----
    Storage: ``n^2`` numbers and one block on top of them. Factors of parts are merged by
    ``tsqr([R1, R2])``.
    """
    R = None
    for index, block in enumerate(blocks):
        xp = array_namespace(block) if R is None else array_namespace(R, block)
        if R is None:
            R = _r_factor(block, xp)
            continue
        if block.shape[1] != R.shape[1]:
            raise ValueError(
                f"every block must have {R.shape[1]} columns as block 0 has, "
                f"got {block.shape[1]} in block {index}."
            )
        R = _r_factor(xp.concat([R, block], axis=0), xp)
    if R is None:
        raise ValueError("blocks must hold at least one block of rows, got none.")
    return R


def _r_factor(A: Array, xp: Namespace) -> Array:
    """Return R alone; LAPACK can leave out the work for Q."""
    if library_name(xp) != "numpy" or math.prod(A.shape) == 0:
        return qr_positive(A, xp)[1]
    geqrf = _lapack_function("geqrf", (A,))
    # Half of the time of numpy.linalg.qr, which copies twice and gives LAPACK less room.
    factored = geqrf(A, lwork=_LAPACK_BLOCK * A.shape[1])[0]
    return _positive_rows(np.triu(factored[: A.shape[1], :]), xp)


def _positive_rows(R: Array, xp: Namespace) -> Array:
    """Turn the rows of a triangular factor so that its diagonal is real and not negative."""
    return np.conj(_phases(np.linalg.diagonal(R), xp))[:, None] * R


def damped_r_factor(R: Array, mu: float, xp: Namespace | None = None) -> Array:
    """Return the triangular factor of ``[R; mu I]``.

    Parameters
    ----------
    R : array (m, n)
        Any matrix. On NumPy an upper triangular one (n, n) takes a third of the time.
    mu : float
        The damping.
    xp : module, optional
        Namespace of `R`.

    Returns
    -------
    array (n, n)
        Upper triangular ``T`` with a real, non-negative diagonal, ``T^H T = R^H R + mu^2 I``.
    """
    xp = array_namespace(R) if xp is None else xp
    n = R.shape[1]
    identity = mu * xp.eye(n, dtype=R.dtype, device=device(R))
    if library_name(xp) != "numpy" or R.shape[0] != n or np.tril(R, -1).any():
        return _r_factor(xp.concat([R, identity], axis=0), xp)
    tpqrt = _lapack_function("tpqrt", (R,))
    factored = tpqrt(n, min(_LAPACK_BLOCK, n), R, identity)[0]
    return _positive_rows(np.triu(factored), xp)


# -------------------------------------------------------------------------- least squares


def lstsq(
    A: Array, B: Array, rcond: float | None = None, xp: Namespace | None = None
) -> LstsqSolution:
    """Return the minimum-norm solution of ``min ||A X - B||_2`` by the SVD of ``A``.

    Parameters
    ----------
    A : array (m, n)
        Any shape and rank.
    B : array (m,) or (m, k)
        Right sides.
    rcond : float, optional
        Singular values up to ``rcond`` times the largest count as zero;
        ``eps * max(m, n)`` by default.
    xp : module, optional
        Namespace of the arrays.

    Returns
    -------
    LstsqSolution
        ``x`` (n,) or (n, k), ``rank`` (a Python int: one synchronisation), and
        ``singular_values`` (min(m, n),) in descending order.

    Raises
    ------
    ValueError
        If `A` is not 2-D or `B` has not as many rows.
    """
    xp = array_namespace(A, B) if xp is None else xp
    if A.ndim != 2 or B.ndim not in (1, 2) or A.shape[0] != B.shape[0]:
        raise ValueError(
            f"A must be 2-D and B have as many rows, got shapes {tuple(A.shape)} "
            f"and {tuple(B.shape)}."
        )
    columns = B if B.ndim == 2 else xp.reshape(B, (-1, 1))
    if math.prod(A.shape) == 0:
        X = xp.zeros((A.shape[1], columns.shape[1]), dtype=xp.result_type(A, B), device=device(A))
        empty = xp.zeros((0,), dtype=real_dtype(xp, A.dtype), device=device(A))
        return LstsqSolution(X if B.ndim == 2 else X[:, 0], 0, empty)
    U, s, Vh = xp.linalg.svd(A, full_matrices=False)
    relative = eps(xp, A.dtype) * max(A.shape) if rcond is None else rcond
    kept = s > relative * s[:1]
    safe = xp.where(kept, s, xp.ones_like(s))
    C = matmul_h(U, columns, xp) / xp.astype(safe, U.dtype, copy=False)[:, None]
    X = matmul_h(Vh, xp.where(kept[:, None], C, xp.zeros_like(C)), xp)
    rank = int(xp.sum(xp.astype(kept, xp.int32)))
    return LstsqSolution(X if B.ndim == 2 else X[:, 0], rank, s)
