"""Launching the acceptance walk, one block of threads; the accepted numbers come to the host."""

from __future__ import annotations

import numpy as np

from linalgkit._core.array import Array, Namespace, to_numpy
from linalgkit._kernels.cupy_forms.launch import launch

_SCALAR = {"f": "float", "d": "double", "F": "Complex<float>", "D": "Complex<double>"}
_WIDE = {"f": "double", "d": "double", "F": "Complex<double>", "D": "Complex<double>"}


def accept_proposals(xp: Namespace, H: Array, bars: Array, need: int, floor: float) -> Array:
    """Return the numbers of the accepted proposals (one synchronisation)."""
    b = int(H.shape[0])
    need = min(need, b)
    if not need:
        return np.zeros(0, dtype=np.int64)
    bars = xp.asarray(bars, dtype=xp.float64)
    wide = xp.complex128 if H.dtype.kind == "c" else xp.float64
    left, factor = xp.empty(b, dtype=xp.float64), xp.empty((need, b), dtype=wide)
    picked = xp.zeros(need + 1, dtype=xp.int64)
    sizes = np.int32(b), np.int32(need), np.float64(floor)
    arguments = (xp.ascontiguousarray(H), bars, left, factor, picked, *sizes)
    char = H.dtype.char
    launch("accept", f"accept_proposals<{_SCALAR[char]}, {_WIDE[char]}>", 1, arguments)
    host = to_numpy(picked)
    return host[1 : 1 + int(host[0])]
