"""Streams of rows that are made when they are read, and can be read again."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import numpy as np

from linalgkit._core.array import (
    Array,
    asarray,
    dtype_from_name,
    dtype_name,
    namespace_of,
    numpy_namespace,
    working_dtype,
)
from linalgkit._core.random import as_generator
from linalgkit._core.validation import check_choice, check_int

HostArray: TypeAlias = np.ndarray[Any, np.dtype[Any]]
MakeTile: TypeAlias = Callable[[np.random.Generator], HostArray]

TILE = 256  # rows drawn at a time; a part of what the seed means, so it never changes
_DTYPES = ("float32", "float64", "complex64", "complex128")


class RowStream:
    """Rows of a random matrix as blocks, never held at once, the same at every reading.

    Parameters
    ----------
    make_tile : callable
        ``make_tile(generator)`` draws the next 256 rows as a NumPy array.
    n_rows, n_columns : int
        Shape of the whole.
    block_rows : int, default 256
        Rows of a block; the last block may be shorter. The rows do not depend on it.
    dtype : str or dtype, optional
        Floating dtype of the blocks; float64 by default, or that of `like`.
    like : array, optional
        An array whose library and device the blocks shall have; NumPy by default.
    rng : None, int, SeedSequence, BitGenerator or Generator
        Seed; a generator gives a different stream at each call.

    Attributes
    ----------
    n_rows, n_columns, block_rows : int
        As given.

    Notes
    -----
    Storage: ``(256 + block_rows) * n_columns`` numbers while it is read.

    Examples
    --------
    >>> from linalgkit.datasets import RowStream
    >>> stream = RowStream(lambda rng: rng.uniform(size=(256, 2)), 1000, 2, block_rows=400, rng=0)
    >>> [block.shape for block in stream]
    [(400, 2), (400, 2), (200, 2)]
    """

    def __init__(
        self,
        make_tile: MakeTile,
        n_rows: int,
        n_columns: int,
        *,
        block_rows: int = TILE,
        dtype: Any = None,
        like: Array | None = None,
        rng: Any = None,
    ) -> None:
        self.n_rows = check_int("n_rows", n_rows, 0)
        self.n_columns = check_int("n_columns", n_columns, 1)
        self.block_rows = check_int("block_rows", block_rows, 1)
        self._make_tile = make_tile
        self._dtype, self._like = dtype_on_host(dtype, like), like
        self._generator = as_generator(rng).spawn(1)[0]

    def __len__(self) -> int:
        """Return the number of blocks."""
        return -(-self.n_rows // self.block_rows)

    def __iter__(self) -> Iterator[Array]:
        """Draw the rows again from the beginning."""
        tiles = self._tiles(copy.deepcopy(self._generator))
        rest = np.empty((0, self.n_columns), dtype=self._dtype)
        for start in range(0, self.n_rows, self.block_rows):
            want = min(self.block_rows, self.n_rows - start)
            parts = [rest] if rest.shape[0] else []
            while sum(part.shape[0] for part in parts) < want:
                parts.append(next(tiles))
            rows = parts[0] if len(parts) == 1 else np.concatenate(parts)
            rest = rows[want:, :]
            yield on_device(rows[:want, :], self._like)

    def _tiles(self, generator: np.random.Generator) -> Iterator[HostArray]:
        while True:
            yield self._make_tile(generator).astype(self._dtype, copy=False)

    def toarray(self) -> Array:
        """Return all rows as one array."""
        whole = np.empty((self.n_rows, self.n_columns), dtype=self._dtype)
        generator = copy.deepcopy(self._generator)
        for start, tile in zip(range(0, self.n_rows, TILE), self._tiles(generator), strict=False):
            part = whole[start : start + TILE, :]
            part[...] = tile[: part.shape[0], :]
        return on_device(whole, self._like)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.n_rows} x {self.n_columns} {self._dtype}, "
            f"{len(self)} blocks of {self.block_rows} rows)"
        )


def dtype_on_host(dtype: Any, like: Array | None) -> np.dtype[Any]:
    """Return the NumPy dtype of the numbers: as asked, else that of `like`, else float64."""
    xp, device = (numpy_namespace(), None) if like is None else namespace_of(like)
    if dtype is None and like is None:
        name = "float64"
    elif dtype is None:
        name = dtype_name(xp, working_dtype(xp, device, like.dtype))  # type: ignore[union-attr]
    else:
        name = dtype if isinstance(dtype, str) else dtype_name(xp, dtype)
    known: str = check_choice("dtype", name, _DTYPES)
    return np.dtype(known)


def on_device(rows: HostArray, like: Array | None) -> Array:
    """Return host rows in the library and on the device of `like`."""
    if like is None:
        return rows
    xp, device = namespace_of(like)
    return asarray(rows, xp=xp, device=device, dtype=dtype_from_name(xp, rows.dtype.name))
