"""Gaussian pooling: a Hadamard transform whose rows are combined with Gaussian weights.

::

    S = sketch("gaussian_pooled", 200, n, rng=0)

costs as much as a Hadamard sketch and nearly has the law of a Gaussian one.
"""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any

from linalgkit._core.array import (
    Array,
    Device,
    DType,
    Namespace,
    device,
    is_complex,
    itemsize,
    real_dtype,
)
from linalgkit._core.operators import SparseOperator
from linalgkit._core.random import PhiloxTiles
from linalgkit._core.validation import check_int
from linalgkit._kernels import fwht, hadamard_pool, normal_rows
from linalgkit.sketching import _draws
from linalgkit.sketching._blocks import cuts, identity_pieces, joined, to
from linalgkit.sketching._hadamard import padded
from linalgkit.sketching._operator import PANEL, TILE_BYTES, SketchOperator

_TILE_COLUMNS = 128  # of S that are transformed at a time


# Song, Zhang, "Hadamard Flattening and Gaussian Pooling Sketch for Least Squares with
# Coordinate-wise Guarantee" (2026), Definition 4.1. Differs from it:
# 1. m need not be a power of two: the pools differ by at most one row in size.
# 2. The data are padded to the smallest power of two above n and m; larger pools, as the theory
#    has them, must be asked for.
# 3. Complex weights are circular.
class PooledSketch(SketchOperator, kind="gaussian_pooled"):
    """Gaussian combinations of the rows of a Hadamard transform, each row used once.

    Given order and signs, the rows of S are independent Gaussian vectors of nearly equal
    covariance.

    Parameters
    ----------
    m, n, dtype, tiles
        See :class:`SketchOperator`.
    block : int
        The least number of transformed rows pooled into one.
    """

    _options = ("block",)

    def __init__(self, m: int, n: int, dtype: str, tiles: PhiloxTiles, *, block: int) -> None:
        super().__init__(m, n, dtype, tiles)
        self.block = block
        self.n_padded = padded(max(n, m * block))
        self._scale = math.sqrt(1 / self.n_padded)

    @classmethod
    def _checked_options(cls, m: int, n: int | None, options: dict[str, Any]) -> dict[str, Any]:
        block = options["block"]
        return {"block": 1 if block is None else check_int("block", block, 1)}

    @cached_property
    def _signs(self) -> Array:
        return _draws.signs(self.tiles, 0, self._known_columns("its signs"))

    @cached_property
    def _places(self) -> Array:
        return _draws.permutation(self.tiles, self.n_padded)

    @cached_property
    def _ends(self) -> Array:
        return _draws.HOST.arange(1, self.m + 1) * self.n_padded // self.m

    @cached_property
    def _weights(self) -> list[Array]:
        """Return the real weights, and the imaginary ones of a complex sketch."""
        tails = [(_draws.WEIGHTS, part, self.tiles.stream) for part in range(1 + self.is_complex)]
        unit = math.sqrt(1 / len(tails))
        xp, N = _draws.HOST, self.n_padded
        drawn = [normal_rows(xp, self.tiles.key, t, 0, 1, N, "cpu", xp.float64) for t in tails]
        return [unit * numbers[0, :] for numbers in drawn]

    def _tile(self, start: int, stop: int, xp: Namespace, device: Device, dtype: DType) -> Array:
        pieces = []
        for first, last in cuts(start, stop, _TILE_COLUMNS):
            unit = xp.eye(last - first, dtype=real_dtype(xp, dtype), device=device)
            pieces.append(xp.matrix_transpose(self._map(unit, first, xp, dtype)))
        return joined(pieces, 0, xp)

    def _map(self, X: Array, start: int, xp: Namespace, dtype: DType) -> Array:
        dev = device(X)
        stop = start + X.shape[0]
        order = xp.arange(start, stop, dtype=xp.int64, device=dev) if start else None
        hosts = self._signs[start:stop], self._places, self._ends
        signs, places, ends = (to(x, xp, dev) for x in hosts)
        X = xp.astype(X, dtype if is_complex(X, xp) else real_dtype(xp, dtype), copy=False)
        total = None
        for unit, host in zip((1.0, 1j), self._weights, strict=False):
            weights = to(host, xp, dev, real_dtype(xp, dtype))
            pooled = hadamard_pool(xp, X, order, signs, self.n_padded, places, weights, ends)
            pooled = xp.astype(pooled, dtype, copy=False)
            total = pooled if total is None else total + unit * pooled
        return total

    def _map_sparse(self, A: SparseOperator, start: int, dtype: DType) -> Array:
        """Transform a few columns at a time: every entry of S depends on all transformed rows."""
        xp, (b, d) = A.xp, A.shape
        width = max(1, min(32, TILE_BYTES // (b * itemsize(xp, dtype))))
        pieces = identity_pieces(d, width, xp, A.device, A.dtype)
        return joined([self._map(A.matmul(E), start, xp, dtype) for E in pieces], 1, xp)

    def _adjoint_map(self, Y: Array, start: int, stop: int, xp: Namespace) -> Array:
        dev, host = device(Y), _draws.HOST
        source = _draws.inverse(self._places)
        pool = host.searchsorted(self._ends, source, side="right")
        weights = self._weights[0] - 1j * self._weights[1] if self.is_complex else self._weights[0]
        weights = to(weights[source], xp, dev, Y.dtype)[:, None]
        pool = to(pool, xp, dev)
        signs = to(self._signs[start:stop], xp, dev, Y.dtype)[:, None]
        panels = []
        for a, b in cuts(0, Y.shape[1], PANEL):
            Z = fwht(xp, weights * xp.take(Y[:, a:b], pool, axis=0))
            panels.append(signs * Z[start:stop, :])
        return joined(panels, 1, xp)
