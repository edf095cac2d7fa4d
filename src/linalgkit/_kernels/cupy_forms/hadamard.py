"""Launching the Walsh-Hadamard transforms; complex columns are pairs of real ones."""

from __future__ import annotations

import numpy as np

from linalgkit._core.array import Array, Namespace
from linalgkit._kernels.cupy_forms.embedding import NAME, REAL, real_rows, segment_sums
from linalgkit._kernels.cupy_forms.launch import THREADS, launch
from linalgkit._kernels.hadamard import as_one, factor_bits


def _transform(Y: Array, block: int) -> None:
    """Transform every `block` consecutive rows of a contiguous real array in place."""
    name, apart = NAME[Y.dtype.char], Y.shape[1]
    for bits in factor_bits(block.bit_length() - 1):
        threads = Y.size >> bits
        arguments = (Y, np.int64(apart), np.int64(threads))
        launch("hadamard", f"butterflies<{name}, {1 << bits}>", -(-threads // THREADS), arguments)
        apart <<= bits


def _placed(
    xp: Namespace, X: Array, order: Array | None, signs: Array, count: int, block: int
) -> Array:
    """Return the transforms of `count` rows of `Z`, which is cut into blocks."""
    flat, stride, (n, d) = real_rows(xp, X)
    make = xp.empty if n == count else xp.zeros
    Z = make((count, X.shape[1]), dtype=X.dtype)
    real = Z.view(flat.dtype)
    if real.size and n:
        places = np.uintp(0) if order is None else xp.ascontiguousarray(order, dtype=xp.int64)
        signs = xp.ascontiguousarray(signs, dtype=flat.dtype)
        arguments = (flat, stride, np.int64(n), np.int64(d), places, signs, real)
        launch("hadamard", f"place_rows<{NAME[flat.dtype.char]}>", -(-n * d // THREADS), arguments)
        _transform(real, block)
    return Z


def fwht(xp: Namespace, X: Array) -> Array:
    """Transform all columns."""
    Y = xp.array(X, order="C")
    if Y.size:
        _transform(Y.view(REAL[Y.dtype.char]), Y.shape[0])
    return Y


def hadamard_rows(
    xp: Namespace, X: Array, order: Array | None, signs: Array, n_padded: int, rows: Array
) -> Array:
    """Return rows of ``H Z``."""
    return xp.take(_placed(xp, X, order, signs, n_padded, n_padded), rows, axis=0)


def hadamard_pool(
    xp: Namespace,
    X: Array,
    order: Array | None,
    signs: Array,
    n_padded: int,
    places: Array,
    weights: Array,
    ends: Array,
) -> Array:
    """Return weighted sums of rows of ``H Z``."""
    transformed = _placed(xp, X, order, signs, n_padded, n_padded)
    return segment_sums(xp, transformed, places, weights, ends)


def hadamard_blocks(
    xp: Namespace,
    X: Array,
    order: Array | None,
    signs: Array,
    block: int,
    places: Array,
    weights: Array,
) -> Array:
    """Return the sum over consecutive blocks of weighted rows of their ``H Z``."""
    count = places.shape[0] * block
    order, rows, weights, ends = as_one(xp, order, X.shape[0], block, places, weights)
    transformed = _placed(xp, X, order, signs, count, block)
    return segment_sums(xp, transformed, rows, weights, ends)
