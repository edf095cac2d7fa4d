"""Kernels of sketches beside one copy of the data, scipy.fft.dct and a matrix product.

A sketch joins by one entry in `SKETCHES`: a function that returns the call on given data.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.fft

from . import _base

ROOM = "sketching"

N, D = _base.sized((1 << 13, 32), (1 << 17, 128))
M = 4 * D
DTYPES = ("float64", "float32")

Sketch = Callable[[Any, np.ndarray], Callable[[], Any]]


def _signs(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).choice([-1, 1], shape).astype(np.int8)


def _transform(xp: Any, X: np.ndarray) -> Callable[[], Any]:
    from linalgkit import _kernels

    return lambda: _kernels.fwht(xp, X)


def _rows(xp: Any, X: np.ndarray) -> Callable[[], Any]:
    from linalgkit import _kernels

    rng = np.random.default_rng(2)
    order, rows, signs = rng.permutation(N), rng.choice(N, M, replace=False), _signs(N)
    return lambda: _kernels.hadamard_rows(xp, X, order, signs, N, rows)


def _blocks(xp: Any, X: np.ndarray) -> Callable[[], Any]:
    from linalgkit import _kernels

    rng = np.random.default_rng(3)
    block = 4 * M
    order = rng.permuted(np.tile(np.arange(block), (N // block, 1)), axis=1).reshape(-1)
    rows = rng.integers(0, block, (N // block, M))
    weights, signs = _signs(N // block, M), _signs(N)
    return lambda: _kernels.hadamard_blocks(xp, X, order, signs, block, rows, weights)


def _pool(xp: Any, X: np.ndarray) -> Callable[[], Any]:
    from linalgkit import _kernels

    rng = np.random.default_rng(4)
    places, weights, signs = rng.permutation(N), rng.standard_normal(N), _signs(N)
    ends = np.arange(1, M + 1) * (N // M)
    return lambda: _kernels.hadamard_pool(xp, X, None, signs, N, places, weights, ends)


def _sparse(xp: Any, X: np.ndarray) -> Callable[[], Any]:
    from linalgkit import _kernels

    rng, group = np.random.default_rng(5), M // 8
    places = rng.integers(0, group, (N, 8), dtype=np.int32) + group * np.arange(8, dtype=np.int32)
    weights = _signs(N, 8).astype(X.dtype)
    return lambda: _kernels.sparse_embed(xp, X, places, weights, M)


SKETCHES: dict[str, Sketch] = {
    "fwht": _transform,
    "permuted srht": _rows,
    "block srht": _blocks,
    "gaussian pooled": _pool,
    "sparse sign, 8 a column": _sparse,
}


def _call(sketch: str, dtype: str) -> tuple[np.ndarray, Callable[[], Any]]:
    """Return the data and the call that sketches it."""
    from linalgkit._core import array

    X = np.random.default_rng(0).standard_normal((N, D)).astype(dtype)
    return X, SKETCHES[sketch](array.array_namespace(X), X)


class OnePass(_base.Comparison):
    """Each sketch of a tall matrix over one copy of the matrix."""

    param_names = ("sketch", "dtype")
    params = (tuple(SKETCHES), DTYPES)
    repeats = 9

    def prepare(self, sketch: str, dtype: str) -> None:
        self.X, self.call = _call(sketch, dtype)

    def method(self) -> Any:
        return self.call()

    def primitive(self) -> Any:
        return self.X.copy()


class SinglePrecision(_base.Measured):
    """Time in float32 over that in float64."""

    param_names = ("sketch",)
    params = (tuple(SKETCHES),)

    def prepare(self, sketch: str) -> None:
        self.calls = {dtype: _call(sketch, dtype)[1] for dtype in DTYPES}

    def warm(self) -> None:
        for call in self.calls.values():
            call()

    def track_ratio(self, sketch: str) -> float:
        seconds = _base.interleaved(self.calls, 9)
        return seconds["float32"] / seconds["float64"]


class Cosine(_base.Comparison):
    """The permuted SRHT beside the cosine transform of all columns, which SciPy would take."""

    param_names = ("dtype",)
    params = (DTYPES,)
    repeats = {"method": 9, "rival": 3}

    def prepare(self, dtype: str) -> None:
        self.X, self.call = _call("permuted srht", dtype)

    def method(self) -> Any:
        return self.call()

    def peer(self) -> Any:
        return scipy.fft.dct(self.X, axis=0, norm="ortho")


class Generation(_base.Comparison):
    """All entries of a Gaussian S, 1e8 of them, over the product of S with the data.

    Both go tile by tile; S is never stored.
    """

    param_names = ("dtype",)
    params = (DTYPES,)
    columns = _base.sized(1 << 13, 195_313)
    tile = 1 << 12
    repeats = 3

    def prepare(self, dtype: str) -> None:
        from linalgkit._core import array

        self.dtype = np.dtype(dtype)
        self.xp = array.array_namespace(np.empty(0))
        self.block = np.random.default_rng(0).standard_normal((self.tile, 128)).astype(dtype)
        self.rows = np.random.default_rng(1).standard_normal((self.tile, 512)).astype(dtype)

    def tiles(self) -> Any:
        """Yield first column and number of columns of each tile."""
        for start in range(0, self.columns, self.tile):
            yield start, min(self.tile, self.columns - start)

    def method(self) -> Any:
        from linalgkit import _kernels

        for start, count in self.tiles():
            _kernels.normal_rows(self.xp, (7, 9), (0, 0, 0), start, count, 512, "cpu", self.dtype)

    def primitive(self) -> Any:
        for _, count in self.tiles():
            self.rows[:count].T @ self.block[:count]
