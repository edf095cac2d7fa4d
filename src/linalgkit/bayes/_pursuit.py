"""Supports of one mode from the unfolding of the data: orthogonal least squares, many at once.

The unfolding of mode i obeys ``Y_(i) = H_i X_(i) + noise`` with few rows of ``X_(i)`` not zero.
Its signal lies in few directions of the rows, so that a small matrix stands for it::

    supports = best_supports(H, R, noise, kappa, price_of)     # the cheapest first

Paths start from every column and, where the problem is small, from every pair, which finds what
one greedy path misses where columns resemble each other.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

from linalgkit._core.array import Array, numpy_namespace
from linalgkit.bayes._state import abs2

_HOST = numpy_namespace()
# Numbers that all paths may take a step together, and the fewest paths; beyond this many columns
# not all start one.
_NUMBERS, _FEWEST_PATHS, _MANY = 50_000, 4, 200
_PATIENCE = 4
# A column whose rest is below this share of it depends on those chosen.
_DEPENDENT = 1e-10
# Supports that are returned.
_MOST = 10


class Support(NamedTuple):
    """Columns, ascending, and their price: penalised residual in nats."""

    cost: float
    columns: tuple[int, ...]


class _Paths(NamedTuple):
    """Paths side by side: inner products of all columns with what is left of the data, (p, n, r).

    With them what is left of the columns' squares, (p, n), and of the data's, (p,), and the inner
    products of all columns with the orthonormal directions taken, (p, n) each.
    """

    inner: Array
    left: Array
    rest: Array
    directions: tuple[Array, ...]


# Chen, Billings, Luo, "Orthogonal least squares methods and their application to non-linear system
# identification" (1989), for several right sides. Differs from it:
# 1. Paths start from every column and, where those are few, every pair, and go on side by side.
# 2. Only inner products are kept, of the residual and of the orthonormal directions with all
#    columns: the columns themselves are not deflated.
# 3. Supports of all lengths are compared, by what they leave and their price; a price, not a
#    tolerance, ends the paths.
def best_supports(
    H: Array,
    R: Array,
    noise: float,
    kappa: float,
    price_of: Callable[[int], float],
    patience: int = _PATIENCE,
) -> list[Support]:
    """Return supports of ``R = H X`` by their penalised residual, the cheapest first.

    Parameters
    ----------
    H : host array (m, n)
        Unit columns, or zeros, which are never chosen.
    R : host array (m, r)
        Data with noise of variance `noise` in every entry.
    noise, kappa : float
        Variance, and the weight of a squared modulus over it in the log-density.
    price_of : callable
        Nats for a support of k columns.
    patience : int, optional
        Steps without a cheaper support on any path after which the paths end.

    Returns
    -------
    list of Support
        The best of each path, at most ten; at least one unless `H` is zero.
    """
    inner, squares = _HOST.conj(H.T) @ R, _HOST.sum(abs2(H), axis=0)
    gram = _HOST.conj(H.T) @ H if H.shape[1] <= _MANY else None
    firsts = _first_columns(squares, _HOST.sum(abs2(inner), axis=1), H.shape[0], R.shape[1])
    count = firsts.shape[1]
    paths = _Paths(
        _HOST.broadcast_to(inner, (count, *inner.shape)),
        _HOST.broadcast_to(squares, (count, squares.shape[0])),
        _HOST.full(count, float(_HOST.sum(abs2(R)))),
        (),
    )
    chosen: list[Array] = []
    costs: list[Array] = []
    lowest, waited = math.inf, 0
    for step in range(min(H.shape)):
        given = firsts[step, :] if step < firsts.shape[0] else None
        column = _next_columns(paths, given)
        if column is None or waited == patience:
            break
        row = _HOST.conj(H.T[column, :]) @ H if gram is None else gram[column, :]
        paths = _extended(paths, row, column)
        chosen.append(column)
        costs.append(kappa / noise * paths.rest + price_of(step + 1))
        least = float(_HOST.min(costs[-1]))
        lowest, waited = min(lowest, least), 0 if least < lowest else waited + 1
    return _cheapest(costs, chosen)


def _first_columns(squares: Array, scores: Array, m: int, r: int) -> Array:
    """Return the columns that paths start with, (1 or 2, paths); -1 where the best is taken."""
    usable = _HOST.flatnonzero(squares > 0)
    n = usable.shape[0]
    if n > _MANY:
        order = _HOST.argsort(-scores[usable], kind="stable")
        usable = usable[order[: max(_FEWEST_PATHS, _NUMBERS // (n * r))]]
    if n * n * n * r > 2 * _NUMBERS or n < 2 or m < 2:
        return usable[None, :]
    places = _alone_and_pairs(n)
    return _HOST.where(places >= 0, usable[places], -1)


@functools.lru_cache(maxsize=16)
def _alone_and_pairs(n: int) -> Array:
    """Return each of n places followed by none, -1, and each pair of them, (2, n (n + 1) / 2)."""
    alone = _HOST.stack([_HOST.arange(n), _HOST.full(n, -1)])
    return _HOST.concat([alone, _HOST.stack(_HOST.triu_indices(n, 1))], axis=1)


def _next_columns(paths: _Paths, given: Array | None) -> Array | None:
    """Return the column that every path takes, the given or the best; None where none is left."""
    usable = paths.left > _DEPENDENT
    if not bool(_HOST.any(usable)):
        return None
    gains = abs2(paths.inner).sum(axis=2)
    scores = _HOST.where(usable, gains / _HOST.where(usable, paths.left, 1.0), -1.0)
    best = _HOST.argmax(scores, axis=1)
    return best if given is None else _HOST.where(given >= 0, given, best)


def _extended(paths: _Paths, row: Array, column: Array) -> _Paths:
    """Take one column more on every path; `row` holds its inner products with all columns."""
    which = _HOST.arange(column.shape[0])
    for u in paths.directions:
        row = row - _HOST.conj(u[which, column])[:, None] * u
    root = _HOST.sqrt(_HOST.maximum(paths.left[which, column], _DEPENDENT))[:, None]
    u, share = row / root, paths.inner[which, column, :] / root
    left = paths.left - abs2(u)
    left[which, column] = 0.0
    inner = paths.inner - _HOST.conj(u)[:, :, None] * share[:, None, :]
    rest = paths.rest - abs2(share).sum(axis=1)
    return _Paths(inner, left, rest, (*paths.directions, u))


def _cheapest(costs: list[Array], chosen: list[Array]) -> list[Support]:
    """Return the supports of least cost, of each path the best."""
    if not costs:
        return []
    table, order = _HOST.stack(costs), _HOST.stack(chosen)
    lengths, lowest = _HOST.argmin(table, axis=0), table.min(axis=0)
    found: dict[tuple[int, ...], float] = {}
    for path in _HOST.argsort(lowest, kind="stable"):
        columns = tuple(sorted(set(order[: lengths[path] + 1, path].tolist())))
        found.setdefault(columns, float(lowest[path]))
        if len(found) == _MOST:
            break
    return [Support(cost, columns) for columns, cost in found.items()]
