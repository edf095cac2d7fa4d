"""The sketch of rows that arrive in blocks: ``S [A B]``, the norms of `B`, and which rows are in.

Every block carries the number of its first row, so that no two blocks meet the same columns of
`S`, whoever sketches them and in whatever order::

    part = SketchAccumulator(S, d, k, xp=xp, device=device, dtype=dtype)
    part.push(A[:1000], B[:1000], 0)
    part.merge(other)                       # rows 1000 ... from another worker
    SA, SB, norms = part.total()
"""

from __future__ import annotations

import copy
import math
from typing import Any, NamedTuple, Self

from linalgkit._core.array import (
    Array,
    Device,
    DType,
    Namespace,
    asarray,
    dtype_from_name,
    dtype_name,
    is_complex,
    is_complex_dtype,
    to_numpy,
    widest_dtype,
)
from linalgkit._core.state import State, Stateful, check_mergeable
from linalgkit.regression._cells import (
    Cell,
    DenseCell,
    Run,
    Share,
    SparseCell,
    add_run,
    cell_parts,
    overlap,
    rows_of,
)
from linalgkit.regression._intervals import column_norms
from linalgkit.sketching import SketchOperator

_LEAST_CELL = 1024
_SPARSE_CELLS = 16  # cells of sparse rows are so much longer: each costs a sum of m d numbers


class Held(NamedTuple):
    """All that changes as rows come in; replaced in one step.

    Attributes
    ----------
    covered : tuple of (start, stop)
        Row numbers taken in.
    total : tuple of two arrays, or None
        The sketch of the cells that were full.
    norms : tuple of float
        2-norms of the columns of `B` in those cells.
    cells : dict
        Cells that are not full, by number.
    """

    covered: tuple[Run, ...]
    total: Share | None
    norms: tuple[float, ...]
    cells: dict[int, Cell]


def cell_rows(S: SketchOperator, is_sparse: bool) -> int:
    """Return the length of the cells of rows that are sketched whole.

    Parameters
    ----------
    S : SketchOperator
        The sketch.
    is_sparse : bool
        Whether rows are sparse.

    Returns
    -------
    int
        A power of two, at least twice the rows of `S` and a multiple of the blocks of a sketch
        by blocks.
    """
    least: int = max(_LEAST_CELL, 2 * S.m, getattr(S, "block", 0))
    size = 1 << (least - 1).bit_length()
    return size * _SPARSE_CELLS if is_sparse else size


class SketchAccumulator(Stateful):
    """``S [A B]`` for rows that come in any order, each once.

    Parameters
    ----------
    S : SketchOperator
        A sketch that streams, or whose number of columns no row exceeds.
    d, k : int
        Columns of `A` and of `B`.
    xp, device, dtype
        Of the rows.
    sparse : bool
        Whether the rows of `A` are CSR.

    Notes
    -----
    Storage in words: ``m (d + k)`` of the widest dtype, and ``c (d + k)`` of the rows' dtype for
    each cell of `c` rows that is not full, at most one for rows in order. Rows are sketched cell
    by cell, so that the sums do not depend on how blocks are cut. Three synchronisations a cell.
    """

    def __init__(
        self,
        S: SketchOperator,
        d: int,
        k: int,
        *,
        xp: Namespace,
        device: Device,
        dtype: DType,
        sparse: bool = False,
    ) -> None:
        self.S, self.d, self.k = S, d, k
        self.xp, self.device, self.dtype = xp, device, dtype
        self.wide = widest_dtype(xp, device, dtype)
        self.sparse = sparse
        self.size = cell_rows(S, sparse)
        self.held = Held((), None, (0.0,) * k, {})

    # ---------------------------------------------------------------------- rows come in

    @property
    def n_rows(self) -> int:
        """Rows taken in."""
        return sum(stop - start for start, stop in self.held.covered)

    @property
    def stop(self) -> int:
        """One more than the largest row number taken in."""
        return self.held.covered[-1][1] if self.held.covered else 0

    def check_free(self, start: int, stop: int) -> None:
        """Refuse row numbers that have been taken in."""
        shared = overlap(self.held.covered, start, stop)
        if shared is not None:
            raise ValueError(
                f"start must place the block on rows not yet seen, got {start} for "
                f"{stop - start} rows, of which rows {shared[0]} to {shared[1] - 1} were seen "
                "before. Give each block the number of its first row."
            )

    def push(self, A: Any, B: Array, start: int, roots: Array | None = None) -> None:
        """Take in a block of rows.

        Parameters
        ----------
        A : array (b, d) or CSR matrix
            Rows, finite; only read.
        B : array (b, k)
            What stands beside them.
        start : int
            The number of the first one, none of which has been taken in.
        roots : array (b,), optional
            Real factors of the rows.
        """
        stop = start + int(A.shape[0])
        held = self.held
        for number, low, high in cell_parts(start, stop, self.size):
            first = number * self.size - start
            rows = self._converted(A, B, first + low, first + high, roots)
            held = self._with_rows(held, number, low, *rows)
        self.held = held._replace(covered=add_run(held.covered, start, stop))

    def _converted(
        self, A: Any, B: Array, start: int, stop: int, roots: Array | None
    ) -> tuple[Any, Array]:
        """Return rows of a block in the working dtype, times their factors."""
        xp = self.xp
        rows = rows_of(A, start, stop)
        beside = xp.astype(B[start:stop, :], self.dtype, copy=False)
        rows = (
            rows.astype(self.dtype, copy=False)
            if self.sparse
            else xp.astype(rows, self.dtype, copy=False)
        )
        if roots is None:
            return rows, beside
        factor = xp.astype(roots[start:stop], self.dtype, copy=False)
        if not self.sparse:
            return factor[:, None] * rows, factor[:, None] * beside
        each = xp.repeat(factor, rows.indptr[1:] - rows.indptr[:-1])
        parts = rows.data * each, rows.indices, rows.indptr
        return type(rows)(parts, shape=rows.shape), factor[:, None] * beside

    def _with_rows(self, held: Held, number: int, at: int, A: Any, B: Array) -> Held:
        """Return what is held with rows of one cell added, which is sketched if it is full."""
        cell = held.cells.get(number) or self._empty_cell()
        cell = cell.with_rows(at, A, B)
        others = {key: value for key, value in held.cells.items() if key != number}
        if not cell.is_full:
            return held._replace(cells={**others, number: cell})
        total, norms = self._added(held.total, held.norms, number, cell)
        return held._replace(total=total, norms=norms, cells=others)

    def _empty_cell(self) -> Cell:
        if self.sparse:
            return SparseCell(self.size, self.xp)
        place = {"xp": self.xp, "device": self.device, "dtype": self.dtype}
        return DenseCell(self.size, self.d, self.k, **place)

    def _added(
        self, total: Share | None, norms: tuple[float, ...], number: int, cell: Cell
    ) -> tuple[Share, tuple[float, ...]]:
        """Return the sketch and the norms with those of a cell."""
        xp = self.xp
        A, B = (
            xp.astype(real_rows(part, self.dtype, xp), self.wide, copy=False)
            for part in cell.share(self.S, number * self.size)
        )
        for _, _, beside in cell.pieces():
            lengths = column_norms(xp.astype(beside, self.wide, copy=False), xp)
            norms = tuple(map(math.hypot, norms, lengths))
        return ((A, B) if total is None else (total[0] + A, total[1] + B)), norms

    def merge(self, other: SketchAccumulator) -> None:
        """Take in all rows of another accumulator of the same sketch, which stays as it is.

        Raises
        ------
        TypeError, ValueError
            If sketches, sizes, kinds or dtypes differ, or a row was taken in by both.
        """
        way_out = "Start every part with the same integer as rng, the same options and dtype."
        fields = ("S", "d", "k", "sparse", "dtype_name", "library")
        check_mergeable(self, other, fields, way_out=way_out)
        for start, stop in other.held.covered:
            self.check_free(start, stop)
        mine, theirs = self.held, other.held
        total = theirs.total if mine.total is None else mine.total
        if mine.total is not None and theirs.total is not None:
            total = mine.total[0] + theirs.total[0], mine.total[1] + theirs.total[1]
        held = mine._replace(total=total, norms=tuple(map(math.hypot, mine.norms, theirs.norms)))
        held = held._replace(cells={key: cell.copy() for key, cell in held.cells.items()})
        for number in sorted(theirs.cells):
            for at, A, B in theirs.cells[number].pieces():
                held = self._with_rows(held, number, at, A, B)
        covered = held.covered
        for start, stop in theirs.covered:
            covered = add_run(covered, start, stop)
        self.held = held._replace(covered=covered)

    @property
    def dtype_name(self) -> str:
        """Name of the rows' dtype."""
        return dtype_name(self.xp, self.dtype)

    @property
    def library(self) -> tuple[str, str]:
        """Namespace and device, for comparisons."""
        return str(self.xp.__name__), str(self.device)

    # ------------------------------------------------------------------------ the answer

    def total(self) -> tuple[Array, Array, list[float]]:
        """Return ``S A``, ``S B`` and the norms of the columns of `B`; nothing changes."""
        total, norms = self.held.total, self.held.norms
        for number in sorted(self.held.cells):
            total, norms = self._added(total, norms, number, self.held.cells[number])
        assert total is not None
        return *total, list(norms)

    def rows(self) -> tuple[Array, Array] | None:
        """Return all rows `A` and `B`, dense, if they are no more than those of the sketch."""
        if self.held.total is not None or self.n_rows > self.S.m:
            return None
        xp = self.xp
        parts = [piece for n in sorted(self.held.cells) for piece in self.held.cells[n].pieces()]
        unit = xp.eye(self.d, dtype=self.dtype, device=self.device) if self.sparse else None
        dense = [A if unit is None else A @ unit for _, A, _ in parts]
        return xp.concat(dense, axis=0), xp.concat([B for _, _, B in parts], axis=0)

    # ----------------------------------------------------------------------------- state

    def _get_state(self) -> State:
        held = self.held
        total = None if held.total is None else [to_numpy(part) for part in held.total]
        return {
            "S": self.S.to_state(),
            "d": self.d,
            "k": self.k,
            "dtype": self.dtype_name,
            "sparse": self.sparse,
            "covered": [list(run) for run in held.covered],
            "total": total,
            "norms": list(held.norms),
            "cells": [[n, held.cells[n].to_state()] for n in sorted(held.cells)],
        }

    @classmethod
    def _from_state(cls, state: State, *, xp: Namespace, device: Device) -> Self:
        dtype = dtype_from_name(xp, state["dtype"])
        S = SketchOperator.from_state(state["S"])
        place = {"xp": xp, "device": device, "dtype": dtype, "sparse": state["sparse"]}
        part = cls(S, state["d"], state["k"], **place)
        cells: dict[int, Cell] = {}
        for number, kept in state["cells"]:
            empty = part._empty_cell()
            if isinstance(empty, SparseCell):
                cells[number] = empty.restored(kept, device)
            else:
                cells[number] = empty.restored(kept)  # type: ignore[attr-defined]
        total = None
        if state["total"] is not None:
            first, second = (asarray(x, xp=xp, device=device) for x in state["total"])
            total = first, second
        covered = tuple((int(a), int(b)) for a, b in state["covered"])
        part.held = Held(covered, total, tuple(state["norms"]), cells)
        return part


def merged(a: SketchAccumulator, b: SketchAccumulator) -> SketchAccumulator:
    """Return all rows of two accumulators, both of which stay as they are."""
    both = copy.copy(a)
    both.merge(b)
    return both


def real_rows(Y: Array, dtype: DType, xp: Namespace) -> Array:
    """Return sketched rows of data of `dtype`: of real data, if `S` is complex, in two parts.

    Real unknowns minimise ``||S (A x - b)||`` over the reals, which is a problem of twice as many
    real rows.
    """
    if is_complex_dtype(xp, dtype) or not is_complex(Y, xp):
        return Y
    return xp.concat([xp.real(Y), xp.imag(Y)], axis=0)
