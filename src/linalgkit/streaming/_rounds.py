"""One random-order stream in several places at once: the same answer, segment by segment.

Within a segment all columns are fixed. Whoever has some of its rows, a *share* of whole blocks,
does what the stream would have done with them, and what is left to do one after the other is
little: which rows are heavy, and the end of the segment::

    pace = Pace.of(stream)                       # a stream that has begun
    for lo, hi in pace.rounds(n_blocks):         # one segment each
        found = [candidates(pace, share) for share in ...]        # norms
        pace = settled(pace, found)                               # the heap
        view = opened(pace)
        seen = [observed(view, share, lo, hi) for share in ...]   # products
        pace = closed(pace, joined(seen), hi)

Differs from one stream in rounding alone: sums are joined in another order, and the unit of the
rows changes at the start of a segment instead of within. With centring there is a step before
(:func:`survey`, :func:`surveyed`) that brings each share the mean of all rows before it.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from linalgkit._core.array import Array, numpy_namespace, to_numpy
from linalgkit._core.linalg import ldexp
from linalgkit._core.operators import DenseOperator, Operator
from linalgkit._core.state import PortablePickle
from linalgkit._core.streams import RowBuffer, row_blocks
from linalgkit.streaming._heap import PatchedRows, exchanged, with_kernels
from linalgkit.streaming._inputs import as_csr, check_joins, in_pieces
from linalgkit.streaming._observation import (
    Observation,
    absorb,
    observation,
    observer,
    segment_ends,
    without_sums,
)
from linalgkit.streaming._preprocess import Preprocessor, Space
from linalgkit.streaming._segments import SegmentEngine
from linalgkit.streaming._stream import RowStream

_HOST = numpy_namespace()

Place = tuple[int, int]  # number of a block in the stream, and of a row within it


@dataclass(frozen=True, eq=False)
class Share:
    """Some consecutive blocks of a stream.

    Attributes
    ----------
    rows : list of array or CSR matrix
        Their rows, cut in any way.
    first : int
        Number of the first block.
    """

    rows: Sequence[Any]
    first: int


@dataclass(frozen=True, eq=False)
class Places:
    """Where the blocks of a stream lie in the stream of light rows.

    Attributes
    ----------
    origin : int
        Position of the block that came first after the beginning.
    first : int
        Its number.
    rows : int
        Light rows of a block: its own, and one that centring adds.
    """

    origin: int
    first: int
    rows: int

    def start(self, block: int) -> int:
        """Return the position at which a block starts."""
        return self.origin + (block - self.first) * self.rows

    def blocks(self, lo: int, hi: int) -> range:
        """Return the numbers of the blocks that lie in some positions, in part or whole."""
        behind = -(-(hi - self.origin) // self.rows)
        return range(self.first + (lo - self.origin) // self.rows, self.first + behind)


@dataclass(frozen=True, eq=False)
class Pace(PortablePickle):
    """A stream that is at the start of a segment, or has settled its heavy rows.

    Attributes
    ----------
    stream : RowStream
        With nothing in its buffer. What it knows of mean and weights goes to the last block that
        is counted in whole; what it knows of norms, one block further where that is cut by the
        end of a segment.
    places : Places
        Where its blocks lie.
    patches : dict
        Rows of blocks that are not done yet which came from the heap.
    """

    stream: RowStream
    places: Places
    patches: dict[Place, Array]

    @classmethod
    def of(cls, stream: RowStream) -> Pace:
        """Begin after the rows that a stream has seen, but for those that wait."""
        fresh = stream.duplicate()
        fresh.buffer = RowBuffer(stream.buffer.block_rows)
        fresh.n_rows -= len(stream.buffer)
        done = fresh.n_rows // stream.buffer.block_rows
        width = stream.buffer.block_rows + (1 if stream.pre.center else 0)
        return cls(fresh, Places(stream.engine.position, done, width), {})

    def rounds(self, n_blocks: int) -> list[tuple[int, int]]:
        """Return the positions between which segments lie, the next blocks being so many."""
        end = self.places.origin + n_blocks * self.places.rows
        sizes = itertools.repeat(self.places.rows, n_blocks)
        ends = [*segment_ends(self.stream.engine, sizes), end]
        starts = [self.places.origin, *ends]
        return [(lo, hi) for lo, hi in zip(starts, ends, strict=False) if lo < hi]


def can_begin(stream: RowStream) -> bool:
    """Tell whether columns and heap are filled, so that rows can be seen in several places."""
    engine, heap = stream.engine, stream.heap
    assert isinstance(engine, SegmentEngine)
    assert heap is not None
    return engine.has_columns and heap.n == heap.capacity


# ------------------------------------------------------------------- the rows of one share


def _blocks(share: Share, space: Space, block_rows: int) -> Iterator[tuple[int, Any]]:
    """Yield the blocks of a share with their numbers."""
    buffer, numbers = RowBuffer(block_rows), itertools.count(share.first)
    for index, X in enumerate(row_blocks(share.rows, d=space.d)):
        block = as_csr(X)
        check_joins(block, space, index)
        for piece, _ in in_pieces(block, None, space):
            for full in buffer.push(piece):
                yield next(numbers), full


def _prepared(pre: Preprocessor, X: Any, basis: Array | None = None) -> tuple[Operator, Any]:
    """Return a block as the engine sees it, and its norms on the host; `pre` goes on."""
    block, norms, _ = pre.load(X, basis)
    if pre.is_plain:
        pre.count(int(X.shape[0]))
        return block, norms
    block = pre.transform(block, None)
    return block, to_numpy(block.row_norms_squared())


@dataclass(frozen=True, eq=False)
class Survey(PortablePickle):
    """What a share adds to the mean: the sum of its rows, in the unit of ``2**exponent``."""

    exponent: int
    is_empty: bool
    n_rows: int
    sums: Array


def survey(pace: Pace, share: Share) -> Survey:
    """Read a share for its mean."""
    pre, space = copy.copy(pace.stream.pre), pace.stream.space
    pre.sums, n_rows = space.zeros(space.d, dtype=space.wide), 0
    for _, X in _blocks(share, space, pace.stream.buffer.block_rows):
        _prepared(pre, X)
        n_rows += int(X.shape[0])
    return Survey(pre.exponent, pre.is_empty, n_rows, pre.sums)


def surveyed(pace: Pace, surveys: Sequence[Survey]) -> tuple[Pace, list[Preprocessor]]:
    """Return the stream in a unit that fits all shares, and what is known before each share.

    One more than there are shares: the last is what is known after all of them.
    """
    known = [s.exponent for s in surveys if not s.is_empty]
    moved = _in_unit(pace, max([pace.stream.pre.exponent, *known]) if known else None)
    pre = copy.copy(moved.stream.pre)
    before = [pre]
    for found in surveys:
        pre = copy.copy(pre)
        shift = found.exponent - pre.exponent
        pre.sums = pre.sums + ldexp(found.sums, shift, moved.stream.space.xp)
        pre.is_empty = pre.is_empty and found.is_empty
        pre.count(found.n_rows)
        before.append(pre)
    return moved, before


def _in_unit(pace: Pace, exponent: int | None) -> Pace:
    """Return the stream in another unit, as if it had seen rows of that size."""
    stream = pace.stream.duplicate()
    shift = 0 if exponent is None else exponent - stream.pre.exponent
    if exponent is None or shift == 0:
        return replace(pace, stream=stream)
    stream._rescale(-shift)
    stream.pre.move_to(exponent)
    xp = stream.space.xp
    patches = {place: ldexp(row, -shift, xp) for place, row in pace.patches.items()}
    return replace(pace, stream=stream, patches=patches)


@dataclass(frozen=True, eq=False)
class Candidates(PortablePickle):
    """What a share says about heavy rows.

    Attributes
    ----------
    places : list
        Rows that are larger than the smallest one held.
    norms : numpy.ndarray
        Their squared norms.
    rows : array or None
        The rows themselves.
    largest_passed : float
        Largest squared norm of the others.
    energy : float
        Sum of all squared norms.
    exponent : int
        The unit of all these.
    is_empty : bool
        Whether there was nothing but zeros, here and before.
    """

    places: list[Place]
    norms: Any
    rows: Array | None
    largest_passed: float
    energy: float
    exponent: int
    is_empty: bool


def candidates(pace: Pace, share: Share, before: Preprocessor | None = None) -> Candidates:
    """Read a share for its heavy rows; `before` is what is known of the rows before it."""
    stream = pace.stream
    pre = copy.copy(stream.pre if before is None else before)
    unit, threshold = pre.exponent, _threshold(stream)
    places: list[Place] = []
    rows, norms, passed, energy = [], [], 0.0, 0.0
    for number, X in _blocks(share, stream.space, stream.buffer.block_rows):
        block, squares = _prepared(pre, X)
        if pre.exponent != unit:  # rare: begin again in the unit that is needed
            return candidates(_in_unit(pace, pre.exponent), share, before)
        energy += float(squares.sum(dtype="float64"))
        picked = (squares > threshold).nonzero()[0].tolist()
        passed = max(passed, float(squares.max(initial=0.0, where=squares <= threshold)))
        if picked:
            places += [(number, i) for i in picked]
            norms.append(squares[picked])
            rows.append(block.dense_rows(picked))
    found = stream.space.xp.concat(rows, axis=0) if rows else None
    joined = _HOST.concat(norms) if norms else _HOST.zeros(0)
    return Candidates(places, joined, found, passed, energy, pre.exponent, pre.is_empty)


def _threshold(stream: RowStream) -> float:
    assert stream.heap is not None
    return stream.heap.threshold


# ------------------------------------------------------------- one after the other, and little


def settled(pace: Pace, found: Sequence[Candidates]) -> Pace:
    """Exchange the heavy rows of a segment with the heap, in the order of the stream."""
    known = [c.exponent for c in found if not c.is_empty]
    moved = _in_unit(pace, max([pace.stream.pre.exponent, *known]) if known else None)
    stream, patches = moved.stream, dict(moved.patches)
    assert stream.heap is not None
    for c in found:
        shift = c.exponent - stream.pre.exponent
        stream.energy += math.ldexp(c.energy, 2 * shift)
        stream.heap.note_passed(math.ldexp(c.largest_passed, 2 * shift))
        stream.pre.is_empty = stream.pre.is_empty and c.is_empty
        if c.rows is None:
            continue
        rows = DenseOperator(ldexp(c.rows, shift, stream.space.xp) if shift else c.rows)
        light = stream.heap.exchange(rows, c.norms * 4.0**shift)
        if isinstance(light, PatchedRows):
            new = light.new_rows
            patches.update({c.places[p]: new[i, :] for i, p in enumerate(light.places)})
    stream._show_heavy_rows()
    return replace(moved, patches=patches)


def closed(pace: Pace, seen: Observation, hi: int, after: Preprocessor | None = None) -> Pace:
    """Take in what all shares have seen; `after` is what is known of the rows up to there."""
    stream, places = pace.stream.duplicate(), pace.places
    absorb(stream.engine, seen)
    block_rows = stream.buffer.block_rows
    next_block = places.first + (hi - places.origin) // places.rows
    done = next_block * block_rows - stream.n_rows
    if after is None:
        stream.pre.count(done)
    else:
        stream.pre = copy.copy(after)
    stream.n_rows += done
    patches = {place: row for place, row in pace.patches.items() if place[0] >= next_block}
    return replace(pace, stream=stream, patches=patches)


@dataclass(frozen=True, eq=False)
class View(PortablePickle):
    """What the shares of a segment need: columns, places, rows that came from the heap."""

    engine: SegmentEngine
    pre: Preprocessor
    places: Places
    patches: dict[Place, Array]
    block_rows: int


def opened(pace: Pace) -> View:
    """Return what is to be sent to the shares of a segment."""
    stream = pace.stream
    engine = without_sums(stream.engine)
    return View(engine, stream.pre, pace.places, pace.patches, stream.buffer.block_rows)


def observed(
    view: View, share: Share, lo: int, hi: int, before: Preprocessor | None = None
) -> Observation:
    """Multiply a share with the columns, as far as it lies between two positions."""
    pre = copy.copy(view.pre if before is None else before)
    engine = observer(view.engine, max(lo, view.places.start(share.first)))
    for number, X in _blocks(share, pre.space, view.block_rows):
        block, norms = _prepared(pre, X, engine.basis)
        block = _with_patches(block, norms, number, view.patches)
        start = view.places.start(number)
        first, last = max(lo - start, 0), min(hi - start, int(block.shape[0]))
        if last - first < block.shape[0]:
            block = with_kernels(block.rows(first, last))
        engine.update(block)
    return observation(engine)


def _with_patches(
    block: Operator, norms: Any, number: int, patches: dict[Place, Array]
) -> Operator:
    """Return a block with the rows that came from the heap in their places."""
    places = sorted(row for n, row in patches if n == number)
    if not places:
        return block
    rows = block.xp.stack([patches[number, place] for place in places], axis=0)
    return exchanged(block, places, rows, block.dense_rows(places), norms)


def finished(pace: Pace, rest: Sequence[Any]) -> RowStream:
    """Return the stream with the rows that fill no block, which wait in it."""
    stream = pace.stream.duplicate()
    for index, X in enumerate(row_blocks(rest, d=stream.space.d)):
        block = as_csr(X)
        check_joins(block, stream.space, index)
        for piece, _ in in_pieces(block, None, stream.space):
            stream.push(piece)
    stream.check_waiting_rows()
    stream.commit()
    return stream
