"""Exact least squares of every line of a pattern against a fixed factor.

::

    X = direct_rows(xp, lines, y, w, F, None, ridge, load)             # all lines
    X = direct_rows(xp, lines, y, w, F, None, ridge, load, chosen)     # some of them
    for numbers, G in line_grams(xp, lines, w, F):                     # bounded batches
        ...

Cost: ``N k^2`` for the Gram matrices and ``(m + n) k^3`` for the solutions; the alternative whose
cost is ``N k`` is :func:`linalgkit._kernels.observed.pcg_rows`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from typing import Any

from scipy.linalg import get_blas_funcs, get_lapack_funcs

from linalgkit._core.array import (
    Array,
    Namespace,
    asarray,
    device,
    eps,
    index_dtype,
    is_complex,
    library_name,
    numpy_namespace,
    to_numpy,
    widest_float,
)
from linalgkit._core.triangular import _errors_raised as errors_raised
from linalgkit._kernels.observed import Lines
from linalgkit.completion._line_tables import (
    NUMBERS,
    Batch,
    Regressions,
    adjoints,
    diagonals,
    least_norm,
    times,
)

_HOST = numpy_namespace()
#: Unknowns up to which batches are quicker than calls of LAPACK for each line.
_SMALL = 16


def line_grams(
    xp: Namespace, lines: Lines, w: Array | None, F: Array, chosen: Array | None = None
) -> Iterator[tuple[Array, Array]]:
    """Yield Gram matrices of the lines in batches of bounded size.

    Parameters
    ----------
    xp : module
        Namespace of the arrays.
    lines : Lines
        The side that is solved for.
    w : array (N,) or None
        Weights in the order of the lines; None means ones.
    F : array (n_other, k)
        The fixed factor.
    chosen : host array (c,), optional
        Numbers of lines; all of them by default.

    Yields
    ------
    numbers : host array (r,)
        Places of the lines in `chosen`, or their numbers; each line comes once, in any order.
    G : array (r, k, k)
        ``sum_t w_t conj(f_t) f_t^T`` in the widest dtype of the device.

    Notes
    -----
    Storage: 2^21 numbers of gathered rows and as many of Gram matrices, unless one is larger.
    """
    k, where = int(F.shape[1]), device(F)
    none = xp.zeros((k,), dtype=widest_float(xp, where), device=where)
    problem = Regressions.of(xp, lines, None, w, F, None, none, none)
    if chosen is not None:
        problem = problem.chosen(chosen)
    for batch in problem.batches(extra=k):
        yield batch.lines, _gram(batch)[: batch.lines.size, :, :]
    empty = _HOST.flatnonzero(problem.lines.lengths == 0)
    step = max(1, NUMBERS // k**2)
    for start in range(0, empty.size, step):
        part = empty[start : start + step]
        yield part, xp.zeros((part.size, k, k), dtype=problem.F.dtype, device=where)


def grams(
    xp: Namespace, lines: Lines, w: Array | None, F: Array, chosen: Array | None = None
) -> Array:
    """Return all Gram matrices of :func:`line_grams`, (c, k, k), in the order of `chosen`."""
    numbers, found = zip(*line_grams(xp, lines, w, F, chosen), strict=True)
    place = _HOST.argsort(_HOST.concat(numbers))
    return xp.take(xp.concat(list(found), axis=0), _places(xp, place, F), axis=0)


def direct_rows(
    xp: Namespace,
    lines: Lines,
    y: Array,
    w: Array | None,
    F: Array,
    shift: Array | None,
    ridge: Array,
    load: Array,
    chosen: Array | None = None,
) -> Array:
    """Return the exact minimiser of each line, of least norm where there are several.

    For line `i` with entries `t` and rows ``f_t = F[j_t, :]`` the objective is
    ``sum_t w_t |y_t - shift[j_t] - f_t . x|^2 + sum_q (ridge_q + p_i load_q) |x_q|^2`` with
    ``p_i = sum_t w_t``.

    Parameters
    ----------
    xp : module
        Namespace of the arrays.
    lines : Lines
        The side that is solved for.
    y : array (N,)
        Values in the order of the lines.
    w : array (N,) or None
        Weights, at least 0; None means ones.
    F : array (n_other, k)
        The fixed factor.
    shift : array (n_other,) or None
        Taken off the values.
    ridge, load : array (k,)
        Real, at least 0.
    chosen : host array (c,), optional
        Numbers of the lines that are wanted; all by default.

    Returns
    -------
    array (n_lines, k) or (c, k)
        In the dtype of `F`; zero for lines without entries.

    Notes
    -----
    Normal equations, brought to a unit diagonal and solved by Cholesky's factors with one step of
    refinement; lines in which a pivot falls below the fourth root of the roundoff are solved by
    orthogonal triangularisation and singular values instead, which do not square the condition.
    Storage: 2^21 numbers of gathered rows and as many of Gram matrices, unless one is larger, a
    copy of the arguments in the widest dtype, and the entries of the lines in `chosen`.
    """
    if lines.is_elsewhere:
        return lines.direct((y, w, F, shift, ridge, load), chosen)  # type: ignore[attr-defined]
    problem = Regressions.of(xp, lines, y, w, F, shift, ridge, load)
    if chosen is not None:
        problem = problem.chosen(chosen)
    if library_name(xp) == "numpy" and problem.rank > _SMALL:
        X, stubborn = _solved_by_lapack(problem)
    else:
        X, stubborn = _solved_in_batches(problem)
    if stubborn.size:
        exact = orthogonal_rows(problem.chosen(stubborn))
        order = _HOST.arange(problem.lines.n_lines)
        order[stubborn] = order.size + _HOST.arange(stubborn.size)
        X = xp.take(xp.concat([X, exact], axis=0), _places(xp, order, F), axis=0)
    return xp.astype(X, F.dtype, copy=False)


# ------------------------------------------------------------------------ normal equations


def _solved_in_batches(problem: Regressions) -> tuple[Array, Array]:
    """Return solutions of all lines, and the numbers of those that are not to be trusted."""
    found, pivots = [], []
    for batch in problem.batches(extra=problem.rank):
        x, pivot = _by_cholesky(batch)
        found.append(x)
        pivots.append(pivot)
    X = problem.restored(found, problem.F)
    trusted = to_numpy(problem.restored(pivots, problem.ridge)) >= _level(problem)
    return X, _HOST.flatnonzero(~trusted & (problem.lines.lengths > 0))


def _level(problem: Regressions) -> float:
    """Return the smallest pivot of a matrix of unit diagonal that is trusted."""
    return math.sqrt(math.sqrt(eps(problem.xp, problem.F.dtype)))


def _by_cholesky(batch: Batch) -> tuple[Array, Array]:
    """Return solutions (r, k), zero where they are not finite, and the smallest pivots (r,)."""
    xp = batch.problem.xp
    H, c, scale = _equilibrated(*_normal_equations(batch), xp)
    k = int(c.shape[1])
    identity = xp.eye(k, dtype=H.dtype, device=device(H))[None, :, :]
    shifted = H + (8 * k * eps(xp, H.dtype)) * identity
    try:
        with errors_raised(xp):
            L = xp.linalg.cholesky(shifted)
    except (ValueError, RuntimeError):  # NumPy's and CuPy's LinAlgError, torch's
        return xp.zeros_like(c), xp.zeros_like(scale[:, 0])
    pivot = xp.min(_real(xp.linalg.diagonal(L), xp), axis=1) ** 2
    good = xp.isfinite(pivot) & (pivot > 0)
    inverse = xp.linalg.inv(xp.where(good[:, None, None], L, identity))
    x = _solved(inverse, c, xp)
    x = x + _solved(inverse, c - times(H, x, xp), xp)
    zero = xp.zeros_like(pivot)
    x = xp.where(good[:, None], x * scale, xp.zeros_like(x))
    return x, xp.where(good, pivot, zero)


def _solved(inverse: Array, c: Array, xp: Namespace) -> Array:
    """Return ``L^-H L^-1 c`` of every line."""
    return times(adjoints(inverse, xp), times(inverse, c, xp), xp)


def _real(x: Array, xp: Namespace) -> Array:
    return xp.real(x) if is_complex(x, xp) else x


def _gram(batch: Batch) -> Array:
    """Return the Gram matrices of the rows, (r, k, k)."""
    xp = batch.problem.xp
    return _sum(xp.matmul(adjoints(A, xp), A) for A, _ in batch.blocks())


def _sum(parts: Iterator[Array]) -> Array:
    return functools.reduce(lambda a, b: a + b, parts)


def _normal_equations(batch: Batch) -> tuple[Array, Array]:
    """Return the matrices (r, k, k) and right sides (r, k)."""
    xp = batch.problem.xp
    G, c = None, None
    for A, b in batch.blocks():
        turned = adjoints(A, xp)
        square, right = xp.matmul(turned, A), times(turned, b, xp)
        G, c = (square, right) if G is None else (G + square, c + right)
    return G + diagonals(batch.added(), c, xp), c


def _equilibrated(G: Array, c: Array, xp: Namespace) -> tuple[Array, Array, Array]:
    """Return matrices of unit diagonal, right sides and scales, zero where an unknown is absent.

    The solutions are to be multiplied by the scales.
    """
    d = _real(xp.linalg.diagonal(G), xp)
    occurs = d > 0
    scale = xp.where(occurs, 1.0 / xp.sqrt(xp.where(occurs, d, xp.ones_like(d))), xp.zeros_like(d))
    absent = diagonals(xp.astype(~occurs, d.dtype), c, xp)
    scale = xp.astype(scale, c.dtype, copy=False)
    return G * scale[:, :, None] * scale[:, None, :] + absent, c * scale, scale


# --------------------------------------------------------------------------- one at a time


def _solved_by_lapack(problem: Regressions) -> tuple[Array, Array]:
    """Return what :func:`_solved_in_batches` does; NumPy has no batched triangular solver.

    A call of BLAS or LAPACK for each line needs no padding, and half of the products.
    """
    X = _HOST.zeros((problem.lines.n_lines, problem.rank), dtype=problem.F.dtype)
    level, doubtful = _level(problem), []
    solve = _LineSolver(problem)
    for i in _HOST.flatnonzero(problem.lines.lengths):
        x, pivot = solve(i)
        if pivot >= level:
            X[i, :] = x
        else:
            doubtful.append(i)
    return X, _HOST.asarray(doubtful, dtype=_HOST.int64)


class _LineSolver:
    """Solves the normal equations of one line at a time."""

    def __init__(self, problem: Regressions) -> None:
        self.problem = problem
        self.y: Array = problem.y
        name = "herk" if is_complex(problem.F, problem.xp) else "syrk"
        self.square: Any = get_blas_funcs(name, (problem.F,))
        self.factor: Any = get_lapack_funcs("potrf", (problem.F,))
        self.solve: Any = get_lapack_funcs("potrs", (problem.F,))

    def __call__(self, i: int) -> tuple[Array, float]:
        """Return the solution and the smallest pivot of line `i`, zero if one is not positive."""
        G, c = self._conjugate_equations(i)
        d = G.diagonal().real
        occurs = d > 0
        scale = 1.0 / _HOST.sqrt(_HOST.where(occurs, d, _HOST.inf))
        G *= scale[:, None]
        G *= scale[None, :]
        if not occurs.all():
            G[~occurs, ~occurs] = 1.0
        L, info = self.factor(G, lower=1, clean=0, overwrite_a=1)
        if info:
            return c, 0.0
        x, _ = self.solve(L, c * scale, lower=1, overwrite_b=1)
        return _HOST.conj(x * scale), float(L.diagonal().real.min()) ** 2

    def _conjugate_equations(self, i: int) -> tuple[Array, Array]:
        """Return ``conj(G)``, its lower triangle, and ``conj(c)``: rows lie as BLAS's columns."""
        problem = self.problem
        part = slice(problem.lines.indptr[i], problem.lines.indptr[i + 1])
        index = problem.lines.indices[part]
        A, b = problem.F[index, :], self.y[part]
        if problem.shift is not None:
            b = b - problem.shift[index]
        p = float(index.size)
        if problem.w is not None:
            w = problem.w[part]
            root, p = _HOST.sqrt(w), float(w.sum())
            A, b = A * root[:, None], b * root
        G = self.square(1.0, A.T, lower=1)
        places = _HOST.arange(problem.rank)
        G[places, places] += problem.ridge + p * problem.load
        return G, A.T @ _HOST.conj(b)


# ----------------------------------------------------------------- orthogonal factorisation


def orthogonal_rows(problem: Regressions) -> Array:
    """Return the minimisers of least norm, (n_lines, k), of lines of any condition and rank.

    The table of a line is made triangular by Householder's reflections; singular values of the
    triangle below the roundoff times the length of the line count as zero.
    """
    found = []
    for batch in problem.batches(extra=problem.rank):
        size = problem.rank + int(batch.valid.shape[1])
        found.append(least_norm(_triangle(batch), size, problem.xp)[0])
    return problem.restored(found, problem.F)


def _triangle(batch: Batch) -> Array:
    """Return the triangular factors (r, k + 1, k + 1) of the rows with the values beside them."""
    xp = batch.problem.xp
    added = xp.sqrt(batch.added())
    R = None
    for A, b in batch.blocks():
        table = xp.concat([A, b[:, :, None]], axis=2)
        if R is None:
            top = diagonals(added, A, xp)
            R = xp.concat([top, xp.zeros_like(top[:, :, :1])], axis=2)
        R = xp.linalg.qr(xp.concat([R, table], axis=1), mode="reduced")[1]
    return R


def _places(xp: Namespace, host: Array, like: Array) -> Array:
    """Return host integers as indices beside an array."""
    return asarray(host, xp=xp, device=device(like), dtype=index_dtype(xp), copy=False)
