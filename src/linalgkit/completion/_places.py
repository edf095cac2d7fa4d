"""Rows, columns and pairs of them as callers name them, checked and brought to the host."""

from __future__ import annotations

from typing import Any

from linalgkit._core.array import (
    Array,
    Device,
    Namespace,
    array_namespace,
    asarray,
    dtype_name,
    index_dtype,
    is_sparse,
    numpy_namespace,
    to_numpy,
)
from linalgkit._core.estimator import as_array

_HOST = numpy_namespace()


def indices(name: str, x: Any, size: int, shape: tuple[int, int]) -> Array:
    """Return integers between 0 and ``size - 1``, of any shape, as int64 on the host.

    Parameters
    ----------
    name : str
        Of the argument, for the messages.
    x : int, range, sequence of int, or array of integers of any library
        Lines of a matrix.
    size : int
        How many there are.
    shape : tuple of int
        Of the matrix, for the messages.
    """
    if is_sparse(x):
        raise TypeError(f"{name} must be integers, got the sparse {type(x).__name__}.")
    if isinstance(x, (int, range)) or (hasattr(x, "__index__") and not hasattr(x, "shape")):
        x = _HOST.asarray(x)
    x = as_array(x, name)
    try:
        xp = array_namespace(x)
    except TypeError as error:
        raise TypeError(f"{name}: {error}") from None
    host = to_numpy(x)
    if host.size == 0:
        return _HOST.zeros(host.shape, dtype=_HOST.int64)
    if not xp.isdtype(x.dtype, "integral"):
        raise TypeError(
            f"{name} must be integers, got dtype {dtype_name(xp, x.dtype)}. Numbers of rows and "
            "columns count from 0; nonzero() turns a boolean vector into them."
        )
    _check_range(name, host, size, shape)
    return host.astype(_HOST.int64)


def _check_range(name: str, host: Array, size: int, shape: tuple[int, int]) -> None:
    """Refuse the first index outside the matrix."""
    bad = (host < 0) | (host >= size)
    if not bad.any():
        return
    found = int(host[bad][0])
    hint = "Negative indices do not count from the end." if found < 0 else "Count from 0."
    raise ValueError(
        f"{name} must be between 0 and {size - 1} for a matrix of shape {shape}, got {found}. "
        f"{hint}"
    )


def pairs(rows: Any, cols: Any, shape: tuple[int, int]) -> tuple[Array, Array]:
    """Return rows and columns of entries, broadcast against each other, on the host."""
    i = indices("rows", rows, shape[0], shape)
    j = indices("cols", cols, shape[1], shape)
    try:
        i, j = _HOST.broadcast_arrays(i, j)
    except ValueError:
        raise ValueError(
            f"rows and cols must have shapes that broadcast, got {i.shape} and {j.shape}. Give "
            "the row and the column of each entry, or use block for all pairs of them."
        ) from None
    return i, j


def lines(name: str, x: Any, size: int, shape: tuple[int, int]) -> Array:
    """Return the lines that a slice, indices or None (all) name, 1-D on the host."""
    if x is None:
        x = slice(None)
    if isinstance(x, slice):
        return _HOST.arange(size, dtype=_HOST.int64)[x]
    found = indices(name, x, size, shape)
    if found.ndim > 1:
        raise ValueError(f"{name} must be 1-D, a slice or None, got shape {found.shape}.")
    return found.reshape(-1)


def taken(X: Array, places: Array, xp: Namespace, where: Device) -> Array:
    """Return the rows of an array (numbers, if it is 1-D) at places that are given on the host."""
    if xp is _HOST:
        return X[places]
    index = asarray(places, xp=xp, device=where, dtype=index_dtype(xp), copy=False)
    return xp.take(X, index, axis=0)
