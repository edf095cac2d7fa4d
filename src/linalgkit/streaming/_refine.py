"""Exact eigenpairs from a few more passes, for data that can be read again.

A streamed basis is an excellent start for block Krylov iteration. Each pass multiplies one
block of vectors by ``A^H A``; the last one also measures::

    found = refine(X, V, n_passes=2)        # reads X three times
    found.residuals                         # ||S v - l v|| / l_1, exact

The iteration itself knows no data: :func:`refine_basis` takes any function that multiplies by
a positive semi-definite matrix.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from linalgkit._core.array import (
    Array,
    Namespace,
    array_namespace,
    device,
    eps,
    is_sparse,
    widest_dtype,
)
from linalgkit._core.linalg import eigh_desc, hermitian_part, matmul_h, orthonormalise
from linalgkit._core.operators import as_operator
from linalgkit._core.state import PortablePickle
from linalgkit._core.streams import is_reiterable, row_blocks
from linalgkit._core.validation import check_int
from linalgkit.streaming._engine import host_values

Apply = Callable[[Array], Array]

_LARGEST_BLOCKS = 4


@dataclass(frozen=True, eq=False)
class Refinement:
    """Ritz pairs of ``S = A^H A`` in the space that was searched.

    Attributes
    ----------
    eigenvalues : array (k,)
        Ritz values, descending: lower bounds of the eigenvalues, each within
        ``residuals[i] * eigenvalues[0]`` of one.
    eigenvectors : array (d, k)
        Orthonormal Ritz vectors.
    residuals : list of float
        ``||S v_i - l_i v_i||_2 / l_1``, from products with the data.
    gap : float
        Ratio of the k-th Ritz value to the next one; NaN if the space has no more.
    n_passes : int
        How often the data were read.
    """

    eigenvalues: Array = field(repr=False)
    eigenvectors: Array = field(repr=False)
    residuals: list[float]
    gap: float
    n_passes: int


@dataclass(frozen=True)
class Space:
    """An orthonormal basis `K` and its product ``S K``."""

    K: Array
    SK: Array


# ------------------------------------------------------------------------- step functions


def rayleigh_ritz(space: Space, *, xp: Namespace) -> tuple[Array, Array, Array]:
    """Return all Ritz values, descending, Ritz vectors and their products with `S`."""
    lam, C = eigh_desc(hermitian_part(matmul_h(space.K, space.SK, xp), xp), xp)
    return lam, space.K @ C, space.SK @ C


def enlarge(space: Space, W: Array, SW: Array, *, xp: Namespace) -> Space:
    """Return the space with the orthonormal columns `W`, orthogonal to it, added."""
    return Space(xp.concat([space.K, W], axis=1), xp.concat([space.SK, SW], axis=1))


def search_directions(space: Space, q: int, *, xp: Namespace) -> Array:
    """Return orthonormal directions of the residuals of the `q` leading Ritz pairs.

    They are orthogonal to the space, and with it span the next block Krylov space. Residuals
    that are nothing but rounding are left out, so there may be fewer than `q`, or none.
    """
    d, m = space.K.shape
    lam, V, SV = rayleigh_ritz(space, xp=xp)
    q = min(q, d - m)
    R = SV[:, :q] - V[:, :q] * lam[None, :q]
    largest = float(lam[0])
    if q == 0 or largest <= 0.0:
        return R[:, :0]
    for _ in range(2):  # twice is enough
        R = R - space.K @ matmul_h(space.K, R, xp)
    squares, C = eigh_desc(hermitian_part(matmul_h(R, R, xp), xp), xp)
    kept = sum(value > (10.0 * eps(xp, R.dtype) * largest) ** 2 for value in host_values(squares))
    W = orthonormalise(R @ C[:, :kept], xp)
    return orthonormalise(W - space.K @ matmul_h(space.K, W, xp), xp)


def compress(space: Space, q: int, *, xp: Namespace) -> Space:
    """Return the `q` leading Ritz vectors, their products known by linearity (thick restart)."""
    _, V, SV = rayleigh_ritz(space, xp=xp)
    return Space(V[:, :q], SV[:, :q])


# ----------------------------------------------------------------------------- the iteration


# Block Krylov iteration with Rayleigh-Ritz and thick restarts (Golub and Underwood, 1977; Wu
# and Simon, 2000). Differs from them:
# 1. It starts from a basis that is nearly right, and ends with the number of passes.
# 2. New directions are the Ritz residuals, orthogonalised against the whole space: one
#    product with S a pass, no recurrence, hence no loss of orthogonality.
def refine_basis(apply: Apply, V: Array, n_components: int, n_passes: int = 1) -> Refinement:
    """Improve approximate top eigenvectors of a matrix known by its products.

    Parameters
    ----------
    apply : callable
        ``apply(W)`` returns ``S W`` for `W` of shape (d, m); called ``n_passes + 1`` times at
        most, and less often once nothing is left to improve.
    V : array (d, q)
        Start, ``n_components <= q <= d`` columns; orthonormal or not. It is not changed.
    n_components : int
        Number of pairs wanted.
    n_passes : int, default 1
        Improving passes. Each reduces ``sin^2`` of the angle by at least the square of the gap
        ``l_k / l_{q+1}``, and by more as the space grows.

    Returns
    -------
    Refinement
        Ritz pairs with exact residuals.

    Notes
    -----
    Storage: ``8 d q`` numbers of the widest dtype and as much again within a pass.
    """
    search = Search.of(V)
    search = search.taken(apply(search.directions))
    for _ in range(n_passes):
        search = search.aimed()
        if search.directions.shape[1] == 0:
            break
        search = search.taken(apply(search.directions))
    return search.measured(n_components)


@dataclass(frozen=True, eq=False)
class Search(PortablePickle):
    """The iteration between two products, for those who form the products elsewhere.

    Attributes
    ----------
    xp : module
        Namespace.
    width : int
        Columns of the start.
    directions : array (d, m)
        What is to be multiplied next; without columns where nothing is left to improve.
    space : Space or None
        What has been searched.
    done : int
        Products so far.
    """

    xp: Namespace
    width: int
    directions: Array
    space: Space | None = None
    done: int = 0

    @classmethod
    def of(cls, V: Array) -> Search:
        """Begin with the span of `V`, which is not changed."""
        xp = array_namespace(V)
        wide = widest_dtype(xp, device(V), V.dtype)
        return cls(xp, int(V.shape[1]), orthonormalise(xp.astype(V, wide, copy=True), xp))

    def taken(self, product: Array) -> Search:
        """Take in the product of the directions."""
        W = self.directions
        product = self.xp.astype(product, W.dtype, copy=False)
        if self.space is None:
            space = Space(W, product)
        else:
            space = enlarge(self.space, W, product, xp=self.xp)
        return replace(self, space=space, done=self.done + 1)

    def aimed(self) -> Search:
        """Choose the next directions."""
        assert self.space is not None
        space, xp = self.space, self.xp
        if space.K.shape[1] > (_LARGEST_BLOCKS - 1) * self.width:
            space = compress(space, 2 * self.width, xp=xp)
        return replace(self, space=space, directions=search_directions(space, self.width, xp=xp))

    def measured(self, n_components: int) -> Refinement:
        """Return the Ritz pairs of what has been searched."""
        assert self.space is not None
        return _measured(self.space, n_components, self.done, self.xp)


def _measured(space: Space, k: int, n_passes: int, xp: Namespace) -> Refinement:
    lam, V, SV = rayleigh_ritz(space, xp=xp)
    R = SV[:, :k] - V[:, :k] * lam[None, :k]
    values = host_values(lam)
    lengths = host_values(xp.linalg.vector_norm(R, axis=0))
    largest = values[0]
    residuals = [length / largest if largest > 0.0 else 0.0 for length in lengths]
    gap = float("nan")
    if len(values) > k and values[k - 1] > 0.0:
        negligible = values[k] <= 10.0 * eps(xp, V.dtype) * values[k - 1]
        gap = float("inf") if negligible else values[k - 1] / values[k]
    lam = xp.where(lam > 0, lam, xp.zeros_like(lam))
    return Refinement(lam[:k], V[:, :k], residuals, gap, n_passes)


# ---------------------------------------------------------------------------- one-shot form


def normal_pass(source: Any, W: Array, *, exponent: int = 0) -> Array:
    """Return ``A^H A W`` from one pass over the rows of a source.

    Parameters
    ----------
    source : array, memmap, sparse matrix, dask.array or sequence of blocks
        Rows.
    W : array (d, m)
        Vectors in the library of the rows.
    exponent : int, default 0
        Rows are taken in units of ``2**exponent``.

    Returns
    -------
    array (d, m)
        In the dtype of `W`.
    """
    xp = array_namespace(W)
    total = xp.zeros_like(W)
    for block in row_blocks(source):
        A = as_operator(block, like=None if is_sparse(block) else W)
        if exponent:
            A = A.scaled(-exponent)
        narrow = xp.astype(W, A.dtype, copy=False) if A.dtype != W.dtype else W
        _, D = A.normal_product(narrow)
        total = total + xp.astype(D, W.dtype, copy=False)
    return total


def require_reiterable(source: Any) -> None:
    """Raise TypeError for a source that can be read only once."""
    if not is_reiterable(source):
        raise TypeError(
            "source must be readable more than once for passes of refinement, got a "
            f"{type(source).__name__} that is used up by one. Pass the array, memmap or list of "
            "blocks itself, or an object whose __iter__ starts again."
        )


def refine(
    source: Any,
    V: Array,
    n_passes: int = 1,
    *,
    n_components: int | None = None,
    exponent: int = 0,
) -> Refinement:
    """Refine approximate top eigenvectors of ``A^H A`` by exact passes over the rows of `A`.

    Parameters
    ----------
    source : array, memmap, sparse matrix, dask.array or sequence of blocks
        Rows that can be read again.
    V : array (d, q)
        Streamed basis.
    n_passes : int, default 1
        Improving passes; the data are read once more to measure.
    n_components : int, optional
        Number of pairs, `q` by default.
    exponent : int, default 0
        Rows are taken in units of ``2**exponent``, eigenvalues in its square.

    Returns
    -------
    Refinement
        Eigenpairs with exact residuals.

    Raises
    ------
    TypeError
        If `source` can be read only once.
    ValueError
        If `n_passes` is negative, or `n_components` is not between 1 and `q`.
    """
    check_int("n_passes", n_passes, 0)
    q = int(V.shape[1])
    k = q if n_components is None else check_int("n_components", n_components, 1, q)
    require_reiterable(source)
    return refine_basis(lambda W: normal_pass(source, W, exponent=exponent), V, k, n_passes)
