"""Matrices of every kind, checked and in a unit in which squares fit.

::

    A = checked_matrix(A)               # an Operator; entries are finite where there are any
    A, exponent, energy = normalised(A) # 2**exponent times as large as what was given

"""

from __future__ import annotations

import math
from typing import Any

from linalgkit._core.array import (
    Array,
    array_namespace,
    dtype_name,
    eps,
    is_complex_dtype,
    is_sparse,
    matmul_h,
)
from linalgkit._core.estimator import as_array
from linalgkit._core.operators import DenseOperator, Operator, SparseOperator, as_operator
from linalgkit._core.scaling import ldexp, ldexp_float, max_abs, norm_fro, scale_exponent
from linalgkit._core.validation import check_array_2d, check_finite_block, refuse_dask

_PLAIN_EXPONENT = 100  # of data in double precision whose squares need no other unit
_NO_ADJOINT = 1e-3  # relative difference of <A x, A x> and <x, A^H A x> that is no rounding
_PIECE = 1 << 19  # entries of a product with the identity at a time


class CheckedOperator(Operator):
    """A matrix-free operator times a power of two, whose products are looked at.

    Parameters
    ----------
    base : Operator
        The operator.
    exponent : int
        Of the factor.
    """

    def __init__(self, base: Operator, exponent: int = 0) -> None:
        super().__init__(base.shape, base.dtype, base.xp, base.device)
        self.base, self.exponent = base, exponent

    def matmul(self, Z: Array) -> Array:
        """Return ``A Z``."""
        return self._checked(self.base.matmul(Z), (self.shape[0], Z.shape[1]), "A")

    def rmatmul(self, P: Array) -> Array:
        """Return ``A^H P``."""
        return self._checked(self.base.rmatmul(P), (self.shape[1], P.shape[1]), "A^H")

    def _checked(self, product: Array, shape: tuple[int, int], name: str) -> Array:
        """Return a product in the dtype and unit it should have, or raise."""
        xp = self.xp
        array_namespace(product)
        if tuple(product.shape) != shape:
            raise ValueError(
                f"A must have products {name} X of shape {shape}, got {tuple(product.shape)}."
            )
        if is_complex_dtype(xp, product.dtype) and not is_complex_dtype(xp, self.dtype):
            raise TypeError(
                f"A must have real products as its dtype {dtype_name(xp, self.dtype)} tells, got "
                f"{dtype_name(xp, product.dtype)}. Give it a complex dtype."
            )
        try:
            check_finite_block(product)
        except ValueError:
            raise ValueError(
                f"A must not contain NaN or infinity, got a product {name} X that does."
            ) from None
        return ldexp(xp.astype(product, self.dtype, copy=False), self.exponent, xp)


def checked_matrix(A: Any) -> Operator:
    """Return any matrix as an operator, or raise; one read of its entries, where it has any."""
    refuse_dask(
        "A",
        A,
        "Call compute() on it; IncrementalSVD.fit reads one whose rows are samples block by block.",
    )
    if not is_sparse(A) and hasattr(A, "matvec") and not hasattr(A, "matmat"):
        from scipy.sparse.linalg import aslinearoperator

        A = aslinearoperator(A)
    if is_sparse(A) or not (hasattr(A, "matmat") and hasattr(A, "rmatmat")):
        A = as_array(A, "A")
        check_array_2d("A", A, min_rows=1, allow_sparse=True)
        check_finite_block(A, name="A")
        return as_operator(A)
    operator = as_operator(A)
    if min(operator.shape) < 1:
        raise ValueError(
            f"A must have at least one row and one column, got shape {operator.shape}."
        )
    return operator if _has_entries(operator) else CheckedOperator(operator)


def normalised(A: Operator) -> tuple[Operator, int, float]:
    """Return a matrix in a unit in which squares fit, the exponent of the unit, ``||A||_F^2``."""
    if isinstance(A, CheckedOperator):
        return _normalised_products(A)
    assert isinstance(A, (DenseOperator, SparseOperator))
    exponent = scale_exponent(max_abs(A.A, A.xp))
    if abs(exponent) <= _PLAIN_EXPONENT and eps(A.xp, A.dtype) < 1e-10:
        exponent = 0
    A = as_operator(ldexp(A.A, -exponent, A.xp))
    assert isinstance(A, (DenseOperator, SparseOperator))
    return A, exponent, norm_fro(A.A, A.xp) ** 2


def _has_entries(A: Operator) -> bool:
    return isinstance(A, (DenseOperator, SparseOperator))


def _normalised_products(A: CheckedOperator) -> tuple[Operator, int, float]:
    """Return the same by products with the identity, as many as the shorter side has entries."""
    xp, (m, n) = A.xp, A.shape
    norms, step = [], max(1, _PIECE // max(m, n))
    for start in range(0, min(m, n), step):
        width = min(step, min(m, n) - start)
        E = xp.eye(min(m, n), width, k=-start, dtype=A.dtype, device=A.device)
        norms.append(norm_fro(A.matmul(E) if n <= m else A.rmatmul(E), xp))
    exponent = scale_exponent(max(norms))
    energy = math.fsum(ldexp_float(norm, -exponent) ** 2 for norm in norms)
    scaled = CheckedOperator(A.base, -exponent)
    if energy > 0.0:
        _check_adjoint(scaled)
    return scaled, exponent, energy


def _check_adjoint(A: Operator) -> None:
    """Refuse products that do not belong to one matrix, unconjugated transposes above all."""
    xp, n = A.xp, A.shape[1]
    phase = xp.arange(n, dtype=xp.float32, device=A.device)
    x = xp.astype(xp.cos(phase) + 1.5, A.dtype)[:, None]
    y = A.matmul(x)
    z = A.rmatmul(y)
    forth, back = (complex(matmul_h(a, b, xp)[0, 0]) for a, b in ((y, y), (x, z)))
    size = max(abs(forth), norm_fro(x, xp) * norm_fro(z, xp))
    if abs(forth - back) > _NO_ADJOINT * size:
        raise ValueError(
            "A must have products with one matrix and its adjoint, but <A x, A x> and "
            f"<x, A^H A x> differ: {forth.real:.6g} and {back:.6g}. Check rmatvec or rmatmat, and "
            "that it conjugates."
        )
