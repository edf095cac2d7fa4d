"""Proposals for a part of a basis, from those for the whole of it.

``items, rows, norms = thinned_proposals(xp, A, W, sums, scores, uniforms, need)`` draws items by
the scores, reads their rows of `A`, and keeps an item with the probability that the squared norm
of its row of ``A W`` has of its score. Nothing but the rows of proposals is read.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from linalgkit._core.array import (
    Array,
    Namespace,
    asarray,
    device,
    is_complex,
    to_numpy,
)
from linalgkit._core.scaling import ldexp
from linalgkit._kernels._kernel import Kernel

HostArray = np.ndarray[Any, np.dtype[Any]]


def _thinned_proposals(
    xp: Namespace,
    A: Array,
    exponent: int,
    W: Array,
    sums: HostArray,
    scores: HostArray,
    uniforms: HostArray,
    need: int,
) -> tuple[HostArray, Array, HostArray]:
    """Return the items kept, their rows, and the squared norms of these.

    Parameters
    ----------
    A : array, shape (n, p)
        Real or complex floating.
    exponent : int
        Rows of `A` are divided by this power of two.
    W : array, shape (p, k)
        Of the dtype of the result, at least as wide as `A`.
    sums, scores : float64 arrays on the host, shape (n,)
        Running sums of the scores, and the scores: at least the squared norms of rows of ``A W``.
    uniforms : float64 array on the host, shape (2, count)
        For drawing and for keeping.
    need : int
        Items after which the rest is not looked at.

    Returns
    -------
    items : int64 array on the host, shape (kept,)
    rows : array, shape (kept, k)
    norms : float64 array on the host, shape (kept,)
    """
    items = drawn_items(sums, uniforms[0, :])
    index = asarray(items, xp=xp, device=device(A), copy=False)
    read = xp.astype(xp.take(A, index, axis=0), W.dtype, copy=False)
    rows = ldexp(read, -exponent, xp) @ W
    squares = xp.vecdot(rows, rows)
    norms = to_numpy(xp.real(squares) if is_complex(rows, xp) else squares).astype(np.float64)
    kept = np.flatnonzero(uniforms[1, :] * scores[items] < norms)[:need]
    places = asarray(kept, xp=xp, device=device(A), copy=False)
    return items[kept], xp.take(rows, places, axis=0), norms[kept]


def drawn_items(sums: HostArray, uniforms: HostArray) -> HostArray:
    """Return the items whose shares of the running sums the uniform numbers hit."""
    last = int(np.searchsorted(sums, sums[-1], side="left"))
    items: HostArray = np.searchsorted(sums, uniforms * sums[-1], side="right")
    return np.minimum(items, last)


def _supports(form: str, A: Array, exponent: int, W: Array, *rest: Any) -> bool:
    return (
        exponent == 0
        and bool(A.flags.c_contiguous)
        and A.dtype.char in "fdFD"
        and W.dtype.char in "dD"
        and (A.dtype.kind == "c") == (W.dtype.kind == "c")
        and bool(A.dtype.isnative)
    )


thinned_proposals = Kernel(
    "thinned_proposals",
    portable=_thinned_proposals,
    numba="linalgkit._kernels.numba_forms.thinning:thinned_proposals",
    cupy="linalgkit._kernels.cupy_forms.thinning:thinned_proposals",
    supports=_supports,
)
