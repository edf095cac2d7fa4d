"""Triangular systems and factorisations that fail alike on every library.

The array-API standard has no triangular solve, and a failed Cholesky factorisation is an
exception in one library and silent NaN in another. Here both are one function each::

    L = cholesky(A.T @ A)                       # or NotPositiveDefiniteError
    Q = solve_triangular(L, A.T, lower=True).T  # orthonormal columns, roughly
"""

from __future__ import annotations

import contextlib
import importlib
import math
from contextlib import AbstractContextManager
from typing import Any

from linalgkit._core.array import (
    Array,
    Namespace,
    adjoint,
    array_namespace,
    device,
    eps,
    is_complex,
    library_name,
)

# Modules that offer SciPy's solve_triangular; each belongs to a library already loaded.
_SCIPY_LIKE = {
    "numpy": "scipy.linalg",
    "cupy": "cupyx.scipy.linalg",
    "jax": "jax.scipy.linalg",
}


class NotPositiveDefiniteError(ValueError):
    """The matrix of a Cholesky factorisation is not positive definite to working precision."""


class SingularMatrixError(ValueError):
    """A matrix, or the sketch of one, has lost a rank that the answer needs."""


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
    return solve_unchecked(L, B, lower, unit_diagonal, adjoint, xp)


def solve_unchecked(
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


def matmul_upper(A: Array, R: Array, xp: Namespace | None = None) -> Array:
    """Return ``A @ R`` for an upper triangular `R`, whose lower triangle must hold zeros.

    Parameters
    ----------
    A : array (m, n)
        Any matrix.
    R : array (n, n)
        Upper triangular, of the dtype of `A`.
    xp : module, optional
        Namespace of the arrays.

    Returns
    -------
    array (m, n)
        A new array. On NumPy the zeros are left out (BLAS's ``trmm``): half of the work.
    """
    xp = array_namespace(A, R) if xp is None else xp
    if library_name(xp) != "numpy" or math.prod(A.shape) == 0:
        return A @ R
    trmm = importlib.import_module("scipy.linalg").get_blas_funcs("trmm", (A, R))
    # Transposed, as BLAS keeps its matrices by columns: (A R)^T = R^T A^T.
    return trmm(1.0, xp.matrix_transpose(R), xp.matrix_transpose(A), lower=1).T


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
