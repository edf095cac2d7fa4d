"""Launching the Gaussian rows, made where they are used from the words that a CPU would use."""

from __future__ import annotations

import math

import numpy as np

from linalgkit._core.array import Array, Device, DType, Namespace
from linalgkit._kernels.cupy_forms.embedding import NAME, REAL
from linalgkit._kernels.cupy_forms.launch import THREADS, launch
from linalgkit._kernels.normal import blocks_per_row


def normal_rows(
    xp: Namespace,
    key: tuple[int, int],
    tail: tuple[int, int, int],
    first: int,
    rows: int,
    m: int,
    device: Device,
    dtype: DType,
) -> Array:
    """Return rows of a Gaussian matrix on the current device."""
    kind = np.dtype(dtype)
    is_complex = kind.kind == "c"
    result = xp.empty((rows, m), dtype=kind)
    if result.size:
        blocks = blocks_per_row(m, is_complex=is_complex)
        words = (np.uint64(word) for word in (*key, *tail, first * blocks))
        sizes = np.int64(blocks), np.int64(rows), np.int64(2 * m if is_complex else m)
        unit = np.float64(math.sqrt(0.5) if is_complex else 1.0)
        flat = result.view(REAL[kind.char])
        instance = f"normal_rows<{NAME[flat.dtype.char]}>"
        launch("normal", instance, -(-rows * blocks // THREADS), (*words, *sizes, unit, flat))
    return result
