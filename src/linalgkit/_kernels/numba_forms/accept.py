"""The acceptance walk with the factor's rows in memory one after another."""

from __future__ import annotations

from typing import Any

import numpy as np

from linalgkit._core.array import Array, Namespace
from linalgkit._kernels.numba_forms.jit import jit


@jit
def _walk(H: Any, bars: Any, need: int, left: Any, factor: Any, picked: Any) -> int:
    """Fill `picked`; return how many. `left` holds the squared norms that are left."""
    b, count = H.shape[0], 0
    for i in range(b):
        left[i] = H[i, i].real
    for i in range(b):
        if not left[i] > bars[i]:
            continue
        row = factor[count]
        for j in range(i + 1, b):
            row[j] = H[i, j]
        for k in range(count):
            above = factor[k]
            c = np.conj(above[i])
            for j in range(i + 1, b):
                row[j] -= c * above[j]
        scale = 1.0 / np.sqrt(left[i])
        for j in range(i + 1, b):
            row[j] *= scale
            left[j] -= row[j].real * row[j].real + row[j].imag * row[j].imag
        picked[count] = i
        count += 1
        if count == need:
            break
    return count


def accept_proposals(
    xp: Namespace, H: Array, envelope: Array, uniforms: Array, need: int, floor: float
) -> Array:
    """Return the numbers of the accepted proposals."""
    b = H.shape[0]
    wide = np.complex128 if H.dtype.kind == "c" else np.float64
    H = np.ascontiguousarray(H, dtype=wide)
    bars = np.maximum(uniforms, floor) * envelope
    picked = np.empty(b, dtype=np.int64)
    factor = np.empty((min(need, b), b), dtype=wide)
    count = _walk(H, bars, need, np.empty(b), factor, picked)
    return picked[:count]
