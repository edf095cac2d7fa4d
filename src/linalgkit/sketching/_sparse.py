"""Sparse sketches: a few non-zeros in each column of `S`, or one in each row.

``countsketch`` adds each row of `X` with a sign to one row of the result, ``sparse_sign`` to
`nnz` of them, one in each of `nnz` groups of rows; ``leverage`` picks rows of `X`::

    S = sketch("sparse_sign", 200, None, nnz=8, rng=0)
    S = sketch("leverage", 200, n, scores=leverage_scores(X), rng=0)

A sparse `X` is multiplied by a sparse `S`.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from functools import cached_property
from typing import Any, ClassVar

from linalgkit._core.array import (
    Array,
    Device,
    DType,
    Namespace,
    device,
    is_complex_dtype,
    itemsize,
    library_name,
    real_dtype,
)
from linalgkit._core.operators import SparseOperator
from linalgkit._core.random import PhiloxTiles
from linalgkit._core.sparse import csr_type
from linalgkit._core.validation import check_int
from linalgkit._kernels import sparse_embed
from linalgkit.sketching import _draws
from linalgkit.sketching._blocks import add, cuts, joined, to
from linalgkit.sketching._operator import TILE_BYTES, SketchOperator

_NNZ = 8  # of a column, by default
_CHUNK = 1 << 18  # non-zeros that are held at a time
_KEPT = 1 << 20  # of a sketch with so few of them all are kept, 12 bytes each
_DRAWN = 1 << 14  # numbers that are drawn at a time: arrays that stay in cache


class ColumnSparseSketch(SketchOperator):
    """A sketch whose columns have `nnz` non-zeros each, signs before the scale.

    Subclasses say where: :meth:`_nonzeros`.
    """

    nnz = 1

    @abstractmethod
    def _nonzeros(self, start: int, stop: int) -> tuple[Array, Array]:
        """Return rows and signs of the non-zeros of columns, two (stop - start, nnz), on the host.

        Signs are int8 or float64, or complex128 where the sketch is complex and not turned.
        """

    def _chunk(self) -> int:
        return max(1, _CHUNK // self.nnz)

    def _is_kept(self) -> bool:
        """Tell whether the non-zeros of all columns are in memory anyway."""
        return False

    def _tile(self, start: int, stop: int, xp: Namespace, device: Device, dtype: DType) -> Array:
        rows, signs = self._nonzeros(start, stop)
        rows, signs = to(rows, xp, device), to(signs, xp, device, dtype)
        every = xp.arange(self.m, dtype=rows.dtype, device=device)[None, :]
        tile = None
        for t in range(rows.shape[1]):
            met = xp.astype(rows[:, t][:, None] == every, dtype)
            tile = add(tile, met * signs[:, t][:, None])
        return tile

    def _embed(self, X: Array, start: int, xp: Namespace) -> Array:
        dev = device(X)
        rows, signs = self._nonzeros(start, start + X.shape[0])
        weights = to(signs, xp, dev, real_dtype(xp, X.dtype))
        return sparse_embed(xp, X, to(rows, xp, dev), weights, self.m)

    def _map(self, X: Array, start: int, xp: Namespace, dtype: DType) -> Array:
        total = None
        needs_copy = X.dtype != dtype
        step = self._chunk() if needs_copy or not self._is_kept() else X.shape[0]
        for first, stop in cuts(0, X.shape[0], step):
            part = xp.astype(X[first:stop, :], dtype, copy=False)
            total = add(total, self._embed(part, start + first, xp))
        return total

    def _map_sparse(self, A: SparseOperator, start: int, dtype: DType) -> Array:
        total: Any = None
        for first, stop in cuts(0, A.shape[0], self._chunk()):
            rows, signs = self._nonzeros(start + first, start + stop)
            if self.is_complex and self._turned:
                signs = signs * _draws.turns(self.tiles, start + first, start + stop)[:, None]
            share = _csr_columns(rows, signs, self.m, A.xp, A.device, dtype)
            part = share @ A.rows(first, stop).A.astype(dtype, copy=False)
            total = add(total, part)
        return total.toarray()

    def _adjoint_map(self, Y: Array, start: int, stop: int, xp: Namespace) -> Array:
        step = max(1, TILE_BYTES // (Y.shape[1] * itemsize(xp, Y.dtype)))
        pieces = [
            self._gathered(Y, first, last, xp)
            for first, last in cuts(start, stop, min(step, self._chunk()))
        ]
        return joined(pieces, 0, xp)

    def _gathered(self, Y: Array, start: int, stop: int, xp: Namespace) -> Array:
        dev = device(Y)
        rows, signs = self._nonzeros(start, stop)
        total = None
        for t in range(rows.shape[1]):
            weights = to(signs[:, t], xp, dev, Y.dtype)[:, None]
            total = add(total, weights * xp.take(Y, to(rows[:, t], xp, dev), axis=0))
        return total


class SparseSignSketch(ColumnSparseSketch, kind="sparse_sign"):
    """One sign in each of `nnz` groups of rows of every column, divided by ``sqrt(nnz)``.

    Parameters
    ----------
    m, n, dtype, tiles
        See :class:`SketchOperator`.
    nnz : int
        Non-zeros of a column, 1 to `m`; the groups differ by at most one row in size.
    """

    streams = True
    _turned = True
    _options: ClassVar[tuple[str, ...]] = ("nnz",)

    def __init__(self, m: int, n: int | None, dtype: str, tiles: PhiloxTiles, *, nnz: int) -> None:
        super().__init__(m, n, dtype, tiles)
        self.nnz = nnz
        self._scale = math.sqrt(1 / nnz)

    @classmethod
    def _checked_options(cls, m: int, n: int | None, options: dict[str, Any]) -> dict[str, Any]:
        nnz = options["nnz"]
        return {"nnz": min(_NNZ, m) if nnz is None else check_int("nnz", nnz, 1, m, f"for m={m}")}

    @cached_property
    def _groups(self) -> tuple[Array, Array]:
        """Return first row and size of each group, as often as rows are drawn at a time.

        Broadcasting such short rows is slow.
        """
        edges = (_draws.HOST.arange(self.nnz + 1) * self.m // self.nnz).astype("uint64")
        step = max(1, _DRAWN // self.nnz)
        first, size = edges[:-1], edges[1:] - edges[:-1]
        return _draws.HOST.tile(first, (step, 1)), _draws.HOST.tile(size, (step, 1))

    def _nonzeros(self, start: int, stop: int) -> tuple[Array, Array]:
        if not self._is_kept():
            return self._drawn(start, stop)
        rows, signs = self._all
        return rows[start:stop], signs[start:stop]

    def _is_kept(self) -> bool:
        n = self.shape[1]
        return n is not None and n * self.nnz <= _KEPT

    @cached_property
    def _all(self) -> tuple[Array, Array]:
        rows, signs = self._drawn(0, self._known_columns("its non-zeros"))
        return rows, signs.astype("float64")

    def _drawn(self, start: int, stop: int) -> tuple[Array, Array]:
        shape = stop - start, self.nnz
        rows, signs = (_draws.HOST.empty(shape, dtype=name) for name in ("int32", "int8"))
        first, size = self._groups
        step = first.shape[0]
        for low, high in cuts(0, shape[0], step):
            half, count = (start + low) * self.nnz, (high - low) * self.nnz
            drawn = _draws.halves(self.tiles, half, count).reshape(-1, self.nnz)
            signs[low:high] = drawn & 1
            rows[low:high] = _draws.spread(drawn, size[: high - low], first[: high - low])
        signs *= -2
        signs += 1
        return rows, signs


class CountSketch(SparseSignSketch, kind="countsketch"):
    """One sign in every column."""

    _options = ()

    def __init__(self, m: int, n: int | None, dtype: str, tiles: PhiloxTiles) -> None:
        super().__init__(m, n, dtype, tiles, nnz=1)

    @classmethod
    def _checked_options(cls, m: int, n: int | None, options: dict[str, Any]) -> dict[str, Any]:
        return options


class LeverageSketch(SketchOperator, kind="leverage"):
    """Rows of `X` picked with given probabilities, divided by ``sqrt(m p)``.

    Parameters
    ----------
    m, n, dtype, tiles
        See :class:`SketchOperator`.
    rows : array (m,)
        The rows picked, on the host.
    weights : array (m,)
        What they are multiplied by.
    """

    _options = ("rows", "weights")
    _sees_all = False

    def __init__(
        self, m: int, n: int, dtype: str, tiles: PhiloxTiles, *, rows: Array, weights: Array
    ) -> None:
        super().__init__(m, n, dtype, tiles)
        self.rows, self.weights = rows, weights
        self._scale = 1.0

    @classmethod
    def _checked_options(cls, m: int, n: int | None, options: dict[str, Any]) -> dict[str, Any]:
        host, rows, weights = _draws.HOST, options["rows"], options["weights"]
        if not (rows.dtype == host.int64 and weights.dtype == host.float64):
            raise TypeError(f"rows of {rows.dtype} and weights of {weights.dtype}")
        if not (rows.shape == weights.shape == (m,) and 0 <= rows.min() <= rows.max() < (n or 0)):
            raise ValueError(f"rows must be {m} numbers from 0 below {n}, each with a weight.")
        if not (host.isfinite(weights) & (weights > 0)).all():
            raise ValueError("weights must be positive and finite.")
        return options

    @classmethod
    def drawn(cls, m: int, dtype: str, tiles: PhiloxTiles, scores: Array) -> LeverageSketch:
        """Return a sketch that picks rows independently, in proportion to `scores`.

        Parameters
        ----------
        m, dtype, tiles
            See :class:`SketchOperator`.
        scores : array (n,)
            Not negative, not all zero, float64 on the host.
        """
        unit = scores / scores.max()
        steps = _draws.HOST.cumulative_sum(unit)
        last = int(_draws.HOST.searchsorted(steps, steps[-1]))
        uniform = (_draws.words(tiles, 0, m, _draws.ROWS) >> 11) * 2.0**-53
        rows = _draws.HOST.searchsorted(steps, uniform * steps[-1], side="right")
        rows = _draws.HOST.minimum(rows, last).astype("int64")
        weights = (steps[-1] / (m * unit[rows])) ** 0.5
        return cls(m, scores.shape[0], dtype, tiles, rows=rows, weights=weights)

    def _identity(self) -> tuple[Any, ...]:
        return *super()._identity()[:3], tuple(self.rows.tolist()), tuple(self.weights.tolist())

    def _shown(self) -> dict[str, Any]:
        return {}

    def _picks(
        self, start: int, stop: int, xp: Namespace, dev: Device, dtype: DType
    ) -> tuple[Array, Array]:
        """Return rows inside a block and weights, which are 0 for rows outside of it."""
        inside = (start <= self.rows) & (self.rows < stop)
        rows = _draws.HOST.where(inside, self.rows - start, 0)
        return to(rows, xp, dev), to(inside * self.weights, xp, dev, dtype)

    def _tile(self, start: int, stop: int, xp: Namespace, device: Device, dtype: DType) -> Array:
        rows, weights = self._picks(start, stop, xp, device, dtype)
        each = xp.arange(stop - start, dtype=rows.dtype, device=device)
        picked = xp.astype(each[:, None] == rows[None, :], dtype)
        return picked * weights[None, :]

    def _map(self, X: Array, start: int, xp: Namespace, dtype: DType) -> Array:
        rows, weights = self._picks(start, start + X.shape[0], xp, device(X), dtype)
        return weights[:, None] * xp.astype(xp.take(X, rows, axis=0), dtype, copy=False)

    def _map_sparse(self, A: SparseOperator, start: int, dtype: DType) -> Array:
        rows, weights = self._picks(start, start + A.shape[0], A.xp, A.device, dtype)
        return weights[:, None] * A.A[rows, :].toarray()

    def _adjoint_map(self, Y: Array, start: int, stop: int, xp: Namespace) -> Array:
        dev = device(Y)
        rows, weights = self._picks(start, stop, xp, dev, Y.dtype)
        ones = xp.ones((self.m, 1), dtype=real_dtype(xp, Y.dtype), device=dev)
        return sparse_embed(xp, weights[:, None] * Y, rows[:, None], ones, stop - start)


def _csr_columns(
    rows: Array, signs: Array, m: int, xp: Namespace, dev: Device, dtype: DType
) -> Any:
    """Return the sparse (m, b) matrix with ``signs[r]`` at ``rows[r]`` of column r, as CSR."""
    b, s = rows.shape
    target = dtype if is_complex_dtype(xp, dtype) else real_dtype(xp, dtype)
    ends = _draws.HOST.arange(0, b * s + 1, s)
    data = to(signs.reshape(-1), xp, dev, target)
    parts = data, *(to(x.astype("int32"), xp, dev) for x in (rows.reshape(-1), ends))
    return csr_type(library_name(xp))(parts, shape=(b, m)).T.tocsr()
