"""One pass over rows: cut, scaled, centred, the heavy ones held back, the rest accumulated.

:class:`RowStream` is what every method of :class:`~linalgkit.streaming.StreamingEigh` shares.
Rows are cut into blocks of exactly ``engine.block_rows`` whatever the caller's blocks are, so
that the answer cannot depend on the cuts; what is left over waits in a buffer and is counted
in by :meth:`RowStream.final` without touching the state.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from typing import Any

from linalgkit._core.array import Array, dtype_name, library_name, to_numpy
from linalgkit._core.operators import Operator
from linalgkit._core.state import PortablePickle, State
from linalgkit._core.streams import RowBuffer
from linalgkit._core.validation import check_finite_block
from linalgkit.streaming._blocks import RowBlock
from linalgkit.streaming._heap import HeavyRows
from linalgkit.streaming._preprocess import Preprocessor, Space


class RowStream(PortablePickle):
    """The state of one pass over rows.

    Parameters
    ----------
    space : Space
        Where the rows live.
    engine : Engine
        The method.
    heap : HeavyRows or None
        Where rows of large norm are held, for the methods that need it.
    center : bool
        Whether the mean is removed.
    forgetting : float
        Factor a row.
    rng : numpy.random.Generator
        What the engine draws from, kept for the state.
    """

    def __init__(
        self,
        space: Space,
        engine: Any,
        heap: HeavyRows | None,
        *,
        center: bool,
        forgetting: float,
        rng: Any = None,
    ) -> None:
        self.space = space
        self.engine = engine
        self.heap = heap
        self.rng = rng
        self.pre = Preprocessor(space, center=center, forgetting=forgetting)
        self.buffer = RowBuffer(engine.block_rows)
        self.weights: RowBuffer | None = None
        self.n_rows = 0
        self.energy = 0.0
        self.options: Any = None  # those it was started with
        self.answered: Any = None
        self.is_torn = False  # whether a call has begun to count its rows in and is not done

    @property
    def method(self) -> str:
        """Name of the method in use."""
        return str(self.engine.name)

    # ----------------------------------------------------------------------- rows come in

    def push(self, X: Any, weights: Array | None = None) -> None:
        """Take rows; every full block is accumulated, the rest waits.

        The stream is torn from the first change on, until whoever asked for it calls
        :meth:`commit`.
        """
        blocks = self.buffer.push(X)  # refuses what does not fit before anything has changed
        self.is_torn = True
        for block, w in self._paired(blocks, X, weights):
            self._accumulate(block, w)
        self.n_rows += int(X.shape[0])

    def commit(self) -> None:
        """Say that all rows are counted in, and drop what was derived before."""
        self.answered = None
        self.is_torn = False

    def _paired(
        self, blocks: Iterator[Any], X: Any, weights: Array | None
    ) -> Iterator[tuple[Any, Array | None]]:
        """Yield blocks of exactly ``block_rows`` rows with their weights."""
        if weights is None and self.weights is None:
            yield from ((block, None) for block in blocks)
            return
        held = self._held_weights()
        column = self._ones(X.shape[0]) if weights is None else weights[:, None]
        pairs = zip(blocks, held.push(column), strict=True)
        yield from ((block, w[:, 0]) for block, w in pairs)

    def _held_weights(self) -> RowBuffer:
        """Return the buffer of the weights; rows that came without one weigh 1."""
        if self.weights is None:
            self.weights = RowBuffer(self.buffer.block_rows)
            list(self.weights.push(self._ones(len(self.buffer))))
        return self.weights

    def check_waiting_rows(self) -> None:
        """Raise ValueError if a row that waits is not finite; all others have been checked."""
        if len(self.buffer):
            check_finite_block(self.buffer.tail())

    def _ones(self, n: int) -> Array:
        return self.space.xp.ones((n, 1), dtype=self.space.real, device=self.space.device)

    def _accumulate(self, X: Any, weights: Array | None) -> None:
        """Bring a block to the engine's unit, centre it, and take it in."""
        block, norms, shift = self.pre.load(X, self.engine.basis, weights)
        if shift:
            self._rescale(-shift)
        if weights is not None or not self.pre.is_plain:
            self._decay(self.pre.forgetting ** int(X.shape[0]))
            if weights is not None or self.pre.forgetting < 1.0:
                self.engine.tests_order = False  # the norms of such rows are in no random order
            block = self.pre.transform(block, weights)
            norms = to_numpy(block.row_norms_squared())
        else:
            self.pre.count(int(X.shape[0]))
        self._take(block, norms)

    def _take(self, block: Operator, norms: Any) -> None:
        """Exchange heavy rows and hand the light ones to the engine."""
        self.energy += float(norms.sum(dtype="float64"))
        if self.heap is not None:
            block = self.heap.exchange(block, norms)
            self._show_heavy_rows()
        if block.shape[0]:
            self.engine.update(block)

    def _show_heavy_rows(self) -> None:
        """Let the engine see the heap as it is; due after every change of the heap."""
        if self.heap is not None:
            self.engine.heavy_rows = self.heap.rows

    def _rescale(self, exponent: int) -> None:
        self.engine.rescale(exponent)
        if self.heap is not None:
            self.heap.rescale(exponent)
            self._show_heavy_rows()
        self.energy = math.ldexp(self.energy, 2 * exponent)

    def _decay(self, factor: float) -> None:
        if factor == 1.0:
            return
        self.engine.decay(factor)
        if self.heap is not None:
            self.heap.decay(factor)
            self._show_heavy_rows()
        self.energy *= factor

    # ------------------------------------------------------------------------ the answer

    def final(self) -> RowStream:
        """Return a stream that has the waiting rows counted in; this one stays as it is."""
        view = copy.copy(self)
        if len(self.buffer) == 0:
            view.engine = self.engine.finish()
            return view
        view.pre = copy.copy(self.pre)
        is_random = self.engine.order == "random"
        view.engine = self.engine.finish() if is_random else self._deep(self.engine)
        view.heap = self._deep(self.heap)
        view._accumulate(self.buffer.tail(), self._tail_weights())
        return view

    def _tail_weights(self) -> Array | None:
        tail = None if self.weights is None else self.weights.tail()
        return None if tail is None else tail[:, 0]

    def top(self, k: int) -> tuple[Array, Array]:
        """Return eigenvalues, in units of ``4**exponent``, and vectors of what is accumulated."""
        pairs = self.engine.top if self.heap is None else self.engine.joint
        lam, V = pairs(k)
        return lam, V

    def n_heavy_required(self, certificate: dict[str, Any]) -> int:
        """Return how many rows are too large to be left in a random-order stream."""
        threshold = certificate.get("heavy_threshold")
        return 0 if self.heap is None or threshold is None else self.heap.n_required(threshold)

    # ------------------------------------------------------------------- copies and merges

    def duplicate(self) -> RowStream:
        """Return an independent copy."""
        twin: RowStream = self._deep(self)
        twin._show_heavy_rows()  # the copy of what was shown is no view of the copied heap
        return twin

    def _deep(self, part: Any) -> Any:
        """Return a deep copy that shares the namespace and the device."""
        shared = (self.space.xp, self.space.device)
        return copy.deepcopy(part, {id(thing): thing for thing in shared})

    def merge(self, other: RowStream) -> None:
        """Count in what another stream has seen; that one is not changed."""
        _check_same_rows(self.space, other.space)
        if self.method != other.method:
            raise ValueError(
                f'method must agree for a merge, but "auto" chose {self.method!r} for one stream '
                f"and {other.method!r} for the other. Give both the same memory_budget, or name "
                "the method."
            )
        theirs = other.duplicate()
        self._to_common_unit(theirs)
        self.engine.merge(theirs.engine)
        joint = self.pre.absorb(theirs.pre)
        self.n_rows += other.n_rows - len(other.buffer)
        self.energy += theirs.energy
        if joint is not None:
            self.energy += self._insert(joint)
        if self.heap is not None and theirs.heap is not None:
            self.heap.note_passed(theirs.heap.largest_passed)
            if theirs.heap.n:
                self._insert(RowBlock(theirs.heap.rows))
        if other.weights is not None:
            self._held_weights()  # whoever asks shall know that rows were weighted
        if len(other.buffer):
            self.push(other.buffer.tail(), other._tail_weights())

    def _insert(self, block: Operator) -> float:
        """Take prepared rows that are not next in the stream; return their energy."""
        norms = to_numpy(block.row_norms_squared())
        if self.heap is None:
            self.engine.update(block)
        else:
            light = self.heap.exchange(block, norms)
            self._show_heavy_rows()
            if light.shape[0]:
                self.engine.insert(light)
        return float(norms.sum(dtype="float64"))

    def _to_common_unit(self, other: RowStream) -> None:
        """Bring two streams to one unit: the larger one, or that of the one with data."""
        target = max(
            (s.pre.exponent for s in (self, other) if not s.pre.is_empty),
            default=self.pre.exponent,
        )
        for stream in (self, other):
            if not stream.pre.is_empty:
                stream._rescale(stream.pre.exponent - target)
            stream.pre.move_to(target)

    # -------------------------------------------------------------------------------- state

    def to_state(self) -> State:
        """Return everything on the host."""
        space = self.space
        return {
            "dtype": dtype_name(space.xp, space.dtype),
            "d": space.d,
            "n_rows": self.n_rows,
            "energy": self.energy,
            "pre": self.pre.to_state(),
            "engine": self.engine.to_state(),
            "heap": None if self.heap is None else self.heap.to_state(),
            "buffer": self.buffer.to_state(),
            "weights": None if self.weights is None else self.weights.to_state(),
        }

    def restore(self, state: State, rng: Any) -> None:
        """Take the state back; `rng` is the generator as it was at that moment."""
        place = {"xp": self.space.xp, "device": self.space.device}
        self.n_rows = int(state["n_rows"])
        self.energy = float(state["energy"])
        self.pre.restore(state["pre"])
        self.engine = type(self.engine).from_state(state["engine"], **place)
        self.engine.rng = self.rng = rng
        if self.heap is not None:
            self.heap = HeavyRows.from_state(state["heap"], **place)
            self._show_heavy_rows()
        self.buffer = RowBuffer.from_state(state["buffer"], **place)
        if state["weights"] is not None:
            self.weights = RowBuffer.from_state(state["weights"], **place)


def _check_same_rows(a: Space, b: Space) -> None:
    """Refuse to merge streams of unlike rows, naming both."""
    for name, mine, theirs in (
        ("library", library_name(a.xp), library_name(b.xp)),
        ("device", a.device, b.device),
        ("dtype", dtype_name(a.xp, a.dtype), dtype_name(b.xp, b.dtype)),
    ):
        if mine != theirs:
            raise TypeError(f"{name} must agree for a merge, got {mine} and {theirs}.")
    if a.d != b.d:
        raise ValueError(f"rows must have one length for a merge, got {a.d} and {b.d}.")
