"""The rows of largest norm, held verbatim beside a stream.

A single giant row hides the direction of all others from any method that looks at samples of
the rows. So the largest ones are kept out of the stream, and counted in at the end::

    heap = HeavyRows(32, d, xp=xp, device=device, dtype=dtype)
    light = heap.exchange(block, norms)   # as many rows, the heavy ones replaced
    heap.rows                             # (n, d), n <= 32

No row is ever lost: one that is pushed out takes, in the block at hand, the place of the row
that pushed it out.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from typing import Any, Self

from array_api_extra import at

from linalgkit._core.array import (
    Array,
    Device,
    DType,
    Namespace,
    asarray,
    dtype_from_name,
    dtype_name,
    eps,
    matmul_h,
    to_numpy,
)
from linalgkit._core.linalg import ldexp
from linalgkit._core.operators import DenseOperator, Operator
from linalgkit._core.state import State, Stateful
from linalgkit.streaming._blocks import RowBlock

_CAPACITY = 32
_PER_COMPONENT = 4


def default_capacity(n_components: int) -> int:
    """Return the number of heavy rows held when the caller does not say."""
    return max(_CAPACITY, _PER_COMPONENT * n_components)


class HeavyRows(Stateful):
    """A min-heap of the rows of largest norm, dense also where the stream is sparse.

    Parameters
    ----------
    capacity : int
        Largest number `h` of rows; 0 holds none.
    d : int
        Number of columns.
    xp, device, dtype
        Array library, device and dtype of the rows.
    slack : float, default 1.0
        A row enters a full heap when its squared norm exceeds the smallest one held by more
        than this factor. Above 1 it saves exchanges between rows that are all alike, and a row
        left in the stream may exceed the smallest one held by that factor.

    Notes
    -----
    Of rows with equal norms the earlier one is kept, so that the content is a function of the
    stream alone, given exact norms. Storage: ``h d`` words, and `h` norms on the host.
    """

    def __init__(
        self,
        capacity: int,
        d: int,
        *,
        xp: Namespace,
        device: Device,
        dtype: DType,
        slack: float = 1.0,
    ) -> None:
        self.capacity, self.d = capacity, d
        self.slack = slack
        self.xp, self.device, self.dtype = xp, device, dtype
        self._store: Array = None
        self._heap: list[tuple[float, int, int]] = []  # squared norm, -arrival, slot
        self.largest_passed = 0.0  # largest squared norm of a row left in the stream
        self._arrivals = 0

    @property
    def n(self) -> int:
        """Number of rows held."""
        return len(self._heap)

    @property
    def rows(self) -> Array:
        """The rows held, (n, d); do not write into them."""
        if self._store is None:
            return self.xp.zeros((0, self.d), dtype=self.dtype, device=self.device)
        return self._store[: self.n, :]

    @property
    def norms(self) -> list[float]:
        """Squared norms of the rows held, descending."""
        return sorted((entry[0] for entry in self._heap), reverse=True)

    @property
    def threshold(self) -> float:
        """Squared norm up to which no row enters; it never falls once the heap is full."""
        if self.capacity == 0:
            return math.inf
        return self.slack * self._heap[0][0] if self.n == self.capacity else -1.0

    def n_required(self, threshold: float) -> int:
        """Return how many rows of the stream are known to exceed a squared norm.

        Twice those held where a row left in the stream exceeds it: there may be more.
        """
        count = sum(entry[0] > threshold for entry in self._heap)
        return 2 * max(count, 1) if self.largest_passed > threshold else count

    def note_passed(self, norm: float) -> None:
        """Remember that a row of this squared norm was left in the stream."""
        self.largest_passed = max(self.largest_passed, norm)

    def exchange(self, block: Operator, norms: Any) -> Operator:
        """Take the heavy rows of a block and give back those they push out.

        Parameters
        ----------
        block : Operator
            The next rows of the stream; not written to.
        norms : numpy.ndarray (b,)
            Their squared norms, on the host.

        Returns
        -------
        Operator
            The light rows: as many as in `block`, fewer only while the heap fills up. `block`
            itself where nothing changes, a view of it otherwise.
        """
        first = self._arrivals
        self._arrivals += block.shape[0]
        free = min(self.capacity - self.n, block.shape[0])
        if free > 0:
            self._fill(block, norms, free, first)
            block, norms, first = block.rows(free, block.shape[0]), norms[free:], first + free
        if block.shape[0] == 0:
            return block
        largest = float(norms.max())
        if not self._heap or largest <= self.slack * self._heap[0][0]:
            self.note_passed(largest)
            return block
        return self._swap(block, norms, first)

    def _fill(self, block: Operator, norms: Any, free: int, first: int) -> None:
        """Put the first rows of a block into the free slots."""
        if self._store is None:
            shape = (self.capacity, self.d)
            self._store = self.xp.zeros(shape, dtype=self.dtype, device=self.device)
        start = self.n
        rows = self.xp.astype(block.dense_rows(range(free)), self.dtype, copy=False)
        self._store = at(self._store)[start : start + free, :].set(rows)
        for i in range(free):
            heapq.heappush(self._heap, (float(norms[i]), -(first + i), start + i))

    def _swap(self, block: Operator, norms: Any, first: int) -> Operator:
        """Exchange rows one after the other, then move them all at once."""
        b, lowest = block.shape[0], self.slack * self._heap[0][0]
        # Where each row comes from: below b a row of the block, else slot + b of the heap.
        held = {entry[2]: b + entry[2] for entry in self._heap}
        given: dict[int, int] = {}
        passing = norms.copy()
        for i in (norms > lowest).nonzero()[0].tolist():
            norm = float(norms[i])
            if norm > self.slack * self._heap[0][0]:
                entry = (norm, -(first + i), self._heap[0][2])
                passing[i], _, slot = heapq.heapreplace(self._heap, entry)
                given[i], held[slot] = held[slot], i
        self.note_passed(float(passing.max()))
        places = sorted(given)
        left = block.dense_rows(places)
        where = {place: position for position, place in enumerate(places)}
        sources = [given[i] for i in places]
        xp = self.xp
        rows = xp.stack(
            [left[where[s], :] if s < b else self._store[s - b, :] for s in sources], axis=0
        )
        light = exchanged(block, places, rows, left, norms)
        taken = [(slot, where[source]) for slot, source in held.items() if source < b]
        slots, positions = zip(*taken, strict=True)
        fresh = xp.take(left, xp.asarray(positions, device=self.device), axis=0)
        self._store = with_rows(self._store, slots, fresh, xp)
        return light

    def rescale(self, exponent: int) -> None:
        """Multiply the rows by ``2**exponent``, exactly."""
        self._apply(lambda rows: ldexp(rows, exponent, self.xp), 4.0**exponent)

    def decay(self, factor: float) -> None:
        """Multiply the squares of the rows by `factor`."""
        self._apply(lambda rows: rows * factor**0.5, factor)

    def _apply(self, change: Any, factor: float) -> None:
        self.largest_passed *= factor
        if self._store is not None:
            self._store = change(self._store)
            self._heap = [(norm * factor, age, slot) for norm, age, slot in self._heap]

    def _get_state(self) -> State:
        return {
            "capacity": self.capacity,
            "slack": self.slack,
            "d": self.d,
            "dtype": dtype_name(self.xp, self.dtype),
            "arrivals": self._arrivals,
            "largest_passed": self.largest_passed,
            "norms": [entry[0] for entry in self._heap],
            "ages": [entry[1] for entry in self._heap],
            "slots": [entry[2] for entry in self._heap],
            "rows": None if self._store is None else to_numpy(self._store),
        }

    @classmethod
    def from_state(
        cls,
        state: Any,
        *,
        like: Array | None = None,
        xp: Namespace | None = None,
        device: Device | None = None,
    ) -> Self:
        """Return the heap whose state was taken, on the given library and device."""
        if xp is not None:
            like = xp.empty((0,), dtype=xp.float32, device=device)
        return super().from_state(state, like=like)

    @classmethod
    def _from_state(cls, state: State, *, xp: Namespace, device: Device) -> Self:
        dtype = dtype_from_name(xp, state["dtype"])
        place: dict[str, Any] = {"xp": xp, "device": device, "dtype": dtype}
        heap = cls(state["capacity"], state["d"], slack=state["slack"], **place)
        heap._arrivals = state["arrivals"]
        heap.largest_passed = float(state["largest_passed"])
        columns = (state["norms"], state["ages"], state["slots"])
        heap._heap = list(zip(*columns, strict=True))
        if state["rows"] is not None:
            heap._store = asarray(state["rows"], xp=xp, device=device)
        return heap


def with_rows(A: Array, places: Sequence[int], rows: Array, xp: Namespace) -> Array:
    """Return a copy of `A` with `rows` in these places.

    By a product with a one-hot matrix: the standard has no assignment by index lists.
    """
    index = xp.arange(A.shape[0], device=A.device)[:, None]
    where = index == xp.asarray(list(places), dtype=index.dtype, device=A.device)[None, :]
    hit = xp.astype(where, A.dtype)
    keep = xp.astype(xp.logical_not(xp.any(where, axis=1)), A.dtype)
    return A * keep[:, None] + hit @ xp.astype(rows, A.dtype, copy=False)


def exchanged(
    block: Operator, places: Sequence[int], rows: Array, left: Array, norms: Any
) -> PatchedRows:
    """Return the block with `rows` in these places, where `left` were; `norms` are as before."""
    xp = block.xp
    rows = xp.astype(rows, block.dtype, copy=False)
    fresh = DenseOperator(rows).row_norms_squared()
    current = with_rows(block.row_norms_squared()[:, None], places, fresh[:, None], xp)[:, 0]
    return PatchedRows(block, places, rows, current, left, norms)


def with_kernels(block: Operator) -> Operator:
    """Return a dense block as one whose products run through the kernels."""
    if isinstance(block, DenseOperator) and not isinstance(block, RowBlock):
        return RowBlock(block.A)
    return block


class PatchedRows(Operator):
    """A block with a few rows exchanged, without a copy of it.

    Where the rows that left are not much larger than the block, ``A^H A Z`` is that of the block
    with their share subtracted. Otherwise, and in ``A^H P``, their coefficients are set to
    zero, so that nothing of them remains, not even rounding errors.

    Parameters
    ----------
    base : Operator
        The block.
    places : sequence of int
        Rows that left.
    rows : array (len(places), d)
        Rows that took their places.
    norms : array (b,)
        Squared norms of the rows as they are now.
    old : array (len(places), d)
        Rows that left.
    before : numpy.ndarray (b,)
        Squared norms of the rows of `base`, on the host: they tell whether rows that left may
        be subtracted, which for a piece of the block is asked again.
    """

    def __init__(
        self,
        base: Operator,
        places: Sequence[int],
        rows: Array,
        norms: Array,
        old: Array,
        before: Any,
    ) -> None:
        super().__init__(base.shape, base.dtype, base.xp, base.device)
        self._base, self.places, self.new_rows = base, list(places), rows
        self._norms, self._old, self._before = norms, old, before
        gone = before[self.places]
        # Their own sum, not a difference: a giant would leave nothing but rounding errors.
        rest = float(before.sum(where=self._stayed(), dtype="float64"))
        self._mild = float(gone.max()) <= rest * eps(base.xp, base.dtype) ** -0.25

    def _stayed(self) -> Any:
        """Return on the host which rows of the base are still there."""
        stayed = self._before == self._before
        stayed[self.places] = False
        return stayed

    def normal_product(self, Z: Array) -> tuple[Array, Array]:
        """Return ``(A Z, A^H A Z)``."""
        if not self._mild:
            P = self.matmul(Z)
            return P, self.rmatmul(P)
        P, D = self._base.normal_product(Z)
        new, xp = self.new_rows @ Z, self.xp
        change = matmul_h(self.new_rows, new, xp)
        change -= matmul_h(self._old, self._at_places(P), xp)
        return self._with(P, new), D + xp.astype(change, D.dtype, copy=False)

    def _with(self, P: Array, values: Array) -> Array:
        """Return `P` with `values` in the rows of the places."""
        return with_rows(P, self.places, values, self.xp)

    def _at_places(self, P: Array) -> Array:
        return self.xp.take(P, self.xp.asarray(self.places, device=self.device), axis=0)

    def matmul(self, Z: Array) -> Array:
        """Return ``A Z``."""
        return self._with(self._base.matmul(Z), self.new_rows @ Z)

    def rmatmul(self, P: Array) -> Array:
        """Return ``A^H P``."""
        own = self._at_places(P)
        rest = self._base.rmatmul(self._with(P, self.xp.zeros_like(own)))
        return rest + matmul_h(self.new_rows, own, self.xp)

    def gram(self) -> Array:
        """Return ``A^H A``."""
        return DenseOperator(self.dense_rows(range(self.shape[0]))).gram()

    def row_norms_squared(self) -> Array:
        """Return the squared norms, which were known before."""
        return self._norms

    def rows(self, start: int, stop: int) -> Operator:
        """Return rows `start` to `stop`."""
        inside = [i for i, place in enumerate(self.places) if start <= place < stop]
        base = with_kernels(self._base.rows(start, stop))
        if not inside:
            return base
        rows, old = (
            self.xp.stack([x[i, :] for i in inside], axis=0) for x in (self.new_rows, self._old)
        )
        places = [self.places[i] - start for i in inside]
        norms, before = self._norms[start:stop], self._before[start:stop]
        return PatchedRows(base, places, rows, norms, old, before)

    def dense_rows(self, indices: Sequence[int]) -> Array:
        """Return the few rows with these indices as a dense array."""
        rows = self._base.dense_rows(indices)
        where = {place: i for i, place in enumerate(self.places)}
        for position, index in enumerate(indices):
            if index in where:
                rows = at(rows)[position, :].set(self.new_rows[where[index], :])
        return rows
