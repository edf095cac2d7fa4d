"""Changes of a kept matrix ``A^``: new rows, corrections of low rank, removed columns.

Each of them needs ``V`` and ends a run of columns: errors made before are no longer orthogonal to
those made after, and their norms add up. A run without errors goes on being exact.
"""

from __future__ import annotations

import math
from typing import Any

from linalgkit._core.array import Array, Namespace, adjoint, device, eps, to_numpy, widest_dtype
from linalgkit._core.linalg import svd_desc
from linalgkit.svd import _rotations
from linalgkit.svd._columns import DenseColumns, conj, gram
from linalgkit.svd._rotations import multiplied
from linalgkit.svd._steps import Kept, decomposed, direct_step, host, orthogonal_step, refreshed
from linalgkit.svd._stream import ColumnStream

_PIECE = 256  # rows or columns of a correction that are taken at a time


def factors(stream: ColumnStream) -> tuple[Array, Array, Array]:
    """Return ``U`` (m, k), `s` and ``V`` (n, k) of what is kept, multiplied out."""
    assert stream.kept is not None
    assert stream.node is not None
    U, s, rotation = decomposed(stream.kept, stream.xp)
    return U, s, _rotations.rows_of(stream.node, stream.xp) @ rotation


def set_factors(stream: ColumnStream, U: Array, s: Array, V: Array) -> None:
    """Replace what is kept."""
    xp = stream.xp
    stream.kept = Kept(xp.matrix_transpose(U), s, False)
    stream.node = multiplied(V)
    stream.m, stream.n_columns = int(U.shape[0]), int(V.shape[0])
    # Nothing waits, but columns may be longer from now on.
    stream.buffer = stream.options.buffer_of(stream.m, sparse=stream.sparse)


def append_rows(stream: ColumnStream, rows: Array) -> None:
    """Put rows (p, n), in the stream's unit, below the kept matrix.

    The conjugate transpose gets new columns.
    """
    xp = stream.xp
    U, s, V = factors(stream)
    stream.start_run("rows")
    block = DenseColumns(conj(xp.astype(rows, V.dtype), xp), xp)
    stream.account = stream.account.taken_in(block.energy())
    kept = Kept(xp.matrix_transpose(V), s, False)
    n, p = int(V.shape[0]), int(rows.shape[0])
    rule = stream.rule_of(n)
    if n <= kept.rank + p or kept.rank == 0:
        step = direct_step(kept, block, rule, xp)
    else:
        size = math.sqrt(stream.account.energy)
        step = orthogonal_step(kept, block, rule, xp, size=size, by_cholesky=True)
        step = refreshed(step, xp)
    stream.note(step)
    k = int(U.shape[1])
    Z = step.rotation
    above = U @ xp.astype(Z[:k, :], U.dtype)
    below = xp.astype(Z[k:, :], U.dtype)
    U = xp.concat([above, below], axis=0)
    set_factors(stream, U, step.kept.s, xp.matrix_transpose(step.kept.basis))


# Brand, "Fast low-rank modifications of the thin singular value decomposition", Linear Algebra
# Appl. 415 (2006), section 2. Differs from it: directions of rounding size are dropped before
# they are normalised, and what is left is orthogonalised twice.
def update(stream: ColumnStream, X: Array, Y: Array) -> None:
    """Add ``X Y^H``, `X` (m, c) in the stream's unit and `Y` (n, c)."""
    for start in range(0, int(X.shape[1]), _PIECE):
        stop = min(start + _PIECE, int(X.shape[1]))
        _update(stream, X[:, start:stop], Y[:, start:stop])


def _update(stream: ColumnStream, X: Array, Y: Array) -> None:
    xp = stream.xp
    U, s, V = factors(stream)
    stream.start_run("update")
    wide = widest_dtype(xp, stream.device, stream.dtype)
    left, P = _inside_and_outside(U, X, xp)
    right, Q = _inside_and_outside(V, xp.astype(Y, V.dtype), xp)
    k = int(U.shape[1])
    place = {"dtype": wide, "device": stream.device}
    K = xp.astype(left, wide) @ adjoint(xp.astype(right, wide), xp)
    rows, columns = (int(size) for size in K.shape)
    if k:
        diagonal = xp.astype(s, wide)[:, None] * xp.eye(k, **place)
        padded = xp.concat([diagonal, xp.zeros((k, columns - k), **place)], axis=1)
        K = K + xp.concat([padded, xp.zeros((rows - k, columns), **place)], axis=0)
    W, s, Zh = svd_desc(K, xp)
    squares = [value * value for value in host(s)]
    count, target = stream.rule_of(stream.m)(squares)
    left_basis = U if P is None else xp.concat([U, P], axis=1)
    right_basis = V if Q is None else xp.concat([V, Q], axis=1)
    U = left_basis @ xp.astype(W[:, :count], U.dtype)
    V = right_basis @ xp.astype(adjoint(Zh[:count, :], xp), V.dtype)
    stream.account = stream.account.new_energy(math.fsum(squares))
    stream.discarded(squares, target)
    s = xp.asarray([math.sqrt(v) for v in target], dtype=s.dtype, device=device(s))
    set_factors(stream, U, s, V)


def _inside_and_outside(U: Array, X: Array, xp: Namespace) -> tuple[Array, Array | None]:
    """Return coordinates of `X` in a basis that extends `U`, and the columns it is extended by."""
    wide = widest_dtype(xp, device(X), X.dtype)
    rows, basis = xp.matrix_transpose(X), xp.matrix_transpose(U)
    C = gram(basis, rows, xp)
    rest = X - U @ xp.astype(C, X.dtype)
    P, R = xp.linalg.qr(rest, mode="reduced")
    W, s, Yh = svd_desc(xp.astype(R, wide, copy=False), xp)
    size = max((float(v) for v in to_numpy(xp.linalg.vector_norm(X, axis=0))), default=0.0)
    floor = 8.0 * eps(xp, X.dtype) * size * math.sqrt(int(X.shape[1]))
    count = sum(value > floor for value in host(s))
    if count == 0 or int(U.shape[1]) == int(U.shape[0]):
        return C, None
    P = P @ xp.astype(W[:, :count], P.dtype)
    P = P - U @ xp.astype(gram(basis, xp.matrix_transpose(P), xp), P.dtype)
    P, T = xp.linalg.qr(P, mode="reduced")
    B = xp.astype(T, wide) @ (xp.astype(s[:count], wide)[:, None] * Yh[:count, :])
    return xp.concat([C, B], axis=0), P


def remove_columns(stream: ColumnStream, places: list[int]) -> None:
    """Take columns away, in place numbers that are in range and differ."""
    xp = stream.xp
    U, s, V = factors(stream)
    stream.start_run("update")
    gone = set(places)
    left = [j for j in range(int(V.shape[0])) if j not in gone]
    V = xp.take(V, xp.asarray(left, dtype=xp.int64, device=device(V)), axis=0)
    wide = V.dtype
    Q, R = xp.linalg.qr(V, mode="reduced")
    W, s, Zh = svd_desc(xp.astype(s, wide)[:, None] * adjoint(R, xp), xp)
    squares = [value * value for value in host(s)]
    count, target = stream.rule_of(stream.m)(squares)
    U = U @ xp.astype(W[:, :count], U.dtype)
    V = Q @ adjoint(Zh[:count, :], xp)
    stream.account = stream.account.new_energy(math.fsum(squares))
    stream.discarded(squares, target)
    s = xp.asarray([math.sqrt(v) for v in target], dtype=s.dtype, device=device(s))
    set_factors(stream, U, s, V)


def unit_columns(n: int, places: list[int], stream: ColumnStream) -> Array:
    """Return columns of the identity of order `n`."""
    xp = stream.xp
    every = xp.arange(n, dtype=xp.int64, device=stream.device)
    chosen = xp.asarray(places, dtype=xp.int64, device=stream.device)
    return xp.astype(every[:, None] == chosen[None, :], stream.dtype)


def zeroed(stream: ColumnStream, places: list[int]) -> Any:
    """Return the columns of the kept matrix at some places, (m, c), to be taken away."""
    xp = stream.xp
    U, s, V = factors(stream)
    rows = xp.take(V, xp.asarray(places, dtype=xp.int64, device=device(V)), axis=0)
    return (U * xp.astype(s, U.dtype)[None, :]) @ xp.astype(adjoint(rows, xp), U.dtype)
