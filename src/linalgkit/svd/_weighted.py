"""Low-rank approximation in a weighted Frobenius norm that has a closed form.

Weights of rows times weights of columns, or a metric on either side, are a change of variables::

    found = weighted_svd(W, 8, row_weight=fisher)
    found.L @ found.R                   # minimises sum_ij fisher_i |W - L R|_ij^2

"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from linalgkit._core.array import (
    Array,
    Namespace,
    adjoint,
    is_complex_dtype,
    real_dtype,
    working_dtype,
)
from linalgkit._core.array import device as device_of
from linalgkit._core.capabilities import capability
from linalgkit._core.linalg import svd_desc
from linalgkit._core.scaling import ldexp, ldexp_float, max_abs, scale_exponent
from linalgkit._core.triangular import NotPositiveDefiniteError, cholesky, solve_triangular
from linalgkit._core.validation import check_array_2d, check_finite_block, check_int
from linalgkit.svd._steps import host


@dataclass(frozen=True, eq=False)
class WeightedSVD:
    """Best approximation ``W ~ L R`` in a weighted norm.

    Attributes
    ----------
    L : array (m, rank)
        Left factor, singular values included.
    R : array (rank, n)
        Right factor, orthonormal rows in the metric of the columns.
    s : array (rank,)
        Singular values of the weighted matrix that were kept, descending.
    error : float
        Weighted Frobenius norm of ``W - L R``, the smallest there is for this rank.
    """

    L: Array = field(repr=False)
    R: Array = field(repr=False)
    s: Array = field(repr=False)
    error: float


@capability("svd.weighted_svd")
def weighted_svd(
    W: Array,
    rank: int,
    *,
    row_weight: Array | None = None,
    col_weight: Array | None = None,
    row_metric: Array | None = None,
    col_metric: Array | None = None,
) -> WeightedSVD:
    """Return the best approximation of rank `rank` in a norm weighted by rows and columns.

    Parameters
    ----------
    W : array (m, n)
        The matrix.
    rank : int
        1 to ``min(m, n)``.
    row_weight : array (m,), optional
        Weights of the squares in each row (sums of Fisher information, numbers of samples), not
        negative, not all zero. Rows of weight zero do not count; they get the row of `L` that is
        best for them alone.
    col_weight : array (n,), optional
        Weights of the columns, likewise.
    row_metric, col_metric : array (m, m), (n, n), optional
        In place of weights: Hermitian positive definite ``G``, ``H`` of the norm
        ``tr((W - L R)^H G (W - L R) H)``.

    Returns
    -------
    WeightedSVD
        ``L``, ``R``, ``s``, ``error``.

    Raises
    ------
    TypeError
        For what is no matrix of numbers, and for complex weights.
    ValueError
        If shapes do not fit, `rank` is out of range, weights are negative or all zero, a metric
        is not positive definite, both weights and a metric are given for one side, or numbers
        are not finite.

    Notes
    -----
    Weights that differ from entry to entry have no closed form (the problem is NP-hard). Storage:
    two copies of `W`, and the metrics' Cholesky factors.

    References
    ----------
    .. [1] Y.-C. Hsu, T. Hua, S. Chang, Q. Lou, Y. Shen, H. Jin, "Language model compression with
       weighted low-rank factorization", ICLR 2022, arXiv:2207.00112.

    Examples
    --------
    >>> import numpy as np
    >>> from linalgkit.svd import weighted_svd
    >>> W = np.diag([3.0, 2.0, 1.0])
    >>> found = weighted_svd(W, 1, row_weight=np.asarray([1.0, 1.0, 100.0]))
    >>> (found.L @ found.R).round(12).tolist()[2], round(found.error, 12)
    ([0.0, 0.0, 1.0], 3.605551275464)
    """
    W, xp = check_array_2d("W", W, min_rows=1)
    check_finite_block(W, name="W")
    m, n = (int(size) for size in W.shape)
    rank = check_int("rank", rank, 1, min(m, n), why=f"for a matrix of shape ({m}, {n})")
    dtype = working_dtype(xp, device_of(W), W.dtype)
    for metric in (row_metric, col_metric):
        if metric is not None:
            dtype = xp.result_type(dtype, working_dtype(xp, device_of(metric), metric.dtype))
    A = xp.astype(W, dtype, copy=False)
    exponent = scale_exponent(max_abs(A, xp))
    A = ldexp(A, -exponent, xp)
    left = _Side("row", row_weight, row_metric, m, A, xp)
    right = _Side("col", col_weight, col_metric, n, A, xp)
    scaled = left.applied(A)
    scaled = adjoint(right.applied(adjoint(scaled, xp)), xp)
    X, s, Yh = svd_desc(scaled, xp)
    tail = host(s[rank:])
    L = left.undone(X[:, :rank] * xp.astype(s[:rank], dtype)[None, :])
    R = adjoint(right.undone(adjoint(Yh[:rank, :], xp)), xp)
    if left.has_free:
        best = adjoint(right.applied(adjoint(A, xp)), xp) @ right.applied(adjoint(R, xp))
        L = left.filled(L, best)
    if right.has_free:
        best = xp.linalg.pinv(left.applied(L)) @ left.applied(A)
        R = adjoint(right.filled(adjoint(R, xp), adjoint(best, xp)), xp)
    unit = exponent + left.exponent + right.exponent
    return WeightedSVD(
        L=ldexp(L, exponent, xp),
        R=R,
        s=ldexp(s[:rank], unit, xp),
        error=ldexp_float(math.sqrt(math.fsum(v * v for v in tail)), unit),
    )


class _Side:
    """Weights or a metric of one side, normalised by a power of two."""

    def __init__(
        self, side: str, weight: Any, metric: Any, size: int, A: Array, xp: Namespace
    ) -> None:
        self.xp, self.exponent = xp, 0
        self.root: Array | None = None
        self.factor: Array | None = None
        self.free: Array | None = None
        if weight is not None and metric is not None:
            raise ValueError(f"{side}_weight must be None where {side}_metric is given, got both.")
        if weight is not None:
            self._take_weight(f"{side}_weight", weight, size, A)
        if metric is not None:
            self._take_metric(f"{side}_metric", metric, size, A)

    def _take_weight(self, name: str, weight: Array, size: int, A: Array) -> None:
        xp = self.xp
        if tuple(weight.shape) != (size,):
            raise ValueError(f"{name} must have shape ({size},), got {tuple(weight.shape)}.")
        if is_complex_dtype(xp, weight.dtype):
            raise TypeError(f"{name} must be real, got complex numbers.")
        check_finite_block(weight, name=name)
        if float(xp.min(weight)) < 0:
            raise ValueError(f"{name} must not be negative, got {float(xp.min(weight))}.")
        if float(xp.max(weight)) == 0:
            raise ValueError(f"{name} must not be all zero: nothing would count.")
        root = xp.sqrt(xp.astype(weight, real_dtype(xp, A.dtype)))
        self.exponent = scale_exponent(max_abs(root, xp))
        self.root = xp.astype(ldexp(root, -self.exponent, xp), A.dtype)
        self.free = weight == 0

    def _take_metric(self, name: str, metric: Array, size: int, A: Array) -> None:
        xp = self.xp
        if tuple(metric.shape) != (size, size):
            raise ValueError(f"{name} must have shape ({size}, {size}), got {tuple(metric.shape)}.")
        check_finite_block(metric, name=name)
        G = xp.astype(metric, A.dtype)
        if not bool(xp.all(xp.abs(G - adjoint(G, xp)) <= 1e-6 * xp.max(xp.abs(G)))):
            raise ValueError(f"{name} must be Hermitian, got a matrix that is not.")
        half = scale_exponent(max_abs(G, xp)) // 2
        try:
            self.factor = cholesky(ldexp(G, -2 * half, xp), xp)
        except NotPositiveDefiniteError:
            raise ValueError(
                f"{name} must be positive definite, but a pivot of its Cholesky factorisation is "
                "not positive."
            ) from None
        self.exponent = half

    def applied(self, A: Array) -> Array:
        """Return ``G^(1/2) A``, up to a rotation."""
        if self.root is not None:
            return self.root[:, None] * A
        return A if self.factor is None else adjoint(self.factor, self.xp) @ A

    def undone(self, X: Array) -> Array:
        """Return ``G^(-1/2) X``, up to the same rotation; rows of weight zero are zero."""
        xp = self.xp
        if self.root is not None:
            assert self.free is not None
            safe = xp.where(self.free, xp.ones_like(self.root), self.root)
            return xp.where(self.free[:, None], xp.zeros_like(X), X / safe[:, None])
        if self.factor is None:
            return X
        return solve_triangular(self.factor, X, lower=True, adjoint=True, xp=xp)

    @property
    def has_free(self) -> bool:
        """Whether some weights are zero."""
        return self.free is not None and bool(self.xp.any(self.free))

    def filled(self, X: Array, best: Array) -> Array:
        """Return `X` with other rows where weights are zero."""
        assert self.free is not None
        return self.xp.where(self.free[:, None], best, X)
