"""From a canonical sum of R terms to a Tucker core: weighted reduction, and the published one.

A term is a weight times a product of one column a mode. Columns are taken in the weighted norm of
Chebyshev coefficients, multiplied by the square roots of the norms of their terms; the leading left
singular vectors of that matrix are the basis of the mode. What the basis leaves out of the sum is
at most the discarded singular values' norm times ``sqrt(sum of the norms of the terms)``, by
Cauchy and Schwarz, whatever cancels between the terms::

    parts = weighted_reduction(coefficients, weights, absolute, xp)
    parts = published_reduction(coefficients, weights, tol, xp)

References
----------
Benner, Khoromskij, Khoromskaia, Sun, arXiv:2503.01696, algorithm of the canonical input; the
reduced HOSVD is that of Khoromskij and Khoromskaia, SIAM J. Sci. Comput. 31 (2009) 3002.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from linalgkit._core.array import (
    Array,
    Namespace,
    adjoint,
    asarray,
    device,
    is_in_place,
    itemsize,
    numpy_namespace,
    to_numpy,
)
from linalgkit._core.linalg import svd_desc
from linalgkit._core.qr import tsqr
from linalgkit.chebyshev._basis import on_device, parseval
from linalgkit.chebyshev._max_norm import unit_box
from linalgkit.chebyshev._parts import Parts, unweighted

_HOST = numpy_namespace()
# Columns of Khatri-Rao products are formed in chunks of about this size.
_CHUNK_BYTES = 16 * 2**20
#: A core of more numbers than this is refused.
MOST_CORE = 2**28


def weighted_reduction(
    coefficients: Sequence[Array], weights: Array, absolute: float, xp: Namespace
) -> Parts:
    """Return parts with orthonormal factors, off by at most `absolute` in the weighted norm.

    `coefficients` are (m_k, R) with columns of order one, overwritten where that can be done;
    `weights` (R,) lie on the host.
    """
    C = [_weighted_in_place(X, xp) for X in coefficients]
    norms = [_column_norms(X, xp) for X in C]
    terms = _HOST.abs(weights) * math.prod(norms)
    share = absolute / math.sqrt(len(C) * max(float(terms.sum()), 1e-300))
    bases = []
    for X, norm in zip(C, norms, strict=True):
        scale = _HOST.sqrt(terms) / _HOST.where(norm > 0, norm, 1.0)
        bases.append(_leading_basis(X, scale, share, xp))
    core = projected_core(C, bases, weights, xp)
    factors = tuple(unweighted(Q, xp) for Q in bases)
    return Parts(core, factors, unit_box(len(C)), xp)


def published_reduction(
    coefficients: Sequence[Array], weights: Array, tol: float, xp: Namespace
) -> Parts:
    """Return the reduced HOSVD as published: absolute cuts of the columns, weights ignored."""
    bases = []
    ones = _HOST.ones(int(weights.shape[0]))
    for X in coefficients:
        bases.append(_leading_basis(X, ones, tol / len(coefficients), xp))
    core = projected_core(coefficients, bases, weights, xp)
    return Parts(core, tuple(bases), unit_box(len(bases)), xp)


def canonical_tensor(coefficients: Sequence[Array], weights: Array, xp: Namespace) -> Array:
    """Return the full tensor (m_1, ..., m_d) of the sum."""
    return projected_core(coefficients, [None] * len(coefficients), weights, xp)


def _weighted_in_place(X: Array, xp: Namespace) -> Array:
    """Return coefficients times the weights of the norm, in their own memory where possible."""
    row = on_device(parseval(int(X.shape[0])), X, xp)[:, None]
    if is_in_place(xp):
        X *= row
        return X
    return X * row


def _column_norms(X: Array, xp: Namespace) -> Array:
    """Return the 2-norms of columns, on the host, chunk by chunk."""
    norms = []
    for start, stop in _spans(int(X.shape[1]), int(X.shape[0])):
        moduli = xp.abs(X[:, start:stop])
        norms.append(to_numpy(xp.sum(moduli * moduli, axis=0)))
    return _HOST.sqrt(_HOST.astype(_HOST.concat(norms), _HOST.float64))


def _spans(n: int, rows: int) -> Iterator[tuple[int, int]]:
    """Yield ranges of columns of which `rows` numbers each are a chunk."""
    step = max(64, _CHUNK_BYTES // (32 * max(rows, 1)))
    for start in range(0, n, step):
        yield start, min(start + step, n)


def _leading_basis(X: Array, scale: Array, share: float, xp: Namespace) -> Array:
    """Return left singular vectors of `X` with scaled columns, that leave out at most `share`."""
    rows = int(X.shape[0])
    row = asarray(scale, xp=xp, device=device(X), dtype=X.dtype)[None, :]
    R = tsqr(
        adjoint(X[:, start:stop] * row[:, start:stop], xp)
        for start, stop in _spans(int(X.shape[1]), rows)
    )
    Q, s, _ = svd_desc(adjoint(R, xp), xp)
    squares = _HOST.astype(to_numpy(s), _HOST.float64) ** 2
    tails = _HOST.sqrt(_HOST.cumsum(squares[::-1])[::-1])
    return Q[:, : max(1, int((tails > share).sum()))]


def projected_core(
    coefficients: Sequence[Array],
    bases: Sequence[Array | None],
    weights: Array,
    xp: Namespace,
) -> Array:
    """Return the core of the sum in bases (None: the identity), chunk by chunk of its terms.

    One product of two Khatri-Rao products a chunk, of about equal sizes.
    """
    X0 = coefficients[0]
    shape = tuple(
        int(X.shape[0]) if Q is None else int(Q.shape[1])
        for X, Q in zip(coefficients, bases, strict=True)
    )
    if math.prod(shape) > MOST_CORE:
        raise ValueError(
            f"the core before its truncation would have the shape {shape}, too large for memory. "
            "Take a larger tol, or a tensor train (TT) library for a sum of such rank."
        )
    split = _split(shape)
    left, right = math.prod(shape[:split]), math.prod(shape[split:])
    core = xp.zeros((left, right), dtype=X0.dtype, device=device(X0))
    lam = asarray(weights, xp=xp, device=device(X0), dtype=X0.dtype)
    most = sum(int(X.shape[0]) for X in coefficients) + left + right
    step = max(16, _CHUNK_BYTES // (itemsize(xp, X0.dtype) * most))
    for start in range(0, int(lam.shape[0]), step):
        stop = min(start + step, int(lam.shape[0]))
        Z = [
            X[:, start:stop] if Q is None else adjoint(Q, xp) @ X[:, start:stop]
            for X, Q in zip(coefficients, bases, strict=True)
        ]
        Z[0] = Z[0] * lam[None, start:stop]
        if len(Z) == 1:
            core += xp.sum(Z[0], axis=1)[:, None]
            continue
        core += khatri_rao(Z[:split], xp) @ xp.matrix_transpose(khatri_rao(Z[split:], xp))
    return xp.reshape(core, shape)


def _split(shape: tuple[int, ...]) -> int:
    """Return after how many modes the two sides of the product part."""
    if len(shape) == 1:
        return 1
    return min(range(1, len(shape)), key=lambda p: math.prod(shape[:p]) + math.prod(shape[p:]))


def khatri_rao(Z: Sequence[Array], xp: Namespace) -> Array:
    """Return all products of the rows of matrices (r_k, n), shape (prod r_k, n)."""
    K = Z[0]
    for X in Z[1:]:
        K = xp.reshape(K[:, None, :] * X[None, :, :], (-1, int(X.shape[1])))
    return K
