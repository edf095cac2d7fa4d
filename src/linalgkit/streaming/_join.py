"""Eigenpairs of a low-rank summary together with rows held verbatim."""

from __future__ import annotations

from collections.abc import Sequence

from linalgkit._core.array import Array, adjoint, matmul_h
from linalgkit._core.linalg import eigh_desc, orthonormalise
from linalgkit.streaming._preprocess import Space


def join(lam: Array, V: Array, rows: Sequence[Array], k: int, space: Space) -> tuple[Array, Array]:
    """Return the top `k` eigenpairs of ``V diag(lam) V^H + sum of B^H B``.

    Parameters
    ----------
    lam : array (r,)
        Eigenvalues of the summary, real and not negative.
    V : array (d, r)
        Its orthonormal eigenvectors.
    rows : sequence of array (m_i, d)
        Rows that the summary does not contain.
    k : int
        How many pairs to return; fewer come back where the joint rank is below.
    space : Space
        Where the rows live.

    Notes
    -----
    With ``m = r + sum m_i`` rows the smaller of the (m, m) and the (d, d) Gram matrix is
    decomposed in the widest dtype; the rows are not copied. Eigenvalues are accurate to
    roundoff times the largest one, which is what sums of squares can carry.
    """
    xp = space.xp
    summary = adjoint(V * xp.sqrt(lam)[None, :], xp)
    parts = [xp.astype(part, space.wide) for part in (summary, *rows) if part.shape[0]]
    if not parts:
        return lam[:k], V[:, :k]
    if sum(part.shape[0] for part in parts) >= space.d:
        S = sum(matmul_h(part, part, xp) for part in parts)
        w, U = eigh_desc(S)
        return w[:k], U[:, :k]
    K = xp.concat([xp.concat([P @ adjoint(Q, xp) for Q in parts], axis=1) for P in parts], axis=0)
    w, U = eigh_desc(K)
    w, U = w[:k], U[:, :k]
    W, start = space.zeros(space.d, U.shape[1], dtype=space.wide), 0
    for part in parts:
        stop = start + part.shape[0]
        W = W + matmul_h(part, U[start:stop, :], xp)
        start = stop
    return w, orthonormalise(W)
