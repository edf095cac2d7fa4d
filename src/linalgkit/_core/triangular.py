"""Triangular systems and factorisations that fail alike on every library.

The array-API standard has no triangular solve, and a failed Cholesky factorisation is an
exception in one library and silent NaN in another. Here both are one function each::

    L = cholesky(A.T @ A)                       # or NotPositiveDefiniteError
    Q = solve_triangular(L, A.T, lower=True).T  # orthonormal columns, roughly
    Q, R = cholesky_qr2(A)                      # orthonormal columns, to rounding
"""

from __future__ import annotations

import contextlib
import importlib
import math
from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import numpy as np

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

# Modules that offer SciPy's solve_triangular; each belongs to a library already loaded.
_SCIPY_LIKE = {
    "numpy": "scipy.linalg",
    "cupy": "cupyx.scipy.linalg",
    "jax": "jax.scipy.linalg",
}


class NotPositiveDefiniteError(ValueError):
    """The matrix of a Cholesky factorisation is not positive definite to working precision."""


class SingularMatrixError(ValueError):
    """A triangular system has a zero on its diagonal."""


class LstsqSolution(NamedTuple):
    """Minimum-norm least-squares solution, numerical rank, and singular values."""

    x: Array
    rank: int
    singular_values: Array


# ----------------------------------------------------------------------- triangular systems


def solve_triangular(
    L: Array,
    B: Array,
    *,
    lower: bool,
    unit_diagonal: bool = False,
    adjoint: bool = False,
    xp: Namespace | None = None,
) -> Array:
    """Solve ``L X = B`` or ``L^H X = B`` by substitution, without pivoting.

    Parameters
    ----------
    L : array (n, n)
        Triangular matrix; the other triangle is not looked at.
    B : array (n,) or (n, k)
        Right sides.
    lower : bool
        Whether `L` is lower (else upper) triangular.
    unit_diagonal : bool, default False
        Take the diagonal as ones without reading it.
    adjoint : bool, default False
        Solve with the conjugate transpose of `L`.
    xp : module, optional
        Namespace of the arrays.

    Returns
    -------
    array
        `X`, of the shape of `B`.

    Raises
    ------
    ValueError
        If the shapes do not match.
    SingularMatrixError
        If the diagonal holds a zero (the check is one synchronisation; none with
        `unit_diagonal`).

    Examples
    --------
    >>> import numpy as np
    >>> L = np.asarray([[2.0, 0.0], [1.0, 4.0]])
    >>> solve_triangular(L, np.asarray([2.0, 9.0]), lower=True)
    array([1., 2.])
    """
    xp = array_namespace(L, B) if xp is None else xp
    if L.ndim != 2 or L.shape[0] != L.shape[1]:
        raise ValueError(f"L must be square, got shape {tuple(L.shape)}.")
    if B.ndim not in (1, 2) or B.shape[0] != L.shape[0]:
        raise ValueError(
            f"B must have {L.shape[0]} rows as L of shape {tuple(L.shape)} has, "
            f"got shape {tuple(B.shape)}."
        )
    if not unit_diagonal:
        zero = xp.linalg.diagonal(L) == 0
        if bool(xp.any(zero)):
            where = int(xp.argmax(xp.astype(zero, xp.int32)))
            raise SingularMatrixError(
                f"L must have no zero on its diagonal, got one at position {where}."
            )
    return _solve_unchecked(L, B, lower, unit_diagonal, adjoint, xp)


def _solve_unchecked(
    L: Array, B: Array, lower: bool, unit_diagonal: bool, transposed: bool, xp: Namespace
) -> Array:
    """Solve a system whose shapes and diagonal are known to be right."""
    dtype = xp.result_type(L, B)
    L, B = xp.astype(L, dtype, copy=False), xp.astype(B, dtype, copy=False)
    columns = B if B.ndim == 2 else xp.reshape(B, (-1, 1))
    if math.prod(columns.shape) == 0:
        X = columns
    elif library_name(xp) in _SCIPY_LIKE:
        X = _solve_scipy_like(L, columns, lower, unit_diagonal, transposed, xp)
    else:
        if transposed:
            L, lower = adjoint(L, xp), not lower
        native = getattr(xp.linalg, "solve_triangular", None)
        if native is not None:  # torch
            X = native(L, columns, upper=not lower, unitriangular=unit_diagonal)
        else:
            X = _solve_portable(L, columns, lower, unit_diagonal, xp)
    return X if B.ndim == 2 else X[:, 0]


def _solve_scipy_like(
    L: Array, B: Array, lower: bool, unit_diagonal: bool, transposed: bool, xp: Namespace
) -> Array:
    """Call the solver of SciPy, or its namesake in the library's own companion package."""
    solver: Any = importlib.import_module(_SCIPY_LIKE[library_name(xp)]).solve_triangular
    trans = "C" if transposed else "N"
    return solver(L, B, trans=trans, lower=lower, unit_diagonal=unit_diagonal, check_finite=False)


def _solve_portable(L: Array, B: Array, lower: bool, unit_diagonal: bool, xp: Namespace) -> Array:
    """Solve with nothing but the standard.

    A general solver with partial pivoting finds only zeros under the pivots of an upper
    triangular matrix, so that it neither exchanges nor eliminates: what remains is exactly
    back substitution. A lower triangular system becomes upper by reversing both orders.
    """
    if lower:
        reversed_solution = _solve_portable(
            xp.flip(L, axis=None), xp.flip(B, axis=0), False, unit_diagonal, xp
        )
        return xp.flip(reversed_solution, axis=0)
    if unit_diagonal:
        identity = xp.eye(L.shape[0], dtype=L.dtype, device=device(L))
        return xp.linalg.solve(xp.triu(L, k=1) + identity, B)
    return xp.linalg.solve(xp.triu(L), B)


# ------------------------------------------------------------------------------- Cholesky


def cholesky(G: Array, xp: Namespace | None = None) -> Array:
    """Return the lower triangular ``L`` with ``G = L L^H``.

    Parameters
    ----------
    G : array (n, n)
        Hermitian positive definite.
    xp : module, optional
        Namespace of `G`.

    Returns
    -------
    array (n, n)
        The factor, its diagonal real and positive.

    Raises
    ------
    NotPositiveDefiniteError
        On every library alike, if `G` is not positive definite to working precision or not
        finite. One synchronisation.
    """
    xp = array_namespace(G) if xp is None else xp
    if G.ndim != 2 or G.shape[0] != G.shape[1]:
        raise ValueError(f"G must be square, got shape {tuple(G.shape)}.")
    try:
        with _errors_raised(xp):
            L = xp.linalg.cholesky(G)
    except (ValueError, RuntimeError):  # NumPy's and CuPy's LinAlgError, torch's
        L = None
    if L is None or not bool(xp.all(xp.isfinite(xp.linalg.diagonal(L)))):
        raise NotPositiveDefiniteError(
            f"G of shape {tuple(G.shape)} must be positive definite and finite, but a pivot is "
            "not positive. Use safe_cholesky, or an eigen-decomposition."
        )
    return L


def _errors_raised(xp: Namespace) -> AbstractContextManager[Any]:
    """Let CuPy report failed factorisations, which it ignores by default."""
    if library_name(xp) == "cupy":
        context: AbstractContextManager[Any] = importlib.import_module("cupyx").errstate(
            linalg="raise"
        )
        return context
    return contextlib.nullcontext()


def safe_cholesky(G: Array, xp: Namespace | None = None) -> tuple[Array, float]:
    """Return ``L`` and the smallest tried shift ``s`` with ``G + s I = L L^H``.

    Parameters
    ----------
    G : array (n, n)
        Hermitian, positive semi-definite up to rounding.
    xp : module, optional
        Namespace of `G`.

    Returns
    -------
    L : array (n, n)
        Lower triangular factor.
    shift : float
        0.0 where `G` is positive definite, else ``n eps max(diag G)`` times a power of 16.

    Raises
    ------
    NotPositiveDefiniteError
        If `G` has no positive diagonal entry, or a shift of half the digits does not help: it
        is then indefinite, not merely singular.
    """
    xp = array_namespace(G) if xp is None else xp
    with contextlib.suppress(NotPositiveDefiniteError):
        return cholesky(G, xp), 0.0
    roundoff = eps(xp, G.dtype)
    diagonal = xp.linalg.diagonal(G)
    largest = float(xp.max(xp.real(diagonal) if is_complex(G, xp) else diagonal))
    identity = xp.eye(G.shape[0], dtype=G.dtype, device=device(G))
    shift = G.shape[0] * roundoff * largest
    while 0 < shift <= math.sqrt(roundoff) * largest * G.shape[0]:
        with contextlib.suppress(NotPositiveDefiniteError):
            return cholesky(G + shift * identity, xp), shift
        shift *= 16
    raise NotPositiveDefiniteError(
        f"G of shape {tuple(G.shape)} must be positive semi-definite up to rounding, but no "
        "small shift makes it positive definite. Use an eigen-decomposition."
    )


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


def _phases(d: Array, xp: Namespace) -> Array:
    """Return ``d / |d|``, and 1 where ``d`` is 0."""
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
        Q = adjoint(_solve_unchecked(L, adjoint(Q, xp), True, False, False, xp), xp)
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
    """Return R alone; NumPy can leave out the work for Q."""
    if library_name(xp) != "numpy":
        return qr_positive(A, xp)[1]
    R = np.linalg.qr(A, mode="r")
    return np.conj(_phases(np.linalg.diagonal(R), xp))[:, None] * R


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
