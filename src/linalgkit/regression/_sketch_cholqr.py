"""Driver ``"sketch_cholqr"``: Cholesky QR of the data times the inverse factor of a sketch.

``A R^-1``, with `R` from the QR factorisation of a sketch, is nearly orthonormal whatever the
condition of `A`, so that its Gram matrix can be formed, a block of rows at a time, and
factorised. Twice the flops of the Gram matrix of `A`, all of them matrix products, and no second
copy of the data. Directions that the data do not determine are left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

from linalgkit._core.array import Array, DType, adjoint, is_complex_dtype, matmul_h
from linalgkit._core.linalg import (
    NotPositiveDefiniteError,
    cholesky,
    norm_fro,
    solve_triangular,
)
from linalgkit._core.operators import DenseOperator, Operator, SparseOperator
from linalgkit._core.scaling import silent
from linalgkit._core.triangular import matmul_upper, solve_unchecked
from linalgkit._kernels import gram
from linalgkit.regression._coordinates import (
    Coordinates,
    Maps,
    alive_columns,
    is_confirmed,
    leading,
    scaled_basis,
    whole_factor,
)
from linalgkit.regression._precondition import (
    Basis,
    Sketched,
    SketchOptions,
    condition_of,
    default_rows,
    extra_rows,
    singular_values,
    take_sketch,
)
from linalgkit.regression._shortest import shortest
from linalgkit.regression._solver import DirectSolver
from linalgkit.regression._system import PRODUCT_BYTES, State, System, add_to

ROWS_A_COLUMN = 3
# The factor need not be as good as one to iterate with.
_NONZEROS = 4
ATTEMPTS = 3
# Up to this share of digits lost, products with the explicit inverse and single-precision Gram
# matrices are good enough for the corrections to converge at once.
_QUICK = 1e-4


# Fukaya et al. 2020 (Cholesky QR) after a randomised preconditioner, as in Higgins, Szyld, Boman,
# Yamazaki, "Analysis of randomized Householder-Cholesky QR factorization with multisketching",
# Numer. Math. (2025). Differs from it:
# 1. Q is not kept: blocks of A R^-1 go into the Gram matrix and are forgotten, and the solution
#    comes from the triangular factor and corrections with A.
# 2. Up to a condition number of 1e11 R is inverted, and the Gram matrix is of single precision:
#    both need half of the time, and their errors of about 1e-5 are what the corrections remove.
# 3. Of a numerically singular R the singular vectors above the tolerance are taken instead.
def cholqr_solver(
    system: System, options: SketchOptions, tolerance: float, *, is_quick: bool = True
) -> DirectSolver | None:
    """Return a solver from a sketch and Cholesky QR, or None where the sketches are unfit.

    Parameters
    ----------
    system : System
        The problem.
    options : SketchOptions
        The sketch; a sketch that has lost rank is replaced by one of twice the rows, at most
        three times.
    tolerance : float
        Singular values below it, relative to the largest, count as zero.
    is_quick : bool, default True
        Whether the factor need only be good enough for corrections to converge.
    """
    m = options.m or default_rows(system, ROWS_A_COLUMN)
    for _ in range(ATTEMPTS):
        sketched = take_sketch(system, options, m, nnz=_NONZEROS)
        solver = _from_sketch(system, sketched, tolerance, is_quick)
        if solver is not None or sketched.is_whole:
            return solver
        m *= 2
    return None


def _from_sketch(
    system: System, sketched: Sketched, tolerance: float, is_quick: bool
) -> DirectSolver | None:
    """Return the solver of one sketch, or None where the sketch is unfit."""
    inverse, condition = _inverse(sketched.R, system)
    # Wide problems need an accurate image of each step, which products with an inverse are not.
    is_quick = is_quick and not system.is_wide
    is_quick = is_quick and condition * max(tolerance, system.roundoff / _QUICK) < 1
    has_rows = system.equations.is_dense
    if is_quick or (
        has_rows and inverse is not None and _has_full_rank(sketched, tolerance, system)
    ):
        return _finish(system, sketched, _triangular(sketched, inverse, system, is_quick))
    basis = scaled_basis(system, sketched, tolerance)
    if not (sketched.is_whole or is_confirmed(system, basis, tolerance)):
        return None
    return _finish(system, sketched, leading(basis, system), basis)


def _inverse(R: Array, system: System) -> tuple[Array | None, float]:
    """Return the inverse of `R` and a bound on its condition number, or None and infinity."""
    if not bool(system.xp.all(system.xp.linalg.diagonal(R) != 0)):
        return None, math.inf
    with silent():
        inverse = solve_unchecked(R, system.identity(), False, False, False, system.xp)
        condition = norm_fro(R, system.xp) * norm_fro(inverse, system.xp)
    return (inverse, condition) if math.isfinite(condition) else (None, math.inf)


def _has_full_rank(sketched: Sketched, tolerance: float, system: System) -> bool:
    values = singular_values(sketched.R, system.xp)
    return values[-1] > tolerance * values[0]


# ------------------------------------------------------------------------------ coordinates


def _triangular(
    sketched: Sketched, inverse: Array | None, system: System, is_quick: bool
) -> Coordinates:
    """Return ``P = D R^-1``; substitution where products with the inverse lose digits."""
    assert inverse is not None
    xp = system.xp
    R = sketched.R * system.as_dtype(1 / sketched.scale)[None, :]
    P = inverse * system.as_dtype(sketched.scale)[:, None]

    def product(block: Operator) -> Array:
        return matmul_upper(block.A, P, xp) if isinstance(block, DenseOperator) else block.matmul(P)

    def substitution(block: Operator) -> Array:
        assert isinstance(block, DenseOperator)
        return adjoint(solve_unchecked(R, adjoint(block.A, xp), False, False, True, xp), xp)

    def reduce(g: Array) -> Array:
        return solve_unchecked(R, g, False, False, True, xp)

    def expand(h: Array) -> Array:
        return solve_unchecked(R, h, False, False, False, xp)

    rows = product if is_quick else substitution
    return Coordinates(rows, system.size, reduce, expand, R, is_quick)


# ----------------------------------------------------------------------------- Gram matrix


def _finish(
    system: System, sketched: Sketched, coordinates: Coordinates, basis: Basis | None = None
) -> DirectSolver | None:
    """Factorise the Gram matrix of ``M P`` and put the solver together."""
    xp = system.xp
    G, right, state = _gram(system, sketched, coordinates)
    try:
        L = cholesky(G, xp)
    except NotPositiveDefiniteError:
        return None
    R = adjoint(L, xp) @ coordinates.inverse
    values = singular_values(R * system.as_dtype(sketched.scale)[None, :], xp)
    rank = system.size - sketched.n_dead
    if basis is not None:
        rank, values = basis.rank, values[: basis.rank]
        R = whole_factor(R, basis, system)
    R = R * system.as_dtype(alive_columns(system, sketched))[None, :]
    maps = _whitened(coordinates, L, system)
    units, condition = system.units_of(sketched.scale), condition_of(values)
    solver = DirectSolver("sketch_cholqr", state, maps, R, units, rank, condition)
    solver.first = None if right is None else solve_triangular(L, right, lower=True, xp=xp)
    solver.shorten = shortest(system, sketched, basis)
    return solver


def _gram(
    system: System, sketched: Sketched, coordinates: Coordinates
) -> tuple[Array, Array | None, State]:
    """Return the Gram matrix of ``M P``, ``(M P)^H b`` of tall problems, and the state at 0."""
    narrow = _narrow_dtype(system) if coordinates.is_quick else system.dtype

    def share(block: Operator, B: Array | None) -> tuple[Array, ...]:
        total: tuple[Array, ...] | None = None
        for Y, right in _mapped(block, B, coordinates, system):
            total = add_to(total, _products(Y, right, narrow, system))
        assert total is not None
        return total

    total, state = system.accumulate(share, with_gradient=False)
    if not system.is_wide:
        state = replace(state, gradient=matmul_h(coordinates.inverse, total[1], system.xp))
    has_dead = coordinates.n_kept == system.size
    extra = extra_rows(system, sketched.dead if has_dead else None)
    if extra is not None:
        right = None if system.is_wide else system.zeros(system.size, system.k)
        total = add_to(total, share(DenseOperator(extra), right))
    return system.as_dtype(total[0]), None if system.is_wide else total[1], state


def _products(Y: Array, right: Array | None, narrow: DType, system: System) -> tuple[Array, ...]:
    """Return ``Y^H Y``, perhaps in single precision, and ``Y^H B``."""
    G = gram(system.xp, system.xp.astype(Y, narrow, copy=False))
    return (G,) if right is None else (G, matmul_h(Y, right, system.xp))


def _narrow_dtype(system: System) -> DType:
    """Return the dtype of single precision, real or complex as the data."""
    xp = system.xp
    return xp.complex64 if is_complex_dtype(xp, system.dtype) else xp.float32


def _mapped(
    block: Operator, B: Array | None, coordinates: Coordinates, system: System
) -> Iterator[tuple[Array, Array | None]]:
    """Yield ``X P`` and the right sides for the rows `X` of a block, some at a time."""
    n, step = block.shape[0], system.block_rows(PRODUCT_BYTES, system.size)
    if not isinstance(block, SparseOperator):
        yield coordinates.rows(block), B
        return
    for start in range(0, n, step):
        stop = min(start + step, n)
        part = coordinates.rows(block.rows(start, stop))
        yield part, None if B is None else B[start:stop, :]


def _whitened(coordinates: Coordinates, L: Array, system: System) -> Maps:
    """Return the maps to and from coordinates in which the Gram matrix is the identity."""
    xp = system.xp

    def reduce(g: Array) -> Array:
        return solve_triangular(L, coordinates.reduce(g), lower=True, xp=xp)

    def coloured(h: Array) -> Array:
        return solve_triangular(L, h, lower=True, adjoint=True, xp=xp)

    def expand(h: Array) -> Array:
        return coordinates.expand(coloured(h))

    def image(block: Operator, h: Array) -> Array:
        h = coloured(h)
        parts = [Y @ h for Y, _ in _mapped(block, None, coordinates, system)]
        return parts[0] if len(parts) == 1 else xp.concat(parts, axis=0)

    return Maps(reduce, expand, _same if system.is_wide else reduce, image)


def _same(g: Array) -> Array:
    return g
