"""Sums over the observed entries of a matrix, line by line: the kernels of matrix completion.

A *line* is a row or a column of the matrix, its entries are those observed. The factor of the
other side is fixed::

    lines = Lines(indptr, indices, n_other, xp, device)
    X, rel, taken = pcg_rows(xp, lines, y, None, F, X, None, e, ridge, load, 3, 1e-2, 0, 1.0)
    G, ss = residual_rows(xp, lines, y, None, P, Q, F, 0, 1.0)
    values = entries(xp, lines, P, Q)
    S = gather_sum(xp, lines, y, F)

Products are bilinear: ``P[i, :] . Q[j, :]`` conjugates nothing. Portable forms work on lines of
about the same length together, in tables that are padded to powers of two.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from linalgkit._core.array import (
    Array,
    Namespace,
    asarray,
    device,
    index_dtype,
    is_complex,
    real_dtype,
    widest_float,
)
from linalgkit._kernels._kernel import Kernel
from linalgkit._kernels.lines import SHORTEST, Lines, take_rows

__all__ = [
    "HUBER", "L1", "SQUARED", "Lines", "entries", "gather_sum", "pcg_rows", "residual_rows"
]  # fmt: skip

#: Codes of the losses.
SQUARED, HUBER, L1 = 0, 1, 2

_NUMBERS = 2**22  # of a gathered block of a portable form


# --------------------------------------------------------------------------- portable forms


def _transposed_product(xp: Namespace, A: Array, d: Array) -> Array:
    """Return ``A^H d`` of batches, (r, P, k) and (r, P), without a conjugate of `A`."""
    turned = xp.matrix_transpose(A)
    if not is_complex(A, xp):
        return xp.matmul(turned, d[:, :, None])[:, :, 0]
    return xp.conj(xp.matmul(turned, xp.conj(d)[:, :, None])[:, :, 0])


def _dot(xp: Namespace, a: Array, b: Array) -> Array:
    """Return ``Re a^H b`` of the rows."""
    if is_complex(a, xp):
        return xp.sum(xp.real(a) * xp.real(b) + xp.imag(a) * xp.imag(b), axis=1)
    return xp.sum(a * b, axis=1)


class _Piece(NamedTuple):
    """A part of a bucket: lines and their tables."""

    lines: Array
    indices: Array
    places: Array
    valid: Array

    def values(self, xp: Namespace, y: Array) -> Array:
        """Return `y` in the form of the tables, zero where padded."""
        zero = xp.zeros((), dtype=y.dtype, device=device(y))
        return xp.where(self.valid, take_rows(xp, y, self.places), zero)

    def weights(self, xp: Namespace, w: Array | None, dtype: Any) -> Array:
        """Return the weights, one each where there are none, zero where padded."""
        return xp.astype(self.valid, dtype) if w is None else self.values(xp, w)

    def rows(self, xp: Namespace, X: Array) -> Array:
        """Return the rows of `X` that belong to the lines, first ones for padding."""
        numbers = np.zeros(int(self.valid.shape[0]), dtype=np.int64)
        numbers[: self.lines.size] = self.lines
        place = asarray(numbers, xp=xp, device=device(X), dtype=index_dtype(xp), copy=False)
        return xp.take(X, place, axis=0)


def _pieces(lines: Lines, k: int) -> Iterator[_Piece]:
    """Yield parts of the buckets whose gathered rows are bounded."""
    for bucket in lines.buckets():
        rows, width = bucket.valid.shape
        step = min(rows, _largest_power(_NUMBERS // (width * max(1, k))))
        for start in range(0, rows, step):
            stop = min(rows, start + step)
            tables = (x[start:stop, :] for x in bucket[1:])
            yield _Piece(bucket.lines[start:stop], *tables)


def _largest_power(x: int) -> int:
    return 1 << (max(1, x).bit_length() - 1)


def _segments(width: int, k: int) -> Iterator[slice]:
    """Yield slices of one line's table, so that a line of any length is bounded, too."""
    step = max(SHORTEST, _largest_power(_NUMBERS // max(1, k)))
    for start in range(0, width, step):
        yield slice(start, min(width, start + step))


def _gathered(xp: Namespace, F: Array, piece: _Piece) -> Callable[[], Iterator[tuple[slice, Any]]]:
    """Return an iterable of the rows of `F` a piece needs: kept, if one segment holds all."""
    cuts = list(_segments(int(piece.valid.shape[1]), F.shape[1]))
    if len(cuts) == 1:
        block = [(cuts[0], take_rows(xp, F, piece.indices))]
        return lambda: iter(block)
    return lambda: ((cut, take_rows(xp, F, piece.indices[:, cut])) for cut in cuts)


def _products(xp: Namespace, blocks: Callable[[], Iterator[Any]], x: Array) -> Array:
    """Return the products of all gathered rows with one vector for each line."""
    found = [xp.matmul(A, x[:, :, None])[:, :, 0] for _, A in blocks()]
    return found[0] if len(found) == 1 else xp.concat(found, axis=1)


def _adjoint(xp: Namespace, blocks: Callable[[], Iterator[Any]], d: Array) -> Array:
    """Return the sum of conjugated rows, weighted by `d`, of each line."""
    found = [_transposed_product(xp, A, d[:, cut]) for cut, A in blocks()]
    return functools.reduce(lambda a, b: a + b, found)


def _normal(xp: Namespace, blocks: Callable[[], Iterator[Any]], w: Array, x: Array) -> Array:
    """Return ``A^H W A x`` of each line; every row is gathered once."""
    total = 0
    for cut, A in blocks():
        total = total + _transposed_product(xp, A, w[:, cut] * xp.matmul(A, x[:, :, None])[:, :, 0])
    return total


def _factors(xp: Namespace, r: Array, loss: int, scale: float) -> Array:
    """Return the factors of the weights by which a loss differs from squares."""
    size = xp.abs(r)
    limit = xp.full((), scale, dtype=size.dtype, device=device(size))
    if loss == L1:
        return 1.0 / xp.maximum(size, limit)
    return limit / xp.maximum(size, limit)


def _restored(xp: Namespace, lines: Lines, found: list[Array], like: Array) -> Array:
    """Return rows of all pieces in the order of the lines, zeros for empty lines."""
    shape = (1, *found[0].shape[1:]) if found else (1, *like.shape[1:])
    zero = xp.zeros(shape, dtype=like.dtype, device=device(like))
    return xp.take(xp.concat([*found, zero], axis=0), lines.order(), axis=0)


def _pcg_rows(
    xp: Namespace,
    lines: Lines,
    y: Array,
    w: Array | None,
    F: Array,
    X: Array,
    shift: Array | None,
    e: Array,
    ridge: Array,
    load: Array,
    steps: int,
    tol: float,
    loss: int,
    scale: float,
) -> tuple[Array, Array, int]:
    """Improve the least-squares solution of each line by preconditioned conjugate gradients.

    For line `i` with entries `t` and rows ``f_t = F[j_t, :]`` the objective is
    ``sum_t w_t |y_t - shift[j_t] - f_t . x|^2 + sum_q (ridge_q + p_i load_q) |x_q|^2`` with
    ``p_i = sum_t w_t``.

    Parameters
    ----------
    lines : Lines
        Side that is solved for.
    y : array, shape (N,)
        Values in the order of `lines`.
    w : array, shape (N,), or None
        Weights, not negative; None means ones.
    F : array, shape (n_other, k)
        Fixed factor, in the dtype of `y`.
    X : array, shape (n_lines, k)
        Where to start from.
    shift : array, shape (n_other,), or None
        Taken off the values.
    e, ridge, load : array, shape (k,)
        Real. The diagonal of the preconditioner is ``p_i (e + load) + ridge``; where that is not
        positive it counts as one.
    steps : int
        Most steps for each line.
    tol : float
        A line stops once its preconditioned residual norm is no more than `tol` times that of
        ``x = 0``.
    loss : int
        0 squared; 1 Huber and 2 l1 multiply each weight by a factor of the residual at the start,
        ``min(1, scale / |r|)`` and ``1 / max(|r|, scale)``; `p_i` is the sum of these products.
    scale : float
        Positive; see `loss`.

    Returns
    -------
    X : array, shape (n_lines, k)
        Improved solutions; zero for lines without entries, without weight or without right side.
    rel : array, shape (n_lines,)
        Preconditioned residual norms over those of ``x = 0``, as the recurrence has them; inf
        where a square overflows.
    taken : int
        Steps of all lines together.

    Notes
    -----
    Squares of the right sides must neither overflow nor vanish. Storage: one gathered block of
    2^22 numbers in the portable form; in the Numba form a padded copy of `F` (twice that for
    complex data) and for each thread the gathered rows of the longest line.
    """
    found, norms, taken = [], [], xp.zeros((), dtype=index_dtype(xp), device=device(F))
    for piece in _pieces(lines, F.shape[1]):
        start = piece.rows(xp, X)
        blocks = _gathered(xp, F, piece)
        values = piece.values(xp, y)
        if shift is not None:
            off = take_rows(xp, shift, piece.indices)
            values = values - xp.where(piece.valid, off, xp.zeros_like(off))
        weights = piece.weights(xp, w, e.dtype)
        r = values - _products(xp, blocks, start)
        if loss != SQUARED:
            weights = weights * _factors(xp, r, loss, scale)
        p = xp.sum(weights, axis=1)[:, None]
        added = ridge[None, :] + p * load[None, :]
        diagonal = p * e[None, :] + added
        inverse = 1.0 / xp.where(diagonal > 0, diagonal, xp.ones_like(diagonal))
        right = _adjoint(xp, blocks, weights * values)
        gradient = _adjoint(xp, blocks, weights * r) - added * start
        x, rel, count = _conjugate_gradients(
            xp, functools.partial(_normal, xp, blocks, weights), added, inverse, right, gradient,
            start, steps, tol,
        )  # fmt: skip
        found.append(x)
        norms.append(rel)
        taken = taken + xp.sum(count, dtype=taken.dtype)
    rel = _restored(xp, lines, norms, e)
    return _restored(xp, lines, found, X), rel, int(taken)


def _conjugate_gradients(
    xp: Namespace,
    apply: Callable[[Array], Array],
    added: Array,
    inverse: Array,
    right: Array,
    r: Array,
    x: Array,
    steps: int,
    tol: float,
) -> tuple[Array, Array, Array]:
    """Return solutions, relative residual norms and steps; a line that has stopped stays."""
    size, rz = _dot(xp, right, inverse * right), _dot(xp, r, inverse * r)
    zero, one = xp.zeros_like(size), xp.ones_like(size)
    solvable, finite = size != 0, xp.isfinite(size)
    x = xp.where(solvable[:, None], x, xp.zeros_like(x))
    rz = xp.where(solvable, rz, zero)
    safe = xp.where(solvable & finite, size, one)
    limit, direction, count = tol**2 * safe, inverse * r, xp.zeros_like(size)
    active = solvable & finite & (rz > 0)
    for _ in range(steps):
        image = apply(direction) + added * direction
        curvature = _dot(xp, direction, image)
        active = active & (rz > limit) & (curvature > 0) & xp.isfinite(rz * curvature)
        step = xp.where(active, rz / xp.where(active, curvature, one), zero)
        count = count + xp.astype(active, count.dtype)
        keep = active[:, None]
        x = xp.where(keep, x + step[:, None] * direction, x)
        r = xp.where(keep, r - step[:, None] * image, r)
        new = xp.where(active, _dot(xp, r, inverse * r), rz)
        ratio = xp.where(active, new / xp.where(active, rz, one), zero)
        direction = xp.where(keep, inverse * r + ratio[:, None] * direction, direction)
        rz = new
    infinite = xp.full((), xp.inf, dtype=size.dtype, device=device(size))
    known = xp.isfinite(rz) & (finite | ~solvable)
    return x, xp.where(known, xp.sqrt(rz / safe), infinite), count


def _residual_rows(
    xp: Namespace,
    lines: Lines,
    y: Array | None,
    w: Array | None,
    P: Array,
    Q: Array,
    F: Array | None,
    loss: int,
    scale: float,
) -> tuple[Array | None, Array]:
    """Return sums over the residuals ``r_t = y_t - P[i, :] . Q[j_t, :]`` of each line.

    Parameters
    ----------
    lines, w, loss, scale
        As in :func:`pcg_rows`.
    y : array, shape (N,), or None
        Values in the order of `lines`; None means zeros.
    P, Q : array, shape (n_lines, k) and (n_other, k)
        Factors.
    F : array, shape (n_other, kf), or None
        What the residuals are multiplied by.

    Returns
    -------
    G : array, shape (n_lines, kf), or None
        ``sum_t w_t phi_t r_t conj(F[j_t, :])`` with the factors ``phi`` of the loss.
    ss : array, shape (n_lines,)
        ``sum_t w_t rho(|r_t|)`` in the device's widest float: ``r^2``; Huber ``r^2``, from
        `scale` on ``scale (2 r - scale)``; l1 ``r``.

    Notes
    -----
    Storage: a gathered block as there; in the Numba form padded copies of `Q` and `F` (twice that
    for complex data).
    """
    wide = widest_float(xp, device(Q))
    sums, squares = [], []
    for piece in _pieces(lines, Q.shape[1] + (0 if F is None else F.shape[1])):
        weights = piece.weights(xp, w, real_dtype(xp, Q.dtype))
        r = -_products(xp, _gathered(xp, Q, piece), piece.rows(xp, P))
        r = r if y is None else piece.values(xp, y) + r
        size = xp.astype(xp.abs(r), wide, copy=False)
        total = xp.astype(weights, wide, copy=False) * _rho(xp, size, loss, scale)
        squares.append(xp.sum(total, axis=1))
        if F is not None:
            factors = weights if loss == SQUARED else weights * _factors(xp, r, loss, scale)
            sums.append(_adjoint(xp, _gathered(xp, F, piece), factors * r))
    like = xp.zeros((1,), dtype=wide, device=device(Q))
    G = None if F is None else _restored(xp, lines, sums, F)
    return G, _restored(xp, lines, squares, like)


def _rho(xp: Namespace, size: Array, loss: int, scale: float) -> Array:
    if loss == L1:
        return size
    if loss == SQUARED:
        return size * size
    return xp.where(size <= scale, size * size, scale * (2.0 * size - scale))


def _entries(xp: Namespace, lines: Lines, P: Array, Q: Array) -> Array:
    """Return ``P[i, :] . Q[j, :]`` of all entries, shape (N,), in the order of `lines`."""
    numbers = np.repeat(np.arange(lines.n_lines), lines.lengths)
    step, found = max(1, _NUMBERS // max(1, P.shape[1])), []
    for start in range(0, lines.count, step):
        stop = min(lines.count, start + step)
        place = lines.put(numbers[start:stop])
        left = xp.take(P, place, axis=0)
        found.append(xp.sum(left * xp.take(Q, lines.indices[start:stop], axis=0), axis=1))
    if not found:
        return xp.zeros((0,), dtype=Q.dtype, device=device(Q))
    return found[0] if len(found) == 1 else xp.concat(found, axis=0)


def _gather_sum(xp: Namespace, lines: Lines, y: Array, F: Array) -> Array:
    """Return ``sum_t y_t F[j_t, :]`` of each line, shape (n_lines, k); nothing is conjugated."""
    conjugate = xp.conj if is_complex(F, xp) else (lambda x: x)
    found = [
        conjugate(_adjoint(xp, _gathered(xp, F, piece), conjugate(piece.values(xp, y))))
        for piece in _pieces(lines, F.shape[1])
    ]
    return _restored(xp, lines, found, F)


def _agree(*arrays: Array | None) -> bool:
    """Tell whether all arrays are of one precision that compiled forms read, in rows."""
    given = [x for x in arrays if x is not None]
    sizes = {x.dtype.itemsize // (2 if x.dtype.kind == "c" else 1) for x in given}
    return len(sizes) == 1 and all(
        x.dtype.char in "fdFD" and x.dtype.isnative and x.flags.c_contiguous for x in given
    )


def _solvable(
    form: str, lines: Lines, y: Array, w: Array | None, F: Array, X: Array, shift: Array | None,
    e: Array, ridge: Array, load: Array, *rest: Any,
) -> bool:  # fmt: skip
    same = all(x is None or x.dtype == y.dtype for x in (F, X, shift))
    return same and F.shape[1] > 0 and _agree(y, w, F, X, shift, e, ridge, load)


def _residual_fits(
    form: str, lines: Lines, y: Array | None, w: Array | None, P: Array, Q: Array, F: Array | None,
    *rest: Any,
) -> bool:  # fmt: skip
    same = all(x is None or x.dtype == Q.dtype for x in (y, P, F))
    return same and all(x is None or x.shape[1] > 0 for x in (Q, F)) and _agree(y, w, P, Q, F)


class _LineKernel(Kernel):
    """A kernel over lines, which runs where their entries lie."""

    def __call__(self, xp: Namespace, *args: Any) -> Any:
        lines: Lines = args[0]
        if lines.is_elsewhere:
            return lines.call(self.name, *args[1:])
        return super().__call__(xp, *args)


def _kernel(portable: Any, supports: Any) -> Kernel:
    name = portable.__name__.removeprefix("_")
    numba, cupy = (f"linalgkit._kernels.{f}_forms.observed:{name}" for f in ("numba", "cupy"))
    return _LineKernel(name, portable=portable, numba=numba, cupy=cupy, supports=supports)


pcg_rows = _kernel(_pcg_rows, _solvable)
residual_rows = _kernel(_residual_rows, _residual_fits)
entries = _kernel(
    _entries, lambda form, lines, P, Q: P.dtype == Q.dtype and P.shape[1] > 0 and _agree(P, Q)
)
gather_sum = _kernel(
    _gather_sum, lambda form, lines, y, F: y.dtype == F.dtype and F.shape[1] > 0 and _agree(y, F)
)
