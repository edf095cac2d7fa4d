"""The Kronecker product of matrices as an operator, by products along the modes of a tensor.

::

A = KroneckerOperator([H1, H2, H3])     # the matrix H1 kron H2 kron H3, never formed
y = A @ x                               # x flat (N,), or a tensor (N1, N2, N3)
g = A.H @ y
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from scipy.sparse.linalg import LinearOperator

from linalgkit._core.array import (
    Array,
    Device,
    DType,
    Namespace,
    adjoint,
    array_namespace,
    asarray,
    detached,
    device,
    itemsize,
    library_name,
    real_dtype,
    widest_dtype,
    working_dtype,
)
from linalgkit._core.capabilities import capability
from linalgkit._core.modes import mode_products
from linalgkit._core.state import PortablePickle
from linalgkit._core.validation import check_finite_block, check_int, message
from linalgkit.bayes._modes import KroneckerFactors, kronecker_factors, power_rows, unit_columns

DENSE_BYTES = 2**30  # that a dense copy may take by default


@capability("bayes.KroneckerOperator", synchronisations={"call": 1, "product": 1})
class KroneckerOperator(PortablePickle):
    """A Kronecker product of matrices, of shape (prod M_i, prod N_i), by its products.

    The matrix ``H_1 kron ... kron H_I`` is never formed.

    Parameters
    ----------
    factors : list or tuple of array (M_i, N_i)
        At least one matrix, real or complex, of one library and device; not copied where their
        dtypes agree.

    Attributes
    ----------
    factors : tuple of array (M_i, N_i)
        The matrices in their joint dtype.
    shape : tuple of two int
        Rows and columns of the product.
    sizes, widths : tuple of int
        Rows M_i and columns N_i of the factors.
    dtype, xp, device
        Of the factors.

    Raises
    ------
    TypeError
        For a single matrix, other kinds and mixed libraries.
    ValueError
        If there is no factor, a factor is empty, or an entry is NaN or infinite.

    See Also
    --------
    kron_sbl, kron_omp : sparse solutions of equations with such a matrix.

    Notes
    -----
    The order is that of ``numpy.kron`` and of a tensor in C order: the last index runs fastest.
    A product takes the modes that shrink the tensor most first; for square factors it costs
    ``2 N (N_1 + ... + N_I)`` operations where the dense matrix takes ``2 N^2``. Operands are
    checked for NaN and infinity, with one synchronisation a product. Answers are of the joint
    dtype of operator and operand.

    The operator has what :func:`scipy.sparse.linalg.aslinearoperator` asks for, and is accepted
    by this library wherever an operator is.

    Storage: the factors, and conjugated copies of complex ones after the first adjoint product;
    in a product, two tensors of the size of the largest intermediate one, at most
    ``prod max(M_i, N_i)`` numbers.

    References
    ----------
    .. [1] C. F. Van Loan, "The ubiquitous Kronecker product", J. Comput. Appl. Math. 123 (2000).

    Examples
    --------
    >>> import numpy as np
    >>> from linalgkit.bayes import KroneckerOperator
    >>> H1, H2 = np.asarray([[1.0, 2.0]]), np.asarray([[1.0, 0.0], [1.0, 1.0]])
    >>> A = KroneckerOperator([H1, H2])
    >>> A.shape, A @ np.asarray([1.0, 2.0, 3.0, 4.0])
    ((2, 4), array([ 7., 17.]))
    >>> A.H @ np.asarray([[1.0, 1.0]])
    array([[2., 1.],
           [4., 2.]])
    """

    __array_ufunc__ = None  # `array @ operator` shall fail, not be tried entry by entry

    def __init__(self, factors: Sequence[Array]) -> None:
        self._set(kronecker_factors(factors))

    def _set(self, checked: KroneckerFactors) -> None:
        self.factors = checked.arrays
        self.xp: Namespace = checked.xp
        self.device: Device = checked.device
        self.dtype: DType = checked.dtype
        self.sizes, self.widths = checked.sizes, checked.widths
        self.shape = math.prod(self.sizes), math.prod(self.widths)

    def __repr__(self) -> str:
        parts = ", ".join(f"{m} x {n}" for m, n in zip(self.sizes, self.widths, strict=True))
        return f"KroneckerOperator({parts}; shape={self.shape}, dtype={self.dtype})"

    def _of(self, arrays: Sequence[Array]) -> KroneckerOperator:
        """Return the operator of these factors, which are known to be right."""
        other = object.__new__(KroneckerOperator)
        other._set(KroneckerFactors(tuple(arrays), self.xp, self.device, arrays[0].dtype))
        return other

    # ------------------------------------------------------------------------- products

    def matvec(self, x: Array) -> Array:
        """Return ``A x``.

        Parameters
        ----------
        x : array (N,), (N, 1) or (N_1, ..., N_I)
            A vector, a column, or a tensor.

        Returns
        -------
        array (M,), (M, 1) or (M_1, ..., M_I)
            The product in the layout of `x`.

        Raises
        ------
        TypeError
            For another library or device.
        ValueError
            If the shape does not fit or an entry is NaN or infinite.
        """
        return self._product(x, "x", columns=False)

    def rmatvec(self, y: Array) -> Array:
        """Return ``A^H y``.

        Parameters
        ----------
        y : array (M,), (M, 1) or (M_1, ..., M_I)
            A vector, a column, or a tensor.

        Returns
        -------
        array (N,), (N, 1) or (N_1, ..., N_I)
            The product in the layout of `y`.

        Raises
        ------
        TypeError, ValueError
            As in :meth:`matvec`.
        """
        return self.H._product(y, "y", columns=False)

    def matmat(self, X: Array) -> Array:
        """Return ``A X``.

        Parameters
        ----------
        X : array (N, L) or (N_1, ..., N_I, L)
            Columns, or tensors with a trailing axis.

        Returns
        -------
        array (M, L) or (M_1, ..., M_I, L)
            The product in the layout of `X`.

        Raises
        ------
        TypeError, ValueError
            As in :meth:`matvec`.
        """
        return self._product(X, "X", columns=True)

    def rmatmat(self, Y: Array) -> Array:
        """Return ``A^H Y``.

        Parameters
        ----------
        Y : array (M, L) or (M_1, ..., M_I, L)
            Columns, or tensors with a trailing axis.

        Returns
        -------
        array (N, L) or (N_1, ..., N_I, L)
            The product in the layout of `Y`.

        Raises
        ------
        TypeError, ValueError
            As in :meth:`matvec`.
        """
        return self.H._product(Y, "Y", columns=True)

    def __matmul__(self, x: Array) -> Array:
        """Return ``A x`` for a vector, a tensor, or columns of either."""
        shape = tuple(getattr(x, "shape", ()))
        has_columns = len(shape) == len(self.widths) + 1 or (
            len(shape) == 2 and shape != self.widths
        )
        return self._product(x, "x", columns=has_columns)

    def _product(self, x: Array, name: str, *, columns: bool) -> Array:
        """Return the product in the layout of `x`."""
        x = detached(x)
        if type(x) is not type(self.factors[0]):
            self._check_kind(x, name)
        if device(x) != self.device:
            raise TypeError(f"{name} must lie on {self.device} as the factors do. Move it first.")
        is_tensor, trailing = self._layout(tuple(x.shape), name, columns)
        check_finite_block(x, name=name, unit="row" if x.ndim < 3 else "slice")
        xp, factors = self.xp, self.factors
        if x.dtype != self.dtype:
            found = working_dtype(xp, self.device, x.dtype)
            dtype = xp.result_type(found, self.dtype)
            x = xp.astype(x, dtype, copy=False)
            factors = tuple(xp.astype(H, dtype, copy=False) for H in factors)
        product = mode_products(xp.reshape(x, (*self.widths, *trailing)), factors, xp)
        return product if is_tensor else xp.reshape(product, (self.shape[0], *trailing))

    def _check_kind(self, x: Any, name: str) -> None:
        """Refuse what is no array of the library of the factors."""
        try:
            array_namespace(x, self.factors[0])
        except TypeError as error:
            raise TypeError(f"{name}: {error}") from None

    def _layout(self, shape: tuple[int, ...], name: str, columns: bool) -> tuple[bool, tuple[int]]:
        """Tell whether an operand is a tensor, and what follows its modes."""
        modes, n = len(self.widths), self.shape[1]
        if shape[:modes] == self.widths and len(shape) == modes + columns:
            return modes > 1, shape[modes:]  # type: ignore[return-value]
        if shape[:1] == (n,) and (len(shape) == 1 + columns or shape == (n, 1)):
            return False, shape[1:]  # type: ignore[return-value]
        after = " with one axis more for columns" if columns else ""
        raise ValueError(
            f"{name} must be of shape ({n},) or {self.widths}{after} for an operator of shape "
            f"{self.shape}, got shape {shape}. {self._way_out(columns)}"
        )

    @staticmethod
    def _way_out(columns: bool) -> str:
        return "matvec takes one vector." if columns else "matmat takes several columns."

    # --------------------------------------------------------------------- other operators

    @cached_property
    def H(self) -> KroneckerOperator:
        """The conjugate transpose: the operator of those of the factors."""
        return self._of([adjoint(H, self.xp) for H in self.factors])

    @property
    def T(self) -> KroneckerOperator:
        """The transpose: the operator of those of the factors."""
        return self._of([self.xp.matrix_transpose(H) for H in self.factors])

    def gram(self) -> KroneckerOperator:
        """Return ``A^H A`` as the operator of the Gram matrices of the factors.

        Returns
        -------
        KroneckerOperator
            Of shape (N, N), in the widest dtype of the device.

        Notes
        -----
        Storage: ``N_1^2 + ... + N_I^2`` numbers.
        """
        xp = self.xp
        wide = widest_dtype(xp, self.device, self.dtype)
        arrays = [xp.astype(H, wide, copy=False) for H in self.factors]
        return self._of([adjoint(H, xp) @ H for H in arrays])

    def column_norms(self) -> list[Array]:
        """Return the 2-norms of the columns of each factor, real arrays of shape (N_i,).

        Returns
        -------
        list of array (N_i,)
            Their outer product holds the norms of the columns of the operator. Exact under powers
            of two; nothing overflows that is no norm itself.
        """
        xp = self.xp
        norms = []
        for H in self.factors:
            unit = unit_columns(H, xp)
            dtype = real_dtype(xp, self.dtype)
            row = asarray(unit.norms, xp=xp, device=self.device, dtype=dtype)
            for powers in power_rows(unit.exponents, H, xp):
                row = row * powers[0, :]
            norms.append(row)
        return norms

    def to_dense(self, limit: int = DENSE_BYTES) -> Array:
        """Return the matrix itself.

        Parameters
        ----------
        limit : int, default 2**30
            Bytes that it may take.

        Returns
        -------
        array (M, N)
            The Kronecker product.

        Raises
        ------
        MemoryError
            If it would take more.

        Notes
        -----
        Storage: the result, and the product of all factors but the last.
        """
        check_memory("the dense matrix", self.shape, self.dtype, limit, self.xp, "Use its products")
        xp, total = self.xp, self.factors[0]
        for H in self.factors[1:]:
            (m, n), (p, q) = total.shape, H.shape
            blocks = xp.reshape(total, (m, 1, n, 1)) * xp.reshape(H, (1, p, 1, q))
            total = xp.reshape(blocks, (m * p, n * q))
        return xp.asarray(total, copy=True) if total is self.factors[0] else total

    def to_linear_operator(self) -> LinearOperator:
        """Return SciPy's operator with these products (NumPy only).

        Returns
        -------
        scipy.sparse.linalg.LinearOperator
            Of the same shape and dtype.

        Raises
        ------
        TypeError
            For factors of another library.
        """
        if library_name(self.xp) != "numpy":
            raise TypeError(
                "SciPy's LinearOperator works with numpy arrays, but the factors are of "
                f"{library_name(self.xp)}. Use matvec and rmatvec themselves, or build the "
                "operator from factors converted to numpy."
            )
        return LinearOperator(
            shape=self.shape,
            matvec=self.matvec,
            rmatvec=self.rmatvec,
            matmat=self.matmat,
            rmatmat=self.rmatmat,
            dtype=self.dtype,
        )


def check_memory(
    what: str, shape: Sequence[int], dtype: DType, limit: int, xp: Namespace, way_out: str
) -> None:
    """Raise a MemoryError where an array would take more than `limit` bytes."""
    limit = check_int("limit", limit, 0)
    needed = math.prod(shape) * itemsize(xp, dtype)
    if needed > limit:
        rule = f"be at least {needed} bytes for {what} of shape {tuple(shape)}"
        raise MemoryError(message("limit", rule, limit, way_out=f"{way_out}, or raise the limit."))
