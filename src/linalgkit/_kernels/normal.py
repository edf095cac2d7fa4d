"""Gaussian matrices too large to store, made again wherever their rows are used.

``normal_rows(xp, key, tail, first, rows, m, device, dtype)`` returns rows of one Gaussian matrix
with `m` columns and as many rows as ever are asked for::

    G = normal_rows(xp, tiles.key, (i, j, tiles.stream), 1000, 64, m, dev, xp.float64)

Row r is made from its own words of NumPy's Philox, :func:`words_per_row` of them, so that any
range of rows is one contiguous range of words. Two words give two numbers (Box and Muller 1958).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from linalgkit._core.array import (
    Array,
    Device,
    DType,
    Namespace,
    asarray,
    dtype_name,
    library_name,
    numpy_namespace,
)
from linalgkit._core.random import PhiloxTiles
from linalgkit._kernels._kernel import Kernel

Host = np.ndarray[Any, np.dtype[Any]]


def blocks_per_row(m: int, *, is_complex: bool) -> int:
    """Return how many blocks of four words belong to a row of `m` numbers."""
    return -(-(2 * m if is_complex else m) // 4)


def box_muller(words: Host) -> Host:
    """Return as many independent standard normal numbers as there are words, an even number.

    Angles are reduced to an eighth of a turn before they meet a rounded pi: every number is
    right to a few units in its own last place.
    """
    left, right = ((words[k::2] >> np.uint64(11)).astype(np.int64) for k in (0, 1))
    radius = np.sqrt(-2.0 * np.log((left + 0.5) * 2.0**-53))
    quarter = (right + (1 << 50)) >> 51
    angle = (right - (quarter << 51)) * (math.pi / 2 * 2.0**-51)
    sine, cosine, odd = np.sin(angle), np.cos(angle), (quarter & 1) == 1
    result = np.empty(words.size)
    result[0::2] = np.where((quarter + 1) & 2, -radius, radius) * np.where(odd, sine, cosine)
    result[1::2] = np.where(quarter & 2, -radius, radius) * np.where(odd, cosine, sine)
    return result


def _tiles(key: tuple[int, int], stream: int) -> PhiloxTiles:
    return PhiloxTiles.from_state({"key": list(key), "stream": stream})


def _host_rows(
    key: tuple[int, int], tail: tuple[int, int, int], first: int, rows: int, m: int, name: str
) -> Host:
    """Make the rows with NumPy alone."""
    is_complex = name.startswith("complex")
    blocks = blocks_per_row(m, is_complex=is_complex)
    i, j, stream = tail
    words = _tiles(key, stream).words(first * blocks, 4 * rows * blocks, i, j)
    numbers = box_muller(words).reshape(rows, 4 * blocks)
    if not is_complex:
        return np.ascontiguousarray(numbers[:, :m], dtype=name)
    pairs = np.ascontiguousarray(numbers[:, : 2 * m]) * math.sqrt(0.5)
    return pairs.view(np.complex128).astype(name, copy=False)


def _normal_rows(
    xp: Namespace,
    key: tuple[int, int],
    tail: tuple[int, int, int],
    first: int,
    rows: int,
    m: int,
    device: Device,
    dtype: DType,
) -> Array:
    """Return rows of a Gaussian matrix with `m` columns.

    Parameters
    ----------
    key : tuple of two int
        The key of :class:`PhiloxTiles`.
    tail : tuple of three int
        Tile (i, j) and stream: the upper words of the counter.
    first, rows : int
        The rows ``first, ..., first + rows - 1``.
    m : int
        Number of columns.
    device, dtype
        Where the numbers go; complex ones are ``(a + ib) / sqrt(2)``.

    Returns
    -------
    array, shape (rows, m)
        Rounded from float64. Libraries and forms agree to a few units in the last place.
    """
    name = dtype_name(xp, dtype)
    if library_name(xp) == "numpy":
        return _host_rows(key, tail, first, rows, m, name)
    host = normal_rows(numpy_namespace(), key, tail, first, rows, m, "cpu", np.dtype(name))
    return asarray(host, xp=xp, device=device, dtype=dtype, copy=False)


def _fits(
    form: str,
    key: tuple[int, int],
    tail: tuple[int, int, int],
    first: int,
    rows: int,
    m: int,
    device: Device,
    dtype: DType,
) -> bool:
    blocks = blocks_per_row(m, is_complex=np.dtype(dtype).kind == "c")
    return np.dtype(dtype).char in "fdFD" and (first + rows) * blocks < 2**63


normal_rows = Kernel(
    "normal_rows",
    portable=_normal_rows,
    numba="linalgkit._kernels.numba_forms.normal:normal_rows",
    cupy="linalgkit._kernels.cupy_forms.normal:normal_rows",
    supports=_fits,
)
