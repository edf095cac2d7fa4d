"""The regressions of all lines against a fixed factor, in batches of padded tables.

::

    problem = Regressions.of(xp, lines, y, w, F, shift, ridge, load)
    for batch in problem.batches(extra=k):
        for A, b in batch.blocks():            # (r, P, k) and (r, P), times root weights
            ...
    X = problem.restored(found)                # rows of all batches in the order of the lines

Everything is in the widest dtype of the device, so that Gram matrices keep what digits they can.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from linalgkit._core.array import (
    Array,
    Namespace,
    asarray,
    device,
    eps,
    index_dtype,
    is_complex,
    numpy_namespace,
    widest_dtype,
    widest_float,
)
from linalgkit._kernels.observed import Lines, gather_sum

_HOST = numpy_namespace()
#: Numbers of a batch of gathered rows or of what is made of them.
NUMBERS = 2**21


@dataclass(frozen=True, eq=False)
class Batch:
    """Some lines of about the same length; rows after the last line are padding.

    Attributes
    ----------
    problem : Regressions
        Where they belong.
    lines : host array (r',)
        Numbers of the lines, ``r' <= r``.
    indices, places, valid : array (r, P)
        As those of a bucket.
    """

    problem: Regressions
    lines: Array = field(repr=False)
    indices: Array = field(repr=False)
    places: Array = field(repr=False)
    valid: Array = field(repr=False)

    @property
    def rows(self) -> int:
        """Number r of lines with padding."""
        return int(self.valid.shape[0])

    def weights(self) -> Array:
        """Return the weights (r, P), zero where padded."""
        xp, w = self.problem.xp, self.problem.w
        ones = xp.astype(self.valid, self.problem.ridge.dtype)
        return ones if w is None else ones * _take(xp, w, self.places)

    def added(self) -> Array:
        """Return the diagonal (r, k) that belongs to the ridge."""
        p = self.problem.xp.sum(self.weights(), axis=1)
        return self.problem.ridge[None, :] + p[:, None] * self.problem.load[None, :]

    def blocks(self) -> Iterator[tuple[Array, Any]]:
        """Yield root-weighted rows (r, P', k) and values (r, P'): the whole table, if not large.

        There are no values where the problem has none.
        """
        k, width = self.problem.rank, int(self.valid.shape[1])
        step = max(4, _largest_power(NUMBERS // (k * self.rows)))
        for start in range(0, width, step):
            cut = slice(start, min(width, start + step))
            yield self._block(
                replace(
                    self, indices=self.indices[:, cut], places=self.places[:, cut],
                    valid=self.valid[:, cut],
                )
            )  # fmt: skip

    @staticmethod
    def _block(part: Batch) -> tuple[Array, Any]:
        """Return rows and values of a part of the table."""
        problem, xp = part.problem, part.problem.xp
        root = xp.astype(xp.sqrt(part.weights()), problem.F.dtype, copy=False)
        A = _take(xp, problem.F, part.indices) * root[:, :, None]
        if problem.y is None:
            return A, None
        values = _take(xp, problem.y, part.places)
        if problem.shift is not None:
            values = values - _take(xp, problem.shift, part.indices)
        return A, values * root


@dataclass(frozen=True, eq=False)
class Regressions:
    """For each line: minimise ``sum_t w_t |y_t - shift[j_t] - f_t . x|^2 + sum_q d_q |x_q|^2``.

    Attributes
    ----------
    xp : module
        Namespace of the arrays.
    lines : Lines
        The side that is solved for.
    y, w : array (N,)
        Values (None: only the rows are wanted) and weights (None: ones) in the order of the lines.
    F : array (n_other, k)
        The fixed factor.
    shift : array (n_other,) or None
        Taken off the values.
    ridge, load : array (k,)
        ``d = ridge + p_i load`` with the sum ``p_i`` of a line's weights.
    """

    xp: Namespace
    lines: Lines = field(repr=False)
    y: Array | None = field(repr=False)
    w: Array | None = field(repr=False)
    F: Array = field(repr=False)
    shift: Array | None = field(repr=False)
    ridge: Array = field(repr=False)
    load: Array = field(repr=False)

    @classmethod
    def of(
        cls,
        xp: Namespace,
        lines: Lines,
        y: Array | None,
        w: Array | None,
        F: Array,
        shift: Array | None,
        ridge: Array,
        load: Array,
    ) -> Regressions:
        """Return the problem in the widest dtype of the device."""
        wide = widest_dtype(xp, device(F), F.dtype)
        real = widest_float(xp, device(F))
        y, F, shift = (None if x is None else xp.astype(x, wide, copy=False) for x in (y, F, shift))
        w, ridge, load = (
            None if x is None else xp.astype(x, real, copy=False) for x in (w, ridge, load)
        )
        return cls(xp, lines, y, w, F, shift, ridge, load)

    @property
    def rank(self) -> int:
        """Number k of unknowns of a line."""
        return int(self.F.shape[1])

    def chosen(self, numbers: Array) -> Regressions:
        """Return the problem of some lines alone, in the order of a host array."""
        lines, places = sub_lines(self.lines, numbers)
        y, w = (None if x is None else self.xp.take(x, places, axis=0) for x in (self.y, self.w))
        return replace(self, lines=lines, y=y, w=w)

    def shifted(self) -> Regressions:
        """Return the same problem with the shift in the values."""
        if self.shift is None:
            return self
        y = self.y - self.xp.take(self.shift, self.lines.indices, axis=0)
        return replace(self, y=y, shift=None)

    def added(self) -> Array:
        """Return the diagonals d of all lines, (n_lines, k)."""
        xp, real = self.xp, self.ridge.dtype
        if self.w is None:
            p = asarray(self.lines.lengths, xp=xp, device=device(self.F), dtype=real, copy=False)
        else:
            ones = xp.ones((self.lines.n_other, 1), dtype=real, device=device(self.F))
            p = gather_sum(xp, self.lines, self.w, ones)[:, 0]
        return self.ridge[None, :] + p[:, None] * self.load[None, :]

    def batches(self, extra: int = 0) -> Iterator[Batch]:
        """Yield the lines that hold entries, at most about NUMBERS numbers for each batch.

        A line counts as k times its padded length, or k times `extra` if that is more.
        """
        for bucket in self.lines.buckets():
            rows, width = (int(size) for size in bucket.valid.shape)
            step = _largest_power(NUMBERS // (self.rank * max(width, extra)))
            for start in range(0, rows, step):
                stop = min(rows, start + step)
                tables = (x[start:stop, :] for x in bucket[1:])
                yield Batch(self, bucket.lines[start:stop], *tables)

    def restored(self, found: list[Array], like: Array) -> Array:
        """Return the rows of all batches in the order of the lines; zeros for empty lines."""
        zero = self.xp.zeros((1, *like.shape[1:]), dtype=like.dtype, device=device(like))
        return self.xp.take(self.xp.concat([*found, zero], axis=0), self.lines.order(), axis=0)


def sub_lines(lines: Lines, numbers: Array) -> tuple[Lines, Array]:
    """Return some lines as lines of their own, and the places of their entries in the old order.

    Parameters
    ----------
    lines : Lines
        All of them.
    numbers : host array (c,)
        Which, in any order.

    Returns
    -------
    Lines
        The c lines.
    array (N',)
        On the device.
    """
    numbers = _HOST.asarray(numbers, dtype=_HOST.int64)
    lengths = lines.lengths[numbers]
    indptr = _HOST.concat([_HOST.zeros(1, dtype=_HOST.int64), _HOST.cumsum(lengths)])
    first = _HOST.repeat(lines.indptr[numbers] - indptr[:-1], lengths)
    host = first + _HOST.arange(int(indptr[-1]))
    xp, where = lines.xp, lines.device
    places = asarray(host, xp=xp, device=where, dtype=index_dtype(xp), copy=False)
    indices = xp.take(lines.indices, places, axis=0)
    return Lines(indptr, indices, lines.n_other, xp, where, lines.n_threads), places


def times(A: Array, x: Array, xp: Namespace) -> Array:
    """Return products of matrices (r, p, q) with vectors (r, q)."""
    return xp.matmul(A, x[:, :, None])[:, :, 0]


def adjoints(A: Array, xp: Namespace) -> Array:
    """Return conjugate transposes of matrices (r, p, q)."""
    turned = xp.matrix_transpose(A)
    return xp.conj(turned) if is_complex(A, xp) else turned


def diagonals(d: Array, like: Array, xp: Namespace) -> Array:
    """Return diagonal matrices (r, k, k) of the rows of `d`, in the dtype of `like`."""
    identity = xp.eye(int(d.shape[1]), dtype=like.dtype, device=device(like))
    return identity[None, :, :] * xp.astype(d, like.dtype, copy=False)[:, None, :]


def least_norm(R: Array, size: int, xp: Namespace) -> tuple[Array, Array]:
    """Solve triangular systems whose right sides stand beside them, by singular values.

    Parameters
    ----------
    R : array (r, p, k + 1)
        ``p >= k``; only the first k rows count.
    size : int
        Singular values up to `size` roundoffs of the largest count as zero.
    xp : module
        Namespace of `R`.

    Returns
    -------
    x : array (r, k)
        Solutions of least norm.
    root : array (r, k, k)
        ``root root^H`` is the (pseudo-)inverse of ``R^H R``.
    """
    k = int(R.shape[2]) - 1
    U, s, Vh = xp.linalg.svd(R[:, :k, :k], full_matrices=False)
    kept = s > size * eps(xp, s.dtype) * s[:, :1]
    inverse = xp.where(kept, 1.0 / xp.where(kept, s, xp.ones_like(s)), xp.zeros_like(s))
    root = adjoints(Vh, xp) * xp.astype(inverse, Vh.dtype, copy=False)[:, None, :]
    return times(root, times(adjoints(U, xp), R[:, :k, k], xp), xp), root


def _largest_power(x: int) -> int:
    """Return the largest power of two that is at most `x`, 1 at least."""
    return 1 << (max(1, x).bit_length() - 1)


def _take(xp: Namespace, x: Array, table: Array) -> Array:
    """Return rows of `x` (numbers, if it has one axis) in the places of a table."""
    found = xp.take(x, xp.reshape(table, (-1,)), axis=0)
    return xp.reshape(found, (*table.shape, *x.shape[1:]))
