"""Gram matrices of a caller's functions: as given, turned into whiteners, tested on points."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable
from typing import Any

from linalgkit._core.array import (
    Array,
    Device,
    DType,
    Namespace,
    adjoint,
    array_namespace,
    asarray,
    device,
    dtype_name,
    eps,
    is_complex,
    is_complex_dtype,
    matmul_h,
    to_numpy,
    widest_dtype,
)
from linalgkit._core.estimator import as_array
from linalgkit._core.random import HostArray
from linalgkit._core.triangular import cholesky, solve_triangular
from linalgkit._core.validation import AccuracyWarning, check_finite_block

_FALSE_ALARM = 1e-7  # chance of refusing what is orthonormal
_DOUBTFUL = 0.4  # uncertainty of a test that deserves a warning


def checked_gram(gram: Any, dim: int, xp: Namespace, dev: Device, dtype: DType) -> Array:
    """Return a Gram matrix in the widest dtype, beside values of a dtype on a device."""
    given = as_array(gram, "gram")
    found = array_namespace(given)
    if tuple(given.shape) != (dim, dim):
        raise ValueError(f"gram must have shape ({dim}, {dim}), got {tuple(given.shape)}.")
    check_finite_block(given, name="gram")
    if is_complex_dtype(found, given.dtype) and not is_complex_dtype(xp, dtype):
        raise TypeError(
            f"gram must be real for real functions, got {dtype_name(found, given.dtype)}."
        )
    wide = widest_dtype(xp, dev, dtype)
    G = asarray(to_numpy(given), xp=xp, device=dev, dtype=wide, copy=False)
    size = float(xp.max(xp.abs(G)))
    gap = float(xp.max(xp.abs(G - adjoint(G, xp))))
    if gap > 100 * eps(xp, dtype) * size:
        raise ValueError(
            f"gram must be Hermitian, got entries that differ by {gap:.3g} from it. "
            "Pass (G + G.conj().T) / 2."
        )
    return G


def whitener_of(G: Array, source: str, xp: Namespace) -> Array:
    """Return `W` with ``W^H G W = I``, or raise ValueError where functions are nearly dependent."""
    dim = int(G.shape[0])
    diagonal = xp.linalg.diagonal(G)
    squares = xp.real(diagonal) if is_complex(G, xp) else diagonal
    lengths = xp.sqrt(xp.where(squares > 0, squares, xp.ones_like(squares)))
    unit = xp.astype(lengths, G.dtype, copy=False)
    scaled = G / unit[None, :] / unit[:, None]
    least = float(xp.min(xp.linalg.eigvalsh(scaled)))
    if not least > 10 * dim * eps(xp, G.dtype):
        raise ValueError(
            f"the Gram matrix of the {dim} functions (from {source}) must be positive "
            "definite to working precision, but it is not: they are nearly dependent. Drop "
            "some, or pass a better basis."
        )
    L = cholesky(scaled, xp)
    identity = xp.eye(dim, dtype=L.dtype, device=device(L))
    return solve_triangular(L, identity, lower=True, adjoint=True, xp=xp) / unit[:, None]


def check_orthonormal(
    parts: Iterable[tuple[Array, HostArray]],
    bound: float | None,
    xp: Namespace,
    *,
    has_gram: bool,
) -> None:
    """Compare a Gram matrix on points with the identity.

    Each entry is a mean of numbers of modulus at most `bound`. Six standard errors are allowed,
    and what events too rare to be met may hold: `bound` times their probability.

    Parameters
    ----------
    parts : iterable of (array (b, m), float64 (b,))
        Rows of what shall be orthonormal, in the widest dtype, and their weights, of mean one.
    bound : float, optional
        None where the points are the whole measure.
    xp : module
        Namespace of the rows.
    has_gram : bool
        Whether the rows are orthonormal by a Gram matrix of the caller.

    Raises
    ------
    ValueError
        If the difference is more than chance explains.

    Warns
    -----
    AccuracyWarning
        If chance explains so much that the test says little.
    """
    count, sums = 0, None
    for rows, weights in parts:
        dev = device(rows)
        r = asarray(weights, xp=xp, device=dev, dtype=rows.dtype, copy=False)[:, None]
        squares = rows * rows
        if is_complex(rows, xp):
            squares = xp.astype(xp.real(rows * xp.conj(rows)), rows.dtype)
        fourth = xp.matrix_transpose(squares) @ (r * r * squares)
        share = xp.stack([matmul_h(rows, r * rows, xp), fourth])
        sums, count = share if sums is None else sums + share, count + len(weights)
    assert sums is not None  # at least one part
    dim = int(sums.shape[1])
    means, squared = sums[0, ...] / count, xp.abs(sums[1, ...]) / count
    errors = 6 * xp.sqrt(squared / count)
    rare = (bound or 0.0) * math.log(1 / _FALSE_ALARM) / count
    off = xp.abs(means - xp.eye(dim, dtype=means.dtype, device=device(means)))
    if float(xp.max(off - errors)) > rare:
        what = "have the Gram matrix given" if has_gram else "be orthonormal"
        raise ValueError(
            f"fun must {what} where a bound or gram is given, but on {count} points of "
            f"proposal its Gram matrix is off by {float(xp.max(off)):.3g}, more than chance "
            "explains. Pass the right gram=, or leave both out."
        )
    allowed = float(xp.max(errors)) + rare
    if bound is not None and allowed > _DOUBTFUL:
        warnings.warn(
            f"with bound={bound:.6g}, {count} points of proposal test the Gram matrix of fun "
            f"to within {allowed:.2g} only. Give a smaller bound, or be sure of it.",
            AccuracyWarning,
            stacklevel=4,
        )
