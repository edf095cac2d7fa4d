"""Walsh-Hadamard transforms of the columns of a matrix, whole or as few rows as are asked for.

``fwht(xp, X)`` returns ``H X`` with ``H`` the matrix of signs ``(-1)^popcount(i & j)``, in
Sylvester's order and without a factor::

    Y = fwht(xp, X)                                         # all rows
    Y = hadamard_rows(xp, X, order, signs, N, rows)         # some rows of H Z
    Y = hadamard_pool(xp, X, order, signs, N, places, weights, ends)
    Y = hadamard_blocks(xp, X, order, signs, B, places, weights)   # a sum over blocks of B rows

In the latter `Z` is `X` with its rows multiplied by signs, moved to other places and padded by
zero rows to a power of two. On a CPU it is never stored whole: the portable form works on panels
of :func:`panel_columns`; the Numba form keeps a block of half a megabyte where few rows are
wanted, else a panel of 1 KiB a row. Non-finite entries spread over their column.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import scipy.linalg

from linalgkit._core.array import (
    Array,
    Device,
    Namespace,
    asarray,
    device,
    is_complex,
    itemsize,
    real_dtype,
)
from linalgkit._kernels._kernel import Kernel
from linalgkit._kernels.embedding import segment_sums

PANEL_BYTES = 256  # of a row in one panel: whole cache lines, few enough for blocks in cache
_FACTOR_BITS = 5  # H is applied as a Kronecker product of matrices of at most 2^5 rows


def panel_columns(xp: Namespace, X: Array) -> int:
    """Return how many columns are transformed at a time: all on a device, few on a CPU."""
    if "cpu" not in str(device(X)).lower():
        return max(1, int(X.shape[1]))
    return PANEL_BYTES // itemsize(xp, X.dtype)


@functools.cache
def _factor(bits: int) -> np.ndarray[Any, np.dtype[np.int8]]:
    return scipy.linalg.hadamard(1 << bits, dtype=np.int8)


def factor_bits(levels: int) -> Iterator[int]:
    """Split the levels into as few factors as may be, all of nearly the same size."""
    factors = -(-levels // _FACTOR_BITS)
    for k in range(factors):
        yield (levels * (k + 1)) // factors - (levels * k) // factors


def _fwht(xp: Namespace, X: Array) -> Array:
    """Return the unnormalised Walsh-Hadamard transform of the columns, as a new array.

    Parameters
    ----------
    X : array, shape (N, d)
        Real or complex floating; `N` a power of two.

    Returns
    -------
    array, shape (N, d)
    """
    return _transformed(xp, X, int(X.shape[0]))


def _transformed(xp: Namespace, X: Array, block: int) -> Array:
    """Return a copy of `X` in which every `block` consecutive rows are transformed."""
    if is_complex(X, xp):
        real, imag = (_transformed(xp, part, block) for part in (xp.real(X), xp.imag(X)))
        return xp.astype(real, X.dtype) + xp.astype(imag, X.dtype) * 1j
    N, d = X.shape
    if block <= 1 or d == 0:
        return xp.asarray(X, copy=True)
    Y, inner = X, d
    for bits in factor_bits(block.bit_length() - 1):
        H = asarray(_factor(bits), xp=xp, device=device(X), dtype=X.dtype, copy=False)
        Y = H @ xp.reshape(Y, (-1, 1 << bits, inner))
        inner <<= bits
    return xp.reshape(Y, (N, d))


def _sources(xp: Namespace, order: Array | None, n: int, n_padded: int, on: Device) -> Any:
    """Return the row of `X` that each row of `Z` comes from, and where there is none.

    The second part is None where every row of `Z` has a source; where it is False, the first
    is any row.
    """
    places = xp.arange(n_padded, dtype=xp.int64, device=on)
    if order is None:
        return (places, None) if n == n_padded else (places % n, places < n)
    rows = xp.argsort(order)
    if n == n_padded:
        return rows, None
    taken = xp.take(order, rows, axis=0)
    nearest = xp.searchsorted(taken, places)
    nearest = xp.where(nearest < n, nearest, nearest * 0)
    return xp.take(rows, nearest, axis=0), xp.take(taken, nearest, axis=0) == places


def _panels(
    xp: Namespace,
    X: Array,
    order: Array | None,
    signs: Array,
    n_padded: int,
    block: int,
    part: Callable[[Array], Array],
    count: int,
) -> Array:
    """Return ``part(H Z)``, which has `count` rows, from the panels of columns side by side.

    `H` transforms every `block` consecutive rows.
    """
    n, d = X.shape
    on = device(X)
    if n == 0 or d == 0 or count == 0:
        return xp.zeros((count, d), dtype=X.dtype, device=on)
    sources, present = _sources(xp, order, n, n_padded, on)
    weights = xp.take(xp.astype(signs, real_dtype(xp, X.dtype), copy=False), sources, axis=0)
    if present is not None:
        weights = xp.where(present, weights, xp.zeros_like(weights))
    weights = xp.astype(weights, X.dtype, copy=False)[:, None]
    step = panel_columns(xp, X)
    found = []
    for start in range(0, d, step):
        panel = X[:, start : min(start + step, d)]
        Z = weights * xp.take(panel, sources, axis=0)
        found.append(part(_transformed(xp, Z, block)))
    return found[0] if len(found) == 1 else xp.concat(found, axis=1)


def _hadamard_rows(
    xp: Namespace, X: Array, order: Array | None, signs: Array, n_padded: int, rows: Array
) -> Array:
    """Return rows of ``H Z``, where row ``order[r]`` of `Z` is ``signs[r]`` times row r of `X`.

    Parameters
    ----------
    X : array, shape (n, d)
        Real or complex floating.
    order : array of int64, shape (n,), or None
        Different numbers below `n_padded`; None leaves the rows where they are.
    signs : array, shape (n,)
        Real or int8.
    n_padded : int
        Number of rows of `Z`, a power of two; those without a source are zero.
    rows : array of int64, shape (m,)
        Which rows, in any order and as often as wished.

    Returns
    -------
    array, shape (m, d)
    """

    def sampled(transformed: Array) -> Array:
        return xp.take(transformed, rows, axis=0)

    return _panels(xp, X, order, signs, n_padded, n_padded, sampled, int(rows.shape[0]))


def _hadamard_pool(
    xp: Namespace,
    X: Array,
    order: Array | None,
    signs: Array,
    n_padded: int,
    places: Array,
    weights: Array,
    ends: Array,
) -> Array:
    """Return weighted sums of rows of ``H Z``, with `Z` as in :func:`hadamard_rows`.

    Parameters
    ----------
    X, order, signs, n_padded
        As in :func:`hadamard_rows`.
    places : array of int64, shape (K,)
        Rows of ``H Z``.
    weights : array, shape (K,)
        Real.
    ends : array of int64, shape (m,)
        Ascending, the last is `K`: row i of the result is the sum of
        ``weights[k] (H Z)[places[k]]`` over ``ends[i - 1] <= k < ends[i]``.

    Returns
    -------
    array, shape (m, d)
    """

    def pooled(transformed: Array) -> Array:
        return segment_sums(xp, transformed, places, weights, ends)

    return _panels(xp, X, order, signs, n_padded, n_padded, pooled, int(ends.shape[0]))


def _hadamard_blocks(
    xp: Namespace,
    X: Array,
    order: Array | None,
    signs: Array,
    block: int,
    places: Array,
    weights: Array,
) -> Array:
    """Return the sum over blocks of rows of weighted rows of their ``H Z``.

    Parameters
    ----------
    X : array, shape (n, d)
        Real or complex floating; rows ``k block, ..., (k + 1) block - 1`` are block k, and what
        is missing of the last one is zero.
    order : array of int64, shape (n,), or None
        Place of each row in the `Z` of its block.
    signs : array, shape (n,)
        Real or int8.
    block : int
        A power of two.
    places : array of int64, shape (blocks, m)
        Rows of ``H Z`` of each block.
    weights : array, shape (blocks, m)
        Row i of the result is the sum over k of ``weights[k, i] (H Z_k)[places[k, i]]``.

    Returns
    -------
    array, shape (m, d)
    """
    blocks, m = places.shape
    order, rows, weights, ends = as_one(xp, order, int(X.shape[0]), block, places, weights)

    def summed(transformed: Array) -> Array:
        return segment_sums(xp, transformed, rows, weights, ends)

    return _panels(xp, X, order, signs, blocks * block, block, summed, m)


def as_one(
    xp: Namespace, order: Array | None, n: int, block: int, places: Array, weights: Array
) -> tuple[Array | None, Array, Array, Array]:
    """Return an order of all rows and the segments that :func:`segment_sums` takes."""
    (blocks, m), on = places.shape, device(places)
    if order is not None:
        rows = xp.arange(n, dtype=xp.int64, device=on)
        order = order + rows // block * block
    places = places + (xp.arange(blocks, dtype=xp.int64, device=on) * block)[:, None]
    flat = (xp.reshape(xp.matrix_transpose(part), (-1,)) for part in (places, weights))
    return order, *flat, xp.arange(1, m + 1, dtype=xp.int64, device=on) * blocks


def _is_native(form: str, X: Array, *rest: Any) -> bool:
    return X.ndim == 2 and X.dtype.char in "fdFD" and bool(X.dtype.isnative)


_NUMBA = "linalgkit._kernels.numba_forms.hadamard:"

_CUPY = "linalgkit._kernels.cupy_forms.hadamard:"

fwht = Kernel(
    "fwht",
    portable=_fwht,
    numba=_NUMBA + "fwht",
    cupy=_CUPY + "fwht",
    supports=_is_native,
)
hadamard_rows = Kernel(
    "hadamard_rows",
    portable=_hadamard_rows,
    numba=_NUMBA + "hadamard_rows",
    cupy=_CUPY + "hadamard_rows",
    supports=_is_native,
)
hadamard_pool = Kernel(
    "hadamard_pool",
    portable=_hadamard_pool,
    numba=_NUMBA + "hadamard_pool",
    cupy=_CUPY + "hadamard_pool",
    supports=_is_native,
)
hadamard_blocks = Kernel(
    "hadamard_blocks",
    portable=_hadamard_blocks,
    numba=_NUMBA + "hadamard_blocks",
    cupy=_CUPY + "hadamard_blocks",
    supports=_is_native,
)
