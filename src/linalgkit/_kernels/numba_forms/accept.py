"""The acceptance walk, with the rows of the factor where those of the matrix were."""

from __future__ import annotations

from typing import Any

import numpy as np

from linalgkit._core.array import Array, Namespace
from linalgkit._kernels.numba_forms.jit import jit


@jit
def _walk(H: Any, bars: Any, need: int, floor: float, left: Any, picked: Any) -> int:
    """Fill `picked`; return how many. `left` takes the squared norms; rows of `H` are lost."""
    b, count = H.shape[0], 0
    for i in range(b):
        left[i] = H[i, i].real
    least = floor * left
    for i in range(b):
        if not left[i] > max(bars[i], least[i]):
            continue
        row = H[i]
        for k in range(count):
            above = H[picked[k]]
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


def accept_proposals(xp: Namespace, H: Array, bars: Array, need: int, floor: float) -> Array:
    """Return the numbers of the accepted proposals."""
    b = H.shape[0]
    wide = np.complex128 if H.dtype.kind == "c" else np.float64
    H = np.require(H, dtype=wide, requirements=["C", "W"])
    picked = np.empty(b, dtype=np.int64)
    return picked[: _walk(H, bars, need, floor, np.empty(b), picked)]
