"""Where a matrix was observed and with which weights: what an answer keeps of its data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from scipy import sparse

from linalgkit._core.array import (
    Array,
    Device,
    Namespace,
    asarray,
    numpy_namespace,
    to_numpy,
)
from linalgkit._core.state import State
from linalgkit._kernels.observed import Lines
from linalgkit.completion import _compressed
from linalgkit.completion._observed import Observed

_HOST = numpy_namespace()


@dataclass(frozen=True, eq=False)
class Pattern:
    """Observed entries without their values.

    Attributes
    ----------
    shape : tuple of int
        (m, n).
    rows, columns : Lines
        The entries in both orders.
    row_weights, column_weights : array (N,) or None
        Weights in both orders, times ``2**-weight_exponent``.
    weight_exponent : int
        See there.
    """

    shape: tuple[int, int]
    rows: Lines = field(repr=False)
    columns: Lines = field(repr=False)
    row_weights: Array | None = field(repr=False)
    column_weights: Array | None = field(repr=False)
    weight_exponent: int

    @classmethod
    def of(cls, observed: Observed) -> Pattern:
        """Return the pattern of some entries; it shares their memory, not that of the values."""
        return cls(
            observed.shape, observed.rows, observed.columns, observed.row_weights,
            observed.column_weights, observed.weight_exponent,
        )  # fmt: skip

    def brought_here(self) -> Pattern:
        """Return the pattern of entries that lie in shards in memory of its own."""
        rows: Any = self.rows
        state = {
            "shape": self.shape,
            "lengths": rows.lengths,
            "indices": to_numpy(rows.indices),
            "weights": None if self.row_weights is None else to_numpy(rows.weights()),
            "weight_exponent": self.weight_exponent,
        }
        return self.from_state(state, xp=rows.xp, device=rows.device)

    @property
    def count(self) -> int:
        """Number N of entries."""
        return self.rows.count

    def csr(self) -> tuple[Array, Array]:
        """Return row starts and column indices on the host (one transfer)."""
        return self.rows.indptr, to_numpy(self.rows.indices)

    # --------------------------------------------------------------------------------- state

    def to_state(self) -> State:
        """Return host data; the order by columns is found again from that by rows."""
        indptr, indices = self.csr()
        return {
            "shape": list(self.shape),
            "lengths": _HOST.diff(indptr).astype(_HOST.int32),
            "indices": _compressed.narrow(indices, self.shape[1]),
            "weights": None if self.row_weights is None else to_numpy(self.row_weights),
            "weight_exponent": self.weight_exponent,
        }

    @classmethod
    def from_state(cls, state: State, *, xp: Namespace, device: Device) -> Pattern:
        """Return the pattern of a state, its arrays in one library."""
        m, n = (int(size) for size in state["shape"])
        indptr, indices = _compressed.row_starts(state["lengths"]), state["indices"]
        weights = state["weights"]
        _check(indptr, indices, weights, (m, n))
        numbers = _compressed.places(indices.shape[0])
        turned = _turned(numbers, indices, indptr, (m, n))

        def put(x: Array | None) -> Array | None:
            return None if x is None else asarray(x, xp=xp, device=device)

        return cls(
            (m, n),
            Lines(indptr, indices, n, xp, device),
            Lines(turned.indptr, turned.indices, m, xp, device),
            put(weights),
            put(None if weights is None else weights[turned.data]),
            int(state["weight_exponent"]),
        )


def _turned(data: Array, indices: Array, indptr: Array, shape: tuple[int, int]) -> Any:
    """Return the CSC form of a pattern."""
    narrow = _compressed.narrow(indptr, int(indptr[-1]) + 1)
    return sparse.csr_array((data, indices, narrow), shape=shape).tocsc()


def _check(indptr: Array, indices: Array, weights: Array | None, shape: tuple[int, int]) -> None:
    """Refuse a damaged state, before compiled code reads by it."""
    whole = indptr.shape[0] == shape[0] + 1 and indices.shape == (int(indptr[-1]),)
    if not (
        whole
        and indices.dtype.kind in "iu"
        and bool((_HOST.diff(indptr) >= 0).all())
        and _are_sorted(indptr, indices, shape[1])
        and (weights is None or _are_weights(weights, indices.shape))
    ):
        raise ValueError("the pattern of the state is damaged: its parts do not fit together.")


def _are_sorted(indptr: Array, indices: Array, size: int) -> bool:
    """Tell whether the columns of each row lie within the matrix and rise strictly."""
    if indices.shape[0] == 0:
        return True
    if int(indices.min()) < 0 or int(indices.max()) >= size:
        return False
    rises = indices[1:] > indices[:-1]
    starts = indptr[1:-1]
    rises[starts[(starts > 0) & (starts < indices.shape[0])] - 1] = True
    return bool(rises.all())


def _are_weights(weights: Array, shape: tuple[int, ...]) -> bool:
    """Tell whether these are positive numbers, one for each entry."""
    fits = weights.shape == shape and weights.dtype.kind == "f"
    return fits and bool(((weights > 0) & (weights < _HOST.inf)).all())
