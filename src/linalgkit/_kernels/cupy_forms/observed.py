"""Launching the sums over observed entries, a warp a line."""

from __future__ import annotations

from typing import Any

import numpy as np

from linalgkit._core.array import Array, Namespace
from linalgkit._kernels.cupy_forms.embedding import REAL
from linalgkit._kernels.cupy_forms.launch import THREADS, launch
from linalgkit._kernels.lines import Lines

_WARPS = THREADS // 32
_BLOCKS = 2048  # of warps that have room for vectors; they go through the lines
_STORED = {"f": "float", "d": "double", "F": "Complex<float>", "D": "Complex<double>"}
_REAL = {"f": "float", "d": "double", "F": "float", "D": "double"}
_INDEX = {4: "int", 8: "long long"}


def _types(lines: Lines, F: Array) -> tuple[str, str, str, str]:
    """Return names of the types of numbers, sums, weights and indices."""
    kind = F.dtype.char
    scalar = "Complex<double>" if F.dtype.kind == "c" else "double"
    return _STORED[kind], scalar, _REAL[kind], _INDEX[lines.indices.dtype.itemsize]


def _or_none(x: Array | None, other: Array) -> tuple[Array, np.int32]:
    """Return an array and whether it was given; another stands in, for the pointer."""
    return (other, np.int32(0)) if x is None else (x, np.int32(1))


def _room(xp: Namespace, lines: Lines, F: Array, k: int) -> tuple[int, np.int64, Array]:
    """Return blocks, warps, and room for `k` numbers of each warp's sums."""
    blocks = min(_BLOCKS, -(-lines.n_lines // _WARPS))
    wide = xp.complex128 if F.dtype.kind == "c" else xp.float64
    return blocks, np.int64(blocks * _WARPS), xp.empty(max(1, blocks * _WARPS * k), dtype=wide)


def pcg_rows(
    xp: Namespace,
    lines: Lines,
    y: Array,
    w: Array | None,
    F: Array,
    X: Array,
    shift: Array | None,
    e: Array,
    ridge: Array,
    load: Array,
    steps: int,
    tol: float,
    loss: int,
    scale: float,
) -> tuple[Array, Array, int]:
    """Return improved solutions, relative residual norms, and the number of steps."""
    types, (n, k) = _types(lines, F), X.shape
    blocks, warps, room = _room(xp, lines, F, 4 * k)
    factors = xp.empty(max(1, int(warps) * 2 * k), dtype=xp.float64)
    result, rel = xp.empty(X.shape, dtype=X.dtype), xp.empty(n, dtype=REAL[X.dtype.char])
    taken = xp.empty(n, dtype=xp.int32)
    if not n:
        return result, rel, 0
    arguments = (
        lines.starts, lines.indices, y, *_or_none(w, e), F, X, *_or_none(shift, y), e, ridge, load,
        np.int32(steps), np.float64(tol), np.int32(loss), np.float64(scale), np.int64(n),
        np.int32(k), warps, room, factors, result, rel, taken,
    )  # fmt: skip
    launch("observed", f"pcg_rows<{', '.join(types)}>", blocks, arguments)
    return result, rel, int(xp.sum(taken))


def residual_rows(
    xp: Namespace,
    lines: Lines,
    y: Array | None,
    w: Array | None,
    P: Array,
    Q: Array,
    F: Array | None,
    loss: int,
    scale: float,
) -> tuple[Array | None, Array]:
    """Return weighted sums of rows, and of losses, over the residuals of each line."""
    types, (n, k), kf = _types(lines, Q), P.shape, 0 if F is None else F.shape[1]
    blocks, warps, room = _room(xp, lines, Q, k + kf)
    G, squares = xp.empty((n, kf), dtype=Q.dtype), xp.empty(n, dtype=xp.float64)
    weights: Any = _or_none(w, squares.view(REAL[Q.dtype.char]))
    if n:
        arguments = (
            lines.starts, lines.indices, *_or_none(y, Q), *weights, P, Q, np.int32(k),
            Q if F is None else F, np.int32(kf), np.int32(loss), np.float64(scale), np.int64(n),
            warps, room, G, squares,
        )  # fmt: skip
        launch("observed", f"residual_rows<{', '.join(types)}>", blocks, arguments)
    return (None if F is None else G), squares


def entries(xp: Namespace, lines: Lines, P: Array, Q: Array) -> Array:
    """Return the products of all entries."""
    stored, scalar, _, index = _types(lines, Q)
    (n, k), values = P.shape, xp.empty(lines.count, dtype=Q.dtype)
    if n:
        arguments = (lines.starts, lines.indices, P, Q, np.int64(n), np.int32(k), values)
        name = f"entries<{stored}, {scalar}, {index}>"
        launch("observed", name, -(-n // _WARPS), arguments)
    return values


def gather_sum(xp: Namespace, lines: Lines, y: Array, F: Array) -> Array:
    """Return the sums of weighted rows."""
    stored, scalar, _, index = _types(lines, F)
    n, k = lines.n_lines, F.shape[1]
    G = xp.empty((n, k), dtype=F.dtype)
    if n:
        arguments = (lines.starts, lines.indices, y, F, np.int64(n), np.int32(k), G)
        name = f"gather_sum<{stored}, {scalar}, {index}>"
        launch("observed", name, -(-n // _WARPS), arguments)
    return G
