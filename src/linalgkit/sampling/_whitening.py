"""Turning rows into those of an orthonormal basis without a second matrix, and their scores.

``W`` with ``(X W)^H (X W) = I`` comes from the Gram matrix where that is well conditioned, and from
a triangular factor otherwise; the squared norms of the rows of ``X W`` are the leverage scores.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from linalgkit._core.array import (
    Array,
    Namespace,
    adjoint,
    asarray,
    eps,
    is_complex,
    itemsize,
    matmul_h,
    numpy_namespace,
    real_dtype,
    to_numpy,
    widest_dtype,
)
from linalgkit._core.array import device as device_of
from linalgkit._core.linalg import eigh_desc, hermitian_part
from linalgkit._core.operator_base import squared_row_norms
from linalgkit._core.qr import tsqr
from linalgkit._core.random import HostArray
from linalgkit._core.scaling import ldexp, max_abs, scale_exponent, silent
from linalgkit._core.state import PortablePickle
from linalgkit._core.triangular import (
    NotPositiveDefiniteError,
    cholesky,
    matmul_upper,
    solve_unchecked,
)
from linalgkit._core.validation import check_finite_block
from linalgkit.sketching._blocks import column_largest, exponents_of, ldexp_columns

_HOST = numpy_namespace()
_BLOCK_BYTES = 4 * 2**20
_EXACT_ENOUGH = 1e-11  # departure from orthonormality, as bounded before the first pass
_CORRECTABLE = 1e-3


class Rows(PortablePickle):
    """The rows of a matrix in the widest dtype, a block at a time, of order one.

    Parameters
    ----------
    X : array (n, p)
        Of a floating dtype, not all zero.
    xp : module
        Namespace of `X`.
    """

    def __init__(self, X: Array, xp: Namespace) -> None:
        self.X, self.xp, self.device = X, xp, device_of(X)
        self.shape = (int(X.shape[0]), int(X.shape[1]))
        self.dtype = widest_dtype(xp, self.device, X.dtype)
        self.exponent = 0
        self._columns: HostArray | None = None  # exponents of columns of very different sizes

    def blocks(self, height: int = 0) -> Iterator[Array]:
        """Yield the rows in order, some 4 MiB at a time or at least `height` rows."""
        n, p = self.shape
        step = max(height, _BLOCK_BYTES // (max(p, 1) * itemsize(self.xp, self.dtype)), 1)
        for start in range(0, n, step):
            yield self.wide(self.X[start : min(start + step, n), :])

    def wide(self, block: Array) -> Array:
        """Return rows of the matrix in the widest dtype and of order one."""
        wide = ldexp(self.xp.astype(block, self.dtype, copy=False), -self.exponent, self.xp)
        return wide if self._columns is None else ldexp_columns(wide, -self._columns, self.xp)

    def take(self, index: HostArray) -> Array:
        """Return the rows with these numbers (count, p), of order one."""
        if isinstance(self.X, _HOST.ndarray):
            return self.wide(self.X.take(index, axis=0, mode="clip"))  # half of the time of [index]
        place = asarray(index, xp=self.xp, device=self.device, copy=False)
        return self.wide(self.xp.take(self.X, place, axis=0))

    def gram(self, *, any_units: bool = False) -> Array:
        """Return the Gram matrix, (p, p); from now on rows are of order one.

        Parameters
        ----------
        any_units : bool, default False
            Bring columns of very different sizes to order one by powers of two.

        Raises
        ------
        ValueError
            If the matrix holds NaN or infinity, or nothing but zeros.
        """
        with silent():
            G = self._whole_gram()
        squares = to_numpy(squared_diagonal(G, self.xp))
        largest = float(squares.max())
        safe = math.frexp(float(self.xp.finfo(real_dtype(self.xp, self.dtype)).max))[1] // 2
        if math.isfinite(largest) and 2.0**-safe < largest < 2.0**safe:
            if not any_units or float(squares.min()) > 2.0**-safe * largest:
                return G
            return self._gram_of_units()
        # A second pass, for magnitudes whose squares leave the range: each block is scaled.
        check_finite_block(self.X)
        self.exponent = scale_exponent(max_abs(self.X, self.xp))
        if largest == 0.0 and self.exponent == 0:
            raise ValueError("X must have a row that is not zero, got zeros alone.")
        return self._gram_of_units() if any_units else self._whole_gram()

    def _gram_of_units(self) -> Array:
        """Return the Gram matrix of columns that are each of order one, as they are from now on."""
        self.exponent, largest = 0, _HOST.zeros(self.shape[1])
        for block in self.blocks():
            largest = _HOST.maximum(largest, column_largest(block, self.xp))
        self._columns = exponents_of(largest)
        return self._whole_gram()

    def _whole_gram(self) -> Array:
        xp = self.xp
        is_plain = self.X.dtype == self.dtype and self.exponent == 0 and self._columns is None
        if is_plain and not is_complex(self.X, xp):
            return hermitian_part(matmul_h(self.X, self.X, xp), xp)
        return self._gram_of(self.blocks())

    def gram_after(self, W: Array, upper: bool) -> Array:
        """Return the Gram matrix of ``X W``."""
        return self._gram_of(self._products(W, upper))

    def _gram_of(self, blocks: Iterator[Array]) -> Array:
        total = None
        for block in blocks:
            share = matmul_h(block, block, self.xp)
            total = share if total is None else total + share
        return hermitian_part(total, self.xp)

    def _products(self, W: Array, upper: bool) -> Iterator[Array]:
        for block in self.blocks():
            yield matmul_upper(block, W, self.xp) if upper else block @ W

    def norms_after(self, W: Array, *, upper: bool = False) -> HostArray:
        """Return the squared norms of the rows of ``X W``, float64 on the host."""
        pieces = [
            to_numpy(squared_row_norms(Y, Y.dtype, self.xp)) for Y in self._products(W, upper)
        ]
        found: HostArray = _HOST.astype(_HOST.concat(pieces), _HOST.float64)
        return found


class Whitening:
    """A matrix `W`, (p, m), with ``(X W)^H (X W) = I``, and whether it is upper triangular."""

    def __init__(self, W: Array, upper: bool) -> None:
        self.W, self.upper = W, upper


def squared_diagonal(G: Array, xp: Namespace) -> Array:
    """Return the real diagonal of a Hermitian matrix."""
    diagonal = xp.linalg.diagonal(G)
    return xp.real(diagonal) if is_complex(G, xp) else diagonal


def whiten(rows: Rows, rank: int | None) -> Whitening:
    """Return `W` such that the columns of ``X W`` are orthonormal to rounding.

    Parameters
    ----------
    rows : Rows
        The matrix.
    rank : int, optional
        Take this many leading left singular vectors instead of the whole range.

    Returns
    -------
    Whitening
        With ``m = rank or p`` columns.

    Raises
    ------
    ValueError
        If the numerical rank is less than that; the message names it.
    """
    G = rows.gram(any_units=rank is None)
    found = None if rank is not None else _from_gram(rows, G)
    return _from_factor(rows, rank) if found is None else found


def _from_gram(rows: Rows, G: Array) -> Whitening | None:
    """Return the inverse Cholesky factor of the Gram matrix, or None if that is no good."""
    xp, p = rows.xp, rows.shape[1]
    try:
        R = adjoint(cholesky(G, xp), xp)
    except NotPositiveDefiniteError:
        return None
    W = _inverse(R, xp)
    # With the columns of R scaled to norm one, and the rows of its inverse accordingly.
    scaled = xp.abs(W) * _lengths(R, xp)[:, None]
    squared = float(xp.max(xp.sum(scaled, axis=0))) * float(xp.max(xp.sum(scaled, axis=1)))
    departure = eps(xp, R.dtype) * p * squared
    if departure <= _EXACT_ENOUGH:
        return Whitening(W, True)
    return _corrected(rows, W, True) if departure <= _CORRECTABLE else None


def _inverse(R: Array, xp: Namespace) -> Array:
    identity = xp.eye(R.shape[0], dtype=R.dtype, device=device_of(R))
    return xp.triu(solve_unchecked(R, identity, False, False, False, xp))


def _corrected(rows: Rows, W: Array, upper: bool) -> Whitening:
    """Return `W` after one more pass that removes its departure from orthonormality."""
    xp = rows.xp
    G = rows.gram_after(W, upper)
    if upper:
        return Whitening(matmul_upper(W, _inverse(adjoint(cholesky(G, xp), xp), xp), xp), True)
    g, U = eigh_desc(G, xp)
    return Whitening(W @ (U / xp.astype(xp.sqrt(g), U.dtype, copy=False)[None, :]), False)


def _from_factor(rows: Rows, rank: int | None) -> Whitening:
    """Return a whitening from the singular values of a triangular factor."""
    xp, (n, p) = rows.xp, rows.shape
    R = tsqr(rows.blocks(4 * p))
    lengths = _lengths(R, xp) if rank is None else xp.ones_like(_lengths(R, xp))
    _, s, Vh = xp.linalg.svd(
        R / xp.astype(lengths, R.dtype, copy=False)[None, :], full_matrices=False
    )
    values = to_numpy(s)
    tolerance = (p + math.sqrt(n)) * eps(xp, rows.X.dtype) * float(values[0])
    found = int((values > tolerance).sum())
    wanted = p if rank is None else rank
    if found < wanted:
        raise ValueError(
            f"X must have rank {wanted}, got shape {(n, p)} of numerical rank {found}. "
            f"Remove dependent columns, or pass rank={found} (to ProjectionDPP, which designs take "
            "as their space) to sample from its range; less, if columns differ much in size."
        )
    V = adjoint(Vh, xp)[:, :wanted] / xp.astype(lengths, R.dtype, copy=False)[:, None]
    return _corrected(rows, V / xp.astype(s[:wanted], V.dtype, copy=False)[None, :], False)


def _lengths(R: Array, xp: Namespace) -> Array:
    """Return the norms of the columns, 1 for those that are zero."""
    norms = xp.sqrt(squared_row_norms(xp.matrix_transpose(R), R.dtype, xp))
    return xp.where(norms > 0, norms, xp.ones_like(norms))
