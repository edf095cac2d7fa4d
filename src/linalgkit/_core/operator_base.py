"""The face that every matrix shows to an algorithm: a few products, and rows where it has any.

A new kind of matrix gives two products and inherits the rest::

    class Identity(Operator):
        def matmul(self, Z): return Z
        def rmatmul(self, P): return P
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

from linalgkit._core.array import (
    Array,
    Device,
    DType,
    Namespace,
    is_complex,
    itemsize,
    real_dtype,
    widest_dtype,
)

# Intermediate results of products made piece by piece stay under this.
_PIECE_BYTES = 4 * 2**20


class Operator(ABC):
    """A matrix of shape (n, d), known by its products.

    Subclasses give :meth:`matmul` and :meth:`rmatmul`; everything else has a default that uses
    these two, and a better form where the entries are at hand.

    Parameters
    ----------
    shape : tuple of two int
        Rows and columns.
    dtype : dtype
        A floating dtype of `xp`.
    xp : module
        Namespace of the dense arrays that go in and come out.
    device : device
        Where those arrays lie.
    """

    def __init__(self, shape: tuple[int, int], dtype: DType, xp: Namespace, device: Device) -> None:
        self.shape = shape
        self.dtype = dtype
        self.xp = xp
        self.device = device

    @abstractmethod
    def matmul(self, Z: Array) -> Array:
        """Return ``A Z`` for `Z` of shape (d, q)."""

    @abstractmethod
    def rmatmul(self, P: Array) -> Array:
        """Return ``A^H P`` for `P` of shape (n, q)."""

    def __matmul__(self, Z: Array) -> Array:
        return self.matmul(Z)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(shape={self.shape}, dtype={self.dtype})"

    @property
    def H(self) -> Operator:
        """The conjugate transpose."""
        return AdjointOperator(self)

    def normal_product(self, Z: Array) -> tuple[Array, Array]:
        """Return ``(A Z, A^H A Z)``."""
        P = self.matmul(Z)
        return P, self.rmatmul(P)

    def gram(self) -> Array:
        """Return ``A^H A``, dense (d, d), in the widest dtype of the device."""
        xp, d = self.xp, self.shape[1]
        wide = widest_dtype(xp, self.device, self.dtype)
        pieces = [
            xp.astype(self.normal_product(E)[1], wide, copy=False)
            for E in self._identity_pieces(d, self.shape[0])
        ]
        return xp.concat(pieces, axis=1) if pieces else self._zeros((0, 0), wide)

    def add_gram(self, S: Array) -> Array:
        """Return ``S + A^H A`` for a (d, d) array `S` that the caller gives up.

        `S` may be written to. A sparse operator adds the non-zeros of its Gram matrix and no
        dense (d, d) temporary.
        """
        S += self.xp.astype(self.gram(), S.dtype, copy=False)
        return S

    def row_norms_squared(self) -> Array:
        """Return the squared 2-norm of each row, (n,), real, in the widest dtype of the device."""
        xp, n = self.xp, self.shape[0]
        wide = widest_dtype(xp, self.device, self.dtype)
        total = self._zeros((n,), real_dtype(xp, wide))
        for E in self._identity_pieces(self.shape[1], n):
            total = total + squared_row_norms(self.matmul(E), wide, xp)
        return total

    def max_abs(self) -> float:
        """Return the largest modulus of an entry (one synchronisation)."""
        raise TypeError(_no_entries(self, "tell its largest entry"))

    def scaled(self, exponent: int) -> Operator:
        """Return ``2**exponent * A``, exact; `A` itself for 0."""
        raise TypeError(_no_entries(self, "be scaled exactly"))

    def weighted(self, weights: Array) -> Operator:
        """Return ``diag(weights) A`` for a real or complex array of shape (n,)."""
        raise TypeError(_no_entries(self, "weight its rows"))

    def rows(self, start: int, stop: int) -> Operator:
        """Return rows `start` to `stop`, without a copy where the entries are at hand."""
        raise TypeError(_no_entries(self, "be cut into blocks of rows"))

    def select(self, indices: Sequence[int]) -> Operator:
        """Return the rows with these indices, in this order (a copy)."""
        raise TypeError(_no_entries(self, "select rows"))

    def dense_rows(self, indices: Sequence[int]) -> Array:
        """Return the few rows with these indices as a dense array of shape (len(indices), d)."""
        raise TypeError(_no_entries(self, "return rows"))

    def _zeros(self, shape: tuple[int, ...], dtype: DType) -> Array:
        return self.xp.zeros(shape, dtype=dtype, device=self.device)

    def _identity_pieces(self, size: int, height: int) -> Iterator[Array]:
        """Yield the columns of the identity, so few at a time that products stay small."""
        width = max(1, _PIECE_BYTES // (itemsize(self.xp, self.dtype) * max(size, height, 1)))
        for k in range(0, size, width):
            columns = min(width, size - k)
            yield self.xp.eye(size, columns, k=-k, dtype=self.dtype, device=self.device)


class AdjointOperator(Operator):
    """The conjugate transpose of an operator that is known by its products alone."""

    def __init__(self, base: Operator) -> None:
        super().__init__((base.shape[1], base.shape[0]), base.dtype, base.xp, base.device)
        self.base = base

    @property
    def H(self) -> Operator:
        """The operator itself."""
        return self.base

    def matmul(self, Z: Array) -> Array:
        """Return ``A^H Z``."""
        return self.base.rmatmul(Z)

    def rmatmul(self, P: Array) -> Array:
        """Return ``A P``."""
        return self.base.matmul(P)


def _no_entries(operator: Operator, wish: str) -> str:
    return (
        f"a {type(operator).__name__} of shape {operator.shape} is known by its products alone "
        f"and cannot {wish}. Pass an array, a sparse matrix or an iterable of blocks instead."
    )


def squared_row_norms(A: Array, dtype: DType, xp: Namespace) -> Array:
    """Return the squared norms of the rows of a dense array, real, accumulated in `dtype`."""
    wide = xp.astype(A, dtype, copy=False)
    squares = xp.vecdot(wide, wide)
    return xp.real(squares) if is_complex(squares, xp) else squares
