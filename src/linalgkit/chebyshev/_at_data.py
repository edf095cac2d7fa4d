"""The data as a check: the residual at all of them, and points near what stands out in them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from linalgkit._core.array import (
    Array,
    Namespace,
    numpy_namespace,
    to_numpy,
)
from linalgkit._core.modes import mode_product
from linalgkit._core.random import as_generator
from linalgkit._core.scaling import max_abs
from linalgkit.chebyshev._evaluate import factor_values
from linalgkit.chebyshev._max_norm import (
    placed,
)
from linalgkit.chebyshev._parts import Parts

_HOST = numpy_namespace()
_SEED = 503016
# Entries unlike the mean by which lines and check points are laid.
_PEAKS = 64
# Numbers in a block of direct evaluations.
_BLOCK = 2**21


def residual(
    parts: Parts, F: Array, grids: Sequence[Array], xp: Namespace
) -> tuple[float, tuple[int, ...]]:
    """Return the largest difference of parts and a tensor on a grid, and its place.

    Some rows of the first mode at a time.
    """
    rows = [
        factor_values(placed(t, xp, parts.device), C, xp)
        for C, t in zip(parts.factors, grids, strict=True)
    ]
    n, rest = int(F.shape[0]), math.prod(map(int, F.shape[1:]))
    Y = parts.core
    for axis in range(1, F.ndim):
        Y = mode_product(Y, rows[axis], axis, xp)
    Y, flat = xp.reshape(Y, (-1, rest)), xp.reshape(F, (n, rest))
    step = min(n, max(1, _BLOCK // (8 * rest)))
    largest, place = -1.0, 0
    for start in range(0, n, step):
        stop = min(start + step, n)
        off = rows[0][start:stop, :] @ Y - flat[start:stop, :]
        found = max_abs(off, xp)
        if found > largest:
            largest = found
            place = start * rest + int(xp.argmax(xp.reshape(xp.abs(off), (-1,))))
    return largest, tuple(int(i) for i in _HOST.unravel_index(place, tuple(F.shape)))


def peak_places(F: Array, xp: Namespace) -> Array:
    """Return places (n, d) of entries that are most unlike the mean, on the host.

    At most one for each index of the first mode, by which they are spread.
    """
    n, rest = int(F.shape[0]), math.prod(map(int, F.shape[1:]))
    flat = xp.reshape(F, (n, rest))
    mean = xp.mean(flat)
    step = min(n, max(1, _BLOCK // (8 * rest)))
    largest, where = [], []
    for start in range(0, n, step):
        moduli = xp.abs(flat[start : min(start + step, n), :] - mean)
        largest.append(to_numpy(xp.max(moduli, axis=1)))
        where.append(to_numpy(xp.argmax(moduli, axis=1)))
    order = _HOST.argsort(-_HOST.concat(largest), kind="stable")[:_PEAKS]
    index = _HOST.unravel_index(_HOST.concat(where)[order], tuple(map(int, F.shape[1:])) or (1,))
    return _HOST.stack([order, *index][: F.ndim], axis=1)


def peak_points(F: Array, grids: Sequence[Array], xp: Namespace) -> Array:
    """Return points (n, d) of [-1, 1]^d at and beside such entries, on the host."""
    return beside(peak_places(F, xp), grids)


def beside(places: Array, grids: Sequence[Array]) -> Array:
    """Return the points at places of a grid, and random ones less than a step from them."""
    rng = as_generator(_SEED)
    columns = []
    for k, t in enumerate(grids):
        at, last = places[:, k], int(t.shape[0]) - 1
        ends = t[_HOST.maximum(at - 1, 0)], t[_HOST.minimum(at + 1, last)]
        near = ends[0] + (ends[1] - ends[0]) * rng.random(int(at.shape[0]))
        columns.append(_HOST.concat([t[at], near]))
    return _HOST.stack(columns, axis=1)
