"""A triangular factor of nearly the right Gram matrix, from a sketch with columns of unit length.

::

    sketched = take_sketch(system, options, 300)        # R^H R ~ D M^H M D, D = diag(scale)
    basis = singular_basis(sketched.R, tolerance, xp)   # split at the numerical rank

A sketch that would have as many rows as the data is not taken: the factor is then that of the
data themselves.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from linalgkit._core.array import Array, Namespace, adjoint, is_complex, is_complex_dtype
from linalgkit._core.linalg import matmul_h, svd_desc, tsqr
from linalgkit._core.operators import DenseOperator, Operator, SparseOperator
from linalgkit._core.random import PhiloxTiles
from linalgkit._core.scaling import silent
from linalgkit.regression._certificate import floats
from linalgkit.regression._system import PRODUCT_BYTES, OutOfRangeError, System
from linalgkit.sketching import SketchOperator, sketch


@dataclass(frozen=True)
class SketchOptions:
    """What a caller may say about the sketch: its kind, its rows, and the source of its numbers.

    A sketch of `m` rows has its own numbers, the same each time it is asked for.
    """

    kind: str
    m: int | None
    tiles: PhiloxTiles


@dataclass(frozen=True)
class Sketched:
    """A sketch of `M` and its triangular factor.

    Attributes
    ----------
    R : array (p, p)
        Upper triangular, ``R^H R = D (S M)^H (S M) D`` with the ridge. A column of zeros has a
        one on the diagonal.
    scale : array (p,)
        Real diagonal of `D`: columns of ``S M D`` have unit length.
    dead : array (p,) of bool, or None
        Which columns of `M` are zero.
    n_dead : int
        How many.
    right : array (p, k) or None
        ``(S M)^H S b``.
    is_whole : bool
        Whether `S` is the identity.
    """

    R: Array
    scale: Array
    dead: Array | None
    n_dead: int
    right: Array | None
    is_whole: bool


class Basis(NamedTuple):
    """Singular values and right singular vectors of a factor, split at the numerical rank.

    ``rows @ vectors`` is the identity, and ``values * rows`` the part of the factor that is
    kept, up to an orthonormal matrix from the left; the same of what is lost.
    """

    values: Array
    vectors: Array
    rows: Array
    lost_values: Array
    lost_vectors: Array
    lost_rows: Array

    @property
    def rank(self) -> int:
        """How many directions are kept."""
        return int(self.values.shape[0])


def default_rows(system: System, factor: int) -> int:
    """Return the rows of a sketch of about `factor` times as many as columns."""
    return factor * system.size + 16


def take_sketch(
    system: System, options: SketchOptions, m: int, *, with_right: bool = False, nnz: int = 8
) -> Sketched:
    """Sketch `M` (and `b`), scale its columns and factorise; one pass over the data.

    Raises
    ------
    ValueError
        If the data hold NaN or infinity.
    OutOfRangeError
        If a scaling of the data is needed first.
    """
    xp = system.xp
    is_whole = m >= system.length
    if is_whole:
        rows, right = _all_rows(system), None
    else:
        sparsity = min(nnz, m) if options.kind == "sparse_sign" else None
        S = sketch(options.kind, m, system.length, nnz=sparsity, rng=options.tiles.generator(m, 0))
        rows = _applied(system, S)
        right = _sketched_right(system, S, rows) if with_right else None
    norms, dead = _column_norms(system, rows)
    scale = 1 / norms
    R = _factor(system, rows, scale, dead)
    n_dead = 0 if dead is None else int(xp.sum(xp.astype(dead, xp.int32)))
    return Sketched(R, scale, dead, n_dead, right, is_whole)


def _column_norms(system: System, rows: Array) -> tuple[Array, Array | None]:
    """Return norms of the columns with the ridge, 1 for columns of zeros, and which these are."""
    xp, ridge = system.xp, system.ridge()
    with silent():
        squares = system.squares(rows)
    squares = squares if ridge is None else squares + ridge
    norms = xp.sqrt(squares)
    dead = squares == 0
    if all(value > 0 for value in system.check_range(squares)):
        return norms, None
    return xp.where(dead, xp.ones_like(norms), norms), dead


def _factor(system: System, rows: Array, scale: Array, dead: Array | None) -> Array:
    """Return the triangular factor of the scaled rows, of the ridge, and of ones for zeros."""
    xp = system.xp
    rows *= system.as_dtype(scale)[None, :]  # made here, and not needed any more
    parts = [rows]
    extra = extra_rows(system, dead)
    if extra is not None:
        parts.append(extra * system.as_dtype(scale)[None, :])
    return tsqr([xp.concat(parts, axis=0) if len(parts) > 1 else parts[0]])


def extra_rows(system: System, dead: Array | None) -> Array | None:
    """Return the rows of the ridge and of the columns of zeros as one diagonal (p, p), or None."""
    xp, ridge = system.xp, system.ridge()
    if ridge is None and dead is None:
        return None
    squares = xp.zeros((system.size,), dtype=system.real, device=system.device)
    squares = squares if ridge is None else squares + ridge
    squares = squares if dead is None else xp.where(dead, xp.ones_like(squares), squares)
    return system.identity() * system.as_dtype(xp.sqrt(squares))[:, None]


def _applied(system: System, S: SketchOperator) -> Array:
    """Return ``S M``, real where the data are, or raise where it is not finite."""
    step = system.whole_bytes if system.is_in_place else max(PRODUCT_BYTES, 16 * S.m * system.size)

    def share(start: int, block: Operator) -> tuple[Array, ...]:
        return (S.apply_rows(raw(block), start),)

    return _finite(system, lambda: system.total(share, step))


def _finite(system: System, total: Callable[[], tuple[Array, ...]]) -> Array:
    """Return a sum of sketched blocks, as :func:`_applied`."""
    try:
        (found,) = total()
    except ValueError:
        system.equations.check_finite()
        raise OutOfRangeError from None
    return _as_real(found, system)


def _as_real(X: Array, system: System) -> Array:
    """Return real and imaginary part below each other where a complex sketch met real data."""
    xp = system.xp
    if is_complex(X, xp) and not is_complex_dtype(xp, system.dtype):
        return xp.concat([xp.real(X), xp.imag(X)], axis=0)
    return X


def _sketched_right(system: System, S: SketchOperator, rows: Array) -> Array:
    """Return ``(S M)^H S b`` for a tall problem."""

    def share(start: int, B: Array) -> tuple[Array, ...]:
        return (S.apply_rows(B, start),)

    return matmul_h(rows, _finite(system, lambda: system.right_total(share)), system.xp)


def _all_rows(system: System) -> Array:
    """Return the triangular factor of all rows of `M`."""
    with silent():
        return tsqr(system.collected(lambda block: dense_rows(block, system)))


def dense_rows(block: Operator, system: System) -> Array:
    """Return the entries of a block; those of a product with the identity are few."""
    return block.A if isinstance(block, DenseOperator) else block.matmul(system.identity())


def raw(block: Operator) -> Any:
    """Return the array or CSR matrix of a block, or itself if it has none."""
    return block.A if isinstance(block, (DenseOperator, SparseOperator)) else block


def singular_basis(R: Array, tolerance: float, xp: Namespace) -> Basis:
    """Return the singular values above `tolerance` times the largest, and the others."""
    _, s, Vh = svd_desc(R, xp)
    values = floats(s)
    rank = sum(value > tolerance * values[0] for value in values)
    V = adjoint(Vh, xp)
    return Basis(s[:rank], V[:, :rank], Vh[:rank, :], s[rank:], V[:, rank:], Vh[rank:, :])


def singular_values(R: Array, xp: Namespace) -> list[float]:
    """Return the singular values, largest first, as Python floats."""
    return floats(xp.linalg.svdvals(R))


def condition_of(values: list[float]) -> float:
    """Return the ratio of the largest to the smallest singular value."""
    return values[0] / values[-1] if values and values[-1] > 0 else math.inf
