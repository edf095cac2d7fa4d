"""Cut a stream of rows into blocks of one length, whatever the lengths that come in.

Blocks that lie inside one incoming block are views of it; only rows at the seams, and rows that
do not lie in memory one after another, are copied, into one buffer that is used again::

    buffer = RowBuffer(64)
    for block in buffer.push(X):        # 64 rows each
        method.update(block)            # `block` is valid until the loop goes on
    rest = buffer.tail()                # fewer than 64 rows, or None; nothing changes
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from linalgkit._core.array import (
    Device,
    Namespace,
    array_namespace,
    asarray,
    device,
    is_in_place,
    is_sparse,
    library_name,
    namespace_of,
    to_numpy,
    type_root,
)
from linalgkit._core.sparse import csr_of_state, csr_rows


def block_kind(block: Any) -> tuple[str, str, str]:
    """Return ``"dense"`` or ``"sparse"``, library and device: what all blocks must share."""
    if is_sparse(block):
        root = type_root(block)
        return "sparse", root, "cpu" if root == "scipy" else str(device(block.data))
    if type(block) is np.ndarray and block.dtype.kind in "biufc":
        return "dense", "numpy", "cpu"
    return "dense", library_name(array_namespace(block)), str(device(block))


def check_same_kind(
    expected: tuple[str, str, str], found: tuple[str, str, str], where: str = ""
) -> None:
    """Raise a TypeError where a block does not fit to those before it."""
    if found != expected:
        first, second = (
            f"{kind} {library} on {place}" for kind, library, place in (expected, found)
        )
        raise TypeError(
            f"all blocks must be of one kind, library and device, got {first} before and "
            f"{second}{where}. Convert them to one kind first."
        )


class _DenseRows:
    """Rows in one array that is filled from the top, made when the first ones are held."""

    def __init__(self, block: Any, capacity: int) -> None:
        self.in_place = is_in_place(array_namespace(block))
        self.n_held, self.capacity = 0, capacity
        self.rows = _empty_rows(block, 0)

    @property
    def dtype(self) -> Any:
        return self.rows.dtype

    @property
    def width(self) -> int:
        return int(self.rows.shape[1])

    def add(self, block: Any, start: int, stop: int) -> None:
        if self.rows.shape[0] == 0:
            self.rows = _empty_rows(block, self.capacity)
        end = self.n_held + stop - start
        if self.in_place:
            self.rows[self.n_held : end, :] = block[start:stop, :]
        else:
            places = np.arange(self.capacity) - self.n_held + start
            arriving = _gather(block, np.clip(places, 0, block.shape[0] - 1))
            xp, new = array_namespace(block), (places >= start) & (places < stop)
            mask = asarray(new[:, None], xp=xp, device=device(block))
            self.rows = xp.where(mask, arriving, self.rows)
        self.n_held = end

    def view(self) -> Any:
        return self.rows[: self.n_held, :]

    def clear(self) -> None:
        self.n_held = 0

    def to_state(self) -> dict[str, Any]:
        return {"kind": "dense", "rows": np.array(to_numpy(self.view()))}


def _empty_rows(like: Any, count: int) -> Any:
    shape = count, int(like.shape[1])
    return array_namespace(like).empty(shape, dtype=like.dtype, device=device(like))


class _SparseRows:
    """The values, columns and row lengths of CSR rows, piece by piece."""

    def __init__(self, block: Any, capacity: int) -> None:
        self.container = type(block)
        self.width = int(block.shape[1])
        self.dtype = block.dtype
        self.n_held = self.n_entries = 0
        self.pieces: list[tuple[Any, Any, Any]] = []
        empty = csr_rows(block, 0, 0)
        self.empty = empty.data, empty.indices, empty.indptr[:0]

    def add(self, block: Any, start: int, stop: int) -> None:
        low, high = int(block.indptr[start]), int(block.indptr[stop])
        lengths = block.indptr[start + 1 : stop + 1] - block.indptr[start:stop]
        self.pieces.append((block.data[low:high].copy(), block.indices[low:high].copy(), lengths))
        self.n_held += stop - start
        self.n_entries += high - low

    def view(self) -> Any:
        xp, _ = namespace_of(self.empty[0])
        parts = zip(*(self.pieces or [self.empty]), strict=True)
        data, indices, lengths = (xp.concat(list(part)) for part in parts)
        self.pieces = [(data, indices, lengths)]  # the next call has less to join
        ends = xp.cumulative_sum(lengths, dtype=lengths.dtype, include_initial=True)
        return self.container((data, indices, ends), shape=(self.n_held, self.width))

    def clear(self) -> None:
        self.pieces = []
        self.n_held = self.n_entries = 0

    def to_state(self) -> dict[str, Any]:
        rows = self.view()
        parts = {name: np.array(to_numpy(getattr(rows, name))) for name in _CSR_PARTS}
        return {"kind": "sparse", "width": self.width, **parts}


_CSR_PARTS = ("data", "indices", "indptr")
_SIZES = ("block_rows", "least_rows", "entries")


class RowBuffer:
    """Blocks of exactly `block_rows` rows from blocks of any length.

    Parameters
    ----------
    block_rows : int
        Rows of each block that comes out.
    least_rows, entries : int, optional
        A block of sparse rows is also full with so many rows and so many non-zeros.

    Notes
    -----
    Storage: ``block_rows * d`` numbers where rows are held over from one push to the next (for
    sparse rows their non-zeros, up to twice) or lie in another layout than row by row, nothing
    where the incoming blocks are aligned.
    The blocks that come out have the same rows whatever the cuts of those that go in; sparse
    rows stay CSR.

    Examples
    --------
    >>> import numpy as np
    >>> buffer = RowBuffer(2)
    >>> X = np.arange(10.0).reshape(5, 2)
    >>> [block.tolist() for block in buffer.push(X[:3, :])]
    [[[0.0, 1.0], [2.0, 3.0]]]
    >>> [block.tolist() for block in buffer.push(X[3:, :])]
    [[[4.0, 5.0], [6.0, 7.0]]]
    >>> buffer.tail()
    array([[8., 9.]])
    """

    def __init__(self, block_rows: int, *, least_rows: int = 1, entries: int | None = None) -> None:
        if block_rows < 1:
            raise ValueError(f"block_rows must be at least 1, got {block_rows}.")
        self.block_rows = int(block_rows)
        self.least_rows, self.entries = least_rows, entries
        self._kind: tuple[str, str, str] | None = None
        self._held: _DenseRows | _SparseRows | None = None
        self.is_own = False  # whether the block that came out last lies in the buffer itself

    def __len__(self) -> int:
        return 0 if self._held is None else self._held.n_held

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        return f"RowBuffer(block_rows={self.block_rows}), {len(self)} rows held"

    def push(self, block: Any) -> Iterator[Any]:
        """Take in a block of rows and return the full blocks that this completes.

        Parameters
        ----------
        block : array (m, d) or CSR matrix
            Of one library, device, dtype and width throughout. It is neither written to nor
            kept.

        Returns
        -------
        iterator of array or CSR matrix
            To be gone through to its end. Each block is valid until the next one is asked for:
            it may be the buffer itself, which is then filled again.

        Raises
        ------
        TypeError
            If the block is of another kind, library, device or dtype than the rows held.
        ValueError
            If it is not 2-D or has another number of columns. In both cases, nothing changes.
        """
        if is_sparse(block) and block.format != "csr":
            block = block.tocsr()
        self._check(block)
        if self._held is None:
            make = _SparseRows if is_sparse(block) else _DenseRows
            self._kind = block_kind(block)
            self._held = make(block, self.block_rows)
        if isinstance(self._held, _SparseRows) and self.entries is not None:
            return self._cut_by_entries(block, self._held, self.entries)
        return self._cut(block, self._held)

    def _cut_by_entries(self, block: Any, held: _SparseRows, entries: int) -> Iterator[Any]:
        """Yield blocks that are full of rows or of non-zeros, wherever those come from."""
        ends = to_numpy(block.indptr)
        start, n = 0, int(block.shape[0])
        while start < n:
            room = ends[start] + entries - held.n_entries
            filling = int(np.searchsorted(ends[start + 1 :], room)) + 1  # this row fills it
            filling = max(filling, self.least_rows - held.n_held)
            stop = min(n, start + filling, start + self.block_rows - held.n_held)
            held.add(block, start, stop)
            start = stop
            is_heavy = held.n_entries >= entries and held.n_held >= self.least_rows
            if is_heavy or held.n_held == self.block_rows:
                yield from self._full(held)

    def _check(self, block: Any) -> None:
        """Refuse a block that does not fit; the state is as it was."""
        kind = block_kind(block)
        if block.ndim != 2:
            raise ValueError(
                f"a block must be 2-D (rows, columns), got shape {tuple(block.shape)}. "
                "x[None, :] makes a block of one row."
            )
        if self._held is None or self._kind is None:
            return
        check_same_kind(self._kind, kind)
        if block.shape[1] != self._held.width:
            raise ValueError(
                f"every block must have {self._held.width} columns as the rows held have, "
                f"got {block.shape[1]}."
            )
        if block.dtype != self._held.dtype:
            raise TypeError(
                f"every block must have dtype {self._held.dtype} as the rows held have, "
                f"got {block.dtype}. Convert it first."
            )

    def _cut(self, block: Any, held: _DenseRows | _SparseRows) -> Iterator[Any]:
        size, n = self.block_rows, int(block.shape[0])
        start = 0
        if held.n_held and n:
            start = min(size - held.n_held, n)
            held.add(block, 0, start)
            if held.n_held < size:
                return
            yield from self._full(held)
        by_rows = has_row_order(block)
        while n - start >= size:
            if by_rows:
                self.is_own = False
                yield row_slice(block, start, start + size)
            else:
                held.add(block, start, start + size)
                yield from self._full(held)
            start += size
        if start < n:
            held.add(block, start, n)

    def _full(self, held: _DenseRows | _SparseRows) -> Iterator[Any]:
        """Yield the rows held, of which there are none from then on."""
        rows = held.view()
        held.clear()
        self.is_own = True
        yield rows

    def tail(self) -> Any | None:
        """Return the rows held, fewer than `block_rows`, or None; nothing changes.

        The result is valid until the next push.
        """
        return self._held.view() if self._held is not None and len(self) else None

    def clear(self) -> None:
        """Forget the rows held; kind, width and dtype stay fixed."""
        if self._held is not None:
            self._held.clear()

    def to_state(self) -> dict[str, Any]:
        """Return the rows held and the block length as host arrays and JSON scalars."""
        if self._held is None:
            held: dict[str, Any] = {"kind": "empty"}
        else:
            held = self._held.to_state()
        names = _SIZES[:1] if self.entries is None else _SIZES
        return {**{name: getattr(self, name) for name in names}, **held}

    @classmethod
    def from_state(
        cls, state: dict[str, Any], *, xp: Namespace, device: Device | None = None
    ) -> RowBuffer:
        """Return the buffer whose state :meth:`to_state` wrote down.

        Parameters
        ----------
        state : dict
            The state.
        xp : module
            Namespace of the rows to come (for sparse rows: of their products).
        device : device, optional
            Where they lie.

        Returns
        -------
        RowBuffer
            Goes on as the original would have.
        """
        sizes = {name: int(state[name]) for name in _SIZES if name in state}
        buffer = cls(sizes.pop("block_rows"), **sizes)
        if state["kind"] == "empty":
            return buffer
        if state["kind"] == "dense":
            rows = asarray(state["rows"], xp=xp, device=device)
        elif library_name(xp) not in ("numpy", "cupy"):
            raise ValueError(
                f"like must be an array of numpy or cupy for a state that holds sparse rows, got "
                f"one of {library_name(xp)}. Leave it out."
            )
        else:
            rows = csr_of_state(state, int(state["width"]), xp=xp, device=device)
        for _ in buffer.push(rows):  # fewer rows than a block: nothing comes out
            raise ValueError("the state must hold fewer rows than a block, got a damaged one.")
        return buffer


def has_row_order(block: Any) -> bool:
    """Tell whether rows lie in memory as those of a buffer do: entry by entry, one after another.

    Products of other layouts are rounded in another order by some libraries, so that a view of
    such a block and the same rows from the buffer would not give the same bits.
    """
    if isinstance(block, np.ndarray) or type_root(block) == "cupy":
        flags, step = block.flags, block.dtype.itemsize
        is_plain = getattr(flags, "aligned", True) and block.dtype.isnative
        return bool(
            is_plain and (flags.c_contiguous or (block.strides[1] == step and block.strides[0] > 0))
        )
    if type_root(block) == "torch":
        return bool(block.stride()[1] == 1 or block.shape[1] == 1)
    return True


def row_slice(block: Any, start: int, stop: int) -> Any:
    """Return a slice of rows, without a copy where the library has views; the whole as it is."""
    if stop - start == block.shape[0]:
        return block
    if is_sparse(block):
        return csr_rows(block, start, stop)
    if isinstance(block, np.ndarray) or is_in_place(array_namespace(block)):
        return block[start:stop, :]
    return _gather(block, np.arange(start, stop))


def _gather(block: Any, places: np.ndarray[Any, Any]) -> Any:
    """Return rows by an array of places.

    JAX compiles a slice anew for every pair of ends, but this once for each pair of shapes.
    """
    xp = array_namespace(block)
    return xp.take(block, asarray(places, xp=xp, device=device(block)), axis=0)
