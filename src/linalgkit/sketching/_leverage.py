"""Leverage scores: how much each row of a matrix weighs in its own least-squares fit.

::

    scores = leverage_scores(A)             # diagonal of the projector onto the range of A
    S = sketch("leverage", 400, n, scores=scores, rng=0)

"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from linalgkit._core.array import (
    Array,
    Namespace,
    adjoint,
    eps,
    is_complex_dtype,
    itemsize,
    matmul_h,
    real_dtype,
    to_numpy,
    widest_dtype,
)
from linalgkit._core.capabilities import capability
from linalgkit._core.linalg import eigh_desc, hermitian_part, tsqr
from linalgkit._core.operator_base import squared_row_norms
from linalgkit._core.operators import DenseOperator, Operator, SparseOperator, as_operator
from linalgkit._core.random import as_generator, signs, standard_normal
from linalgkit._core.scaling import ldexp, scale_exponent, silent
from linalgkit._core.validation import check_choice, check_finite_block
from linalgkit.sketching._blocks import (
    ScaledOperator,
    add,
    column_largest,
    cuts,
    exponents_of,
    joined,
    largest_part,
    ldexp_columns,
    longest_exponent,
)
from linalgkit.sketching._draws import HOST
from linalgkit.sketching._factory import sketch
from linalgkit.sketching._operator import SketchOperator

METHODS = ("exact", "sketch")
_BLOCK_BYTES = 4 * 2**20
_NNZ = 8
_LEAST_ROWS = 64  # of a sketch
_ATTEMPTS = 4
_FAILURE = 0.01  # of all scores together, for the sketched ones
_LOWER_TAIL = (math.log(2.0) - 0.5) / 2  # P(chi2_c <= c/2) <= exp(-c times this)


@capability("sketching.leverage_scores", sparse=True, synchronisations={"call": 6})
def leverage_scores(A: Any, *, method: str = "exact", rng: object = None) -> Array:
    """Return the leverage scores of the rows: the diagonal of the projector onto the range.

    Parameters
    ----------
    A : array (n, d), sparse container or operator
        Real or complex, of any shape, rank and scale. An operator has ``matmat`` and
        ``rmatmat``.
    method : {"exact", "sketch"}, default "exact"
        Exact to rounding, or estimates that are cheaper for large d.
    rng : None, int, SeedSequence, BitGenerator or Generator
        For "sketch" only; exact scores are the same in every call.

    Returns
    -------
    array (n,)
        Numbers between 0 and 1 whose sum is the rank ("exact"), in the real dtype of `A`'s
        precision, in its library and on its device.

    Raises
    ------
    TypeError
        If `A` is no matrix, or `rng` of a wrong kind, whatever the method.
    ValueError
        If `A` is not 2-D or holds NaN or infinity, or `method` is unknown.

    Notes
    -----
    "exact": with a triangular factor R of `A` (of a sparse sketch of it, if `A` is sparse or an
    operator), the columns of ``A R^-1`` are nearly orthonormal; their Gram matrix corrects the
    rest, and the scores are squared norms of rows. The scores do not change under ``A -> A C``
    with non-singular C; rounding changes them by the condition number of `A`, its columns
    scaled to equal norms, times the roundoff. Singular values below ``(d + sqrt(n)) eps`` times
    the largest count as zero. Flops ``8 n d^2`` for dense `A`.

    "sketch": R comes from a sparse sketch of 16 d rows, and rows of ``A R^-1`` are measured by
    their products with c Gaussian vectors [1]_, where ``c = log(100 n) / 0.0966`` or d if that
    is less. With a probability of 0.99 all estimates together are within a factor of 4 of the
    exact scores (2 for the Gaussian vectors, by the tails of chi-squared; 2 for the sketch, by
    experience). Flops ``2 n d c``. Below 16 d rows the exact scores are returned.

    Storage: ``n`` numbers for the result, ``20 d^2`` for small matrices, and blocks of 4 MiB;
    for operators columns of n numbers of 4 MiB together or one. Where entries come within a cube
    root of the ends of the dtype's range (1e-102 and 1e102 in float64), columns are brought to
    order one by powers of two first, in a copy of `A`; an operator as a whole, by its products.

    References
    ----------
    .. [1] P. Drineas, M. Magdon-Ismail, M. W. Mahoney, D. P. Woodruff, "Fast approximation of
       matrix coherence and statistical leverage", JMLR 13 (2012), Algorithm 1.

    Examples
    --------
    >>> import numpy as np
    >>> A = np.asarray([[1.0, 0.0], [1.0, 0.0], [0.0, 5.0]])
    >>> leverage_scores(A)
    array([0.5, 0.5, 1. ])
    """
    check_choice("method", method, METHODS)
    generator = as_generator(rng)
    op = _checked_operator(A)
    xp, (n, d) = op.xp, op.shape
    if n == 0 or d == 0:
        scores = xp.zeros((n,), dtype=xp.float32, device=op.device)
    else:
        scores = _scores(_of_order_one(op), method, generator)
    return finished(scores, op)


def finished(scores: Array, op: Operator) -> Array:
    """Return scores of rows as they are returned: finite, at most one, in the precision of `A`."""
    xp = op.xp
    if not bool(xp.all(xp.isfinite(scores))):
        raise ValueError("A must not contain NaN or infinity, but a product with it does.")
    one = xp.ones_like(scores)
    return xp.astype(xp.where(scores < one, scores, one), real_dtype(xp, op.dtype), copy=False)


def _checked_operator(A: Any) -> Operator:
    op = as_operator(A)
    if isinstance(op, (DenseOperator, SparseOperator)):
        check_finite_block(op.A, name="A")
    return op


def _of_order_one(op: Operator) -> Operator:
    """Return a matrix with the same scores whose squares stay within the range of the dtype."""
    xp = op.xp
    allowed = longest_exponent(xp, op.dtype) // 3
    if not isinstance(op, (DenseOperator, SparseOperator)):
        exponent = _operator_exponent(op)
        return op if abs(exponent) <= allowed else ScaledOperator(op, -exponent)
    exponents = exponents_of(column_sizes(op))
    return op if int(abs(exponents).max()) <= allowed else in_units(op, exponents)


def in_units(op: DenseOperator | SparseOperator, exponents: Any) -> Operator:
    """Return a matrix with each column divided by a power of two."""
    xp = op.xp
    if isinstance(op, DenseOperator):
        return DenseOperator(ldexp_columns(op.A, -exponents, xp))
    A = op.A
    data = ldexp_columns(A.data[None, :], -exponents[to_numpy(A.indices)], xp)[0, :]
    return SparseOperator(type(A)((data, A.indices, A.indptr), shape=A.shape))


def column_sizes(op: DenseOperator | SparseOperator) -> Any:
    """Return the largest entries of the columns on the host, found block by block."""
    n, d = op.shape
    largest = HOST.zeros(d)
    for start, stop in cuts(0, n, _block_rows(op)):
        block = op.A[start:stop, :]
        parts = _sparse_columns(block, op.xp) if isinstance(op, SparseOperator) else (block,)
        for part in parts:
            largest = HOST.maximum(largest, column_largest(part, op.xp))
    return largest


def _sparse_columns(A: Any, xp: Namespace) -> list[Array]:
    """Return dense rows (1, d) of the largest real and imaginary parts in the columns."""
    parts = (A.real, A.imag) if is_complex_dtype(xp, A.dtype) else (A,)
    return [abs(part).max(axis=0).toarray().reshape(1, -1) for part in parts]


def _block_rows(op: DenseOperator | SparseOperator) -> int:
    """Return how many rows have entries of some 4 MiB, non-zeros of sparse rows."""
    if isinstance(op, DenseOperator):
        return _row_step(op, 1)
    return max(1, _BLOCK_BYTES * op.shape[0] // (16 * max(1, int(op.A.nnz))))


def _operator_exponent(op: Operator) -> int:
    """Return the exponent of a matrix that is known by its products, as one of them shows it."""
    xp, d = op.xp, op.shape[1]
    v = signs(as_generator(0), (d, 1), xp=xp, device=op.device, dtype=op.dtype)
    for small in (0, -longest_exponent(xp, op.dtype) // 2):
        with silent():
            seen = largest_part(op.matmul(ldexp(v, small, xp)))
        if math.isfinite(seen):
            return scale_exponent(seen) - small if seen > 0 else 0
    return 0


class Passes:
    """The passes over a matrix that scores need; those over one in parts are done by workers.

    Attributes
    ----------
    xp, device, dtype, shape
        Those of the matrix.
    is_dense : bool
        Whether it is a dense array.
    """

    def __init__(self, op: Operator) -> None:
        self.op = op
        self.xp, self.device, self.dtype, self.shape = op.xp, op.device, op.dtype, op.shape
        self.is_dense = isinstance(op, DenseOperator)

    def factor(self) -> Array:
        """Return the triangular factor of a dense matrix."""
        assert isinstance(self.op, DenseOperator)
        return tsqr(wide_blocks(self.op))

    def sketched(self, S: SketchOperator) -> Array:
        """Return ``S A``."""
        return S @ self.op

    def gram(self, W: Array) -> Array:
        """Return the Gram matrix of ``A W``."""
        return gram_of(self.op, W)

    def energy(self, W: Array) -> float:
        """Return ``||A W||_F^2``."""
        return float(self.xp.sum(row_energies(self.op, W)))


def _scores(op: Operator, method: str, rng: Any) -> Array:
    n, d = op.shape
    if not isinstance(op, DenseOperator) and d > n:
        # A random combination of many columns has the same range.
        S = sketch("sparse_sign", _sketch_rows(4, n), d, nnz=_NNZ, rng=0)
        op = DenseOperator(adjoint(S @ op.H, op.xp))
    return row_energies(op, *whitening(Passes(op), method, rng))


def whitening(matrix: Passes, method: str, rng: Any) -> tuple[Array, Array | None]:
    """Return W and C: scores, or estimates of them, are squared norms of the rows of ``A W C``."""
    n, d = matrix.shape
    if method == "sketch" and n > _sketch_rows(16, d):
        return _estimator(matrix, rng), None
    if matrix.is_dense:
        W = _whitener(matrix.factor(), matrix)[0]
    else:
        W = _sketched_whitener(matrix, 4, as_generator(0))
    return W, _inverse_root(matrix.gram(W), matrix.xp) if W.shape[1] else None


def _inverse_root(G: Array, xp: Namespace) -> Array:
    """Return C with ``C^H G C = I`` for a positive definite matrix close to the identity."""
    g, U = eigh_desc(hermitian_part(G, xp), xp)
    smallest = float(xp.finfo(g.dtype).smallest_normal)
    g = xp.where(g > smallest, g, xp.full_like(g, smallest))
    return U / xp.astype(xp.sqrt(g), U.dtype)[None, :]


def _estimator(matrix: Passes, rng: Any) -> Array:
    W = _sketched_whitener(matrix, 16, rng)
    r = W.shape[1]
    c = math.ceil(math.log(matrix.shape[0] / _FAILURE) / _LOWER_TAIL)
    if c < r:
        G = standard_normal(rng, (r, c), xp=matrix.xp, device=matrix.device, dtype=W.dtype)
        W = W @ (G * math.sqrt(1 / c))
    return W


def _sketch_rows(factor: int, d: int) -> int:
    return max(factor * d, _LEAST_ROWS)


# -------------------------------------------------------------------------------- whitening


def _tolerance(op: Passes) -> float:
    n, d = op.shape
    return (d + math.sqrt(n)) * eps(op.xp, op.dtype)


def _whitener(R: Array, op: Passes) -> tuple[Array, Array]:
    """Return W with ``R W`` orthonormal, (d, rank), and directions that R does not see.

    Columns of R are scaled to equal norms first: the rank then does not depend on their units.
    """
    xp = op.xp
    R = xp.astype(R, widest_dtype(xp, op.device, R.dtype), copy=False)
    units = _column_norms(R, xp)
    _, s, Vh = xp.linalg.svd(R / units[None, :], full_matrices=False)
    V = adjoint(Vh, xp) / units[:, None]
    rank = int(xp.sum(xp.astype(s > _tolerance(op) * s[0], xp.int32)))
    return V[:, :rank] / xp.astype(s[:rank], R.dtype)[None, :], V[:, rank:]


def _column_norms(R: Array, xp: Namespace) -> Array:
    """Return the norms of the columns in R's dtype, 1 for those that are zero."""
    largest = xp.max(xp.abs(R), axis=0)
    largest = xp.where(largest > 0, largest, xp.ones_like(largest))
    norms = xp.linalg.vector_norm(R / xp.astype(largest, R.dtype)[None, :], axis=0)
    return xp.astype(largest * xp.where(norms > 0, norms, xp.ones_like(norms)), R.dtype)


def _sketched_whitener(op: Passes, factor: int, rng: Any) -> Array:
    """Return W with ``A W`` nearly orthonormal, from a sparse sketch of `A`.

    Directions that the sketch does not see are tried on `A` itself: if they are seen there, a
    larger sketch is drawn.
    """
    n, d = op.shape
    m = _sketch_rows(factor, d)
    for _ in range(_ATTEMPTS):
        S = sketch("sparse_sign", m, n, nnz=_NNZ, rng=rng)
        W, unseen = _whitener(tsqr([op.sketched(S)]), op)
        if unseen.shape[1] == 0 or _is_null(op, unseen):
            break
        m *= 2
    return W


def _is_null(op: Passes, V: Array) -> bool:
    energy = op.energy(V)
    allowed = int(V.shape[0]) * int(V.shape[1]) * (100 * _tolerance(op)) ** 2
    return energy <= allowed


# ------------------------------------------------------------------------ products in pieces


def _row_step(op: Operator, width: int) -> int:
    return max(1, _BLOCK_BYTES // (max(op.shape[1], width, 1) * itemsize(op.xp, op.dtype)))


def wide_blocks(op: DenseOperator) -> Iterator[Array]:
    """Yield blocks of rows in the widest dtype, high enough for a QR factorisation to pay."""
    xp, (n, d) = op.xp, op.shape
    wide = widest_dtype(xp, op.device, op.dtype)
    for start, stop in cuts(0, n, max(4 * d, _row_step(op, 1))):
        yield xp.astype(op.A[start:stop, :], wide, copy=False)


def _products(op: Operator, W: Array) -> Iterator[Array]:
    """Yield ``A W`` for blocks of rows, in the widest dtype."""
    narrow = op.xp.astype(W, op.dtype, copy=False)
    for start, stop in cuts(0, op.shape[0], _row_step(op, W.shape[1])):
        yield op.xp.astype(op.rows(start, stop).matmul(narrow), W.dtype, copy=False)


def _has_rows(op: Operator) -> bool:
    return isinstance(op, (DenseOperator, SparseOperator))


def _column_cuts(op: Operator, W: Array) -> Iterator[tuple[int, int]]:
    width = _BLOCK_BYTES // (max(1, op.shape[0]) * itemsize(op.xp, op.dtype))
    return cuts(0, W.shape[1], max(1, width))


def gram_of(op: Operator, W: Array) -> Array:
    """Return the Gram matrix of ``A W``."""
    xp = op.xp
    if _has_rows(op):
        total = None
        for Y in _products(op, W):
            total = add(total, matmul_h(Y, Y, xp))
        return total
    columns = []
    for a, b in _column_cuts(op, W):
        piece = xp.astype(W[:, a:b], op.dtype, copy=False)
        D = op.rmatmul(op.matmul(piece))
        columns.append(matmul_h(W, xp.astype(D, W.dtype, copy=False), xp))
    return joined(columns, 1, xp)


def row_energies(op: Operator, W: Array, C: Array | None = None) -> Array:
    """Return the squared norms of the rows of ``A W C``, (n,), in the widest dtype.

    Where `A` has rows, those of ``A W`` have the rounding errors that their Gram matrix has seen.
    """
    xp = op.xp
    if _has_rows(op):
        blocks = (Y if C is None else Y @ C for Y in _products(op, W))
        return joined([squared_row_norms(Y, W.dtype, xp) for Y in blocks], 0, xp)
    W = W if C is None else W @ C
    total = xp.zeros((op.shape[0],), dtype=real_dtype(xp, W.dtype), device=op.device)
    for a, b in _column_cuts(op, W):
        piece = xp.astype(W[:, a:b], op.dtype, copy=False)
        total = total + squared_row_norms(op.matmul(piece), W.dtype, xp)
    return total
