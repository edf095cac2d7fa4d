"""Bounds on the error of one truncated decomposition of several matrices side by side.

With ``M = [A_1, ..., A_K]`` and ``H_r`` the sum of its `r` largest squared singular values, the
relative error is ``sqrt(1 - H_r / ||M||_F^2)``. Lower bounds on ``H_r`` are upper bounds on it::

    bounds = concatenated_svd_bounds(blocks, 10)
    bounds.lower, bounds.upper

"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from linalgkit._core.array import Array, eps, is_complex_dtype, to_numpy, widest_dtype
from linalgkit._core.capabilities import capability
from linalgkit._core.linalg import eigh_desc, hermitian_part, svd_desc
from linalgkit._core.scaling import ldexp_float, norm_fro
from linalgkit._core.validation import check_bool, check_choice, check_int
from linalgkit.svd._blocks import HOST, Blocks, as_blocks
from linalgkit.svd._columns import as_columns, gram
from linalgkit.svd._pile import started
from linalgkit.svd._steps import Truncation, direct_step, host

METHODS = ("incremental", "weyl", "residual", "ritz", "exact")
ORDERS = ("given", "norm", "residual")
_CANCELLED = 1e-8  # of a square: a smaller difference is computed from its entries
_AT_A_TIME = 4096  # matrices whose residuals are taken together
_RITZ = 4  # directions of the Rayleigh-Ritz space, times the rank


@dataclass(frozen=True)
class ErrorBounds:
    """An interval for the Frobenius error of the best approximation of a given rank.

    Attributes
    ----------
    lower, upper : float
        Its ends: shares of ``||M||_F``, or absolute with ``relative=False``. The lower end is 0
        for methods that bound from above alone.
    energy : float
        ``||M||_F``.
    """

    lower: float
    upper: float
    energy: float


@capability("svd.concatenated_svd_bounds", sparse=True)
def concatenated_svd_bounds(
    blocks: Any,
    rank: int,
    *,
    method: str = "incremental",
    order: str = "given",
    relative: bool = True,
) -> ErrorBounds:
    """Return certain bounds on the error of a joint decomposition of matrices side by side.

    Parameters
    ----------
    blocks : list of array (m, n_i), array (K, m, n), iterable
        The matrices; sparse ones and LinearOperators as well.
    rank : int
        Rank of the joint approximation, 1 at least.
    method : {"incremental", "weyl", "residual", "ritz", "exact"}
        ``"incremental"``: both ends from one truncated stream. ``"weyl"``: norms alone, from the
        heaviest matrices that are no wider than `rank` together. ``"residual"``: the largest
        singular values of what each matrix adds to the span of those before; holds for their sum,
        not one by one. ``"ritz"``: all matrices projected on these directions. ``"exact"``: all
        singular values.
    order : {"given", "norm", "residual"}
        Order in which matrices come in: as they are, lightest first, or those first that the
        heaviest ones span best.
    relative : bool, default True
        Whether the error is a share of ``||M||_F``.

    Returns
    -------
    ErrorBounds
        ``lower``, ``upper``, ``energy``.

    Raises
    ------
    TypeError, ValueError
        If there is no matrix, rows differ, numbers are not finite, `rank` is below 1, or a word is
        unknown.

    Notes
    -----
    Storage: the matrices, transposed where they have to be, and ``4 m rank`` numbers; for
    ``"residual"`` and ``"ritz"`` an orthonormal basis of all columns, ``m min(m, n)``.

    References
    ----------
    .. [1] M. Shamrai, "Concatenated Matrix SVD", arXiv:2601.11626.

    Examples
    --------
    >>> import numpy as np
    >>> from linalgkit.svd import concatenated_svd_bounds
    >>> blocks = [np.eye(4)[:, :2], np.eye(4)[:, 2:]]
    >>> bounds = concatenated_svd_bounds(blocks, 2)
    >>> bool(bounds.lower <= np.sqrt(0.5) <= bounds.upper)
    True
    """
    rank = check_int("rank", rank, 1)
    check_choice("method", method, METHODS)
    check_choice("order", order, ORDERS)
    relative = check_bool("relative", relative)
    found = as_blocks(blocks)
    norm = math.sqrt(math.fsum(value * value for value in found.norms))
    energy = ldexp_float(norm, found.exponent)
    if norm == 0.0:
        return ErrorBounds(0.0, 0.0, 0.0)
    low, high = _interval(found, rank, method, order, norm)
    low, high = max(0.0, low), min(1.0, high)
    if relative:
        return ErrorBounds(low, high, energy)
    return ErrorBounds(low * energy, high * energy, energy)


def _interval(
    blocks: Blocks, rank: int, method: str, order: str, norm: float
) -> tuple[float, float]:
    """Return the interval for the relative error."""
    if method == "weyl":
        return 0.0, error_from(weyl_energy(blocks, rank)[0], norm, blocks)
    places = ordered(blocks, rank, order)
    if method == "incremental":
        return started(blocks, places, rank, rank).interval()
    if method == "exact":
        squares = direct_step(
            None, as_columns(blocks.columns(places)), Truncation(blocks.m), blocks.xp
        ).squares
        error = math.sqrt(math.fsum(squares[rank:])) / norm
        room = 8.0 * eps(blocks.xp, blocks.dtype) * math.sqrt(len(squares))
        return error - room, error + room
    values, directions = residual_directions(blocks, places)
    if method == "residual":
        return 0.0, error_from(math.fsum(values[:rank]), norm, blocks)
    energy = _ritz_energy(blocks, directions[: _RITZ * rank, :], rank)
    return 0.0, error_from(energy, norm, blocks)


def error_from(energy: float, norm: float, blocks: Blocks) -> float:
    """Return the relative error that belongs to a sum of squares, with room for rounding."""
    room = 8.0 * eps(blocks.xp, blocks.dtype) * (1 + len(blocks))
    return math.sqrt(max(0.0, 1.0 - energy / (norm * norm)) + room)


def heaviest(
    blocks: Blocks, places: Sequence[int], rank: int, *, is_sorted: bool = False
) -> list[int]:
    """Return the heaviest matrices, in order, as far as they are no wider than `rank` together.

    The heaviest one is always among them.
    """
    by_norm = places if is_sorted else sorted(places, key=lambda i: -blocks.norms[i])
    taken, width = [by_norm[0]], blocks.widths[by_norm[0]]
    for i in by_norm[1 : rank + 1]:
        width += blocks.widths[i]
        if width > rank:
            break
        taken.append(i)
    return taken


def weyl_energy(blocks: Blocks, rank: int) -> tuple[float, list[int]]:
    """Return what the heaviest matrices have for certain in `rank` directions, and which they are.

    A matrix wider than `rank` counts with its largest singular values.
    """
    taken = heaviest(blocks, range(len(blocks)), rank)
    if sum(blocks.widths[i] for i in taken) <= rank:
        return math.fsum(blocks.norms[i] ** 2 for i in taken), taken
    G = hermitian_part(as_columns(blocks.columns(taken)).gram(), blocks.xp)
    values = host(eigh_desc(G, blocks.xp)[0])
    return math.fsum(max(0.0, value) for value in values[:rank]), taken


def ordered(blocks: Blocks, rank: int, order: str) -> list[int]:
    """Return the numbers of the matrices, the heaviest first unless the order is given."""
    if order == "given":
        return list(range(len(blocks)))
    first = heaviest(blocks, range(len(blocks)), rank)
    rest = sorted(set(range(len(blocks))) - set(first))
    if order == "norm":
        return [*first, *sorted(rest, key=lambda i: blocks.norms[i])]
    basis = seed_basis(blocks, first)
    missing = residual_norms(blocks, rest, basis)
    return [*first, *(i for _, i in sorted(zip(missing, rest, strict=True)))]


def seed_basis(blocks: Blocks, places: Sequence[int]) -> Array:
    """Return an orthonormal basis, as rows, of the columns of some matrices."""
    xp = blocks.xp
    columns = as_columns(blocks.columns(places)).dense()
    Q, R = xp.linalg.qr(xp.matrix_transpose(columns), mode="reduced")
    W, s, _ = svd_desc(R, xp)
    values = host(s)
    floor = 8.0 * eps(xp, blocks.dtype) * math.sqrt(len(values)) * (values[0] if values else 0.0)
    count = sum(value > floor for value in values)
    return xp.matrix_transpose(Q @ W[:, :count])


def residual_norms(blocks: Blocks, places: Sequence[int], basis: Array) -> list[float]:
    """Return ``||(I - Q Q^H) A_i||_F``, from one product for many matrices at a time."""
    xp, found = blocks.xp, []
    for start in range(0, len(places), _AT_A_TIME):
        part = places[start : start + _AT_A_TIME]
        C = as_columns(blocks.columns(part)).cross(basis)
        inside = to_numpy(
            xp.sum(xp.real(xp.conj(C) * C) if is_complex_dtype(xp, blocks.dtype) else C * C, axis=0)
        )
        widths = [blocks.widths[i] for i in part]
        starts = [0, *itertools.accumulate(widths)]
        whole = blocks.norms[list(part)] ** 2
        if max(widths) == min(widths) == 1:
            squares = whole - inside
        else:
            kept = [math.fsum(inside[a:b]) for a, b in itertools.pairwise(starts)]
            squares = whole - HOST.asarray(kept)
        for at in HOST.nonzero(squares < _CANCELLED * whole)[0]:
            squares[at] = _residual_square(blocks, part[int(at)], basis)
        found.extend((HOST.maximum(squares, 0.0) ** 0.5).tolist())
    return found


def _residual_square(blocks: Blocks, i: int, basis: Array) -> float:
    """Return the square itself, where the difference of two would have no digits."""
    columns = as_columns(blocks.rows_of(i))
    return norm_fro(columns.without(columns.cross(basis), basis), blocks.xp) ** 2


def residual_directions(blocks: Blocks, places: Sequence[int]) -> tuple[list[float], Array]:
    """Return squared singular values of what each matrix adds, descending, and their directions.

    Parameters
    ----------
    blocks : Blocks
        The matrices.
    places : sequence of int
        Their order.

    Returns
    -------
    squares : list of float
        The union over the matrices.
    directions : array (q, m)
        Left singular vectors, as rows: orthonormal, since each matrix adds what is orthogonal to
        all before.
    """
    xp = blocks.xp
    wide = widest_dtype(xp, blocks.device, blocks.dtype)
    basis: Array | None = None
    found: list[tuple[float, int]] = []
    for i in places:
        columns = as_columns(blocks.rows_of(i))
        rest = columns.dense()
        if basis is not None:
            for _ in range(2):
                rest = (
                    rest - xp.matrix_transpose(xp.astype(gram(basis, rest, xp), rest.dtype)) @ basis
                )
        X, s, _ = svd_desc(xp.astype(xp.matrix_transpose(rest), wide), xp)
        floor = 16.0 * eps(xp, blocks.dtype) * math.sqrt(blocks.m) * blocks.norms[i]
        values = [value for value in host(s) if value > floor]
        if not values:
            continue
        start = 0 if basis is None else int(basis.shape[0])
        found.extend((value * value, start + j) for j, value in enumerate(values))
        new = xp.astype(xp.matrix_transpose(X[:, : len(values)]), blocks.dtype)
        basis = new if basis is None else xp.concat([basis, new], axis=0)
        if int(basis.shape[0]) >= blocks.m:
            break
    assert basis is not None
    found.sort(key=lambda pair: -pair[0])
    rows = xp.asarray([j for _, j in found], dtype=xp.int64, device=blocks.device)
    return [value for value, _ in found], xp.take(basis, rows, axis=0)


def _ritz_energy(blocks: Blocks, directions: Array, rank: int) -> float:
    """Return the sum of the largest eigenvalues of ``Q^H M M^H Q``."""
    xp = blocks.xp
    total = None
    for i in range(len(blocks)):
        C = as_columns(blocks.rows_of(i)).cross(directions)
        product = (
            C @ xp.conj(xp.matrix_transpose(C))
            if is_complex_dtype(xp, blocks.dtype)
            else C @ xp.matrix_transpose(C)
        )
        total = product if total is None else total + product
    assert total is not None
    values = host(eigh_desc(hermitian_part(total, xp), xp)[0])
    return math.fsum(max(0.0, value) for value in values[:rank])
