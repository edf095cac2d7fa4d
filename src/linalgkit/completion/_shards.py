"""Entries that lie in shards, in this process or in others: the same sweeps, the same bits.

The rows of a matrix are shared out over shards, and so are its columns: each entry lies twice, once
with its row and once with its column. Factors stay with the caller. Every kernel of this room works
line by line, so that a call goes to all shards of a side at once, the fixed factor with it, and
their answers are put one after another::

    rows = ShardedLines(lengths, shards, run, n, xp, device)
    X, left, taken = pcg_rows(xp, rows, values, None, F, X, ...)     # on the shards

`run` is whatever does tasks: ``run(label, function, shards, own, shared)`` returns
``[function(shard, mine, shared) for shard, mine in zip(shards, own)]``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from scipy import sparse
from scipy.sparse import csgraph

from linalgkit._core.array import (
    Array,
    Device,
    DType,
    Namespace,
    index_dtype,
    namespace_of,
    numpy_namespace,
    real_dtype,
    to_numpy,
    widest_float,
)
from linalgkit._core.state import PortablePickle
from linalgkit._kernels.observed import Lines, entries, gather_sum, pcg_rows, residual_rows
from linalgkit.completion import _compressed, _direct, _identify
from linalgkit.completion._observed import Observed, from_rows

_HOST = numpy_namespace()
_CALLS: dict[str, Callable[..., Any]] = {
    kernel.name: kernel for kernel in (pcg_rows, residual_rows, entries, gather_sum)
}
# Which argument behind the lines has a row for each line.
_OWN = {"pcg_rows": 3, "residual_rows": 2, "entries": 0}

Run = Callable[[str, Callable[[Any, Any, Any], Any], Sequence[Any], Sequence[Any], Any], list[Any]]


@dataclass(frozen=True)
class Held:
    """Stands for values or weights that lie in the shards."""

    name: str  # "values" or "weights"
    dtype: DType


@dataclass(frozen=True, eq=False)
class Shard(PortablePickle):
    """Some lines of one side, with their entries.

    Attributes
    ----------
    indptr, indices : host arrays (lines + 1,), (N,)
        The pattern, sorted.
    values : array (N,)
        Scaled as in :class:`~linalgkit.completion._observed.Observed`.
    weights : array (N,) or None
        Likewise.
    n_other : int
        Length of a line.
    """

    indptr: Array = field(repr=False)
    indices: Array = field(repr=False)
    values: Array = field(repr=False)
    weights: Array | None = field(repr=False)
    n_other: int

    @functools.cached_property
    def lines(self) -> Lines:
        """The pattern as the kernels read it."""
        xp, where = namespace_of(self.values)
        return Lines(self.indptr, self.indices, self.n_other, xp, where)

    def __getstate__(self) -> dict[str, Any]:
        kept = super().__getstate__()
        kept.pop("lines", None)  # tables that are built again
        return kept


class ShardedLines(Lines):
    """One side of a pattern whose entries lie in shards of consecutive lines.

    Parameters
    ----------
    lengths : host array (lines,)
        Entries of each line.
    cuts : sequence of int
        Where shards begin, and the number of lines.
    shards : sequence
        Handles of :class:`Shard`, in order.
    run : callable
        See the module.
    n_other, xp, device
        As in :class:`~linalgkit._kernels.lines.Lines`.
    """

    is_elsewhere = True

    def __init__(
        self,
        lengths: Array,
        cuts: Sequence[int],
        shards: Sequence[Any],
        run: Run,
        n_other: int,
        xp: Namespace,
        device: Device,
    ) -> None:
        self.xp, self.device = xp, device
        self.lengths, self.indptr = lengths, _compressed.row_starts(lengths)
        self.n_lines, self.n_other = int(lengths.shape[0]), n_other
        self.count, self.n_threads = int(self.indptr[-1]), 1
        self.cuts, self.shards, self.run = list(cuts), list(shards), run

    @functools.cached_property
    def indices(self) -> Array:
        """All indices, brought here: N integers."""
        found = self._run("indices", _indices_of, [None] * len(self.shards), None)
        return self.put(_HOST.concat(found))

    def weights(self) -> Array:
        """Return all weights, brought here."""
        return self.xp.concat(self._run("weights", _weights_of, [None] * len(self.shards), None))

    def _run(self, label: str, function: Any, own: Sequence[Any], shared: Any) -> list[Any]:
        return self.run(label, function, self.shards, own, shared)

    def call(self, name: str, *arguments: Any) -> Any:
        """Run a kernel on all shards and put the answers together."""
        place = _OWN.get(name)
        own: list[Any] = [None] * len(self.shards)
        if place is not None:
            own = [self._rows(arguments[place], s) for s in range(len(self.shards))]
        shared = [None if i == place else x for i, x in enumerate(arguments)]
        found = self._run(name, _applied, own, (name, place, shared))
        return _together(found, self.xp)

    def _rows(self, X: Array, shard: int) -> Array:
        start, stop = self.cuts[shard], self.cuts[shard + 1]
        return self.xp.asarray(X[start:stop, :], copy=True)

    def direct(self, arguments: tuple[Any, ...], chosen: Array | None) -> Array:
        """Solve all lines, or chosen ones, exactly."""
        if chosen is None:
            chosen = _HOST.arange(self.n_lines)
        own, members = [], []
        for start, stop in zip(self.cuts, self.cuts[1:], strict=False):
            inside = _HOST.flatnonzero((chosen >= start) & (chosen < stop))
            members.append(inside)
            own.append(chosen[inside] - start)
        found = self._run("direct", _solved, own, arguments)
        order = _HOST.argsort(_HOST.concat(members), stable=True)
        return self.xp.take(
            self.xp.concat(found, axis=0), self.put(order, index_dtype(self.xp)), axis=0
        )

    def counted(self, other: Array) -> Array:
        """Return the number of entries of each line in chosen lines of the other side."""
        return _HOST.concat(self._run("counted", _counted, [None] * len(self.shards), other))

    def components(self) -> tuple[Array, Array]:
        """Return labels of the connected components of the lines and of the other side."""
        found = self._run("components", _forest, [None] * len(self.shards), None)
        m, n = self.n_lines, self.n_other
        heads, tails = [], []
        for start, (lines, others) in zip(self.cuts, found, strict=False):
            for offset, ends in ((start, lines), (m, others)):
                members = _HOST.flatnonzero(ends >= 0)
                heads.append(offset + members)
                tails.append(m + ends[members])
        edges = _HOST.concat(heads), _HOST.concat(tails)
        ones = _HOST.ones(edges[0].shape[0], dtype=bool)
        graph = sparse.coo_array((ones, edges), shape=(m + n, m + n)).tocsr()
        labels: Array = csgraph.connected_components(graph, directed=False)[1]
        return labels[:m], labels[m:]


@dataclass(frozen=True, eq=False)
class ShardedObserved(Observed):
    """The entries of a matrix in shards; see :class:`~linalgkit.completion._observed.Observed`.

    Values and weights are :class:`Held`.
    """

    def value_sum(self) -> complex:
        """Return the weighted sum of the values."""
        return sum(complex(x) for x, _ in self._sums)

    def weight_sums(self) -> tuple[float, float]:
        """Return sum and sum of squares of the weights."""
        return (
            float(sum(w for _, (w, _) in self._sums)),
            float(sum(squares for _, (_, squares) in self._sums)),
        )

    @functools.cached_property
    def _sums(self) -> list[Any]:
        lines = self.rows
        assert isinstance(lines, ShardedLines)
        return lines._run("sums", _summed, [None] * len(lines.shards), None)

    def sampled(self, step: int) -> Observed:
        """Return every step-th entry in row order, brought here."""
        lines = self.rows
        assert isinstance(lines, ShardedLines)
        first = [int(-lines.indptr[start]) % step for start in lines.cuts[:-1]]
        found = lines._run("sample", _sampled, first, step)
        xp, (m, n) = self.xp, self.shape
        lengths = _HOST.concat([part[0] for part in found])
        values = xp.concat([part[2] for part in found])
        weights = None if self.row_weights is None else xp.concat([part[3] for part in found])
        indices = _HOST.concat([part[1] for part in found])
        made = from_rows(
            _compressed.row_starts(lengths), indices, values, weights, (m, n), xp, self.device
        )
        return replace(made, exponent=self.exponent, weight_exponent=self.weight_exponent)


def sharded_observed(
    rows: ShardedLines,
    columns: ShardedLines,
    *,
    dtype: DType,
    weighted: bool,
    exponent: int,
    weight_exponent: int,
) -> ShardedObserved:
    """Return the entries that two sets of shards hold."""
    values = Held("values", dtype)
    weights = Held("weights", real_dtype(rows.xp, dtype)) if weighted else None
    return ShardedObserved(
        rows.xp, rows.device, dtype, (rows.n_lines, columns.n_lines), rows, columns,
        values, values, weights, weights, exponent, weight_exponent, False,
    )  # fmt: skip


# ---------------------------------------------------------------------- what runs on a shard


def _filled(shard: Shard, x: Any) -> Any:
    """Return the shard's own numbers in place of what stands for them."""
    return getattr(shard, x.name) if isinstance(x, Held) else x


def _applied(shard: Shard, mine: Any, shared: tuple[str, int | None, list[Any]]) -> Any:
    """Run a kernel on the lines of a shard."""
    name, place, arguments = shared
    given = [mine if i == place else _filled(shard, x) for i, x in enumerate(arguments)]
    return _CALLS[name](shard.lines.xp, shard.lines, *given)


def _solved(shard: Shard, chosen: Array, arguments: tuple[Any, ...]) -> Array:
    xp, lines = shard.lines.xp, shard.lines
    y, w, F, shift, ridge, load = (_filled(shard, x) for x in arguments)
    if chosen.shape[0] == 0:
        return xp.zeros((0, int(F.shape[1])), dtype=F.dtype, device=lines.device)
    return _direct.direct_rows(xp, lines, y, w, F, shift, ridge, load, chosen)


def _counted(shard: Shard, _: None, other: Array) -> Array:
    return _identify._counted(shard.lines, other)


def _indices_of(shard: Shard, _: None, __: None) -> Array:
    return shard.indices


def _weights_of(shard: Shard, _: None, __: None) -> Array:
    return shard.weights


def _summed(shard: Shard, _: None, __: None) -> tuple[complex, tuple[float, float]]:
    """Return the weighted sum of the values; sum and sum of squares of the weights."""
    xp, y, w = shard.lines.xp, shard.values, shard.weights
    if w is None:
        return complex(xp.sum(y)), (float(y.shape[0]), float(y.shape[0]))
    wide = widest_float(xp, shard.lines.device)
    sums = float(xp.sum(w, dtype=wide)), float(xp.sum(w * w, dtype=wide))
    return complex(xp.sum(y * w)), sums


def _sampled(shard: Shard, first: int, step: int) -> tuple[Array, Array, Array, Array | None]:
    """Return lengths, indices, values and weights of every step-th entry."""
    chosen = _HOST.zeros(shard.indices.shape[0], dtype=bool)
    chosen[first::step] = True
    xp = shard.lines.xp
    place = shard.lines.put(_HOST.flatnonzero(chosen))
    values, weights = (
        None if x is None else xp.take(x, place, axis=0) for x in (shard.values, shard.weights)
    )
    return _compressed.counts(chosen, shard.indptr), shard.indices[chosen], values, weights


def _forest(shard: Shard, _: None, __: None) -> tuple[Array, Array]:
    """Return one index of the other side for each component, for all that belong to it, or -1."""
    m, n = shard.indptr.shape[0] - 1, shard.n_other
    indices = to_numpy(shard.indices)
    pattern = _compressed.csr_form(
        _HOST.ones(indices.shape[0], dtype=bool), indices, shard.indptr, (m, n)
    )
    graph = sparse.block_array([[None, pattern], [pattern.T, None]], format="csr")
    labels = csgraph.connected_components(graph, directed=False)[1]
    ends = _HOST.full(m + n, -1, dtype=_HOST.int64)  # of labels: one index of the other side
    ends[labels[m + indices]] = indices
    found = ends[labels]
    return found[:m], found[m:]


def _together(found: list[Any], xp: Namespace) -> Any:
    """Join the answers of the shards: arrays in a row, counts in sum."""
    if isinstance(found[0], tuple):
        return tuple(_together(list(parts), xp) for parts in zip(*found, strict=True))
    if found[0] is None:
        return None
    return sum(found) if isinstance(found[0], int) else xp.concat(found, axis=0)
