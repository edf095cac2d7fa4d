"""Rows held back until a cell of them is full: what makes an answer independent of the cuts.

Row numbers are cut into cells of one length. A cell collects its rows in any order and in
pieces of any size, and is sketched whole::

    cell = DenseCell(1024, d, k, xp=xp, device=device, dtype=dtype)
    cell = cell.with_rows(10, A, B)         # rows 10 ... of the cell
    if cell.is_full:
        Y = cell.share(S, first_row)        # its share of S [A B]
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterator
from typing import Any, Protocol, Self

from linalgkit._core.array import (
    Array,
    Device,
    DType,
    Namespace,
    asarray,
    device,
    is_in_place,
    to_numpy,
)
from linalgkit._core.sparse import csr_concat, csr_of_state, csr_rows
from linalgkit._core.state import PortablePickle, State
from linalgkit.sketching import SketchOperator

Run = tuple[int, int]
Share = tuple[Array, Array]


# ----------------------------------------------------------------------------------- runs


def add_run(runs: tuple[Run, ...], start: int, stop: int) -> tuple[Run, ...]:
    """Return sorted disjoint runs with another one joined in, neighbours made one."""
    if start == stop:
        return runs
    joined: list[Run] = []
    for low, high in sorted([*runs, (start, stop)]):
        if joined and low <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(high, joined[-1][1])
        else:
            joined.append((low, high))
    return tuple(joined)


def overlap(runs: tuple[Run, ...], start: int, stop: int) -> Run | None:
    """Return what `start` to `stop` shares with the first run that it meets, or None."""
    for low, high in runs:
        if low < stop and start < high:
            return max(low, start), min(high, stop)
    return None


def cell_parts(start: int, stop: int, size: int) -> Iterator[tuple[int, int, int]]:
    """Yield the cells that rows `start` to `stop` meet, with the first and last row in each."""
    for cell in range(start // size, -(-stop // size)):
        first = cell * size
        yield cell, max(start - first, 0), min(stop - first, size)


# ---------------------------------------------------------------------------------- cells


class Cell(Protocol):
    """What both kinds of cell offer; a cell with more rows is a new one."""

    size: int
    runs: tuple[Run, ...]

    @property
    def is_full(self) -> bool:
        """Whether every row is there."""

    def with_rows(self, at: int, A: Any, B: Array) -> Self:
        """Return the cell with rows from place `at` on, which are copied."""

    def pieces(self) -> Iterator[tuple[int, Any, Array]]:
        """Yield the runs of rows that are there: place, `A`, `B`."""

    def share(self, S: SketchOperator, first: int) -> Share:
        """Return the share of ``S A`` and ``S B`` of the rows, `first` being that of place 0."""

    def copy(self) -> Self:
        """Return a cell that shares no memory with this one."""

    def to_state(self) -> State:
        """Return the rows as host data."""


class DenseCell(PortablePickle):
    """Dense rows ``[A B]`` in one array.

    A cell and the one that :meth:`with_rows` makes of it share that array: what a cell does not
    count as its own is never read, so that nothing is lost when a call is interrupted.

    Parameters
    ----------
    size : int
        Rows.
    d, k : int
        Columns of `A` and `B`.
    xp, device, dtype
        Of the rows.
    """

    def __init__(
        self, size: int, d: int, k: int, *, xp: Namespace, device: Device, dtype: DType
    ) -> None:
        self.size, self.d, self.xp = size, d, xp
        self.runs: tuple[Run, ...] = ()
        self._rows = xp.empty((size, d + k), dtype=dtype, device=device)

    @property
    def is_full(self) -> bool:
        """Whether every row is there."""
        return self.runs == ((0, self.size),)

    def _changed(self, rows: Array, runs: tuple[Run, ...]) -> Self:
        twin = type(self).__new__(type(self))
        twin.size, twin.d, twin.xp = self.size, self.d, self.xp
        twin._rows, twin.runs = rows, runs
        return twin

    def with_rows(self, at: int, A: Array, B: Array) -> Self:
        """Return the cell with rows from place `at` on, which are copied."""
        xp, count, rows = self.xp, int(A.shape[0]), self._rows
        if is_in_place(xp):
            rows[at : at + count, : self.d] = A
            rows[at : at + count, self.d :] = B
        else:
            # A gather compiles once for each pair of shapes, a slice for every pair of ends.
            places = xp.arange(self.size, device=device(rows)) - at
            inside = (places >= 0) & (places < count)
            joined = xp.concat([A, B], axis=1)
            arriving = xp.take(joined, xp.clip(places, 0, count - 1), axis=0)
            rows = xp.where(inside[:, None], arriving, rows)
        return self._changed(rows, add_run(self.runs, at, at + count))

    def pieces(self) -> Iterator[tuple[int, Array, Array]]:
        """Yield the runs of rows that are there: place, `A`, `B`."""
        for low, high in self.runs:
            yield low, self._rows[low:high, : self.d], self._rows[low:high, self.d :]

    def share(self, S: SketchOperator, first: int) -> Share:
        """Return the share of ``S A`` and ``S B``; one run at a time, one tile of `S` for both."""
        parts = [S.apply_rows(self._rows[a:b, :], first + a) for a, b in self.runs]
        total = functools.reduce(operator.add, parts)
        return total[:, : self.d], total[:, self.d :]

    def copy(self) -> Self:
        """Return a cell that shares no memory with this one."""
        return self._changed(self.xp.asarray(self._rows, copy=True), self.runs)

    def to_state(self) -> State:
        """Return places and rows as host data."""
        runs = [{"at": low, "rows": to_numpy(self._rows[low:high, :])} for low, high in self.runs]
        return {"runs": runs}

    def restored(self, state: State) -> Self:
        """Return an empty cell's twin with the rows of a state."""
        cell = self
        for run in state["runs"]:
            rows = asarray(
                run["rows"], xp=self.xp, device=device(self._rows), dtype=self._rows.dtype
            )
            cell = cell.with_rows(int(run["at"]), rows[:, : self.d], rows[:, self.d :])
        return cell


class SparseCell(PortablePickle):
    """CSR rows of `A`, each with a few dense numbers of `B` beside it.

    Parameters
    ----------
    size : int
        Rows.
    xp : module
        Namespace of the dense arrays.
    """

    def __init__(self, size: int, xp: Namespace) -> None:
        self.size, self.xp = size, xp
        self.runs: tuple[Run, ...] = ()
        self._pieces: tuple[tuple[int, Any, Array], ...] = ()

    @property
    def is_full(self) -> bool:
        """Whether every row is there."""
        return self.runs == ((0, self.size),)

    def _changed(self, pieces: tuple[tuple[int, Any, Array], ...], runs: tuple[Run, ...]) -> Self:
        twin = type(self)(self.size, self.xp)
        twin._pieces, twin.runs = pieces, runs
        return twin

    def with_rows(self, at: int, A: Any, B: Array) -> Self:
        """Return the cell with rows from place `at` on, which are copied."""
        piece = at, A.copy(), self.xp.asarray(B, copy=True)
        return self._changed((*self._pieces, piece), add_run(self.runs, at, at + int(A.shape[0])))

    def pieces(self) -> Iterator[tuple[int, Any, Array]]:
        """Yield the runs of rows that are there: place, `A`, `B`."""
        ordered = sorted(self._pieces, key=lambda piece: piece[0])
        for low, high in self.runs:
            _, rows, beside = zip(*(p for p in ordered if low <= p[0] < high), strict=True)
            yield low, csr_concat(rows), self.xp.concat(list(beside), axis=0)

    def share(self, S: SketchOperator, first: int) -> Share:
        """Return the share of ``S A`` and ``S B``, one run at a time."""
        pieces = list(self.pieces())
        sides = ([S.apply_rows(p[i], first + p[0]) for p in pieces] for i in (1, 2))
        first_total, second_total = (functools.reduce(operator.add, parts) for parts in sides)
        return first_total, second_total

    def copy(self) -> Self:
        """Return a cell that shares no memory with this one that anybody writes to."""
        return self._changed(self._pieces, self.runs)

    def to_state(self) -> State:
        """Return places and rows as host data."""
        return {"runs": [self._run_state(*piece) for piece in self.pieces()]}

    @staticmethod
    def _run_state(at: int, A: Any, B: Array) -> State:
        parts = {name: to_numpy(getattr(A, name)) for name in ("data", "indices", "indptr")}
        return {"at": at, "width": int(A.shape[1]), **parts, "beside": to_numpy(B)}

    def restored(self, state: State, device: Device) -> Self:
        """Return an empty cell's twin with the rows of a state."""
        cell = self
        for run in state["runs"]:
            rows = csr_of_state(run, int(run["width"]), xp=self.xp, device=device)
            beside = asarray(run["beside"], xp=self.xp, device=device)
            cell = cell.with_rows(int(run["at"]), rows, beside)
        return cell


def rows_of(A: Any, start: int, stop: int) -> Any:
    """Return rows of an array or CSR matrix, sharing memory where that is possible."""
    return csr_rows(A, start, stop) if hasattr(A, "indptr") else A[start:stop, :]
