"""Supports of one mode from the unfolding of the data: orthogonal least squares, many at once.

The unfolding of mode i obeys ``Y_(i) = H_i X_(i) + noise`` with few rows of ``X_(i)`` not zero.
Its signal lies in few directions of the rows, so that a small matrix stands for it::

    supports = best_supports(H, R, noise, price)     # the cheapest first

Paths start from every column and, where the problem is small, from every pair, which finds what
one greedy path misses where columns resemble each other.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import NamedTuple

from linalgkit._core.array import Array, numpy_namespace
from linalgkit.bayes._state import abs2

_HOST = numpy_namespace()
# Numbers that all paths may take together.
_NUMBERS = 1_000_000
_FEWEST_PATHS = 4
# Steps without a better support on any path after which the paths end.
_PATIENCE = 4
# A column whose rest is below this share of it depends on those chosen.
_DEPENDENT = 1e-10


class Support(NamedTuple):
    """Columns, ascending, and their price: penalised residual in nats."""

    cost: float
    columns: tuple[int, ...]


class _Paths(NamedTuple):
    """Paths side by side: what is left of the data (B, m, r) and of each column's square (B, n).

    Orthonormal bases of the chosen columns (B, m, k), and their numbers (B, k).
    """

    residuals: Array
    sizes: Array
    bases: Array
    chosen: Array


# Chen, Billings, Luo, "Orthogonal least squares methods and their application to non-linear system
# identification" (1989), for several right sides. Differs from it:
# 1. All paths take one step together; each path's best support counts, not its last.
# 2. First columns are given, not chosen.
# 3. The price of a support ends a path, not a tolerance.
# 4. Columns are not deflated: the residual is orthogonal to the bases already, and the squares of
#    what is left of the columns are updated.
def best_supports(
    H: Array, R: Array, noise: float, kappa: float, price_of: Callable[[int], float]
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

    Returns
    -------
    list of Support
        At least one unless `H` is zero.
    """
    m, n = H.shape
    firsts = _first_columns(H, R)
    H = _HOST.astype(H, _HOST.result_type(H, R), copy=False)
    R = _HOST.astype(R, H.dtype, copy=False)
    count = len(firsts)
    paths = _Paths(
        _HOST.tile(R, (count, 1, 1)),
        _HOST.tile(_HOST.sum(abs2(H), axis=0), (count, 1)),
        _HOST.zeros((count, m, 0), dtype=H.dtype),
        _HOST.zeros((count, 0), dtype=_HOST.int64),
    )
    best: dict[tuple[int, ...], float] = {}
    lowest, waited = _HOST.full(count, _HOST.inf), 0
    for step in range(min(m, n)):
        given = _HOST.asarray([f[step] if step < len(f) else -1 for f in firsts])
        found = _step(H, paths, given)
        if found is None:
            break
        paths = found
        costs = kappa / noise * _HOST.sum(abs2(paths.residuals), axis=(1, 2)) + price_of(step + 1)
        better = costs < lowest
        waited = 0 if bool(_HOST.any(better)) else waited + 1
        lowest = _HOST.where(better, costs, lowest)
        for path in _HOST.flatnonzero(better):
            columns = tuple(sorted(map(int, paths.chosen[path])))
            best[columns] = min(float(costs[path]), best.get(columns, float("inf")))
        if waited == _PATIENCE:
            break
    return sorted(Support(cost, columns) for columns, cost in best.items())


def _first_columns(H: Array, R: Array) -> list[tuple[int, ...]]:
    """Return where the paths start: the best single columns, and all pairs where there are few."""
    m, n = H.shape
    scores = _HOST.sum(abs2(_HOST.conj(H.T) @ R), axis=1)
    usable = [int(j) for j in _HOST.argsort(-scores, kind="stable") if abs2(H[:, j]).sum() > 0]
    paths = max(_FEWEST_PATHS, _NUMBERS // (n * (m + R.shape[1])))
    firsts: list[tuple[int, ...]] = [(j,) for j in usable[:paths]]
    if len(usable) * (len(usable) - 1) // 2 <= paths and m > 1:
        firsts += itertools.combinations(sorted(usable), 2)
    return firsts


def _step(H: Array, paths: _Paths, given: Array) -> _Paths | None:
    """Take the given column, or the best one, on every path; None where nothing is left."""
    residuals, sizes = paths.residuals, paths.sizes
    which = _HOST.arange(residuals.shape[0])
    usable = sizes > _DEPENDENT
    if not bool(_HOST.any(usable)):
        return None
    gains = _HOST.sum(abs2(_HOST.conj(H.T) @ residuals), axis=2)
    scores = _HOST.where(usable, gains / _HOST.where(usable, sizes, 1.0), -1.0)
    column = _HOST.where(given >= 0, given, _HOST.argmax(scores, axis=1))
    q = H.T[column, :, None]
    for _ in range(2):  # twice is enough for orthogonality to rounding
        q = q - paths.bases @ (_HOST.conj(paths.bases.transpose(0, 2, 1)) @ q)
    size = _HOST.sqrt(_HOST.sum(abs2(q), axis=1))
    q = q / _HOST.where(size > 0, size, 1.0)[:, :, None]
    row = _HOST.conj(q[:, :, 0])
    taken = abs2(row @ H)
    taken[which, column] = sizes[which, column]
    return _Paths(
        residuals - q @ (row[:, None, :] @ residuals),
        sizes - taken,
        _HOST.concat([paths.bases, q], axis=2),
        _HOST.concat([paths.chosen, column[:, None]], axis=1),
    )
