"""Snapshots that arrive in blocks, kept in bounded storage.

They enter sparse Bayesian learning through ``Y Y^H`` alone, so that once there are many of them
the triangular factor ``R`` with ``R R^H = Y Y^H`` serves as well::

    stream = SnapshotStream.started(kronecker_data(factors, y), options)
    stream = stream.pushed(kronecker_data(factors, more))
    result = solve(*stream.problem())

Both classes are never changed: a call that fails leaves what was there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from linalgkit._core.array import (
    LIBRARIES,
    Array,
    Device,
    DType,
    Namespace,
    adjoint,
    array_namespace,
    asarray,
    device,
    dtype_name,
    library_of,
    to_numpy,
)
from linalgkit._core.qr import tsqr
from linalgkit._core.state import PortablePickle, State
from linalgkit._core.validation import check_finite_block, check_same_place
from linalgkit.bayes._model import Prepared, prepare
from linalgkit.bayes._modes import KroneckerData, kronecker_factors
from linalgkit.bayes._request import Request, request

#: Columns are kept as they came at least up to this number, and up to twice their length.
LEAST_CAPACITY = 1024
#: Parameters that no state holds, since they are not data.
NOT_SAVED = ("callback", "rng")


class SnapshotBuffer:
    """Columns with the second moments of all snapshots, at most ``max(2 M, 1024)`` of length M.

    They are the snapshots themselves up to that number. Then, whenever the columns held are that
    many and one more comes, the M columns of their triangular factor take their place: at the same
    snapshots however those were cut into blocks, so that the columns are the same to the bit.

    Parameters
    ----------
    pieces : sequence of array (M, l)
        Columns, one or more, in C order; the buffer's own.
    snapshots : int
        How many snapshots they stand for.

    Attributes
    ----------
    n_columns : int
        Columns held.
    """

    def __init__(self, pieces: list[Array], snapshots: int) -> None:
        self._pieces = pieces
        self.snapshots = snapshots
        self.n_columns = sum(int(piece.shape[1]) for piece in pieces)

    @classmethod
    def of(cls, columns: Array) -> SnapshotBuffer:
        """Return the buffer of some snapshots (M, l), which are copied."""
        return cls([columns[:, :0]], 0).pushed(columns)

    @property
    def length(self) -> int:
        """Numbers M of a column."""
        return int(self._pieces[0].shape[0])

    @property
    def capacity(self) -> int:
        """Columns held at most."""
        return max(2 * self.length, LEAST_CAPACITY)

    @property
    def is_compressed(self) -> bool:
        """Whether the columns are no longer the snapshots."""
        return self.n_columns < self.snapshots

    def columns(self) -> Array:
        """Return the columns (M, r) in C order, not to be written to."""
        if len(self._pieces) > 1:
            xp = array_namespace(self._pieces[0])
            kept = [piece for piece in self._pieces if piece.shape[1]]
            self._pieces = [_in_c_order(xp.concat(kept, axis=1), xp)]  # the same, in one piece
        return self._pieces[0]

    def pushed(self, block: Array, snapshots: int | None = None) -> SnapshotBuffer:
        """Return a buffer with more columns (M, l), which stand for `snapshots` (else for l)."""
        xp, count = array_namespace(block), int(block.shape[1])
        grown = SnapshotBuffer(list(self._pieces), self.snapshots)
        start = 0
        while start < count:
            if grown.n_columns >= self.capacity:
                grown = SnapshotBuffer([_triangular(grown.columns(), xp)], self.snapshots)
            stop = min(count, start + self.capacity - grown.n_columns)
            part = block if stop - start == count else block[:, start:stop]
            grown._append(_own(part, xp))
            start = stop
        grown.snapshots += count if snapshots is None else snapshots
        return grown

    def _append(self, piece: Array) -> None:
        self._pieces.append(piece)
        self.n_columns += int(piece.shape[1])

    def joined(self, other: SnapshotBuffer) -> SnapshotBuffer:
        """Return a buffer that stands for the snapshots of both."""
        return self.pushed(other.columns(), other.snapshots)

    def to_state(self) -> State:
        """Return the columns on the host and the number of snapshots."""
        return {"columns": to_numpy(self.columns()), "snapshots": self.snapshots}

    @classmethod
    def from_state(cls, state: State, *, xp: Namespace, device: Device) -> SnapshotBuffer:
        """Return the buffer that :meth:`to_state` wrote down."""
        columns = asarray(state["columns"], xp=xp, device=device)
        if columns.ndim != 2 or not 0 < columns.shape[1] <= int(state["snapshots"]):
            raise ValueError(
                f"the state must hold columns of at least as many snapshots, got a damaged one "
                f"(shape {tuple(columns.shape)}, {state['snapshots']} snapshots)."
            )
        return cls([_in_c_order(columns, xp)], int(state["snapshots"]))


def _triangular(Y: Array, xp: Namespace) -> Array:
    """Return the lower triangular R (M, M) with ``R R^H = Y Y^H`` of a wide matrix."""
    return _in_c_order(adjoint(tsqr([adjoint(Y, xp)]), xp), xp)


def _in_c_order(A: Array, xp: Namespace) -> Array:
    """Return a matrix whose rows lie one after another: products round by the layout."""
    return xp.reshape(xp.reshape(A, (-1,)), A.shape)


def _own(A: Array, xp: Namespace) -> Array:
    """Return a copy in C order."""
    flat = asarray(xp.reshape(A, (-1,)), xp=xp, device=device(A))
    return xp.reshape(flat, A.shape)


# ---------------------------------------------------------------------------------- streams


@dataclass(frozen=True, eq=False)
class SnapshotStream(PortablePickle):
    """Factors, snapshots seen so far and the options to solve with.

    Attributes
    ----------
    factors : tuple of array (M_i, N_i)
        The stream's own, in its dtype.
    buffer : SnapshotBuffer
        The snapshots.
    flat : bool
        Whether the first of them came flat.
    has_snapshots : bool
        Whether answers have an axis for snapshots: all but those of a single one without it.
    xp, device, dtype
        Where the arrays lie.
    options : dict
        Keyword arguments of :func:`linalgkit.bayes.kron_sbl`.
    """

    factors: tuple[Array, ...] = field(repr=False)
    buffer: SnapshotBuffer = field(repr=False)
    flat: bool
    has_snapshots: bool
    xp: Namespace
    device: Device
    dtype: DType
    options: Mapping[str, Any] = field(repr=False)

    @classmethod
    def started(cls, data: KroneckerData, options: Mapping[str, Any]) -> SnapshotStream:
        """Return the stream that begins with checked data; the options are checked too."""
        buffer = SnapshotBuffer.of(_unfolded(data))
        factors = tuple(_own(H, data.xp) for H in data.factors)
        stream = cls(
            factors, buffer, data.flat, data.has_snapshots, data.xp, data.device, data.dtype,
            {name: owned(value) for name, value in options.items()},
        )  # fmt: skip
        request(prepare(data), **stream.options)
        return stream

    @property
    def sizes(self) -> tuple[int, ...]:
        """Rows M_i of the factors."""
        return tuple(int(H.shape[0]) for H in self.factors)

    @property
    def widths(self) -> tuple[int, ...]:
        """Columns N_i of the factors."""
        return tuple(int(H.shape[1]) for H in self.factors)

    def pushed(self, data: KroneckerData) -> SnapshotStream:
        """Return the stream with further snapshots, of the stream's library and dtype."""
        return replace(self, buffer=self.buffer.pushed(_unfolded(data)), has_snapshots=True)

    def joined(self, other: SnapshotStream) -> SnapshotStream:
        """Return the stream with the snapshots of another one as well."""
        self.check_factors(other.factors)
        check_same_place(other.factors[0], self, "the snapshots of other")
        self.check_dtype(other.dtype, "the snapshots of other")
        return replace(self, buffer=self.buffer.joined(other.buffer), has_snapshots=True)

    def problem(self) -> tuple[Prepared, Request]:
        """Return what :func:`linalgkit.bayes._sbl.solve` takes."""
        columns = self.buffer.columns()
        data = KroneckerData(
            factors=self.factors,
            Y=self.xp.reshape(columns, (*self.sizes, columns.shape[1])),
            sizes=self.sizes,
            widths=self.widths,
            snapshots=self.buffer.n_columns,
            flat=self.flat,
            has_snapshots=self.has_snapshots,
            xp=self.xp,
            device=self.device,
            dtype=self.dtype,
        )
        prepared = prepare(data, self.buffer.snapshots)
        return prepared, request(prepared, **self.options)

    # -------------------------------------------------------------------------- the checks

    def check_factors(self, factors: Any) -> None:
        """Refuse factors other than those of the stream."""
        given = kronecker_factors(factors, are_finite=True)  # equal ones are
        for i, H in enumerate(given.arrays):
            check_same_place(H, self, f"factors[{i}]")
        shapes = [[tuple(map(int, H.shape)) for H in Hs] for Hs in (self.factors, given.arrays)]
        if shapes[0] != shapes[1]:
            raise ValueError(
                f"factors must be those of the first snapshots, of shapes {shapes[0]}, got shapes "
                f"{shapes[1]}. Call fit to start anew, or pass None for the same."
            )
        pairs = zip(self.factors, given.arrays, strict=True)
        same = self.xp.stack([self.xp.all(mine == theirs) for mine, theirs in pairs])
        for i, is_same in enumerate(to_numpy(same).tolist()):
            if not is_same:
                check_finite_block(given.arrays[i], name=f"factors[{i}]")
                raise ValueError(
                    f"factors[{i}] must be that of the first snapshots, got one with other "
                    "entries. Call fit to start anew, or pass None for the same."
                )

    def check_dtype(self, dtype: DType, name: str) -> None:
        """Refuse numbers that would lose digits or their imaginary parts."""
        if self.xp.result_type(dtype, self.dtype) != self.dtype:
            raise TypeError(
                f"{name} must be of {dtype_name(self.xp, self.dtype)} as the stream was, got "
                f"{dtype_name(self.xp, dtype)}. Convert it first, or start with the wider one."
            )

    # ------------------------------------------------------------------------------- state

    def to_state(self) -> State:
        """Return everything but a callback as host data."""
        return {
            "factors": [to_numpy(H) for H in self.factors],
            "flat": self.flat,
            "has_snapshots": self.has_snapshots,
            "options": options_to_state(self.options),
            **self.buffer.to_state(),
        }

    @classmethod
    def from_state(cls, state: State, *, xp: Namespace, device: Device) -> SnapshotStream:
        """Return the stream that :meth:`to_state` wrote down."""
        buffer = SnapshotBuffer.from_state(state, xp=xp, device=device)
        factors = tuple(asarray(H, xp=xp, device=device) for H in state["factors"])
        if math.prod(int(H.shape[0]) for H in factors) != buffer.length:
            raise ValueError("the state must hold factors that fit its columns, got a damaged one.")
        options = options_from_state(state["options"], xp=xp, device=device)
        return cls(
            factors, buffer, bool(state["flat"]), bool(state["has_snapshots"]), xp, device,
            factors[0].dtype, options,
        )  # fmt: skip


def _unfolded(data: KroneckerData) -> Array:
    """Return the data with snapshots as columns, (M, L)."""
    return data.xp.reshape(data.Y, (math.prod(data.sizes), data.snapshots))


# ---------------------------------------------------------------------------------- options


def _is_array(value: object) -> bool:
    """Tell whether a value is an array with axes; scalars of NumPy are numbers."""
    return len(getattr(value, "shape", ())) > 0 and library_of(value) in LIBRARIES


def owned(value: Any) -> Any:
    """Return an option with copies of its arrays, so that later changes of those do not matter."""
    if isinstance(value, (list, tuple)):
        return type(value)(owned(v) for v in value)
    if _is_array(value):
        return asarray(value, xp=array_namespace(value), device=device(value))
    return value


def same_option(a: Any, b: Any) -> bool:
    """Tell whether two options are equal, entry by entry."""
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(map(same_option, a, b))
    if _is_array(a) and _is_array(b):
        a, b = to_numpy(a), to_numpy(b)
        return a.shape == b.shape and bool((a == b).all())
    return not (_is_array(a) or _is_array(b)) and bool(a == b)


def options_to_state(options: Mapping[str, Any]) -> State:
    """Return options as host data; callbacks and generators are None."""
    found = {name: _to_host(value) for name, value in options.items()}
    rng = options["rng"]
    is_seed = hasattr(rng, "__index__") and not isinstance(rng, bool)
    return {**found, "callback": None, "rng": int(rng) if is_seed else None}


def _to_host(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_to_host(v) for v in value]
    if hasattr(value, "shape") and library_of(value) in LIBRARIES:
        return to_numpy(value) if _is_array(value) else to_numpy(value).item()
    return value


def options_from_state(state: State, *, xp: Namespace, device: Device) -> dict[str, Any]:
    """Return options whose arrays are of one library."""
    return {name: _from_host(value, xp, device) for name, value in state.items()}


def _from_host(value: Any, xp: Namespace, device: Device) -> Any:
    if isinstance(value, list):
        return [_from_host(v, xp, device) for v in value]
    return asarray(value, xp=xp, device=device) if _is_array(value) else value
