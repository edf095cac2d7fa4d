"""Bounds on the error of one truncated decomposition of several matrices side by side.

With ``M = [A_1, ..., A_K]`` and ``H_r`` the sum of its `r` largest squared singular values, the
relative error is ``sqrt(1 - H_r / ||M||_F^2)``. Lower bounds on ``H_r`` are upper bounds on it::

    bounds = concatenated_svd_bounds(blocks, 10)
    bounds.lower, bounds.upper

"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from linalgkit._core.array import Array, adjoint, eps, is_complex_dtype, to_numpy, widest_dtype
from linalgkit._core.capabilities import capability
from linalgkit._core.linalg import eigh_desc, hermitian_part, svd_desc
from linalgkit._core.scaling import ldexp_float
from linalgkit._core.validation import check_bool, check_choice, check_int
from linalgkit.svd._blocks import HOST, Blocks, Places, as_blocks
from linalgkit.svd._columns import as_columns, gram
from linalgkit.svd._pile import started
from linalgkit.svd._steps import Truncation, direct_step, host

METHODS = ("incremental", "weyl", "residual", "ritz", "exact")
ORDERS = ("given", "norm", "residual")
_CANCELLED = 1e-8  # of a square: a smaller difference is computed from its entries
_AT_A_TIME = 4096  # columns whose residuals are taken together
_BATCH = 512  # columns that are held against the span of those before together
_LITTLE = 0.01  # share of a column below which it is held against those before once more
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


@capability("svd.concatenated_svd_bounds", sparse=True, synchronisations={"call": 10})
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
    Cost: for `n` columns in all, norms alone for ``"weyl"``, ``O(m rank n)`` operations for
    ``"incremental"``, ``O(m n min(m, n))`` for the others. Single columns are not gone through one
    by one.

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
    norm = math.sqrt(found.energy(range(len(found))))
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
        seed = heaviest(blocks, range(len(blocks)), rank)
        return 0.0, error_from(certain_energy(blocks, seed, rank), norm, blocks)
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
    count = min(_RITZ * rank, int(directions.shape[0]))
    energy = _ritz_energy(blocks, directions[:count, :], rank)
    return 0.0, error_from(energy, norm, blocks)


def error_from(energy: float, norm: float, blocks: Blocks) -> float:
    """Return the relative error that belongs to a sum of squares, with room for rounding.

    The sum is one of as many directions as there are matrices or rows, each of them orthogonal to
    the others but for some roundoffs.
    """
    room = 8.0 * eps(blocks.xp, blocks.dtype) * (1 + min(len(blocks), blocks.m))
    return math.sqrt(max(0.0, 1.0 - energy / (norm * norm)) + room)


def heaviest(blocks: Blocks, places: Places, rank: int, *, is_sorted: bool = False) -> list[int]:
    """Return the heaviest matrices, in order, as far as they are no wider than `rank` together.

    The heaviest one is always among them.
    """
    first = (places if is_sorted else blocks.by_norm(places))[: rank + 1]
    widths = HOST.cumsum(blocks.widths[HOST.asarray(first, dtype="int64")])
    count = max(1, int(HOST.searchsorted(widths, rank, side="right")))
    return [int(i) for i in first[:count]]


def certain_energy(blocks: Blocks, seed: list[int], rank: int) -> float:
    """Return what the heaviest matrices have for certain in `rank` directions.

    A matrix wider than `rank` counts with its largest singular values.
    """
    if blocks.width(seed) <= rank:
        return blocks.energy(seed)
    return math.fsum(residual_directions(blocks, seed)[0][:rank])


def ordered(blocks: Blocks, rank: int, order: str) -> Places:
    """Return the numbers of the matrices, the heaviest first unless the order is given."""
    everyone = HOST.arange(len(blocks))
    if order == "given":
        return everyone
    first = heaviest(blocks, everyone, rank)
    rest = HOST.delete(everyone, first)
    if order == "norm":
        keys = blocks.norms[rest]
    else:
        keys = residual_norms(blocks, rest, seed_basis(blocks, first))
    return HOST.concat([HOST.asarray(first), rest[HOST.argsort(keys, stable=True)]])


def seed_basis(blocks: Blocks, places: Places) -> Array:
    """Return an orthonormal basis, as rows, of the columns of some matrices."""
    xp = blocks.xp
    columns = as_columns(blocks.columns(places)).dense()
    Q, R = xp.linalg.qr(xp.matrix_transpose(columns), mode="reduced")
    W, s, _ = svd_desc(R, xp)
    values = host(s)
    floor = 8.0 * eps(xp, blocks.dtype) * math.sqrt(len(values)) * (values[0] if values else 0.0)
    count = sum(value > floor for value in values)
    return xp.matrix_transpose(Q @ W[:, :count])


def residual_norms(blocks: Blocks, places: Places, basis: Array) -> Any:
    """Return ``||(I - Q Q^H) A_i||_F``, from one product for many matrices at a time.

    Parameters
    ----------
    blocks : Blocks
        The matrices.
    places : sequence of int
        Which of them.
    basis : array (q, m)
        ``Q``, orthonormal rows.

    Returns
    -------
    array (k,) of the host, float64
    """
    places = HOST.asarray(places, dtype="int64")
    squares = HOST.zeros(len(places))
    start = 0
    for part in blocks.parts(places, _AT_A_TIME):
        C = as_columns(blocks.columns(part)).cross(basis)
        moduli = column_squares(C, blocks)
        inside = blocks.sums(HOST.astype(to_numpy(moduli), "float64"), blocks.widths[part])
        whole = blocks.norms[part] ** 2
        missing = whole - inside
        exact = HOST.nonzero(missing < _CANCELLED * whole)[0]
        if len(exact):
            missing[exact] = _residual_squares(blocks, part[exact], basis)
        squares[start : start + len(part)] = missing
        start += len(part)
    return HOST.maximum(squares, 0.0) ** 0.5


def column_squares(C: Array, blocks: Blocks) -> Array:
    """Return the squared norms of the columns of an array."""
    xp = blocks.xp
    moduli = xp.real(xp.conj(C) * C) if is_complex_dtype(xp, C.dtype) else C * C
    return xp.sum(moduli, axis=0)


def _residual_squares(blocks: Blocks, places: Places, basis: Array) -> Any:
    """Return the squares themselves, where the difference of two would have no digits."""
    xp = blocks.xp
    columns = as_columns(blocks.columns(places))
    rest = columns.without(columns.cross(basis), basis)
    wide = xp.astype(rest, widest_dtype(xp, blocks.device, blocks.dtype), copy=False)
    squares = to_numpy(column_squares(xp.matrix_transpose(wide), blocks))
    return blocks.sums(HOST.astype(squares, "float64"), blocks.widths[places])


def residual_directions(blocks: Blocks, places: Places) -> tuple[list[float], Array]:
    """Return squared singular values of what each matrix adds, descending, and their directions.

    Matrices are held against the span of those before many at a time; only those that add to it,
    `m` at most, are looked at one by one.

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
    basis = xp.zeros((0, blocks.m), dtype=blocks.dtype, device=blocks.device)
    squares: list[float] = []
    for part in blocks.parts(places, _BATCH):
        found, new = _batch_directions(blocks, part, basis)
        squares.extend(found)
        if new:
            basis = xp.concat([basis, *new], axis=0)
        if int(basis.shape[0]) >= blocks.m:
            break
    order = sorted(range(len(squares)), key=lambda j: -squares[j])
    rows = xp.asarray(order, dtype=xp.int64, device=blocks.device)
    return [squares[j] for j in order], xp.take(basis, rows, axis=0)


def _batch_directions(
    blocks: Blocks, places: Places, basis: Array
) -> tuple[list[float], list[Array]]:
    """Return what some matrices add to a basis, one after the other."""
    xp = blocks.xp
    rest = _without(as_columns(blocks.columns(places)).dense(), basis, blocks)
    ends = HOST.cumsum(blocks.widths[places])
    floors = 16.0 * eps(xp, blocks.dtype) * math.sqrt(blocks.m) * blocks.norms[places]
    squares: list[float] = []
    new: list[Array] = []
    room = blocks.m - int(basis.shape[0])
    at = 0
    if blocks.are_columns:
        squares, rows = _column_directions(blocks, places, rest, room)
        at = len(squares)
        if at:
            new, room, rest = [rows], room - at, _without(rest[at:, :], rows, blocks)
    while room > 0 and at < len(places):
        norms = _norms(blocks, places[at:], rest)
        adding = HOST.nonzero(norms > floors[at:])[0]
        if len(adding) == 0:
            break
        skipped, at = (int(ends[at - 1]) if at else 0), at + int(adding[0])
        begin = int(ends[at]) - int(blocks.widths[places[at]]) - skipped
        width = int(blocks.widths[places[at]])
        own = rest[begin : begin + width, :]
        rest = rest[begin + width :, :]
        for earlier in (basis, *new):
            own = _without(own, earlier, blocks)
        values, rows = _directions(own, float(floors[at]), blocks)
        at += 1
        if values:
            squares.extend(value * value for value in values[:room])
            new.append(rows[: min(room, int(rows.shape[0])), :])
            room -= int(new[-1].shape[0])
            rest = _without(rest, new[-1], blocks)
    return squares, new


def _column_directions(
    blocks: Blocks, places: Places, rest: Array, room: int
) -> tuple[list[float], Array]:
    """Return what single columns add, from one factorisation, up to the first that adds little.

    The diagonal of ``R`` holds the lengths of what each column adds to those before.
    """
    xp = blocks.xp
    count = min(room, len(places))
    Q, R = xp.linalg.qr(xp.matrix_transpose(rest[:count, :]), mode="reduced")
    lengths = HOST.astype(to_numpy(xp.abs(xp.linalg.diagonal(R))), "float64")
    little = HOST.nonzero(lengths <= _LITTLE * blocks.norms[places[:count]])[0]
    count = int(little[0]) if len(little) else count
    return [float(value) for value in lengths[:count] ** 2], xp.matrix_transpose(Q[:, :count])


def _norms(blocks: Blocks, places: Places, rows: Array) -> Any:
    """Return Frobenius norms of matrices below each other in an array, on the host."""
    squares = to_numpy(column_squares(blocks.xp.matrix_transpose(rows), blocks))
    return blocks.sums(HOST.astype(squares, "float64"), blocks.widths[places]) ** 0.5


def _without(rows: Array, basis: Array, blocks: Blocks) -> Array:
    """Return rows less what lies in a basis, to the roundoff of what is left."""
    xp = blocks.xp
    if int(basis.shape[0]) == 0 or int(rows.shape[0]) == 0:
        return rows
    for _ in range(2):
        C = xp.astype(gram(basis, rows, xp), rows.dtype)
        rows = rows - xp.matrix_transpose(C) @ basis
    return rows


def _directions(rows: Array, floor: float, blocks: Blocks) -> tuple[list[float], Array]:
    """Return singular values above a floor and their left singular vectors, as rows."""
    xp = blocks.xp
    wide = widest_dtype(xp, blocks.device, blocks.dtype)
    X, s, _ = svd_desc(xp.astype(xp.matrix_transpose(rows), wide), xp)
    values = [value for value in host(s) if value > floor]
    return values, xp.astype(xp.matrix_transpose(X[:, : len(values)]), blocks.dtype)


def _ritz_energy(blocks: Blocks, directions: Array, rank: int) -> float:
    """Return the sum of the largest eigenvalues of ``Q^H M M^H Q``."""
    xp = blocks.xp
    total = None
    for part in blocks.parts(range(len(blocks)), _AT_A_TIME):
        C = as_columns(blocks.columns(part)).cross(directions)
        product = C @ adjoint(C, xp)
        total = product if total is None else total + product
    assert total is not None
    values = host(eigh_desc(hermitian_part(total, xp), xp)[0])
    return math.fsum(max(0.0, value) for value in values[:rank])
