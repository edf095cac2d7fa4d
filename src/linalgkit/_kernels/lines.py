"""One side of a pattern of observed entries, and its tables for the portable forms."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np

from linalgkit._core.array import (
    Array,
    Device,
    Namespace,
    asarray,
    index_dtype,
    library_name,
    to_numpy,
)

_TABLE = 2**18  # entries of a bucket, unless one line has more
_RANGES = 8  # line ranges for each thread
_QUICK = 2**21  # numbers to gather below which threads are not worth their start
#: Width of the narrowest table.
SHORTEST = 4


class Bucket(NamedTuple):
    """Lines of about the same length, padded to one.

    Attributes
    ----------
    lines : array, shape (r,), on the host
        Numbers of the lines; those after the last are padding and hold no entry.
    indices, places : array, shape (r, P)
        Index of each entry on the other side, and its place among all entries; 0 where padded.
    valid : array, shape (r, P)
        Whether there is an entry.
    """

    lines: Array
    indices: Array
    places: Array
    valid: Array


class Lines:
    """One side of a pattern of observed entries.

    Parameters
    ----------
    indptr : array, shape (lines + 1,), on the host
        Where each line begins among the entries.
    indices : array, shape (N,)
        Index on the other side of each entry, ascending in every line.
    n_other : int
        Number of indices on the other side.
    xp : module
        Namespace of the values.
    device : device
        Where they lie.
    n_threads : int
        Threads that the Numba forms may use; it changes no bit of any answer.

    Attributes
    ----------
    indptr : array, shape (lines + 1,)
        int64, on the host.
    indices : array, shape (N,)
        On the device; int32 with NumPy and CuPy where `n_other` permits.
    n_lines, n_other, count, n_threads : int
        Lines, indices of the other side, entries, threads.
    lengths : array, shape (lines,)
        Entries of each line, int64, on the host.

    Notes
    -----
    Storage: N indices and ``2 lines + 1`` host integers; portable forms keep up to 3 N more
    indices, places and flags each.
    """

    #: Whether the entries lie elsewhere: kernels are handed on to ``call(name, *arguments)`` then.
    is_elsewhere = False

    def __init__(
        self,
        indptr: Array,
        indices: Array,
        n_other: int,
        xp: Namespace,
        device: Device,
        n_threads: int = 1,
    ) -> None:
        self.xp, self.device = xp, device
        self.indptr = np.asarray(to_numpy(indptr), dtype=np.int64)
        self.indices = asarray(
            indices, xp=xp, device=device, dtype=_index_kind(xp, n_other), copy=False
        )
        self.n_lines, self.n_other = int(self.indptr.size) - 1, int(n_other)
        self.count, self.n_threads = int(self.indptr[-1]), int(n_threads)
        self.lengths = np.diff(self.indptr)
        self._buckets: tuple[list[Bucket], Array] | None = None

    def call(self, name: str, *arguments: Any) -> Any:
        """Run a kernel where the entries lie."""
        raise RuntimeError(f"{name}: the entries lie here.")

    def ranges(self, k: int) -> list[tuple[int, int]]:
        """Return contiguous ranges of lines with about the same number of entries.

        There is one where `k` numbers an entry are too little work for threads; else the
        largest come first.
        """
        pieces = self.n_threads * _RANGES
        if self.n_threads == 1 or self.count * k < _QUICK:
            return [(0, self.n_lines)]
        work = self.indptr + 4 * np.arange(self.n_lines + 1)
        goals = work[-1] * np.arange(1, pieces) // pieces
        cuts = np.unique([0, *np.searchsorted(work, goals), self.n_lines])
        order = np.argsort(-np.diff(work[cuts]), kind="stable")
        return [(int(cuts[c]), int(cuts[c + 1])) for c in order]

    @functools.cached_property
    def starts(self) -> Array:
        """`indptr` on the device."""
        return self.put(self.indptr)

    def buckets(self) -> list[Bucket]:
        """Return the lines that hold entries, grouped by length; built once."""
        return self._tables()[0]

    def order(self) -> Array:
        """Return where each line is among the rows of all buckets; empty lines come after them."""
        return self._tables()[1]

    def _tables(self) -> tuple[list[Bucket], Array]:
        if self._buckets is None:
            self._buckets = self._build()
        return self._buckets

    def _build(self) -> tuple[list[Bucket], Array]:
        """Build all buckets and the order."""
        found, where, rows = [], np.full(self.n_lines, -1, dtype=np.int64), 0
        exponents = np.ceil(np.log2(np.maximum(self.lengths, SHORTEST))).astype(np.int64)
        for exponent in np.unique(exponents[self.lengths > 0]):
            width = 1 << int(exponent)
            members = np.flatnonzero((exponents == exponent) & (self.lengths > 0))
            step = max(1, _TABLE // width)
            for start in range(0, members.size, step):
                bucket = self._bucket(members[start : start + step], width)
                where[bucket.lines] = rows + np.arange(bucket.lines.size)
                rows += int(bucket.valid.shape[0])
                found.append(bucket)
        where[where < 0] = rows
        return found, self.put(where)

    def _bucket(self, lines: Array, width: int) -> Bucket:
        """Return lines in tables of a width; shapes recur, so that compilers see few of them."""
        rows = _rounded(lines.size)
        starts, lengths = np.zeros((2, rows, 1), dtype=np.int64)
        starts[: lines.size, 0], lengths[: lines.size, 0] = self.indptr[lines], self.lengths[lines]
        columns = np.arange(width)[None, :]
        valid = columns < lengths
        places = self.put(np.where(valid, starts + columns, 0))
        indices = take_rows(self.xp, self.indices, places)
        return Bucket(lines, indices, places, self.put(valid, self.xp.bool))

    def put(self, x: Array, dtype: Any = None) -> Array:
        """Return a host array as one of the device, by default of indices."""
        dtype = index_dtype(self.xp) if dtype is None else dtype
        return asarray(x, xp=self.xp, device=self.device, dtype=dtype, copy=False)


def _index_kind(xp: Namespace, n_other: int) -> Any:
    """Return the integers of the indices: the shortest that the compiled forms read."""
    if library_name(xp) in ("numpy", "cupy") and n_other < 2**31:
        return xp.int32
    return index_dtype(xp)


def _rounded(count: int) -> int:
    """Return the next number that is a power of two or one and a half times one."""
    power = 1 << max(0, count - 1).bit_length()
    return power * 3 // 4 if power >= 4 and count <= power * 3 // 4 else power


def take_rows(xp: Namespace, x: Array, table: Array) -> Array:
    """Return rows of `x` (numbers, if it has one axis) in the places of a table."""
    found = xp.take(x, xp.reshape(table, (-1,)), axis=0)
    return xp.reshape(found, (*table.shape, *x.shape[1:]))
