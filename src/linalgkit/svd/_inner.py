"""Inner products other than the usual one, by a change of variables.

With ``W = L L^H``, columns ``L^H a`` have the usual products ``a^H W b``; left vectors are brought
back by ``L^-H``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from linalgkit._core.array import Array, Device, DType, Namespace, adjoint, real_dtype
from linalgkit._core.triangular import NotPositiveDefiniteError, cholesky, solve_triangular
from linalgkit._core.validation import check_finite_block
from linalgkit.svd._columns import conj
from linalgkit.svd._result import SVDResult


class InnerProduct:
    """``<x, y> = x^H W y`` for weights (m,) or a matrix (m, m).

    Parameters
    ----------
    W : array (m,) or (m, m)
        Positive weights, or a Hermitian positive definite matrix, of the library of the data.
    m : int
        Rows of the data.
    xp, device, dtype
        Of the data.

    Raises
    ------
    ValueError
        If the shape does not fit, or `W` is not positive definite.
    """

    def __init__(self, W: Any, m: int, xp: Namespace, device: Device, dtype: DType) -> None:
        self.source, self.xp = W, xp
        if tuple(W.shape) not in ((m,), (m, m)):
            raise ValueError(
                f"inner_product must be of shape ({m},) or ({m}, {m}) for a matrix with {m} rows, "
                f"got {tuple(W.shape)}."
            )
        check_finite_block(W, name="inner_product")
        self.is_diagonal = W.ndim == 1
        if self.is_diagonal:
            if not bool(xp.all(W > 0)):
                raise ValueError(
                    f"inner_product must have positive weights, got {float(xp.min(W))}."
                )
            self.root: Array = xp.sqrt(xp.astype(W, real_dtype(xp, dtype)))
            return
        G = xp.astype(W, dtype)
        if not bool(xp.all(xp.abs(G - adjoint(G, xp)) <= 1e-6 * xp.max(xp.abs(G)))):
            raise ValueError("inner_product must be Hermitian, got a matrix that is not.")
        try:
            self.root = cholesky(G, xp)
        except NotPositiveDefiniteError:
            raise ValueError(
                "inner_product must be positive definite, but a pivot of its Cholesky "
                "factorisation is not positive."
            ) from None

    def mapped(self, A: Array) -> Array:
        """Return ``L^H A`` for columns (m, b)."""
        if self.is_diagonal:
            return self.xp.astype(self.root, A.dtype)[:, None] * A
        return adjoint(self.root, self.xp) @ A

    def mapped_rows(self, rows: Any) -> Any:
        """Return the same for columns that lie as rows (b, m), dense or sparse."""
        if self.is_diagonal and hasattr(rows, "multiply"):
            return rows.multiply(self.root[None, :]).tocsr().astype(rows.dtype)
        if self.is_diagonal:
            return rows * self.xp.astype(self.root, rows.dtype)[None, :]
        return rows @ conj(self.root, self.xp)

    def unmapped(self, U: Array) -> Array:
        """Return ``L^-H U``."""
        if self.is_diagonal:
            return U / self.xp.astype(self.root, U.dtype)[:, None]
        return solve_triangular(self.root, U, lower=True, adjoint=True, xp=self.xp)

    def applied(self, U: Array) -> Array:
        """Return ``W U``."""
        if self.is_diagonal:
            return self.xp.astype(self.root * self.root, U.dtype)[:, None] * U
        return self.root @ (adjoint(self.root, self.xp) @ U)

    def restored(self, result: SVDResult) -> SVDResult:
        """Return a decomposition with left vectors in the caller's coordinates."""
        return replace(result, U=self.unmapped(result.U))
