"""Greedy removal of rows on a device: all candidates at once, and an eigensolver for each loss.

The host looks every `_CHECKED` steps whether a step was refused: until then the steps after it
change nothing. Rows that are gone stay where they are as long, and are left out after that.
"""

from __future__ import annotations

import numpy as np

from linalgkit._core.array import Array, Namespace, to_numpy
from linalgkit._kernels.cupy_forms.launch import THREADS, launch

_SCALAR = {"d": "double", "D": "Complex<double>"}
_CHECKED = 32


def greedy_removal(
    xp: Namespace, values: Array, Z: Array, steps: int, delta: float, two_sided: bool
) -> Array:
    """Return the rows that are removed one after another (one synchronisation in 32 steps)."""
    values, Z = xp.asarray(values, dtype=xp.float64), xp.ascontiguousarray(Z)
    numbers, removed = np.arange(Z.shape[0]), np.empty(0, dtype=np.int64)
    while removed.size < steps:
        asked = min(_CHECKED, steps - removed.size)
        values, Z, places = _losses(xp, values, Z, asked, delta, two_sided)
        places = places[places >= 0]
        removed = np.append(removed, numbers[places])
        if places.size < asked:
            break
        left = np.delete(np.arange(Z.shape[0]), places)
        numbers, Z = numbers[left], xp.take(Z, xp.asarray(left), axis=0)
    return removed


def _losses(
    xp: Namespace, values: Array, Z: Array, steps: int, delta: float, two_sided: bool
) -> tuple[Array, Array, Array]:
    """Return eigenvalues and rows after some losses, and their places on the host, or -1."""
    (n, m), scalar = Z.shape, _SCALAR[Z.dtype.char]
    worst, is_gone = xp.empty(n, dtype=xp.float64), xp.zeros(n, dtype=xp.int8)
    removed, row = xp.full(steps, -1, dtype=xp.int64), xp.empty(m, dtype=Z.dtype)
    sizes, limits = (np.int64(n), np.int32(m)), (np.int32(n), np.int32(m), np.float64(delta))
    blocks = -(-n * 32 // THREADS)
    for step in range(steps):
        rule = np.float64(n - step - 1), np.int32(two_sided)
        launch(
            "removal", f"candidates<{scalar}>", blocks,
            (values, Z, *sizes, *rule, is_gone, worst),
        )  # fmt: skip
        launch(
            "removal", f"choose<{scalar}>", 1,
            (worst, Z, *limits, np.int32(step), is_gone, removed, row),
        )  # fmt: skip
        rest = xp.diag(values) - xp.conj(row)[:, None] * row[None, :]
        values, V = xp.linalg.eigh(rest)
        Z = xp.ascontiguousarray(Z @ V)
    return values, Z, to_numpy(removed)
