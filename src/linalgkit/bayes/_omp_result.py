"""The answer of Kronecker orthogonal matching pursuit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from linalgkit._core.array import Array, array_namespace, device
from linalgkit._core.modes import mode_products
from linalgkit.bayes._modes import kronecker_factors
from linalgkit.bayes._operator import DENSE_BYTES, check_memory


@dataclass(frozen=True, eq=False)
class KronOMPResult:
    """Sparse solution of equations with a Kronecker product.

    Attributes
    ----------
    support : list of array (K_i,)
        Indices of the columns chosen of each factor, ascending. The support is their product.
    coef : array (K_1, ..., K_I) or (K_1, ..., K_I, L)
        Coefficients on the support, for the columns as they were given.
    residual_norm : float
        Frobenius norm of what the fit leaves of the data, computed from the residual itself.
    n_iter : int
        Steps that enlarged the support.
    status : str
        ``"converged"``: the residual is at most `noise_norm`, or at the level of rounding;
        ``"full_support"``: every mode has `n_nonzero` indices; ``"stalled"``: no index that is
        left enlarges the support and fits the residual.
    widths : tuple of int
        Columns of the factors.
    flat : bool
        Whether the data came flat, and :meth:`to_dense` and :meth:`predict` answer so.
    """

    support: list[Array] = field(repr=False)
    coef: Array = field(repr=False)
    residual_norm: float
    n_iter: int
    status: str
    widths: tuple[int, ...]
    flat: bool = field(repr=False, default=False)

    @property
    def _trailing(self) -> tuple[int, ...]:
        return tuple(map(int, self.coef.shape[len(self.widths) :]))

    def to_dense(self, limit: int = DENSE_BYTES) -> Array:
        """Return the solution with its zeros.

        Parameters
        ----------
        limit : int, default 2**30
            Bytes that it may take.

        Returns
        -------
        array (N_1, ..., N_I[, L]) or (N_1 ... N_I[, L])
            In the layout of the data.

        Raises
        ------
        MemoryError
            If it would take more.

        Notes
        -----
        Storage: the result, and what precedes it when one mode after another is filled.
        """
        xp = array_namespace(self.coef)
        shape = (*self.widths, *self._trailing)
        check_memory("the solution", shape, self.coef.dtype, limit, xp, "Use support and coef")
        matrices = [
            _one_hot(n, s, self.coef, xp) for n, s in zip(self.widths, self.support, strict=True)
        ]
        return self._laid_out(self._expanded(matrices, xp), xp)

    def predict(self, factors: Sequence[Array]) -> Array:
        """Return the data that the solution stands for.

        Parameters
        ----------
        factors : list or tuple of array (P_i, N_i)
            Those that were solved with, or others with as many columns.

        Returns
        -------
        array (P_1, ..., P_I[, L]) or (P_1 ... P_I[, L])
            The fit, in the layout of the data.

        Raises
        ------
        TypeError, ValueError
            As in :func:`kron_omp`, and for other numbers of columns.

        Notes
        -----
        Storage: the result and an intermediate tensor.
        """
        checked = kronecker_factors(factors, like=self.coef, widths=self.widths)
        xp = checked.xp
        matrices = [
            xp.take(H, s, axis=1) for H, s in zip(checked.arrays, self.support, strict=True)
        ]
        return self._laid_out(self._expanded(matrices, xp), xp)

    def _expanded(self, matrices: Sequence[Array], xp: Any) -> Array:
        """Return the core times a matrix along each mode; zeros for an empty core."""
        dtype = matrices[0].dtype
        if math.prod(self.coef.shape) == 0:
            shape = (*(int(A.shape[0]) for A in matrices), *self._trailing)
            return xp.zeros(shape, dtype=dtype, device=device(self.coef))
        return mode_products(xp.astype(self.coef, dtype, copy=False), matrices, xp)

    def _laid_out(self, T: Array, xp: Any) -> Array:
        return xp.reshape(T, (-1, *self._trailing)) if self.flat else T


def _one_hot(n: int, support: Array, like: Array, xp: Any) -> Array:
    """Return the columns of the identity of order `n` with these indices."""
    rows = xp.arange(n, dtype=support.dtype, device=device(like))
    return xp.astype(rows[:, None] == support[None, :], like.dtype)
