"""Launching the norms of rows and of a few products, four rows a warp."""

from __future__ import annotations

import numpy as np

from linalgkit._core.array import Array, Namespace, to_numpy
from linalgkit._kernels.cupy_forms.dense import real_columns, row_layout
from linalgkit._kernels.cupy_forms.embedding import NAME, REAL
from linalgkit._kernels.cupy_forms.launch import THREADS, launch

_WARPS = THREADS // 32
_ROWS = 4  # of a warp, as in the source
_BLOCKS = 1024


def probed_norms(xp: Namespace, X: Array, Z: Array) -> tuple[Array, Array]:
    """Return squared norms of the rows of `X` and of the columns of ``X Z``.

    One synchronisation: norms and sums come to the host together.
    """
    (n, _), q = X.shape, Z.shape[1]
    W = real_columns(xp, Z)
    blocks = min(_BLOCKS, -(-n // (_WARPS * _ROWS)))
    partial = xp.empty((blocks * _WARPS, W.shape[0]), dtype=xp.float64)
    found = xp.empty(n + q, dtype=xp.float64)
    if n:
        real = np.dtype(REAL[X.dtype.char]).char
        arguments = (X, *row_layout(X), W, found, partial, np.int64(blocks * _WARPS))
        launch("probe", f"probed_norms<{NAME[real]}, {W.shape[0]}>", blocks, arguments)
    found[n:] = xp.sum(partial.reshape(-1, q, W.shape[0] // q), axis=(0, 2))
    host = to_numpy(found)
    return host[:n], host[n:]
