"""Sums and products of Chebyshev-Tucker functions, and their recompression.

::

    total = add(a, b)                       # exact to rounding, ranks as small as that allows
    square = multiply(a, a, 1e-12)          # to an absolute error in the weighted L2 norm
    smaller, error = recompress(total, 1e-6)

Ranks add in a sum and multiply in a product. A sum is written in a common orthonormal basis of
each mode before it is recompressed, so that no block-diagonal core is formed. A product is never
written in all its ``r_a r_b`` columns a mode: see :func:`multiply`.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence

import scipy.linalg

from linalgkit._core.array import (
    Array,
    Namespace,
    adjoint,
    asarray,
    device,
    eps,
    index_dtype,
    matmul_h,
    numpy_namespace,
    real_dtype,
    to_numpy,
)
from linalgkit._core.linalg import svd_desc
from linalgkit._core.modes import mode_product, mode_products
from linalgkit._core.qr import tsqr
from linalgkit._core.random import as_generator
from linalgkit._core.scaling import ldexp, ldexp_float, max_abs, norm_fro, scale_exponent
from linalgkit._core.validation import AccuracyWarning
from linalgkit.chebyshev._basis import (
    resized,
    scaled,
    to_coefficients,
    to_values,
)
from linalgkit.chebyshev._evaluate import scattered
from linalgkit.chebyshev._parts import Parts, orthonormal, scaled_parts, unweighted, weighted
from linalgkit.chebyshev._recompress import kept, lower_factor, match, recompress, zero_like

__all__ = ["add", "multiply", "recompress"]

_HOST = numpy_namespace()

# Least squares take twice as many nodes as unknowns in each mode while the grid is no larger.
_GRID_POINTS = 8_000_000
_SLAB_POINTS = 4_000_000
_LARGEST_CORE = 250_000_000
# Shares of the error: of the basis of each mode, and of the recompression.
_BASIS_SHARE, _RECOMPRESSION_SHARE = 0.1, 0.95
_CHECKS, _ATTEMPTS, _FINER = 256, 3, 0.05
# Rounding in units of machine epsilon: what a tolerance is never below, and what is no failure.
_ROUNDING, _HARMLESS = 8.0, 64.0
# A sum below so many of these units of its terms is what rounding left of them.
_NOISE = 16.0


# ------------------------------------------------------------------------------------------- sums


def add(a: Parts, b: Parts, sign: int = 1) -> Parts:
    """Return ``a + sign b``.

    Parameters
    ----------
    a, b : Parts
        Functions on one box, in one library, in the widest dtype of the device.
    sign : int, default 1
        1 or -1.

    Returns
    -------
    Parts
        The sum, factors orthonormal, recompressed to an error of two machine epsilons of the
        larger of the two norms. Below 16 of them it is the zero function of rank 1 and degree 0,
        as ``T - T`` is.

    Raises
    ------
    TypeError
        If they lie in two libraries.
    ValueError
        If the boxes or devices differ.

    Notes
    -----
    Storage: a core of ``prod min(r_a + r_b, m)`` numbers, three times.
    """
    a, b = (orthonormal(f) for f in match(a, b))
    xp = a.xp
    exponent = scale_exponent(max(max_abs(a.core, xp), max_abs(b.core, xp)))
    a, b = (scaled_parts(f, -exponent) for f in (a, b))
    rounding = eps(xp, a.core.dtype) * max(norm_fro(a.core, xp), norm_fro(b.core, xp))
    factors, left, right = [], [], []
    for k, (F, G) in enumerate(zip(a.factors, b.factors, strict=True)):
        m = max(int(F.shape[0]), int(G.shape[0]))
        F, G = weighted(resized(F, m, xp), xp), weighted(resized(G, m, xp), xp)
        used = [A @ lower_factor(f.core, k, xp) for A, f in ((F, a), (G, b))]
        Q = _common_basis(xp.concat(used, axis=1), 0.5 * rounding, xp)
        factors.append(unweighted(Q, xp))
        left.append(matmul_h(Q, F, xp))
        right.append(matmul_h(Q, G, xp))
    one, two = mode_products(a.core, left, xp), mode_products(b.core, right, xp)
    total = Parts(one + two if sign > 0 else one - two, tuple(factors), a.intervals, xp)
    if norm_fro(total.core, xp) <= _NOISE * rounding:
        return zero_like(total)
    return scaled_parts(recompress(total, 2.0 * rounding)[0], exponent)


def _common_basis(A: Array, absolute: float, xp: Namespace) -> Array:
    """Return an orthonormal basis of the columns of a matrix, to a Frobenius error."""
    exponent = scale_exponent(max_abs(A, xp))
    Q, R = xp.linalg.qr(ldexp(A, -exponent, xp))
    U, s, _ = svd_desc(R, xp)
    return Q @ U[:, : kept(s, ldexp_float(absolute, -exponent))]


# --------------------------------------------------------------------------------------- products


def multiply(a: Parts, b: Parts, absolute: float) -> Parts:
    """Return the pointwise product to an error.

    Parameters
    ----------
    a, b : Parts
        Functions on one box, in one library, in the widest dtype of the device.
    absolute : float
        The error allowed, in the weighted L2 norm and the unit of the product. Below 8 machine
        epsilons of the product of the two norms, rounding of the factors, it is taken as those.

    Returns
    -------
    Parts
        The product, factors orthonormal, recompressed.

    Raises
    ------
    TypeError
        If they lie in two libraries.
    ValueError
        If the boxes or devices differ.

    Warns
    -----
    AccuracyWarning
        If the product at random points still differs from the factors' by more than `absolute`
        and rounding after bases have been refined.

    Notes
    -----
    A basis of each mode comes from the products of the factors' columns, weighted by the cores
    (the root of the Gram matrix of each unfolding), truncated well below `absolute`; the core by
    least squares from the values at nodes that a QR factorisation with column pivoting chooses.
    Ranks before the recompression are thus at most ``min(m_a + m_b - 1, r_a r_b)``, usually far
    less. The truncation is a bound only up to a constant, so the product is compared with the
    factors at 256 random points, and refined where it misses. Storage: ``prod p_k`` numbers three
    times for bases of ranks ``p_k``, a slab of at most 4e6 values or of one node of mode 0, and
    ``5 (m_a + m_b)^2`` numbers for a basis.
    """
    a, b = match(a, b)
    a, shift_a = _of_order_one(a)
    b, shift_b = _of_order_one(b)
    goal = ldexp_float(max(float(absolute), 0.0), -(shift_a + shift_b))
    lengths = [m + n - 1 for m, n in zip(a.lengths, b.lengths, strict=True)]
    values = [_on_nodes(f, lengths) for f in (a, b)]
    product = _checked_product(a, b, values, goal)
    return scaled_parts(product, shift_a + shift_b)


def _of_order_one(f: Parts) -> tuple[Parts, int]:
    """Return an orthonormal function with a core of order one, and the exponent taken from it."""
    f = orthonormal(f)
    exponent = scale_exponent(max_abs(f.core, f.xp))
    return scaled_parts(f, -exponent), exponent


def _on_nodes(f: Parts, lengths: Sequence[int]) -> list[Array]:
    """Return the values of the factors' columns at nodes, (n_k, r_k)."""
    return [
        to_values(resized(F, n, f.xp), 0, f.xp) for F, n in zip(f.factors, lengths, strict=True)
    ]


def _checked_product(a: Parts, b: Parts, values: Sequence[list[Array]], goal: float) -> Parts:
    """Return the product from bases of its modes, refined until it holds at random points."""
    t = _HOST.sin(as_generator(0).uniform(-math.pi, math.pi, (_CHECKS, a.order)))
    exact = _at(a, t) * _at(b, t)
    unit = eps(a.xp, a.core.dtype)
    size = max(_rms(exact), norm_fro(a.core, a.xp) * norm_fro(b.core, b.xp))
    goal = max(goal, _ROUNDING * unit * size)
    best, least = a, math.inf
    for attempt in range(_ATTEMPTS):
        tolerance = _BASIS_SHARE * goal * _FINER**attempt
        product, largest = _in_bases(a, b, values, tolerance, attempt)
        product = recompress(product, _RECOMPRESSION_SHARE * goal)[0]
        found = _rms(_at(product, t) - exact)
        if found < least:
            best, least = product, found
        if least <= max(2.0 * goal, _HARMLESS * unit * largest):
            return best
    warnings.warn(
        f"the product misses its factors' by {least / size:.1e} at {_CHECKS} random points, "
        f"relative to its size, where {goal / size:.1e} was asked for. Recompress the factors to "
        "a smaller tolerance first, or take chebtucker of the product.",
        AccuracyWarning,
        stacklevel=6,
    )
    return best


def _rms(x: Array) -> float:
    """Return the root of the mean square (host)."""
    return math.sqrt(float(_HOST.mean(_HOST.abs(x) ** 2)))


def _at(f: Parts, t: Array) -> Array:
    """Return values (n,) at points of [-1, 1]^d, both on the host."""
    columns = [scaled(c, interval) for c, interval in zip(t.T, f.intervals, strict=True)]
    dtype = real_dtype(f.xp, f.core.dtype)
    x = asarray(_HOST.stack(columns, axis=1), xp=f.xp, device=f.device, dtype=dtype)
    return to_numpy(scattered(f, x, "extrapolate"))


# ----------------------------------------------------------------------------- bases of a product


def _in_bases(
    a: Parts, b: Parts, values: Sequence[list[Array]], tolerance: float, attempt: int
) -> tuple[Parts, float]:
    """Return the product in bases exact to a tolerance, and its largest value on chosen nodes."""
    xp = a.xp
    factors, places, maps = [], [], []
    bases = [
        _product_basis(a, b, X, Y, k, tolerance)
        for k, (X, Y) in enumerate(zip(*values, strict=True))
    ]
    shapes = [tuple(map(int, Q.shape)) for Q in bases]
    _refuse_large([p for _, p in shapes])
    counts = _counts(shapes, attempt)
    for Q, count in zip(bases, counts, strict=True):
        F = unweighted(Q, xp)
        V = _HOST.asarray(to_numpy(to_values(F, 0, xp)))
        chosen = _pivots(V, count)
        factors.append(F)
        places.append(chosen)
        maps.append(
            asarray(_HOST.linalg.pinv(V[chosen, :]), xp=xp, device=device(F), dtype=F.dtype)
        )
    core, largest = _core_at(a, b, values, places, maps)
    return Parts(core, tuple(factors), a.intervals, xp), largest


def _product_basis(a: Parts, b: Parts, X: Array, Y: Array, axis: int, tolerance: float) -> Array:
    """Return an orthonormal basis (n, p) of the product's coefficients along a mode, weighted.

    With ``f = sum_i u_i(x_k) q_i`` and ``g = sum_j v_j(x_k) s_j``, the `q` and the `s` orthonormal
    functions of the other variables, what a projection loses of all ``u_i v_j`` bounds what it
    loses of the product up to a constant of the order of ``sum_i |q_i|^2``.
    """
    xp = a.xp
    X = X @ _scaled_columns(a.core, axis, xp)
    Y = Y @ _scaled_columns(b.core, axis, xp)
    R = tsqr(_khatri_rao_rows(X, Y, xp))
    U, s, _ = svd_desc(adjoint(R, xp), xp)
    rounding = math.sqrt(X.shape[0]) * eps(xp, X.dtype) * norm_fro(s, xp)
    return U[:, : kept(s, max(tolerance, rounding))]


def _scaled_columns(core: Array, axis: int, xp: Namespace) -> Array:
    """Return left singular vectors of an unfolding times the singular values, largest first."""
    U, s, _ = svd_desc(lower_factor(core, axis, xp), xp)
    return U * xp.astype(s, core.dtype, copy=False)[None, :]


def _khatri_rao_rows(X: Array, Y: Array, xp: Namespace) -> Iterator[Array]:
    """Yield blocks of the conjugate transpose of all products of columns, as coefficients."""
    n = int(X.shape[0])
    step = max(1, 4 * n // max(int(Y.shape[1]), 1))
    for start in range(0, int(X.shape[1]), step):
        stop = min(start + step, int(X.shape[1]))
        block = xp.reshape(X[:, start:stop, None] * Y[:, None, :], (n, -1))
        yield adjoint(weighted(to_coefficients(block, 0, xp), xp), xp)


def _refuse_large(ranks: Sequence[int]) -> None:
    """Raise where the core of a product would not fit."""
    if math.prod(ranks) > _LARGEST_CORE:
        raise ValueError(
            f"the product must have a core of at most {_LARGEST_CORE} numbers before its "
            f"recompression, got ranks {tuple(ranks)}. Recompress the factors first "
            "(T.recompress), with the tolerance that the product needs."
        )


def _counts(shapes: Sequence[tuple[int, ...]], attempt: int) -> list[int]:
    """Return how many nodes of each mode to take: twice the basis if the grid stays small."""
    for factor in (2.0 + 2.0 * attempt, 1.5 + attempt, 1.2 + attempt):
        counts = [min(n, math.ceil(factor * p) + 1) for n, p in shapes]
        if math.prod(counts) <= _GRID_POINTS:
            return counts
    return [min(n, p + attempt) for n, p in shapes]


def _pivots(V: Array, count: int) -> Array:
    """Return `count` rows of V (n, p) on which its columns are well conditioned (host)."""
    n, p = V.shape
    if count >= n:
        return _HOST.arange(n)
    left, chosen = _HOST.arange(n), _HOST.arange(0)
    while chosen.shape[0] < count:
        order = scipy.linalg.qr(V[left, :].conj().T, mode="r", pivoting=True)[1]
        take = order[: min(p, count - chosen.shape[0])]
        chosen = _HOST.concatenate([chosen, left[take]])
        left = _HOST.delete(left, take)
    return _HOST.sort(chosen)


def _core_at(
    a: Parts,
    b: Parts,
    values: Sequence[list[Array]],
    places: Sequence[Array],
    maps: Sequence[Array],
) -> tuple[Array, float]:
    """Return the core by least squares from the product at chosen nodes, and its largest value."""
    xp = a.xp
    indices = [asarray(p, xp=xp, device=a.device, dtype=index_dtype(xp)) for p in places]
    at = [[xp.take(X, i, axis=0) for X, i in zip(V, indices, strict=True)] for V in values]
    rest = math.prod(len(p) for p in places[1:])
    step = max(1, _SLAB_POINTS // rest)
    slabs, largest = [], 0.0
    for start in range(0, len(places[0]), step):
        stop = min(start + step, len(places[0]))
        one, two = (
            mode_products(f.core, [rows[0][start:stop, :], *rows[1:]], xp)
            for f, rows in zip((a, b), at, strict=True)
        )
        one = one * two
        largest = max(largest, max_abs(one, xp))
        slabs.append(mode_products(one, [None, *maps[1:]], xp))
    core = slabs[0] if len(slabs) == 1 else xp.concat(slabs, axis=0)
    return mode_product(core, maps[0], 0, xp), largest
