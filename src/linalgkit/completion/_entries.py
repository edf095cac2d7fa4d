"""Entries that came in and wait for an answer: checked, sorted, each of them once.

::

    block = read_block(rows, cols, values, shape, weights)
    block.check_new(other)                  # an entry given twice is an error that names it
    data = joined([Entries.of(data), block]).observe(n_threads)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from linalgkit._core.array import (
    Array,
    Device,
    Namespace,
    asarray,
    device,
    is_complex,
    numpy_namespace,
    to_numpy,
    widest_float,
    working_dtype,
)
from linalgkit._core.scaling import ldexp, silent
from linalgkit._core.state import State
from linalgkit._core.validation import check_finite_block
from linalgkit.completion import _compressed
from linalgkit.completion._observed import Observed, observe, row_indices
from linalgkit.completion._sources import Source, selected, take
from linalgkit.completion._triples import Triples, read_triple
from linalgkit.completion._weights import read_weights

_HOST = numpy_namespace()
_NAME = "the block"


@dataclass(frozen=True, eq=False)
class Entries:
    """Observed entries by rows, in the caller's units.

    Attributes
    ----------
    shape : tuple of int
        (m, n).
    keys : host array (N,)
        ``row * n + column``, ascending.
    values : array (N,)
        In the caller's library.
    weights : array (N,) or None
        Positive, in the widest real precision of the device; None for ones.
    """

    shape: tuple[int, int]
    keys: Array = field(repr=False)
    values: Array = field(repr=False)
    weights: Array | None = field(repr=False)
    xp: Namespace
    device: Device

    @classmethod
    def of(cls, data: Observed) -> Entries:
        """Return the entries of some data."""
        n, xp = data.shape[1], data.xp
        keys = row_indices(data) * n + to_numpy(data.rows.indices)
        values, weights = ldexp(data.row_values, data.exponent, xp), data.row_weights
        if weights is not None:
            weights = ldexp(_widened(weights, xp), data.weight_exponent, xp)
        return cls(data.shape, keys, values, weights, xp, data.device)

    @property
    def count(self) -> int:
        """Number of entries."""
        return int(self.keys.shape[0])

    @property
    def dtype(self) -> Any:
        """Of the values."""
        return self.values.dtype

    def place(self, key: int) -> tuple[int, int]:
        """Return row and column of an entry."""
        row, column = divmod(int(key), self.shape[1])
        return row, column

    def check_new(self, other: Entries | Observed | None) -> None:
        """Refuse entries that the other has."""
        if other is None or self.count == 0:
            return
        found = _in_rows(other, self) if isinstance(other, Observed) else _in_keys(other, self)
        if found.any():
            refuse_twice(self.place(self.keys[int(_HOST.argmax(found))]))

    def observe(self, n_threads: int) -> Observed:
        """Return the entries as data of a completion."""
        rows, columns = _HOST.divmod(self.keys, self.shape[1])
        triple = (rows, columns, self.values, self.shape)
        return observe(triple, weights=self.weights, n_threads=n_threads)

    # --------------------------------------------------------------------------------- state

    def to_state(self) -> State:
        """Return host data."""
        return {
            "shape": list(self.shape),
            "keys": self.keys,
            "values": to_numpy(self.values),
            "weights": None if self.weights is None else to_numpy(self.weights),
        }

    @classmethod
    def from_state(cls, state: State, *, xp: Namespace, device: Device) -> Entries:
        """Return the entries of a state, in one library."""
        m, n = (int(size) for size in state["shape"])
        keys, values, weights = (state[name] for name in ("keys", "values", "weights"))
        _check(keys, values, weights, (m, n))
        values, weights = (
            None if x is None else asarray(x, xp=xp, device=device) for x in (values, weights)
        )
        return cls((m, n), keys, values, weights, xp, device)


def _check(keys: Array, values: Array, weights: Array | None, shape: tuple[int, int]) -> None:
    """Refuse a damaged state; its arrays are on the host."""
    m, n = shape
    sound = min(m, n) >= 1 and keys.ndim == 1 and keys.dtype == _HOST.int64
    sound = sound and bool((keys[1:] > keys[:-1]).all())
    sound = sound and (keys.shape[0] == 0 or bool(keys[0] >= 0 and keys[-1] < m * n))
    sound = sound and _fits(values, keys, "fc")
    if weights is not None:
        sound = sound and _fits(weights, keys, "f") and bool((weights > 0).all())
    if not sound:
        raise ValueError(
            "the entries of the state are damaged: keys must ascend inside the shape, with a "
            "finite value and a positive weight for each of them."
        )


def _fits(x: Array, keys: Array, kinds: str) -> bool:
    """Tell whether there is a finite number of the right kind for each key."""
    return x.shape == keys.shape and x.dtype.kind in kinds and bool(_HOST.isfinite(x).all())


def refuse_twice(place: tuple[int, int]) -> None:
    """Raise the error for an entry that comes a second time."""
    raise ValueError(
        f"every entry must be given once, got a duplicate at (row, column) = {place}. Leave it "
        "out; nothing has been changed."
    )


def _in_keys(other: Entries, block: Entries) -> Array:
    """Return which entries of a block are among others."""
    if other.count == 0:
        return _HOST.zeros(block.count, dtype=_HOST.bool)
    place = _HOST.searchsorted(other.keys, block.keys)
    return other.keys[_HOST.minimum(place, other.count - 1)] == block.keys


def _in_rows(data: Observed, block: Entries) -> Array:
    """Return which entries of a block are among the data, by bisection within their rows."""
    rows, columns = _HOST.divmod(block.keys, block.shape[1])
    indices, indptr = to_numpy(data.rows.indices), data.rows.indptr
    low, end = indptr[rows], indptr[rows + 1]
    high = end
    for _ in range(int(data.rows.lengths.max()).bit_length()):
        middle = (low + high) // 2
        open_ = low < high
        below = indices[_HOST.where(open_, middle, 0)] < columns
        low, high = (
            _HOST.where(open_ & below, middle + 1, low),
            _HOST.where(open_ & ~below, middle, high),
        )
    inside = low < end
    return inside & (indices[_HOST.where(inside, low, 0)] == columns)


def read_block(rows: Any, cols: Any, values: Any, shape: Any, weights: Any) -> Entries:
    """Return checked entries in the order of the rows.

    Parameters
    ----------
    rows, cols, values : vectors or lists of one length
        The entries.
    shape : tuple of int
        (m, n).
    weights : vector or None
        One for each entry; an entry of weight 0 is left out.
    """
    triples = read_triple(_NAME, (rows, cols, values, shape))
    check_finite_block(triples.values, name="values", unit="entry")
    m, n = triples.shape
    places = _compressed.places(triples.rows.shape[0])
    csr = _compressed.from_coordinates(triples.rows, triples.columns, places, (m, n))
    csr = _compressed.canonical(csr, name=_NAME)
    xp, where = triples.xp, triples.device
    ordered = take(triples.values, csr.data, xp, where)
    keys = _compressed.repeated_rows(csr.indptr) * n + csr.indices
    if weights is not None:
        weights = _read_weights(weights, triples, csr, ordered)
        chosen = to_numpy(weights) > 0
        if not chosen.all():
            keys = keys[chosen]
            ordered, weights = (selected(x, chosen, xp, where) for x in (ordered, weights))
    return Entries((m, n), keys, ordered, weights, xp, where)


def _read_weights(weights: Any, triples: Triples, csr: Any, values: Array) -> Array:
    """Return checked weights in the order of the rows."""
    source = Source(
        "triples", triples.xp, triples.device, triples.shape, False, csr.indptr, csr.indices,
        values, csr.data, int(triples.rows.shape[0]),
    )  # fmt: skip
    xp = triples.xp
    if csr.data.shape[0] == 0:
        return xp.real(values) if is_complex(values, xp) else values
    scaled, exponent = read_weights(weights, source)
    with silent():
        found = ldexp(_widened(scaled, xp), exponent, xp)
    if not bool(xp.all(xp.isfinite(found) & ((found > 0) == (scaled > 0)))):
        raise ValueError(
            "weights must be within the range of the widest precision of their device, got some "
            "that overflow or vanish there. Multiply them by one power of two."
        )
    return found


def _widened(weights: Array, xp: Namespace) -> Array:
    """Return weights in a precision in which single ones times a power of two have room."""
    return xp.astype(weights, widest_float(xp, device(weights)), copy=False)


def joined(parts: Sequence[Entries]) -> Entries:
    """Return the union of disjoint entries; dtypes are promoted.

    Whether they are disjoint is checked here, too.
    """
    if len(parts) == 1:
        return parts[0]
    first = parts[0]
    xp, where = first.xp, first.device
    keys = _HOST.concat([part.keys for part in parts])
    order = _HOST.argsort(keys, stable=True)
    keys = keys[order]
    same = keys[1:] == keys[:-1]
    if same.any():
        refuse_twice(first.place(keys[int(_HOST.argmax(same))]))
    dtype = working_dtype(xp, where, xp.result_type(*[part.dtype for part in parts]))
    values = xp.concat([xp.astype(part.values, dtype, copy=False) for part in parts])
    weights = None
    if any(part.weights is not None for part in parts):
        weights = xp.concat([_weights(part, xp) for part in parts])
        weights = take(weights, order, xp, where)
    return Entries(first.shape, keys, take(values, order, xp, where), weights, xp, where)


def _weights(part: Entries, xp: Namespace) -> Array:
    if part.weights is not None:
        return part.weights
    where = device(part.values)
    return xp.ones((part.count,), dtype=widest_float(xp, where), device=where)


def pushed(parts: tuple[Entries, ...], block: Entries) -> tuple[Entries, ...]:
    """Return parts with one more; parts of about its size are joined, so that there are few."""
    if block.count == 0:
        return parts
    found = [*parts, block]
    while len(found) > 1 and found[-2].count <= 2 * found[-1].count:
        found[-2:] = [joined(found[-2:])]
    return tuple(found)
