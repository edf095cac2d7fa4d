"""Rows of a NumPy matrix as they lie in memory, for compiled loops."""

from __future__ import annotations

import numpy as np

from linalgkit._core.array import Array

#: The real type of each type that the loops take.
REAL = {"f": np.float32, "d": np.float64, "F": np.float32, "D": np.float64}
_LINE = 64  # bytes


def flatten(X: Array) -> tuple[Array, int, int]:
    """Return the memory of `X` as a read-only 1-D real array, the first row's place, the stride.

    Rows must be contiguous; they may lie any distance apart, backwards or on one another. Always
    read-only, so that one compiled function serves writeable and read-only data.
    """
    real = np.asarray(X).view(REAL[X.dtype.char])
    stride = real.strides[0] // real.itemsize
    if real.flags.c_contiguous:
        flat = real.reshape(-1)
        flat.flags.writeable = False
        return flat, 0, stride
    low = real if stride >= 0 else real[::-1, :]
    span = (real.shape[0] - 1) * abs(stride) + real.shape[1]
    flat = np.lib.stride_tricks.as_strided(low, (span,), (real.itemsize,), writeable=False)
    return flat, max(0, -stride) * (real.shape[0] - 1), stride


def aligned(count: int, dtype: type, *, fill: float | None = None) -> Array:
    """Return `count` numbers on whole cache lines, where vectors are read and written faster."""
    itemsize = np.dtype(dtype).itemsize
    room: Array = np.empty(count + _LINE // itemsize, dtype=dtype)
    first = -room.ctypes.data % _LINE // itemsize
    result = room[first : first + count]
    if fill is not None:
        result.fill(fill)
    return result
