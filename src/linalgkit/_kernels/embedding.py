"""Sparse sketches: every row is added, with weights, to a few rows of the result.

``sparse_embed(xp, X, positions, signs, m)`` returns ``S X`` where column r of `S` has the
entries ``signs[r]`` at ``positions[r]``::

    Y = sparse_embed(xp, X, positions, signs, m)

The standard has no scatter: the portable form sorts the entries by row of the result and gathers.
"""

from __future__ import annotations

from linalgkit._core.array import Array, Namespace, device, itemsize, real_dtype
from linalgkit._kernels._kernel import Kernel

_GATHERED_BYTES = 1 << 22


def segment_sums(xp: Namespace, X: Array, rows: Array, weights: Array, ends: Array) -> Array:
    """Return weighted sums of rows of `X` over consecutive segments of a list, by gathering.

    Parameters
    ----------
    X : array, shape (n, d)
    rows : array of int64, shape (K,)
        Rows of `X`.
    weights : array, shape (K,)
        Real.
    ends : array of int64, shape (m,)
        Ascending, the last is `K`: segment i is ``ends[i - 1] <= k < ends[i]``.

    Returns
    -------
    array, shape (m, d)
        Sums in the dtype of `X`.

    Notes
    -----
    One synchronisation, for the length of the longest segment. Work and storage are those of
    segments as long as the longest.
    """
    m, d, K = int(ends.shape[0]), int(X.shape[1]), int(rows.shape[0])
    total = xp.zeros((m, d), dtype=X.dtype, device=device(X))
    if m == 0 or d == 0 or K == 0:
        return total
    zero = xp.zeros((1,), dtype=X.dtype, device=device(X))
    weights = xp.astype(xp.astype(weights, real_dtype(xp, X.dtype), copy=False), X.dtype)
    starts = xp.concat([xp.zeros_like(ends[:1]), ends[:-1]])
    longest = int(xp.max(ends - starts))
    layers = min(longest, max(1, _GATHERED_BYTES // (m * d * itemsize(xp, X.dtype))))
    offsets = xp.arange(layers, dtype=ends.dtype, device=device(X))
    for layer in range(0, longest, layers):
        k = starts[None, :] + (offsets + layer)[:, None]
        inside = xp.reshape(k < ends[None, :], (-1, 1))
        k = xp.reshape(xp.where(k < K, k, xp.zeros_like(k)), (-1,))
        gathered = xp.take(X, xp.take(rows, k, axis=0), axis=0)
        terms = xp.where(inside, xp.take(weights, k, axis=0)[:, None] * gathered, zero)
        total = total + xp.sum(xp.reshape(terms, (layers, m, d)), axis=0)
    return total


def by_position(
    xp: Namespace, positions: Array, signs: Array, m: int
) -> tuple[Array, Array, Array]:
    """Return rows, weights and ends of the segments that :func:`segment_sums` takes.

    Entries of one segment keep the order of the rows.
    """
    per_row = max(1, int(positions.shape[1]))
    flat = xp.astype(xp.reshape(positions, (-1,)), xp.int64)
    order = xp.argsort(flat, stable=True)
    outputs = xp.arange(m, dtype=xp.int64, device=device(flat))
    ends = xp.searchsorted(xp.take(flat, order, axis=0), outputs, side="right")
    weights = xp.take(xp.reshape(signs, (-1,)), order, axis=0)
    return order // per_row, weights, xp.astype(ends, xp.int64, copy=False)


def _sparse_embed(xp: Namespace, X: Array, positions: Array, signs: Array, m: int) -> Array:
    """Return the matrix whose row `positions[r, t]` collects ``signs[r, t] X[r]``.

    Parameters
    ----------
    X : array, shape (b, d)
        Real or complex floating.
    positions : array of int, shape (b, s)
        Numbers below `m`; the same row may get a row of `X` several times.
    signs : array, shape (b, s)
        Real or int8; any weights.
    m : int
        Number of rows of the result.

    Returns
    -------
    array, shape (m, d)
        Sums in the dtype of `X`.
    """
    return segment_sums(xp, X, *by_position(xp, positions, signs, m))


def _fits(form: str, X: Array, positions: Array, signs: Array, m: int) -> bool:
    return X.ndim == 2 and X.dtype.char in "fdFD" and bool(X.dtype.isnative) and m < 2**31


sparse_embed = Kernel(
    "sparse_embed",
    portable=_sparse_embed,
    numba="linalgkit._kernels.numba_forms.embedding:sparse_embed",
    cupy="linalgkit._kernels.cupy_forms.embedding:sparse_embed",
    supports=_fits,
)
