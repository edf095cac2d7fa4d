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
    DType,
    Namespace,
    adjoint,
    asarray,
    detached,
    is_complex_dtype,
    is_sparse,
    library_name,
    library_of,
    real_dtype,
    widest_dtype,
    working_dtype,
)
from linalgkit._core.array import device as device_of
from linalgkit._core.capabilities import capability
from linalgkit._core.estimator import as_array
from linalgkit._core.linalg import svd_desc
from linalgkit._core.scaling import ldexp, ldexp_float, max_abs, scale_exponent
from linalgkit._core.validation import check_array_2d, check_finite_block, check_int, refuse_dask
from linalgkit.svd._inner import InnerProduct
from linalgkit.svd._steps import host

_LIGHT = 1e-4  # of the largest root of a weight: dividing by less would magnify roundings


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


@capability("svd.weighted_svd", synchronisations={"call": 4})
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
    W : array (m, n), list or dataframe
        The matrix.
    rank : int
        1 to ``min(m, n)``.
    row_weight : array or list (m,), optional
        Weights of the squares in each row (sums of Fisher information, numbers of samples), not
        negative, not all zero, of any range. Rows of weight zero do not count; they get the row of
        `L` that is best for them alone.
    col_weight : array or list (n,), optional
        Weights of the columns, likewise.
    row_metric, col_metric : array, nested list or sparse matrix (m, m), (n, n), optional
        In place of weights: Hermitian positive definite ``G``, ``H`` of the norm
        ``tr((W - L R)^H G (W - L R) H)``. Sparse ones that are not diagonal go with NumPy arrays.

    Returns
    -------
    WeightedSVD
        ``L``, ``R``, ``s``, ``error``, in the widest of the dtypes given.

    Raises
    ------
    TypeError
        For what is no matrix of numbers, arrays of another library, and complex weights.
    ValueError
        If shapes do not fit, `rank` is out of range, weights are negative or all zero, a metric
        is not positive definite, both weights and a metric are given for one side, or numbers
        are not finite.

    Notes
    -----
    Weights that differ from entry to entry have no closed form (the problem is NP-hard).

    Each row of `L` is the best for it whatever its weight, given `R`, and each column of `R` given
    `L`. Where weights are below 1e-8 of the largest they are computed as such; a division by the
    root of the weight would magnify rounding errors. All is computed in the widest float of the
    device, and `error` and the true weighted error are the smallest there is to a rounding error
    of the weighted norm of `W`.

    Storage: four copies of `W` in the widest float, and the metrics' factors, sparse ones of sparse
    metrics.

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
    refuse_dask("W", W)
    W, xp = check_array_2d("W", W if is_sparse(W) else as_array(W, "W"), min_rows=1)
    check_finite_block(W, name="W")
    m, n = (int(size) for size in W.shape)
    row_weight, col_weight = detached(row_weight), detached(col_weight)
    row_metric, col_metric = detached(row_metric), detached(col_metric)
    rank = check_int("rank", rank, 1, min(m, n), why=f"for a matrix of shape ({m}, {n})")
    dtype = _joint_dtype(W, (row_weight, col_weight, row_metric, col_metric), xp)
    wide = widest_dtype(xp, device_of(W), dtype)
    A = xp.astype(W, wide)
    exponent = scale_exponent(max_abs(A, xp))
    A = ldexp(A, -exponent, xp)
    left = _Side("row", row_weight, row_metric, m, A, xp)
    right = _Side("col", col_weight, col_metric, n, A, xp)
    ahead = adjoint(right.applied(adjoint(A, xp)), xp)
    scaled = left.applied(ahead)
    unit = scale_exponent(max_abs(scaled, xp))
    X, s, Yh = svd_desc(ldexp(scaled, -unit, xp), xp)
    tail = math.sqrt(math.fsum(v * v for v in host(s[rank:])))
    s, Y = s[:rank], adjoint(Yh[:rank, :], xp)
    L = left.undone(X[:, :rank] * xp.astype(ldexp(s, unit, xp), wide)[None, :])
    if left.light is not None:
        L = left.filled(L, ahead @ Y)
    R = right.undone(Y)
    if right.light is not None:
        best = _least_squares(left.applied(L), left.applied(A), xp)
        R = right.filled(R, adjoint(best, xp))
    unit += exponent + left.exponent + right.exponent
    return WeightedSVD(
        L=xp.astype(ldexp(L, exponent + right.exponent, xp), dtype, copy=False),
        R=xp.astype(ldexp(adjoint(R, xp), -right.exponent, xp), dtype, copy=False),
        s=xp.astype(ldexp(s, unit, xp), real_dtype(xp, dtype), copy=False),
        error=ldexp_float(tail, unit),
    )


def _least_squares(L: Array, A: Array, xp: Namespace) -> Array:
    """Return the `R` for which ``L R`` is nearest to `A`, whatever the sizes of columns of `L`."""
    sizes = xp.max(xp.abs(L), axis=0)
    sizes = xp.astype(xp.where(sizes > 0, sizes, xp.ones_like(sizes)), L.dtype)
    return (xp.linalg.pinv(L / sizes[None, :]) @ A) / sizes[:, None]


def _joint_dtype(W: Array, others: tuple[Any, ...], xp: Namespace) -> DType:
    """Return the widest dtype of a matrix and of the arrays that go with it."""
    dtype = working_dtype(xp, device_of(W), W.dtype)
    for other in others:
        values = other.data if is_sparse(other) else other
        if hasattr(values, "dtype") and library_of(values) == library_name(xp):
            dtype = xp.result_type(dtype, working_dtype(xp, device_of(W), values.dtype))
    return dtype


class _Side:
    """Weights or a metric of one side; weights are normalised by a power of two."""

    def __init__(
        self, side: str, weight: Any, metric: Any, size: int, A: Array, xp: Namespace
    ) -> None:
        self.xp, self.exponent = xp, 0
        self.root: Array | None = None
        self.light: Array | None = None
        self.inner: InnerProduct | None = None
        if weight is not None and metric is not None:
            raise ValueError(f"{side}_weight must be None where {side}_metric is given, got both.")
        if weight is not None:
            self._take_weight(f"{side}_weight", weight, size, A)
        if metric is not None:
            self.inner = _metric(f"{side}_metric", metric, size, A, xp)

    def _take_weight(self, name: str, weight: Any, size: int, A: Array) -> None:
        xp, real = self.xp, real_dtype(self.xp, A.dtype)
        values = as_array(weight, name)
        if values is not weight:
            if values.dtype.kind not in "biuf":
                raise TypeError(f"{name} must be real, got dtype {values.dtype}.")
            values = asarray(values, xp=xp, device=device_of(A), dtype=real)
        if is_sparse(values) or library_of(values) != library_name(xp):
            raise TypeError(
                f"{name} must be of {library_name(xp)} as W is, got {type(weight).__name__}. "
                "Convert it first."
            )
        if tuple(values.shape) != (size,):
            raise ValueError(f"{name} must have shape ({size},), got {tuple(values.shape)}.")
        if is_complex_dtype(xp, values.dtype):
            raise TypeError(f"{name} must be real, got complex numbers.")
        check_finite_block(values, name=name)
        values = xp.astype(values, real, copy=False)
        if float(xp.min(values)) < 0:
            raise ValueError(f"{name} must not be negative, got {float(xp.min(values))}.")
        if float(xp.max(values)) == 0:
            raise ValueError(f"{name} must not be all zero: nothing would count.")
        root = xp.sqrt(values)
        self.exponent = scale_exponent(max_abs(root, xp))
        root = ldexp(root, -self.exponent, xp)
        self.root = xp.astype(root, A.dtype)
        light = root < _LIGHT
        self.light = light if bool(xp.any(light)) else None

    def applied(self, A: Array) -> Array:
        """Return ``G^(1/2) A``, up to a rotation."""
        if self.root is not None:
            return self.root[:, None] * A
        return A if self.inner is None else self.inner.mapped(A)

    def undone(self, X: Array) -> Array:
        """Return ``G^(-1/2) X``, up to the same rotation; rows of little weight are zero."""
        xp = self.xp
        if self.root is None:
            return X if self.inner is None else self.inner.unmapped(X)
        if self.light is None:
            return X / self.root[:, None]
        safe = xp.where(self.light, xp.ones_like(self.root), self.root)
        return xp.where(self.light[:, None], xp.zeros_like(X), X / safe[:, None])

    def filled(self, X: Array, best: Array) -> Array:
        """Return `X` with other rows where weights are small."""
        assert self.light is not None
        return self.xp.where(self.light[:, None], best, X)


def _metric(name: str, metric: Any, size: int, A: Array, xp: Namespace) -> InnerProduct:
    """Return a metric, factorised."""
    values = metric if is_sparse(metric) else as_array(metric, name)
    if tuple(values.shape) != (size, size):
        raise ValueError(f"{name} must have shape ({size}, {size}), got {tuple(values.shape)}.")
    return InnerProduct(metric, size, xp, device_of(A), A.dtype, name=name)
