"""Sparse rows that are never made dense: scipy.sparse and cupyx.scipy.sparse as operators.

Everything is compressed sparse rows (CSR) inside::

    A = as_csr(matrix)                  # any format, duplicates summed, the input untouched
    block = csr_rows(A, 100, 200)
    stacked = csr_concat([block, block])
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from linalgkit._core.array import (
    Array,
    Device,
    DType,
    Namespace,
    asarray,
    is_complex,
    is_complex_dtype,
    library_name,
    namespace_of,
    real_dtype,
    type_root,
    widest_dtype,
    working_dtype,
)
from linalgkit._core.operator_base import Operator
from linalgkit._core.scaling import ldexp, max_abs

SparseMatrix = Any


def sparse_module(A: SparseMatrix) -> Any:
    """Return ``scipy.sparse`` or ``cupyx.scipy.sparse``, whichever made `A`."""
    root = "cupyx.scipy.sparse" if type_root(A) == "cupyx" else "scipy.sparse"
    return importlib.import_module(root)


def csr_type(library: str) -> Any:
    """Return the CSR class whose products are arrays of `library` (numpy or cupy)."""
    if library == "cupy":
        return importlib.import_module("cupyx.scipy.sparse").csr_matrix
    return importlib.import_module("scipy.sparse").csr_array


def as_csr(A: SparseMatrix, dtype: DType | None = None) -> SparseMatrix:
    """Return `A` in CSR format with sorted indices, no duplicates and a floating dtype.

    Parameters
    ----------
    A : scipy.sparse or cupyx.scipy.sparse container
        Of any format; a 1-D one is a single row. It is not changed.
    dtype : dtype, optional
        The dtype of the result; by default the one in which `A` is worked on.

    Returns
    -------
    csr_array (scipy) or csr_matrix (cupyx)
        Shares memory with `A` where `A` is such a matrix already.
    """
    if A.ndim == 1:
        A = A.reshape((1, -1))
    csr = A.tocsr()
    if type_root(A) == "scipy":
        csr = sparse_module(A).csr_array(csr)
    if not csr.has_canonical_format:
        csr = csr.copy()
        csr.sum_duplicates()
    if dtype is None:
        xp, dev = namespace_of(csr.data)
        dtype = working_dtype(xp, dev, csr.dtype)
    return csr.astype(dtype, copy=False)


def csr_rows(A: SparseMatrix, start: int, stop: int) -> SparseMatrix:
    """Return rows `start` to `stop` of a CSR matrix, as sparse and of the same class.

    Values and column indices are shared; SciPy copies those of slices shorter than half of the
    matrix, so that a small slice does not keep a large array alive.
    """
    low, high = int(A.indptr[start]), int(A.indptr[stop])
    parts = A.data[low:high], A.indices[low:high], A.indptr[start : stop + 1] - low
    return type(A)(parts, shape=(stop - start, A.shape[1]))


def csr_concat(blocks: Sequence[SparseMatrix]) -> SparseMatrix:
    """Return CSR blocks one below the other (a copy)."""
    first = blocks[0]
    if len(blocks) == 1:
        return first.copy()
    return sparse_module(first).vstack(list(blocks), format="csr", dtype=first.dtype)


def csr_of_state(
    state: Mapping[str, Any], n_columns: int, *, xp: Namespace, device: Device | None = None
) -> SparseMatrix:
    """Return the CSR matrix whose parts lie in a saved state.

    Compiled products read wherever the indices point to, so that these are checked before.

    Parameters
    ----------
    state : mapping
        Host arrays ``"data"``, ``"indices"`` and ``"indptr"``.
    n_columns : int
        The number of columns.
    xp : module
        Namespace of the products of the matrix (numpy or cupy).
    device : device, optional
        Where it shall lie.

    Returns
    -------
    csr_array (scipy) or csr_matrix (cupyx)
        The matrix.

    Raises
    ------
    ValueError
        If the three parts are not those of a matrix of this width.
    """
    parts = tuple(np.asarray(state[name]) for name in ("data", "indices", "indptr"))
    if not _is_csr(parts, n_columns):
        raise ValueError(
            "the sparse rows of the state are damaged: data, indices and indptr must be those of a "
            f"CSR matrix of {n_columns} columns."
        )
    placed = tuple(asarray(part, xp=xp, device=device) for part in parts)
    shape = parts[2].shape[0] - 1, n_columns
    return csr_type(library_name(xp))(placed, shape=shape)


def _is_csr(parts: tuple[np.ndarray[Any, Any], ...], n_columns: int) -> bool:
    """Tell whether three host arrays are the parts of a CSR matrix of a number of columns."""
    data, indices, indptr = parts
    if any(x.ndim != 1 for x in parts) or indptr.size == 0:
        return False
    if data.dtype.kind not in "biufc" or any(x.dtype.kind not in "iu" for x in (indices, indptr)):
        return False
    if not int(indptr[0]) == 0 <= int(indptr[-1]) == indices.size == data.size:
        return False
    inside = indices.size == 0 or (int(indices.min()) >= 0 and int(indices.max()) < n_columns)
    return inside and bool((indptr[1:] >= indptr[:-1]).all())


class SparseOperator(Operator):
    """A sparse matrix in CSR format.

    Parameters
    ----------
    A : scipy.sparse or cupyx.scipy.sparse container
        Of any format; never made dense and never written to.
    dtype : dtype, optional
        The dtype to work in.
    """

    def __init__(self, A: SparseMatrix, dtype: DType | None = None) -> None:
        self._hold(as_csr(A, dtype))

    def _hold(self, csr: SparseMatrix) -> None:
        xp, dev = namespace_of(csr.data)
        super().__init__(tuple(csr.shape), csr.dtype, xp, dev)
        self.A = csr

    def _like(self, csr: SparseMatrix) -> SparseOperator:
        """Return the operator of rows of this one, which hold no duplicates either."""
        operator = SparseOperator.__new__(SparseOperator)
        operator._hold(csr)
        return operator

    @property
    def H(self) -> Operator:
        """The conjugate transpose (a sparse copy)."""
        return SparseOperator(self.A.conj().T)

    def matmul(self, Z: Array) -> Array:
        """Return ``A Z``, dense."""
        return self.A @ Z

    def rmatmul(self, P: Array) -> Array:
        """Return ``A^H P``, dense, without a conjugated copy of `A`."""
        if is_complex_dtype(self.xp, self.dtype):
            conjugated = self.xp.conj(P) if is_complex(P, self.xp) else P
            return self.xp.conj(self.A.T @ conjugated)
        return self.A.T @ P

    def gram(self) -> Array:
        """Return ``A^H A``, dense (d, d), in the widest dtype of the device."""
        d = self.shape[1]
        return self.add_gram(self._zeros((d, d), widest_dtype(self.xp, self.device, self.dtype)))

    def add_gram(self, S: Array) -> Array:
        """Add the non-zeros of ``A^H A`` to `S` in place and return it."""
        A = self.A.astype(S.dtype, copy=False)
        product = (A.conj().T @ A).tocsr()
        product.sum_duplicates()
        entries = product.tocoo()
        S[entries.row, entries.col] += entries.data
        return S

    def row_norms_squared(self) -> Array:
        """Return the squared 2-norm of each row, (n,), real, in the widest dtype of the device."""
        xp = self.xp
        wide = real_dtype(xp, widest_dtype(xp, self.device, self.dtype))
        squares = xp.abs(self.A.data).astype(wide) ** 2
        energy = type(self.A)((squares, self.A.indices, self.A.indptr), shape=self.shape)
        return energy @ xp.ones((self.shape[1],), dtype=wide, device=self.device)

    def max_abs(self) -> float:
        """Return the largest modulus of an entry (one synchronisation)."""
        return max_abs(self.A, self.xp)

    def scaled(self, exponent: int) -> SparseOperator:
        """Return ``2**exponent * A``, exact; `A` itself for 0."""
        return self if exponent == 0 else self._like(ldexp(self.A, exponent))

    def weighted(self, weights: Array) -> SparseOperator:
        """Return ``diag(weights) A``, of the same sparsity."""
        diagonal = sparse_module(self.A).diags(weights, format="csr")
        return SparseOperator(diagonal @ self.A, self.dtype)

    def rows(self, start: int, stop: int) -> SparseOperator:
        """Return rows `start` to `stop`; see :func:`csr_rows`."""
        return self._like(csr_rows(self.A, start, stop))

    def filled_columns(self, weights: Array) -> Array:
        """Return which columns store more than half of their rows, (d,) of bool.

        Parameters
        ----------
        weights : array (n,)
            What each row counts; the half is meant of their sum.
        """
        xp = self.xp
        each = xp.repeat(weights, self.A.indptr[1:] - self.A.indptr[:-1])
        stored = xp.bincount(self.A.indices, weights=each, minlength=self.shape[1])
        return stored > 0.5 * xp.sum(weights)

    def columns(self, indices: Array) -> SparseOperator:
        """Return the columns with these indices, in this order (a copy)."""
        return self._like(self.A[:, indices])

    def select(self, indices: Sequence[int]) -> SparseOperator:
        """Return the rows with these indices, in this order (a copy)."""
        return self._like(self.A[self._index(indices), :])

    def dense_rows(self, indices: Sequence[int]) -> Array:
        """Return the few rows with these indices as a dense array of shape (len(indices), d)."""
        return self.A[self._index(indices), :].toarray()

    def _index(self, indices: Sequence[int]) -> Array:
        return self.xp.asarray(np.asarray(indices, dtype=np.int64), device=self.device)
