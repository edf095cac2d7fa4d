"""Matrices by their products: dense, sparse and matrix-free ones behind one small face.

A method that asks only for these products works for every kind of input and never learns
which one it has::

    A = as_operator(X)                  # array, scipy/cupyx sparse, LinearOperator, duck type
    P, D = A.normal_product(Z)          # A Z and A^H A Z
    energy = A.row_norms_squared()
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from linalgkit._core.array import (
    Array,
    Device,
    DType,
    Namespace,
    adjoint,
    array_namespace,
    detached,
    device,
    dtype_from_name,
    dtype_name,
    is_complex_dtype,
    is_sparse,
    itemsize,
    library_name,
    matmul_h,
    namespace_of,
    numpy_namespace,
    widest_dtype,
    working_dtype,
)
from linalgkit._core.operator_base import (
    AdjointOperator,
    Operator,
    squared_row_norms,
)
from linalgkit._core.scaling import ldexp, max_abs
from linalgkit._core.sparse import SparseOperator, csr_concat, csr_rows

__all__ = [
    "AdjointOperator",
    "DenseOperator",
    "MatrixFreeOperator",
    "Operator",
    "SparseOperator",
    "as_operator",
    "csr_concat",
    "csr_rows",
]

# Copies in a wider dtype are made in pieces of about this size.
_PIECE_BYTES = 4 * 2**20


class DenseOperator(Operator):
    """A dense array of shape (n, d).

    Parameters
    ----------
    A : array (n, d)
        Of a floating dtype; never written to.
    """

    def __init__(self, A: Array) -> None:
        xp = array_namespace(A)
        super().__init__((A.shape[0], A.shape[1]), A.dtype, xp, device(A))
        self.A = detached(A)

    @property
    def H(self) -> Operator:
        """The conjugate transpose (a view of real, a copy of complex entries)."""
        return DenseOperator(adjoint(self.A, self.xp))

    def matmul(self, Z: Array) -> Array:
        """Return ``A Z``."""
        return self.A @ Z

    def rmatmul(self, P: Array) -> Array:
        """Return ``A^H P``."""
        return matmul_h(self.A, P, self.xp)

    def gram(self) -> Array:
        """Return ``A^H A`` in the widest dtype of the device, of which `A` is copied in pieces."""
        xp, (n, d) = self.xp, self.shape
        wide = widest_dtype(xp, self.device, self.dtype)
        if n == 0 or (self.dtype == wide and not is_complex_dtype(xp, wide)):
            return matmul_h(xp.astype(self.A, wide, copy=False), self.A, xp)
        step = max(d, _PIECE_BYTES // (itemsize(xp, wide) * max(d, 1)), 1)
        total = None
        for start in range(0, n, step):
            piece = xp.astype(self.A[start : min(start + step, n), :], wide, copy=False)
            share = matmul_h(piece, piece, xp)
            total = share if total is None else total + share
        return total

    def row_norms_squared(self) -> Array:
        """Return the squared 2-norm of each row, (n,), real, in the widest dtype of the device."""
        wide = widest_dtype(self.xp, self.device, self.dtype)
        return squared_row_norms(self.A, wide, self.xp)

    def max_abs(self) -> float:
        """Return the largest modulus of an entry (one synchronisation)."""
        return max_abs(self.A, self.xp)

    def scaled(self, exponent: int) -> DenseOperator:
        """Return ``2**exponent * A``, exact; `A` itself for 0."""
        return self if exponent == 0 else DenseOperator(ldexp(self.A, exponent, self.xp))

    def weighted(self, weights: Array) -> DenseOperator:
        """Return ``diag(weights) A``."""
        return DenseOperator(self.xp.astype(weights, self.dtype, copy=False)[:, None] * self.A)

    def rows(self, start: int, stop: int) -> Operator:
        """Return rows `start` to `stop`, sharing memory where the library has views."""
        return DenseOperator(self.A[start:stop, :])

    def select(self, indices: Sequence[int]) -> DenseOperator:
        """Return the rows with these indices, in this order (a copy)."""
        return DenseOperator(self.dense_rows(indices))

    def dense_rows(self, indices: Sequence[int]) -> Array:
        """Return the few rows with these indices as a dense array of shape (len(indices), d)."""
        host = np.asarray(indices, dtype=np.int64)
        return self.xp.take(self.A, self.xp.asarray(host, device=self.device), axis=0)


class MatrixFreeOperator(Operator):
    """A matrix of which only ``matmat`` and ``rmatmat`` are known.

    Parameters
    ----------
    A : object
        With ``shape``, ``matmat(Z)`` and ``rmatmat(P)`` on dense arrays of `xp`.
    xp : module
        Namespace of these arrays.
    device : device
        Where they lie.
    dtype : dtype
        Floating dtype of the entries.

    Notes
    -----
    :meth:`gram` costs d products with `A` and d with its adjoint, :meth:`row_norms_squared` d
    products.
    """

    def __init__(self, A: Any, xp: Namespace, device: Device, dtype: DType) -> None:
        n, d = A.shape
        super().__init__((int(n), int(d)), dtype, xp, device)
        self.A = A

    def matmul(self, Z: Array) -> Array:
        """Return ``A Z``."""
        return self.A.matmat(Z)

    def rmatmul(self, P: Array) -> Array:
        """Return ``A^H P``."""
        try:
            return self.A.rmatmat(P)
        except (NotImplementedError, TypeError) as error:
            if not self._lacks_adjoint(error, P):
                raise
            raise TypeError(
                f"A must have a product with its adjoint, but {type(self.A).__name__} defines "
                "none. Give it rmatvec or rmatmat."
            ) from None

    def _lacks_adjoint(self, error: Exception, P: Array) -> bool:
        """Tell a missing adjoint from a fault inside it; SciPy reports some as a TypeError."""
        if isinstance(error, NotImplementedError):
            return True
        try:
            self.A.rmatvec(P[:, 0])
        except NotImplementedError:
            return True
        except Exception:
            return False
        return False


def as_operator(A: Any, *, like: Array | None = None, dtype: DType | None = None) -> Operator:
    """Return the operator that stands for a matrix of any kind.

    Parameters
    ----------
    A : array, sparse container, LinearOperator, duck type or Operator
        2-D. scipy.sparse and cupyx.scipy.sparse matrices of any format become CSR and are never
        made dense; a duck type has ``shape``, ``matmat`` and ``rmatmat``.
    like : array, optional
        An array of the library and on the device that `A` is going to be used with. A dense `A`
        must be of that library; a duck type is taken to speak it (NumPy by default).
    dtype : dtype, optional
        The dtype to work in; by default that of `A`, integers in the default float.

    Returns
    -------
    Operator
        The operator; `A` itself if it is one. Entries are shared, not copied, where their dtype
        need not change.

    Raises
    ------
    TypeError
        For kinds that stand for no matrix, mixed libraries, SciPy's LinearOperator with a
        library other than NumPy, and complex entries where `dtype` is real.
    ValueError
        If `A` is not 2-D.

    Examples
    --------
    >>> import numpy as np
    >>> A = as_operator(np.asarray([[3.0, 0.0], [0.0, 4.0]]))
    >>> A.row_norms_squared()
    array([ 9., 16.])
    """
    if isinstance(A, Operator):
        return A
    if is_sparse(A):
        return _sparse_operator(A, like, dtype)
    if hasattr(A, "matmat") and hasattr(A, "rmatmat") and hasattr(A, "shape"):
        return _matrix_free_operator(A, like, dtype)
    xp = array_namespace(A) if like is None else array_namespace(A, like)
    if A.ndim != 2:
        raise ValueError(
            f"A must be 2-D (rows, columns), got shape {tuple(A.shape)}. A[None, :] is one row."
        )
    target = working_dtype(xp, device(A), A.dtype) if dtype is None else dtype
    _refuse_complex(A.dtype, target, xp)
    return DenseOperator(xp.astype(A, target, copy=False))


def _refuse_complex(found: DType, target: DType, xp: Namespace) -> None:
    """Raise where a conversion would drop imaginary parts."""
    if is_complex_dtype(xp, found) and not is_complex_dtype(xp, target):
        raise TypeError(
            f"A must be real to be worked on in {dtype_name(xp, target)}, got "
            f"{dtype_name(xp, found)}. Ask for a complex dtype, or pass the real part."
        )


def _sparse_operator(A: Any, like: Array | None, dtype: DType | None) -> Operator:
    if A.ndim != 2:
        raise ValueError(
            f"A must be 2-D (rows, columns), got shape {tuple(A.shape)}. "
            "A.reshape((1, -1)) is one row."
        )
    xp, _ = namespace_of(A)
    if like is not None and library_name(array_namespace(like)) != library_name(xp):
        raise TypeError(
            f"a sparse matrix of {type(A).__module__.partition('.')[0]} works with "
            f"{library_name(xp)} arrays, got {library_name(array_namespace(like))}. "
            "Convert the dense arrays, or the sparse matrix to the other library's."
        )
    if dtype is not None:
        _refuse_complex(A.dtype, dtype, xp)
    return SparseOperator(A, dtype)


def _matrix_free_operator(A: Any, like: Array | None, dtype: DType | None) -> Operator:
    xp, dev = (numpy_namespace(), "cpu") if like is None else namespace_of(like)
    from_scipy = any(c.__module__.startswith("scipy.sparse.linalg") for c in type(A).__mro__)
    if from_scipy and library_name(xp) != "numpy":
        raise TypeError(
            f"a SciPy LinearOperator works with numpy arrays, got {library_name(xp)}. Pass an "
            "object with shape, matmat and rmatmat on arrays of that library instead."
        )
    if len(A.shape) != 2:
        raise ValueError(f"A must be 2-D (rows, columns), got shape {tuple(A.shape)}.")
    if None in A.shape:
        raise ValueError(
            f"A must be of known size to be a matrix, got shape {tuple(A.shape)}. Give a sketch "
            "its number of columns."
        )
    found = getattr(A, "dtype", None)
    if found is None:
        found = xp.result_type(like) if like is not None else xp.float64
    elif isinstance(found, str):
        found = dtype_from_name(xp, found)
    target = working_dtype(xp, dev, found) if dtype is None else dtype
    _refuse_complex(found, target, xp)
    return MatrixFreeOperator(A, xp, dev, target)
