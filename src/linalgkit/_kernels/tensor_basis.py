"""Bases of products: tables of functions of one variable, and products of their columns.

A function of a product basis is ``psi_{a_1}(x_1) ... psi_{a_d}(x_d)``. Every family begins with
the constant one, so that a row of the basis needs only the factors of positive degree::

    table = recurrence_table(xp, t, coefficients)     # (n, g p): degrees 1 to p of g variables
    rows = tensor_basis(xp, table_with_ones, columns) # (n, m): products of s columns each

Orthonormal polynomials follow ``psi_{j+1} = (A_j t + B_j) psi_j - C_j psi_{j-1}``; the
coefficients are the rows `A`, `B`, `C` of one host array (3, p).
"""

from __future__ import annotations

import numpy as np

from linalgkit._core.array import Array, Namespace
from linalgkit._kernels._kernel import Kernel


def _recurrence_table(xp: Namespace, t: Array, coefficients: Array) -> Array:
    """Return the orthonormal polynomials of degree 1 to p of every entry of `t`.

    Parameters
    ----------
    t : array, shape (n, g)
        Real floating; the variables in the unit of the recurrence.
    coefficients : host array of float64, shape (3, p)
        Rows `A`, `B`, `C` of the recurrence, ``p >= 1``.

    Returns
    -------
    array, shape (n, g p)
        Degree `j` of variable `c` in column ``c p + j - 1``, in the dtype of `t`.
    """
    before, last = xp.zeros_like(t), xp.ones_like(t)
    found = []
    with np.errstate(over="ignore", invalid="ignore"):
        for A, B, C in zip(*coefficients.tolist(), strict=True):
            before, last = last, (A * t + B) * last - C * before
            found.append(last)
    return xp.reshape(xp.stack(found, axis=2), (t.shape[0], t.shape[1] * len(found)))


def _recurrence_values(xp: Namespace, t: Array, degrees: Array, coefficients: Array) -> Array:
    """Return for every number the polynomial of its own degree (on the host).

    Parameters
    ----------
    t : array of float64, shape (n,)
    degrees : array of int64, shape (n,)
        At most p.
    coefficients : host array of float64, shape (3, p)

    Returns
    -------
    array, shape (n,)
    """
    before, last = xp.zeros_like(t), xp.ones_like(t)
    found = xp.ones_like(t)
    with np.errstate(over="ignore", invalid="ignore"):
        for j, (A, B, C) in enumerate(zip(*coefficients.tolist(), strict=True)):
            before, last = last, (A * t + B) * last - C * before
            found = xp.where(degrees == j + 1, last, found)
    return found


def _tensor_basis(xp: Namespace, table: Array, columns: Array) -> Array:
    """Return products of columns of a table.

    Parameters
    ----------
    table : array, shape (n, K)
        Real or complex floating.
    columns : array of int32, shape (s, m)
        ``s >= 1`` columns of the table for each product.

    Returns
    -------
    array, shape (n, m)
        ``prod_r table[:, columns[r, q]]``, multiplied in the order of `r`.
    """
    result = xp.take(table, columns[0, :], axis=1)
    with np.errstate(over="ignore", invalid="ignore"):
        for r in range(1, int(columns.shape[0])):
            result = result * xp.take(table, columns[r, :], axis=1)
    return result


def _table_fits(form: str, t: Array, coefficients: Array) -> bool:
    return t.ndim == 2 and t.dtype.char in "fd" and bool(t.dtype.isnative)


def _values_fit(form: str, t: Array, degrees: Array, coefficients: Array) -> bool:
    return bool(t.dtype.char == "d" and degrees.dtype == np.int64)


def _products_fit(form: str, table: Array, columns: Array) -> bool:
    return (
        table.ndim == 2
        and table.dtype.char in "fdFD"
        and bool(table.dtype.isnative)
        and columns.shape[1] * table.shape[0] < 2**38
    )


recurrence_table = Kernel(
    "recurrence_table",
    portable=_recurrence_table,
    numba="linalgkit._kernels.numba_forms.tensor_basis:recurrence_table",
    cupy="linalgkit._kernels.cupy_forms.tensor_basis:recurrence_table",
    supports=_table_fits,
)

recurrence_values = Kernel(
    "recurrence_values",
    portable=_recurrence_values,
    numba="linalgkit._kernels.numba_forms.tensor_basis:recurrence_values",
    cupy="linalgkit._kernels.cupy_forms.tensor_basis:recurrence_values",
    supports=_values_fit,
)

tensor_basis = Kernel(
    "tensor_basis",
    portable=_tensor_basis,
    numba="linalgkit._kernels.numba_forms.tensor_basis:tensor_basis",
    cupy="linalgkit._kernels.cupy_forms.tensor_basis:tensor_basis",
    supports=_products_fit,
)
