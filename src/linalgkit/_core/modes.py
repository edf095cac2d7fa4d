"""Products of a tensor with matrices along its modes, and Gram matrices of its unfoldings.

The matrix ``H_1 kron ... kron H_I`` acts on a tensor of shape (N_1, ..., N_I[, L]) mode by mode::

    Y = mode_products(X, factors, xp)     # H_i along axis i, for every i
    G = mode_gram(Y, 0, xp)               # Gram matrix of the first unfolding
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from scipy.linalg import blas

from linalgkit._core.array import (
    Array,
    Namespace,
    adjoint,
    device,
    dtype_name,
    is_complex,
    itemsize,
    library_name,
    widest_dtype,
)

# Copies that a Gram matrix needs are made in pieces of about this size.
_PIECE_BYTES = 4 * 2**20
# Below this many columns behind an axis a batch of products is slower than a transposed copy.
_FEW_COLUMNS = 4


# ------------------------------------------------------------------------------- products


def mode_product(T: Array, A: Array, axis: int, xp: Namespace) -> Array:
    """Return `T` times `A` (p, m) along an axis of length m, which p replaces.

    One GEMM along the first or the last axis; in between a batch of them, or one and a transposed
    copy where hardly anything lies behind the axis. `T` and `A` are of one dtype.
    """
    shape = tuple(map(int, T.shape))
    m, lead, rest = shape[axis], math.prod(shape[:axis]), math.prod(shape[axis + 1 :])
    result = (*shape[:axis], int(A.shape[0]), *shape[axis + 1 :])
    if lead == 1:
        product = A @ xp.reshape(T, (m, rest))
    elif rest == 1:
        product = xp.reshape(T, (lead, m)) @ xp.matrix_transpose(A)
    elif rest < _FEW_COLUMNS:
        rows = xp.reshape(xp.matrix_transpose(xp.reshape(T, (lead, m, rest))), (lead * rest, m))
        product = xp.reshape(rows @ xp.matrix_transpose(A), (lead, rest, A.shape[0]))
        product = xp.matrix_transpose(product)
    else:
        product = A @ xp.reshape(T, (lead, m, rest))
    return xp.reshape(product, result)


def mode_products(
    T: Array, matrices: Sequence[Array | None], xp: Namespace, skip: Sequence[int] = ()
) -> Array:
    """Return `T` multiplied along axes 0, 1, ... by the matrices, but for None and axes in `skip`.

    Those that shrink the tensor most come first, so that nothing larger than needed is formed.
    """
    wanted = [i for i, A in enumerate(matrices) if A is not None and i not in skip]
    for axis in sorted(wanted, key=lambda i: matrices[i].shape[0] / max(matrices[i].shape[1], 1)):  # type: ignore[union-attr]
        T = mode_product(T, matrices[axis], axis, xp)
    return T


# --------------------------------------------------------------------------- Gram matrices


def mode_gram(T: Array, axis: int, xp: Namespace) -> Array:
    """Return the Gram matrix ``T_(i) T_(i)^H`` (m, m) of the unfolding along an axis of length m.

    Hermitian, in the widest dtype of the device. Copies (another order, conjugates, a wider dtype)
    are made in pieces of about 4 MiB.
    """
    total = None
    for piece in _unfolding_pieces(T, axis, xp):
        share = _outer(piece, xp)
        total = share if total is None else total + share
    return total


def _unfolding_pieces(T: Array, axis: int, xp: Namespace) -> Iterator[Array]:
    """Yield columns of the mode unfolding, (m, q) in the widest dtype; whole where it is a view."""
    shape = tuple(map(int, T.shape))
    m, lead, rest = shape[axis], math.prod(shape[:axis]), math.prod(shape[axis + 1 :])
    wide = widest_dtype(xp, device(T), T.dtype)
    columns = max(m, _PIECE_BYTES // (itemsize(xp, wide) * max(m, 1)), 1)
    needs_copy = T.dtype != wide or (is_complex(T, xp) and library_name(xp) != "numpy")
    if lead == 1 or rest == 1:
        q = lead * rest
        U = xp.reshape(T, (m, rest) if lead == 1 else (lead, m))
        step = columns if needs_copy else max(q, 1)
        for start in range(0, q, step):
            stop = min(start + step, q)
            piece = U[:, start:stop] if lead == 1 else xp.matrix_transpose(U[start:stop, :])
            yield xp.astype(piece, wide, copy=False)
        return
    blocks = xp.reshape(T, (lead, m, rest))
    step = max(1, columns // rest)
    for start in range(0, lead, step):
        stop = min(start + step, lead)
        piece = xp.permute_dims(blocks[start:stop, :, :], (1, 0, 2))
        yield xp.astype(xp.reshape(piece, (m, (stop - start) * rest)), wide, copy=False)


def _outer(U: Array, xp: Namespace) -> Array:
    """Return ``U U^H``, exactly Hermitian; NumPy's by BLAS's rank-k update without a conjugate."""
    if is_complex(U, xp) and library_name(xp) == "numpy" and math.prod(U.shape):
        rank_k = blas.zherk if dtype_name(xp, U.dtype) == "complex128" else blas.cherk
        if U.flags.c_contiguous:  # U^T lies in Fortran's order: (U^T)^H U^T is the conjugate
            G = xp.conj(rank_k(1.0, U.T, trans=2, lower=1))
        else:
            G = rank_k(1.0, U, lower=1)
        strict = xp.tril(G, k=-1)
        return xp.tril(G) + adjoint(strict, xp)
    G = U @ adjoint(U, xp)
    return 0.5 * (G + adjoint(G, xp))
