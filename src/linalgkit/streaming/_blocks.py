"""Blocks of rows as the methods see them: dense with kernels, stacked, or shifted and sparse.

A method multiplies a block with thin matrices and nothing else, so it never learns whether
the rows were dense, sparse, weighted or centred.
"""

from __future__ import annotations

from collections.abc import Sequence

from linalgkit._core.array import (
    Array,
    Device,
    DType,
    Namespace,
    adjoint,
    is_complex_dtype,
    itemsize,
    matmul_h,
    real_dtype,
    widest_dtype,
)
from linalgkit._core.operators import DenseOperator, Operator
from linalgkit._core.sparse import SparseOperator
from linalgkit._kernels import normal_product, normal_product_norms, row_norms_squared

# Pieces of a matrix that are made one after the other, so as not to make it whole.
_PIECE_BYTES = 2**20


class RowBlock(DenseOperator):
    """Dense rows whose products run through the kernels.

    Parameters
    ----------
    A : array (b, d)
        The rows; never written to.
    basis : array (d, q), optional
        The columns that the method is going to multiply with: the norms and that product are
        then formed in one reading of the rows.
    where : tuple of namespace and device, optional
        Where the rows are known to lie; found out by default.
    """

    def __init__(
        self,
        A: Array,
        basis: Array | None = None,
        where: tuple[Namespace, Device] | None = None,
    ) -> None:
        if where is None:
            super().__init__(A)
        else:  # spares looking the namespace up, which a stream of blocks would feel
            Operator.__init__(self, (A.shape[0], A.shape[1]), A.dtype, *where)
            self.A = A
        self._basis = basis
        self._norms: Array | None = None
        self._product: tuple[Array, Array] | None = None

    def row_norms_squared(self) -> Array:
        """Return the squared 2-norm of each row."""
        if self._norms is None:
            Z = self._basis
            if Z is not None and Z.dtype == self.A.dtype:
                P, D, self._norms = normal_product_norms(self.xp, self.A, Z)
                self._product = (P, D)
            else:
                self._norms = row_norms_squared(self.xp, self.A)
        return self._norms

    def normal_product(self, Z: Array) -> tuple[Array, Array]:
        """Return ``(A Z, A^H A Z)``."""
        if self._product is not None and Z is self._basis:
            return self._product
        P, D = normal_product(self.xp, self.A, Z)
        return P, D

    def add_gram(self, S: Array) -> Array:
        """Return ``S + A^H A``, written into `S` where that can be; one (d, d) temporary."""
        xp, (n, d) = self.xp, self.shape
        is_whole = self.dtype == S.dtype and not is_complex_dtype(xp, S.dtype)  # needs no copy
        step = max(1, n if is_whole else max(d, _piece_rows(d, S.dtype, xp)))
        for start in range(0, n, step):
            A = self.A if step >= n else self.A[start : min(start + step, n), :]
            A = xp.astype(A, S.dtype, copy=False)
            S += matmul_h(A, A, xp)
        return S


class StackedRows(Operator):
    """Several operators of one width, one below the other, never joined in memory."""

    def __init__(self, parts: Sequence[Operator]) -> None:
        first = parts[0]
        n_rows = sum(part.shape[0] for part in parts)
        super().__init__((n_rows, first.shape[1]), first.dtype, first.xp, first.device)
        self.parts = tuple(parts)

    def select(self, indices: Sequence[int]) -> Operator:
        """Return the rows with these indices, in this order."""
        return RowBlock(self.dense_rows(indices))

    def dense_rows(self, indices: Sequence[int]) -> Array:
        """Return the few rows with these indices as a dense array."""
        return self.xp.concat([self._row(i) for i in indices], axis=0)

    def _row(self, index: int) -> Array:
        for part, (i, j) in zip(self.parts, self._cuts(), strict=True):
            if i <= index < j:
                return part.dense_rows([index - i])
        raise IndexError(index)

    def _cuts(self) -> list[tuple[int, int]]:
        ends, end = [], 0
        for part in self.parts:
            ends.append((end, end + part.shape[0]))
            end += part.shape[0]
        return ends

    def matmul(self, Z: Array) -> Array:
        """Return ``A Z``."""
        return self.xp.concat([part.matmul(Z) for part in self.parts], axis=0)

    def rmatmul(self, P: Array) -> Array:
        """Return ``A^H P``."""
        shares = zip(self.parts, self._cuts(), strict=True)
        return _total([part.rmatmul(P[i:j, :]) for part, (i, j) in shares])

    def gram(self) -> Array:
        """Return ``A^H A``."""
        return self.add_gram(_zeros_squared(self))

    def add_gram(self, S: Array) -> Array:
        """Return ``S + A^H A``, part by part."""
        for part in self.parts:
            S = part.add_gram(S)
        return S

    def row_norms_squared(self) -> Array:
        """Return the squared 2-norm of each row."""
        return self.xp.concat([part.row_norms_squared() for part in self.parts], axis=0)

    def normal_product(self, Z: Array) -> tuple[Array, Array]:
        """Return ``(A Z, A^H A Z)``."""
        products = [part.normal_product(Z) for part in self.parts]
        P = self.xp.concat([p for p, _ in products], axis=0)
        return P, _total([d for _, d in products])

    def rows(self, start: int, stop: int) -> Operator:
        """Return rows `start` to `stop`."""
        chosen = [
            part.rows(max(start - i, 0), min(stop, j) - i)
            for part, (i, j) in zip(self.parts, self._cuts(), strict=True)
            if i < stop and j > start
        ]
        return chosen[0] if len(chosen) == 1 else StackedRows(chosen or [self.parts[0].rows(0, 0)])


class ShiftedRows(Operator):
    """``B - s c`` with a sparse block `B`, a column `s` and a row `c`: centring without fill-in.

    Where less than half of a column is stored, its mean square is at most half of what it adds
    to ``B^H B``, so that subtracting costs no digits; see :func:`shifted_rows` for the others.
    """

    def __init__(self, base: Operator, scale: Array, shift: Array) -> None:
        super().__init__(base.shape, base.dtype, base.xp, base.device)
        self.base = base
        self.s = self.xp.reshape(scale, (-1, 1))
        self.c = self.xp.reshape(shift, (1, -1))

    def matmul(self, Z: Array) -> Array:
        """Return ``A Z``."""
        return self.base.matmul(Z) - self.s * (self.c @ Z)

    def rmatmul(self, P: Array) -> Array:
        """Return ``A^H P``."""
        return self.base.rmatmul(P) - adjoint(self.c, self.xp) @ (adjoint(self.s, self.xp) @ P)

    def gram(self) -> Array:
        """Return ``A^H A``, a dense (d, d) matrix."""
        return self.add_gram(_zeros_squared(self))

    def add_gram(self, S: Array) -> Array:
        """Add ``A^H A`` to `S` in place: that of `B`, and a matrix of rank two piece by piece."""
        xp, d = self.xp, self.shape[1]
        s, c = (xp.astype(x, S.dtype) for x in (self.s, self.c))
        S = self.base.add_gram(S)
        column = adjoint(c, xp)
        w = self.base.rmatmul(s) - column * (xp.sum(s * s) / 2)  # A^H A = B^H B - w c - (w c)^H
        row = adjoint(w, xp)
        step = _piece_rows(d, S.dtype, xp)
        for i in range(0, d, step):
            S[i : i + step, :] -= w[i : i + step, :] @ c + column[i : i + step, :] @ row
        return S

    def row_norms_squared(self) -> Array:
        """Return the squared 2-norm of each row."""
        xp, wide = self.xp, widest_dtype(self.xp, self.device, self.dtype)
        s, c = (xp.astype(x, wide) for x in (self.s, self.c))
        cross = self.base.matmul(adjoint(c, xp)) * s
        own = s * s * (c @ adjoint(c, xp))
        correction = (own - 2 * cross)[:, 0]
        norms = self.base.row_norms_squared() + _real(correction, xp)
        return xp.where(norms > 0, norms, xp.zeros_like(norms))

    def rows(self, start: int, stop: int) -> Operator:
        """Return rows `start` to `stop`."""
        return ShiftedRows(self.base.rows(start, stop), self.s[start:stop, :], self.c)

    def select(self, indices: Sequence[int]) -> Operator:
        """Return the rows with these indices, in this order."""
        return ShiftedRows(self.base.select(indices), self._scales(indices), self.c)

    def dense_rows(self, indices: Sequence[int]) -> Array:
        """Return the few rows with these indices as a dense array."""
        return self.base.dense_rows(indices) - self._scales(indices) @ self.c

    def _scales(self, indices: Sequence[int]) -> Array:
        order = self.xp.asarray(list(indices), dtype=self.xp.int64, device=self.device)
        return self.xp.take(self.s, order, axis=0)


class JoinedColumns(Operator):
    """Dense columns and an operator for the others, side by side and in another order."""

    def __init__(self, full: Array, rest: Operator, order: Array) -> None:
        super().__init__((full.shape[0], order.shape[0]), rest.dtype, rest.xp, rest.device)
        self.full, self.rest, self.order = full, rest, order
        self.places = self.xp.argsort(order)
        self.n_full = int(full.shape[1])

    def matmul(self, Z: Array) -> Array:
        """Return ``A Z``."""
        Z = self.xp.take(Z, self.order, axis=0)
        return self.full @ Z[: self.n_full, :] + self.rest.matmul(Z[self.n_full :, :])

    def rmatmul(self, P: Array) -> Array:
        """Return ``A^H P``."""
        parts = [matmul_h(self.full, P, self.xp), self.rest.rmatmul(P)]
        return self.xp.take(self.xp.concat(parts, axis=0), self.places, axis=0)

    def gram(self) -> Array:
        """Return ``A^H A``, a dense (d, d) matrix."""
        return self.add_gram(_zeros_squared(self))

    def add_gram(self, S: Array) -> Array:
        """Add ``A^H A`` to `S` in place, one of its four corners after the other."""
        xp = self.xp
        full = xp.astype(self.full, S.dtype)
        ours, others = self.order[: self.n_full], self.order[self.n_full :]
        _add_corner(S, ours, ours, matmul_h(full, full, xp), xp)
        corner = self.rest.rmatmul(full)
        _add_corner(S, others, ours, corner, xp)
        _add_corner(S, ours, others, adjoint(corner, xp), xp)
        del corner
        _add_corner(S, others, others, self.rest.gram(), xp)
        return S

    def row_norms_squared(self) -> Array:
        """Return the squared 2-norm of each row."""
        return row_norms_squared(self.xp, self.full) + self.rest.row_norms_squared()

    def rows(self, start: int, stop: int) -> Operator:
        """Return rows `start` to `stop`."""
        return JoinedColumns(self.full[start:stop, :], self.rest.rows(start, stop), self.order)

    def select(self, indices: Sequence[int]) -> Operator:
        """Return the rows with these indices, in this order."""
        return JoinedColumns(self._chosen(indices), self.rest.select(indices), self.order)

    def dense_rows(self, indices: Sequence[int]) -> Array:
        """Return the few rows with these indices as a dense array."""
        parts = [self._chosen(indices), self.rest.dense_rows(indices)]
        return self.xp.take(self.xp.concat(parts, axis=1), self.places, axis=1)

    def _chosen(self, indices: Sequence[int]) -> Array:
        order = self.xp.asarray(list(indices), dtype=self.xp.int64, device=self.device)
        return self.xp.take(self.full, order, axis=0)


def shifted_rows(base: SparseOperator, scale: Array, shift: Array) -> Operator:
    """Return ``B - s c`` for sparse rows without losing digits to a large `c`.

    Columns of which more than half is stored become dense, which at most doubles the numbers
    held of them; nothing is filled in elsewhere.

    Parameters
    ----------
    base : SparseOperator (b, d)
        Sparse rows, weighted already.
    scale : array (b,) or (b, 1)
        The column `s`, roots of the weights.
    shift : array (d,)
        The row `c`, about the mean of the rows.
    """
    xp = base.xp
    s, c = xp.reshape(scale, (-1, 1)), xp.reshape(shift, (1, -1))
    weights = xp.astype(_real(s[:, 0], xp), real_dtype(xp, widest_dtype(xp, base.device, s.dtype)))
    filled = base.filled_columns(weights * weights)
    order = xp.argsort(xp.astype(~filled, xp.int32), stable=True)
    n_full = int(xp.sum(xp.astype(filled, xp.int64)))
    if n_full == 0:
        return ShiftedRows(base, s, c)
    c = xp.take(c, order, axis=1)
    full = base.columns(order[:n_full]).A.toarray() - s * c[:, :n_full]
    return JoinedColumns(full, ShiftedRows(base.columns(order[n_full:]), s, c[:, n_full:]), order)


def _zeros_squared(block: Operator) -> Array:
    """Return the (d, d) zeros that a Gram matrix is added to."""
    xp, d = block.xp, block.shape[1]
    wide = widest_dtype(xp, block.device, block.dtype)
    return xp.zeros((d, d), dtype=wide, device=block.device)


def _piece_rows(d: int, dtype: DType, xp: Namespace) -> int:
    """Return how many rows of a (., d) matrix make a temporary that does not count."""
    return max(1, _PIECE_BYTES // (itemsize(xp, dtype) * max(d, 1)))


def _add_corner(S: Array, rows: Array, columns: Array, corner: Array, xp: Namespace) -> None:
    """Add `corner` to the entries of `S` in these rows and columns, a few rows at a time."""
    step = _piece_rows(S.shape[0], S.dtype, xp)
    for i in range(0, corner.shape[0], step):
        S[rows[i : i + step, None], columns[None, :]] += corner[i : i + step, :]


def _total(terms: Sequence[Array]) -> Array:
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total


def _real(x: Array, xp: Namespace) -> Array:
    return xp.real(x) if xp.isdtype(x.dtype, "complex floating") else x
