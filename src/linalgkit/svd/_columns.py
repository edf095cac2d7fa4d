"""Blocks of columns with the products that a step needs, dense or sparse, weighted or centred.

Columns lie as rows: a block is (b, m). Sparse ones are multiplied and never written out; their
weights and mean are kept apart::

    block = as_columns(rows, xp)
    block.gram(), block.cross(old), block.combined(W)

"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from linalgkit._core.array import (
    Array,
    Namespace,
    adjoint,
    device,
    is_complex,
    is_in_place,
    is_sparse,
    namespace_of,
    to_numpy,
    widest_dtype,
)
from linalgkit._core.scaling import ldexp, max_abs, norm_fro

_PIECE = 1 << 18  # entries of a result that are made at a time
_CHUNK = 1 << 15  # rows of the matrix that are converted to double precision at a time


def conj(X: Array, xp: Namespace) -> Array:
    """Return the conjugate, real arrays as they are."""
    return xp.conj(X) if is_complex(X, xp) else X


def gram(X: Array, Y: Array, xp: Namespace) -> Array:
    """Return ``conj(X) Y^T`` in the device's widest float.

    Parameters
    ----------
    X, Y : array (k, m), (b, m)
        The same array for a Hermitian product, which takes half of the time on NumPy.
    """
    wide = widest_dtype(xp, device(X), X.dtype)
    if X.dtype == wide:
        return conj(X, xp) @ xp.matrix_transpose(Y)
    total = xp.zeros((X.shape[0], Y.shape[0]), dtype=wide, device=device(X))
    for start in range(0, int(X.shape[1]), _CHUNK):
        stop = min(start + _CHUNK, int(X.shape[1]))
        left = xp.astype(X[:, start:stop], wide)
        right = left if Y is X else xp.astype(Y[:, start:stop], wide)
        total = total + conj(left, xp) @ xp.matrix_transpose(right)
    return total


def summed(pairs: list[tuple[Array, Array]], xp: Namespace) -> Array:
    """Return the sum of ``W^T X`` over pairs of `W` (k, l) and `X` (k, m), without more storage."""
    W, X = pairs[0]
    kept, m = int(W.shape[1]), int(X.shape[1])
    if not is_in_place(xp) or kept == 0:
        products = [xp.matrix_transpose(V) @ Y for V, Y in pairs]
        return sum(products[1:], products[0])
    total = xp.empty((kept, m), dtype=X.dtype, device=device(X))
    step = max(1, _PIECE // kept)
    for start in range(0, m, step):
        stop = min(start + step, m)
        piece = xp.matrix_transpose(W) @ X[:, start:stop]
        for V, Y in pairs[1:]:
            piece += xp.matrix_transpose(V) @ Y[:, start:stop]
        total[:, start:stop] = piece
    return total


def overwritten(X: Array, T: Array | None, C: Array, U: Array | None, xp: Namespace) -> Array:
    """Return ``T X - C U``, in the memory of `X` where arrays can be written; None leaves out.

    `X` (b, m) must be the caller's own.
    """
    if not is_in_place(xp):
        product = X if T is None else T @ X
        return product if U is None else product - C @ U
    m, step = int(X.shape[1]), max(1, _PIECE // max(1, int(X.shape[0])))
    for start in range(0, m, step):
        stop = min(start + step, m)
        piece = X[:, start:stop] if T is None else T @ X[:, start:stop]
        if U is not None:
            piece = piece - C @ U[:, start:stop]
        X[: piece.shape[0], start:stop] = piece
    return X if T is None else X[: int(T.shape[0]), :]


class Columns(ABC):
    """Columns of a matrix ``A``, (b, m), as a step sees them."""

    b: int
    m: int
    dtype: Any

    @abstractmethod
    def gram(self) -> Array:
        """Return ``A^H A``, (b, b), in the device's widest float."""

    @abstractmethod
    def cross(self, old: Array) -> Array:
        """Return ``conj(old) A``, (k, b), for `old` (k, m), in the device's widest float."""

    @abstractmethod
    def combined(self, W: Array, *others: tuple[Array, Array]) -> Array:
        """Return ``(A W)^T``, (l, m), for `W` (b, l), plus ``V^T X`` for pairs of `V` and `X`."""

    @abstractmethod
    def without(self, C: Array, U: Array) -> Array:
        """Return ``(A - U^T C)^T``, (b, m), for `C` (k, b) and `U` (k, m), dense.

        Columns that are the caller's own are gone then: they made room for it.
        """

    @abstractmethod
    def dense(self) -> Array:
        """Return the columns as an array (b, m)."""

    @abstractmethod
    def energy(self) -> float:
        """Return ``||A||_F^2``."""

    @abstractmethod
    def size(self) -> float:
        """Return the largest modulus of an entry."""

    @abstractmethod
    def sizes(self) -> list[float]:
        """Return the largest modulus in each column."""

    @abstractmethod
    def in_unit(self, exponent: int) -> Columns:
        """Return the columns times ``2**-exponent``."""

    @abstractmethod
    def weighted(self, weights: list[float]) -> Columns:
        """Return the columns, each times its weight."""

    @abstractmethod
    def centred(
        self, shares: list[float], weights: list[float] | None, xp: Namespace
    ) -> tuple[Array, Columns]:
        """Return the mean (m,) with given shares, and the columns less it, weighted."""


class DenseColumns(Columns):
    """Columns in an array (b, m), which is only read, unless `own` says that nobody else does."""

    def __init__(self, rows: Array, xp: Namespace, *, own: bool = False) -> None:
        self.rows, self.xp, self.own = rows, xp, own
        self.b, self.m = (int(size) for size in rows.shape)
        self.dtype = rows.dtype

    def gram(self) -> Array:
        """Return ``A^H A``."""
        return gram(self.rows, self.rows, self.xp)

    def cross(self, old: Array) -> Array:
        """Return ``conj(old) A``."""
        return gram(old, self.rows, self.xp)

    def combined(self, W: Array, *others: tuple[Array, Array]) -> Array:
        """Return ``(A W)^T`` and more, a piece at a time."""
        return summed([(W, self.rows), *others], self.xp)

    def without(self, C: Array, U: Array) -> Array:
        """Return ``(A - U^T C)^T``."""
        xp = self.xp
        C = xp.matrix_transpose(xp.astype(C, self.dtype))
        rows = self.rows if self.own else xp.asarray(self.rows, copy=True)
        return overwritten(rows, None, C, U, xp)

    def dense(self) -> Array:
        """Return the array."""
        return self.rows

    def energy(self) -> float:
        """Return ``||A||_F^2``."""
        return norm_fro(self.rows, self.xp) ** 2

    def size(self) -> float:
        """Return the largest modulus."""
        return max_abs(self.rows, self.xp)

    def sizes(self) -> list[float]:
        """Return the largest modulus in each column."""
        return [float(v) for v in to_numpy(self.xp.max(self.xp.abs(self.rows), axis=1))]

    def in_unit(self, exponent: int) -> Columns:
        """Return the columns times ``2**-exponent``."""
        return DenseColumns(ldexp(self.rows, -exponent, self.xp), self.xp) if exponent else self

    def weighted(self, weights: list[float]) -> Columns:
        """Return the columns, each times its weight."""
        return DenseColumns(_column(weights, self.rows, self.xp) * self.rows, self.xp)

    def centred(
        self, shares: list[float], weights: list[float] | None, xp: Namespace
    ) -> tuple[Array, Columns]:
        """Return the mean and the columns less it, weighted."""
        wide = widest_dtype(xp, device(self.rows), self.dtype)
        row = xp.asarray([shares], dtype=wide, device=device(self.rows))
        mean = (row @ xp.astype(self.rows, wide, copy=False))[0, :]
        rest = DenseColumns(self.rows - xp.astype(mean, self.dtype)[None, :], xp)
        return mean, rest if weights is None else rest.weighted(weights)


class SparseColumns(Columns):
    """Columns in a CSR matrix (b, m), times weights, less their mean.

    Parameters
    ----------
    rows : CSR matrix (b, m)
        The columns.
    xp : module
        Namespace of the products.
    weights : list of float, optional
        Factors of the columns.
    shares : list of float, optional
        Shares of the columns in the mean that is taken off before.
    """

    def __init__(
        self,
        rows: Any,
        xp: Namespace,
        weights: list[float] | None = None,
        shares: list[float] | None = None,
    ) -> None:
        self.rows, self.xp, self.weights, self.shares = rows, xp, weights, shares
        self.b, self.m = (int(size) for size in rows.shape)
        self.dtype = rows.dtype

    def _outer(self, W: Array) -> Array:
        """Return ``T W`` where the columns are ``A T``: weights, and what the mean takes off."""
        if self.weights is not None:
            W = _column(self.weights, W, self.xp) * W
        if self.shares is not None:
            row = self.xp.sum(W, axis=0, keepdims=True)
            W = W - _column(self.shares, W, self.xp) * row
        return W

    def _inner(self, C: Array) -> Array:
        """Return ``C T`` for `C` (k, b)."""
        xp = self.xp
        if self.shares is not None:
            share = xp.matrix_transpose(_column(self.shares, C, xp))
            C = C - xp.sum(C * share, axis=1, keepdims=True)
        if self.weights is not None:
            C = C * xp.matrix_transpose(_column(self.weights, C, xp))
        return C

    def gram(self) -> Array:
        """Return ``A^H A``."""
        xp = self.xp
        wide = self.rows.astype(widest_dtype(xp, device(self.rows.data), self.dtype))
        G = (wide.conj() @ wide.T).toarray()
        return xp.conj(
            xp.matrix_transpose(self._inner(xp.conj(xp.matrix_transpose(self._inner(G)))))
        )

    def gram_operator(self) -> Callable[[Array], Array]:
        """Return ``A^H A`` as a function of arrays (b, w) in the device's widest float."""
        xp = self.xp
        wide = self.rows.astype(widest_dtype(xp, device(self.rows.data), self.dtype), copy=False)
        across = wide.T.tocsr()  # rows are gathered: faster than scattering columns
        back = wide.conj() if is_complex(wide.data, xp) else wide

        def times(X: Array) -> Array:
            return adjoint(self._inner(adjoint(back @ (across @ self._outer(X)), xp)), xp)

        return times

    def cross(self, old: Array) -> Array:
        """Return ``conj(old) A``."""
        xp = self.xp
        wide = widest_dtype(xp, device(old), self.dtype)
        product = self.rows.astype(wide, copy=False) @ xp.matrix_transpose(
            conj(xp.astype(old, wide, copy=False), xp)
        )
        return self._inner(xp.matrix_transpose(product))

    def combined(self, W: Array, *others: tuple[Array, Array]) -> Array:
        """Return ``(A W)^T`` and more."""
        total = self.xp.matrix_transpose(self.rows.T @ self._outer(W))
        return total + summed(list(others), self.xp) if others else total

    def without(self, C: Array, U: Array) -> Array:
        """Return ``(A - U^T C)^T``."""
        xp = self.xp
        return self.dense() - xp.matrix_transpose(xp.astype(C, self.dtype)) @ U

    def dense(self) -> Array:
        """Return the columns as an array (b, m)."""
        identity = self.xp.eye(self.b, dtype=self.dtype, device=device(self.rows.data))
        return self.combined(identity)

    def energy(self) -> float:
        """Return ``||A||_F^2``."""
        if self.shares is None and self.weights is None:
            return norm_fro(self.rows, self.xp) ** 2
        xp = self.xp
        wide = self.rows.astype(widest_dtype(xp, device(self.rows.data), self.dtype), copy=False)
        squares = xp.asarray((abs(wide) ** 2).sum(axis=1)).reshape(-1)
        if self.shares is not None:
            mean = wide.T @ xp.astype(_column(self.shares, wide.data, xp), wide.dtype)[:, 0]
            inside = wide @ conj(mean, xp)
            inside = xp.real(inside) if is_complex(inside, xp) else inside
            squares = squares - 2.0 * inside + norm_fro(mean, xp) ** 2
        if self.weights is not None:
            squares = _column(self.weights, squares, xp)[:, 0] ** 2 * squares
        return max(0.0, float(xp.sum(squares)))

    def size(self) -> float:
        """Return the largest modulus."""
        return max_abs(self.rows, self.xp)

    def sizes(self) -> list[float]:
        """Return the largest modulus in each column."""
        largest = abs(self.rows).max(axis=1)
        return [float(v) for v in to_numpy(largest.toarray()).reshape(-1)]

    def in_unit(self, exponent: int) -> Columns:
        """Return the columns times ``2**-exponent``."""
        rows = ldexp(self.rows, -exponent, self.xp) if exponent else self.rows
        return SparseColumns(rows, self.xp, self.weights, self.shares)

    def weighted(self, weights: list[float]) -> Columns:
        """Return the columns, each times its weight."""
        if self.shares is not None or self.weights is not None:
            raise AssertionError("columns are weighted before anything else")
        rows = self.rows.multiply(_column(weights, self.rows.data, self.xp)).tocsr()
        return SparseColumns(rows.astype(self.dtype, copy=False), self.xp)

    def centred(
        self, shares: list[float], weights: list[float] | None, xp: Namespace
    ) -> tuple[Array, Columns]:
        """Return the mean and the columns less it, weighted."""
        wide = widest_dtype(xp, device(self.rows.data), self.dtype)
        column = xp.asarray(shares, dtype=wide, device=device(self.rows.data))
        mean = self.rows.astype(wide).T @ column
        return mean, SparseColumns(self.rows, xp, weights, shares)


def _column(values: list[float], like: Array, xp: Namespace) -> Array:
    return xp.asarray(values, dtype=like.dtype, device=device(like))[:, None]


def as_columns(rows: Any, *, own: bool = False) -> Columns:
    """Return a block (b, m), dense or CSR, as columns."""
    xp, _ = namespace_of(rows.data if is_sparse(rows) else rows)
    return SparseColumns(rows, xp) if is_sparse(rows) else DenseColumns(rows, xp, own=own)
