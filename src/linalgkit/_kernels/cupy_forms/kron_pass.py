"""Launching the sums over rotated data, a warp a row, and their weighting, a thread a number."""

from __future__ import annotations

import numpy as np

from linalgkit._core.array import Array, Namespace
from linalgkit._kernels.cupy_forms.embedding import NAME, REAL
from linalgkit._kernels.cupy_forms.launch import THREADS, launch

_WARPS = THREADS // 32


def _sizes(Z: Array) -> tuple[np.int64, np.int32, np.int32]:
    """Return rows, columns, and how many reals belong to a variance."""
    n, m, L = Z.shape
    return np.int64(n), np.int32(m), np.int32(2 * L if Z.dtype.kind == "c" else L)


def kron_pass(
    xp: Namespace, Z: Array, outer: Array, inner: Array, noise: float
) -> tuple[Array, Array, Array]:
    """Return the sums, one of them for each eigenvalue of the last mode and of the others."""
    n, m, width = _sizes(Z)
    flat = xp.ascontiguousarray(Z).view(REAL[Z.dtype.char])
    values = (*(xp.ascontiguousarray(x) for x in (outer, inner)), np.float64(noise))
    totals = xp.empty((n, 4), dtype=xp.float64)
    by_inner, by_outer = xp.empty(m, dtype=xp.float64), xp.empty(n, dtype=xp.float64)
    rows = f"kron_rows<{NAME[flat.dtype.char]}>"
    results = (totals, by_outer)
    launch("kron_pass", rows, int(-(-n // _WARPS)), (flat, *values, n, m, width, *results))
    launch("kron_pass", "kron_columns", int(m), (*values, n, by_inner))
    return xp.sum(totals, axis=0), by_inner, by_outer


def kron_weighted(
    xp: Namespace,
    Z: Array,
    outer: Array,
    inner: Array,
    noise: float,
    left: Array,
    right: Array,
) -> Array:
    """Return the weighted tensor."""
    flat = xp.ascontiguousarray(Z).view(REAL[Z.dtype.char])
    result = xp.empty(Z.shape, dtype=Z.dtype)
    outer, inner, left, right = (xp.ascontiguousarray(x) for x in (outer, inner, left, right))
    values = (outer, inner, np.float64(noise), left, right)
    arguments = (flat, *values, *_sizes(Z), result.view(flat.dtype))
    instance = f"kron_weighted<{NAME[flat.dtype.char]}>"
    launch("kron_pass", instance, -(-flat.size // THREADS), arguments)
    return result
