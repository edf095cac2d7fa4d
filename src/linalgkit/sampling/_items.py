"""Numbers of items as callers give them."""

from __future__ import annotations

from typing import Any

from linalgkit._core.array import LIBRARIES, library_of, numpy_namespace, to_numpy
from linalgkit._core.random import HostArray

_HOST = numpy_namespace()


def as_items(name: str, items: Any, n: int, *, distinct: bool = False) -> HostArray:
    """Return item numbers as an int64 array on the host.

    Raises
    ------
    TypeError
        If they are no integers.
    ValueError
        If one is not below `n`, negative, or given twice where `distinct`.
    """
    if not hasattr(items, "__iter__") or isinstance(items, str):
        raise TypeError(
            f"{name} must be a sequence of integers, got {type(items).__name__}. For one item pass "
            "a list of one."
        )
    is_array = hasattr(items, "shape") and library_of(items) in LIBRARIES
    found: HostArray = to_numpy(items) if is_array else _HOST.asarray(list(items))
    if found.size == 0:
        found = _HOST.zeros(0, dtype=_HOST.int64)
        return found
    if found.dtype.kind not in "iu":
        raise TypeError(f"{name} must hold integers, got dtype {found.dtype}.")
    if found.ndim != 1:
        raise ValueError(f"{name} must be 1-D, got shape {found.shape}.")
    low, high = int(found.min()), int(found.max())
    if low < 0 or high >= n:
        wrong = low if low < 0 else high
        raise ValueError(f"{name} must lie between 0 and {n - 1}, got {wrong}.")
    found = _HOST.astype(found, _HOST.int64)
    if distinct and _HOST.unique_values(found).shape[0] < found.shape[0]:
        raise ValueError(f"{name} must be different numbers, got one of them twice.")
    return found
