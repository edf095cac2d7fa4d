"""The segments of one random-order stream, shared by all who have rows of them.

A graph around :mod:`linalgkit.streaming._rounds`: one worker takes the first parts; then every
segment makes a round for the heavy rows and one for the products.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import dask
from dask.delayed import Delayed

from linalgkit._core.estimator import as_array
from linalgkit._core.row_buffer import row_slice
from linalgkit._core.validation import check_finite_block
from linalgkit.distributed._graph import computed, reduced, task
from linalgkit.distributed._parts import Parts
from linalgkit.streaming import StreamingEigh
from linalgkit.streaming._inputs import as_csr, check_joins
from linalgkit.streaming._observation import Observation
from linalgkit.streaming._rounds import (
    Pace,
    Share,
    can_begin,
    candidates,
    closed,
    finished,
    observed,
    opened,
    settled,
    survey,
    surveyed,
)

# A stream is seen by one worker until it has so many blocks: before that its segments are too
# short to be worth sending.
_FIRST_BLOCKS = 8
NO_ROWS = "source must have at least one row, got parts without rows."

_Origins = Sequence[tuple[int, int]]  # number of a part, and the first row of it that is meant

Held = Callable[[Delayed], Delayed]


def kept(found: Delayed) -> Delayed:
    """Leave a task in the graph that goes on."""
    return found


def done(found: Delayed) -> Delayed:
    """Compute a task where its result shall stay, and wait for it."""
    (kept,) = dask.persist(found)
    computed(task("wait", _nothing, kept))
    return kept


def _nothing(_: Any) -> None:
    return None


@dataclass(frozen=True)
class _Cut:
    """A share of a round: whole blocks of one part, or one block that a segment's end cuts.

    `is_new` is False for a block whose norms an earlier round has seen.
    """

    first: int
    stop: int
    is_new: bool


class SharedSegments:
    """The graph of a stream whose segments are shared."""

    def __init__(
        self, start: Delayed, parts: Parts, *, center: bool, fanin: int, held: Held
    ) -> None:
        self.fanin, self.held, self.center = fanin, held, center
        parts = parts.counted()
        self.numbers = [i for i, n in enumerate(parts.lengths or []) if n]  # which messages name
        parts = parts.without_empty()
        self.tasks, self.lengths, self.starts = parts.tasks, parts.lengths or [], parts.starts()
        self.model = self._begun(start)

    def _begun(self, start: Delayed) -> Delayed:
        """Return the task of the object that has seen the first parts; it is computed."""
        used, total, wanted = 0, 0, 1
        while used < len(self.tasks) and total < wanted:
            begin = used
            while used < len(self.tasks) and total < wanted:
                total, used = total + self.lengths[used], used + 1
            numbers = (self.numbers or [0])[begin:used]
            start = done(task("begin", _begun, start, numbers, *self.tasks[begin:used]))
            wanted, self.block_rows = computed(task("wanted", _wanted, start))
        self.used = used
        return start

    def task(self) -> Delayed:
        """Return the task of the fitted object."""
        if self.used == len(self.tasks):
            return self.model  # too few for more than one place
        n_rows = sum(self.lengths)
        pace = task("pace", _pace, self.model)
        local: Pace = computed(pace)
        self.places, behind = local.places, n_rows // self.block_rows
        for lo, hi in local.rounds(behind - local.places.first):
            pace = self.held(self._round(pace, lo, hi))
        ends = behind * self.block_rows, n_rows
        return task("stream", _with_stream, self.model, pace, self._cut(*ends), *self._rows(*ends))

    def _round(self, pace: Delayed, lo: int, hi: int) -> Delayed:
        """Return the task of the stream at the end of a segment."""
        cuts = self._cuts(lo, hi)
        before: list[Delayed | None] = [None] * (len(cuts) + 1)
        if self.center:
            surveys = [task("mean", _survey, pace, c.first, *self._named(c)) for c in cuts]
            both = self.held(task("means", _surveyed, pace, *surveys))
            pace = task("mean", _item, both, 0)
            before = [task("mean", _item, both, 1, i) for i in range(len(cuts) + 1)]
        pairs = list(zip(cuts, before, strict=False))
        found = [
            task("norms", _candidates, pace, c.first, known, *self._named(c))
            for c, known in pairs
            if c.is_new
        ]
        pace = self.held(task("heavy-rows", _settled, pace, *found))
        view = task("columns", opened, pace)
        seen = [
            task("products", _observed, view, c.first, lo, hi, known, *self._of(c))
            for c, known in pairs
        ]
        joined = reduced("products", Observation.then, seen, self.fanin)
        whole = self.places.start(cuts[-1].stop) == hi
        return task("segment", closed, pace, joined, hi, before[-1 if whole else -2])

    def _cuts(self, lo: int, hi: int) -> list[_Cut]:
        """Return the shares of a segment."""
        blocks, B = self.places.blocks(lo, hi), self.block_rows
        edges = {blocks.start, blocks.stop}
        edges |= {-(-s // B) for s in self.starts if blocks.start < -(-s // B) < blocks.stop}
        is_cut = self.places.start(blocks.start) < lo
        if is_cut:
            edges.add(blocks.start + 1)
        if self.places.start(blocks.stop) > hi:
            edges.add(blocks.stop - 1)
        ends = sorted(edges)
        pairs = itertools.pairwise(ends)
        return [_Cut(a, b, not (is_cut and a == blocks.start)) for a, b in pairs]

    def _of(self, cut: _Cut) -> list[Delayed]:
        return self._rows(cut.first * self.block_rows, cut.stop * self.block_rows)

    def _named(self, cut: _Cut) -> list[Any]:
        """Return where the rows of a cut come from, and their tasks."""
        return [self._cut(cut.first * self.block_rows, cut.stop * self.block_rows), *self._of(cut)]

    def _rows(self, start: int, stop: int) -> list[Delayed]:
        """Return tasks of the rows in a range, which may lie in several parts."""
        return [
            self.tasks[i]
            if b - a == self.lengths[i]
            else task("rows", _rows_of, self.tasks[i], a, b)
            for i, a, b in self._ranges(start, stop)
        ]

    def _cut(self, start: int, stop: int) -> list[tuple[int, int]]:
        """Return the part of each of these, as the caller counts them, and its first row there."""
        return [(self.numbers[i], a) for i, a, _ in self._ranges(start, stop)]

    def _ranges(self, start: int, stop: int) -> Iterator[tuple[int, int, int]]:
        """Yield the parts that have rows of a range, each with its own first and last."""
        for i, (first, n) in enumerate(zip(self.starts, self.lengths, strict=True)):
            a, b = max(start, first) - first, min(stop, first + n) - first
            if a < b:
                yield i, a, b


def _item(x: Any, *path: int) -> Any:
    """Return an item of an item."""
    for i in path:
        x = x[i]
    return x


def empty_like(model: StreamingEigh) -> StreamingEigh:
    """Return an object with the same options that has seen nothing."""
    return type(model)(**model.get_params(deep=False))


def _begun(model: StreamingEigh, numbers: Sequence[int], *parts: Any) -> StreamingEigh:
    """Return an object that has seen further parts of these numbers."""
    fresh = empty_like(model).merge(model)
    for number, part in zip(numbers, parts, strict=True):
        fresh._n_blocks = number  # which messages name
        fresh = fresh.partial_fit(part)
    return fresh


def _wanted(model: StreamingEigh) -> tuple[int, int]:
    """Return how many rows the beginning shall have, and how many a block has."""
    check_has_rows(model)
    stream = model._fitted_stream()
    rows = stream.buffer.block_rows
    capacity = 0 if stream.heap is None else stream.heap.capacity
    return max(_FIRST_BLOCKS * rows, capacity + 2 * rows), rows


def _pace(model: StreamingEigh) -> Pace:
    """Return the stream of an object at the start of its shared segments."""
    stream = model._fitted_stream()
    assert can_begin(stream)
    return Pace.of(stream)


def _share(rows: Sequence[Any], first: int) -> Share:
    return Share([as_array(X) for X in rows], first)


@contextlib.contextmanager
def _naming(pace: Pace, origins: _Origins, rows: Sequence[Any]) -> Iterator[None]:
    """Let an error name the part that it is about, and the row there."""
    try:
        yield
    except (TypeError, ValueError):
        for (number, first), X in zip(origins, rows, strict=True):
            block = as_csr(as_array(X))
            check_joins(block, pace.stream.space, number)
            check_finite_block(block, number, first=first)
        raise


def _survey(pace: Pace, first: int, origins: _Origins, *rows: Any) -> Any:
    """Read a share for its mean."""
    with _naming(pace, origins, rows):
        return survey(pace, _share(rows, first))


def _surveyed(pace: Pace, *surveys: Any) -> Any:
    """Bring each share the mean of all rows before it."""
    return surveyed(pace, surveys)


def _candidates(pace: Pace, first: int, before: Any, origins: _Origins, *rows: Any) -> Any:
    """Read a share for its heavy rows."""
    with _naming(pace, origins, rows):
        return candidates(pace, _share(rows, first), before)


def _settled(pace: Pace, *found: Any) -> Pace:
    """Exchange the heavy rows of a segment."""
    return settled(pace, found)


def _observed(view: Any, first: int, lo: int, hi: int, before: Any, *rows: Any) -> Observation:
    """Multiply a share with the columns."""
    return observed(view, _share(rows, first), lo, hi, before)


def _rows_of(part: Any, start: int, stop: int) -> Any:
    """Return some rows of a part."""
    return row_slice(as_csr(as_array(part)), start, stop)


def _with_stream(model: StreamingEigh, pace: Pace, origins: _Origins, *rest: Any) -> StreamingEigh:
    """Return an object whose stream is at the end."""
    with _naming(pace, origins, rest):
        return with_stream_of(model, finished(pace, [as_array(X) for X in rest]))


def with_stream_of(model: StreamingEigh, stream: Any) -> StreamingEigh:
    """Return an object like `model` whose rows are those of a stream."""
    fresh = empty_like(model)
    fresh._take(stream, model._features())
    return fresh


def check_has_rows(model: StreamingEigh) -> None:
    """Raise ValueError for an object that has seen nothing."""
    if not hasattr(model, "n_features_in_"):
        raise ValueError(NO_ROWS)
