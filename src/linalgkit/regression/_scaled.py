"""Operators with scaled rows or columns, exact where the factors are powers of two.

::

    block = scale_rows(block, sqrt_weights)
    block = scale_columns(block, [-3, 0, 200])      # columns times 2**-3, 1, 2**200
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from linalgkit._core.array import (
    Array,
    Device,
    DType,
    Namespace,
    device,
    is_complex_dtype,
    numpy_namespace,
    real_dtype,
    to_numpy,
)
from linalgkit._core.operators import DenseOperator, Operator, SparseOperator
from linalgkit._core.scaling import max_abs, silent

_PROBES = 8


class ScaledOperator(Operator):
    """``diag(rows) A diag(columns)`` for a matrix that is known by its products alone.

    Parameters
    ----------
    base : Operator
        The matrix `A`.
    rows : array (n, 1) or None
        Real factors.
    columns : tuple of array (d, 1)
        Real factors, used one after the other.
    """

    def __init__(self, base: Operator, rows: Array | None, columns: tuple[Array, ...]) -> None:
        super().__init__(base.shape, base.dtype, base.xp, base.device)
        self.base, self.row_factors, self.column_factors = base, rows, columns

    def matmul(self, Z: Array) -> Array:
        """Return ``diag(rows) A diag(columns) Z``."""
        for factor in self.column_factors:
            Z = factor * Z
        P = self.base.matmul(Z)
        return P if self.row_factors is None else self.row_factors * P

    def rmatmul(self, P: Array) -> Array:
        """Return ``diag(columns) A^H diag(rows) P``."""
        P = P if self.row_factors is None else self.row_factors * P
        Z = self.base.rmatmul(P)
        for factor in self.column_factors:
            Z = factor * Z
        return Z


class ConvertedOperator(Operator):
    """The same matrix with another dtype of what goes in and comes out."""

    def __init__(self, base: Operator, dtype: DType) -> None:
        super().__init__(base.shape, dtype, base.xp, base.device)
        self.base = base

    def matmul(self, Z: Array) -> Array:
        """Return ``A Z``."""
        return self._converted(self.base.matmul, Z)

    def rmatmul(self, P: Array) -> Array:
        """Return ``A^H P``."""
        return self._converted(self.base.rmatmul, P)

    def _converted(self, product: Callable[[Array], Array], Z: Array) -> Array:
        """Apply a product in the base's own precision, complex factors in two parts."""
        xp, own = self.xp, self.base.dtype
        if is_complex_dtype(xp, self.dtype) and not is_complex_dtype(xp, own):
            real, imag = (product(xp.astype(part(Z), own)) for part in (xp.real, xp.imag))
            wide = real_dtype(xp, self.dtype)
            return xp.astype(real, wide) + 1j * xp.astype(imag, wide)
        return xp.astype(product(xp.astype(Z, own, copy=False)), self.dtype, copy=False)


def as_block(A: object, dtype: DType, xp: Namespace) -> Operator:
    """Return a raw block (array, CSR matrix or Operator) as an operator of a dtype."""
    if isinstance(A, Operator):
        return A if A.dtype == dtype else ConvertedOperator(A, dtype)
    if hasattr(A, "indptr"):
        return SparseOperator(A, dtype)
    return DenseOperator(xp.astype(A, dtype, copy=False))


def scale_rows(A: Operator, factors: Array) -> Operator:
    """Return ``diag(factors) A`` for real factors (n,)."""
    if isinstance(A, (DenseOperator, SparseOperator)):
        return A.weighted(factors)
    return ScaledOperator(A, _column(factors, A), ())


def scale_columns(A: Operator, exponents: Sequence[int]) -> Operator:
    """Return `A` with column j multiplied by ``2**exponents[j]``."""
    factors = power_factors(exponents, A.xp, A.device, real_dtype(A.xp, A.dtype))
    if isinstance(A, DenseOperator):
        scaled = A.A
        for factor in factors:
            scaled = scaled * factor[None, :]
        return DenseOperator(scaled)
    if isinstance(A, SparseOperator):
        csr = A.A
        data = csr.data
        for factor in factors:
            data = data * factor[csr.indices]
        return SparseOperator(type(csr)((data, csr.indices, csr.indptr), shape=csr.shape))
    return ScaledOperator(A, None, tuple(_column(factor, A) for factor in factors))


def power_factors(
    exponents: Sequence[int], xp: Namespace, device: Device, dtype: DType
) -> tuple[Array, ...]:
    """Return arrays whose product is ``2**exponents``, none of them out of range.

    Multiplied one after the other they round only where the final result does.
    """
    most = max((abs(e) for e in exponents), default=0)
    count = max(1, -(-most // _largest_power(xp, dtype)))
    parts = [[(e * (i + 1)) // count - (e * i) // count for e in exponents] for i in range(count)]
    return tuple(
        xp.asarray([math.ldexp(1.0, e) for e in part], dtype=dtype, device=device) for part in parts
    )


def _largest_power(xp: Namespace, dtype: DType) -> int:
    """Return the largest ``k`` for which ``2**k`` and ``2**-k`` are both normal numbers."""
    return -math.frexp(float(xp.finfo(dtype).smallest_normal))[1]


def times_powers(X: Array, exponents: Sequence[int], xp: Namespace) -> Array:
    """Return `X` (rows, len(exponents)) with column j multiplied by ``2**exponents[j]``."""
    for factor in power_factors(exponents, xp, device(X), real_dtype(xp, X.dtype)):
        X = X * factor[None, :]
    return X


def product_exponents(X: Array, exponents: Sequence[int]) -> list[int | None]:
    """Return the exponent of the largest ``X[i, j] * 2**exponents[i]`` in each column `j`.

    None for a column of zeros. One copy to the host.
    """
    host, values = numpy_namespace(), to_numpy(X)
    values = host.maximum(abs(values.real), abs(values.imag))
    sums = host.frexp(values)[1] + host.asarray(exponents)[:, None]
    columns = zip(values.T > 0, sums.T, strict=True)
    return [int(e[is_there].max()) if is_there.any() else None for is_there, e in columns]


def times_outer_powers(
    X: Array, rows: Sequence[int], columns: Sequence[int], xp: Namespace
) -> Array:
    """Return `X` with entry (i, j) multiplied by ``2**(rows[i] + columns[j])``, rounded once."""
    flat = xp.reshape(X, (1, -1))
    exponents = [a + b for a in rows for b in columns]
    return xp.reshape(times_powers(flat, exponents, xp), X.shape)


def finite_as(values: Array, dtype: DType, name: str, xp: Namespace) -> Array:
    """Return values in a dtype, or raise where they are too large for it (one synchronisation).

    Raises
    ------
    ValueError
        If one of them is not finite.
    """
    with silent():
        found = xp.astype(values, dtype, copy=False)
    if not bool(xp.all(xp.isfinite(found))):
        largest = float(xp.finfo(real_dtype(xp, dtype)).max)
        raise ValueError(
            f"{name} would overflow: it must be below {largest:.1e} in modulus. Multiply A, or "
            "divide b, by a power of two first."
        )
    return found


def column_maxima(A: Operator) -> list[float]:
    """Return the largest modulus in each column; of a matrix-free `A` an estimate from products."""
    xp = A.xp
    if isinstance(A, SparseOperator):
        csr = A.A
        entries = type(csr)((xp.abs(csr.data), csr.indices, csr.indptr), shape=csr.shape)
        return maxima(entries.max(axis=0).toarray().reshape((1, -1)), xp)
    if isinstance(A, DenseOperator):
        return maxima(A.A, xp)
    return [_size_of_products(A)] * A.shape[1]


def maxima(X: Array, xp: Namespace) -> list[float]:
    """Return the largest modulus in each column of a dense array."""
    if X.shape[0] == 0:
        return [0.0] * int(X.shape[1])
    return [float(value) for value in to_numpy(xp.max(xp.abs(X), axis=0))]


def _size_of_products(A: Operator) -> float:
    """Return the largest entry of products with a few vectors of signs, spread over the columns.

    It lies within a factor ``d`` of the largest entry but for cancellation, which a few vectors
    do not all meet.
    """
    xp, d = A.xp, A.shape[1]
    signs = [
        [1.0 if (i * (j + 1)) % (j + 2) == 0 else -1.0 for j in range(_PROBES)] for i in range(d)
    ]
    return max_abs(A.matmul(xp.asarray(signs, dtype=A.dtype, device=A.device)), xp) / math.sqrt(d)


def _column(values: Array, A: Operator) -> Array:
    return A.xp.astype(values, A.dtype, copy=False)[:, None]
