"""The search for the largest value of a function of several variables on [-1, 1]^d (host)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from linalgkit._core.array import Array, numpy_namespace
from linalgkit._core.modes import mode_products
from linalgkit._kernels.chebyshev import row_contract
from linalgkit.chebyshev._basis import (
    nodes,
)
from linalgkit.chebyshev._line_extremes import CELLS, line_maximum
from linalgkit.chebyshev._polish import EPS, HostFunction, at, blocks, polish

_HOST = numpy_namespace()
# The grid: most points, and points a coefficient (the shortest wave has twice as many).
_GRID_POINTS, _DENSITIES = 4_000_000, (4, 3, 2)
# Candidates that are polished or moved along axes: as many as a step of all of them may cost.
_FEWEST, _MOST, _MOST_MOVED, _WORK = 60, 3000, 400, 200_000_000
_BLOCK = 4_000_000
_SWEEPS, _NEWTON_STEPS, _SHORTEST, _CLIMBED_AGAIN = 6, 40, 2.0**-30, 10


def largest_point(f: HostFunction) -> tuple[float, Array]:
    """Return the largest value found of a function of two or more variables, and its point."""
    counts, fine = _counts(f)
    T = _grid_candidates(f, counts, _budget(f, derivatives=True))
    if not fine:
        few = _budget(f, derivatives=False)
        T = _climb(f, _HOST.concatenate([T[:few, :], _spread(few, len(counts))], axis=0))
    values, T = polish(f, T)
    best = T[_HOST.argsort(-values, kind="stable")[:_CLIMBED_AGAIN], :]
    again, moved = polish(f, _climb(f, best))
    values, T = _HOST.append(values, again), _HOST.concatenate([T, moved], axis=0)
    i = int(_HOST.argmax(values))
    return _above_its_lines(f, float(values[i]), T[i : i + 1, :])


def _above_its_lines(f: HostFunction, value: float, T: Array) -> tuple[float, Array]:
    """Return a value and its point (1, d), or higher ones, largest on all lines along the axes."""
    left = _SWEEPS * int(T.shape[1])
    k = since = 0
    while since < T.shape[1] and left > 0:
        c = f.factors[k] @ _fibres(f, T, k)[0, :]
        top, t = line_maximum(c)
        since, left = since + 1, left - 1
        if top > value + 64 * EPS * f.size:
            T[0, k] = t
            values, T = polish(f, T)
            value, since = float(values[0]), 0
        k = (k + 1) % int(T.shape[1])
    return value, T[0, :]


def _budget(f: HostFunction, *, derivatives: bool) -> int:
    """Return how many points are polished, or moved along the axes."""
    rows = sum(int(F.shape[0] * F.shape[1]) for F in f.factors)
    work = (6 if derivatives else 4 * f.core.ndim) * (f.core.size + rows)
    return int(min(max(_FEWEST, _WORK // work), _MOST if derivatives else _MOST_MOVED))


def _spread(n: int, d: int) -> Array:
    """Return points of [-1, 1]^d, evenly spread, half of them denser at its ends; always the same.

    The multiples of powers of the root of ``x^(d+1) = x + 1``, modulo 1.
    """
    root = 2.0
    for _ in range(64):
        root = (1.0 + root) ** (1.0 / (d + 1))
    steps = root ** -_HOST.arange(1.0, d + 1.0)
    u = (0.5 + _HOST.arange(1.0, n + 1.0)[:, None] * steps[None, :]) % 1.0
    odd = _HOST.arange(n)[:, None] % 2 == 1
    return _HOST.where(odd, _HOST.cos(math.pi * u), 2.0 * u - 1.0)


# --------------------------------------------------------------------------------- the whole grid


def _counts(f: HostFunction) -> tuple[list[int], bool]:
    """Return the points a mode of the grid, and whether it is fine."""
    lengths = [int(F.shape[0]) for F in f.factors]
    for density in _DENSITIES:
        counts = [density * m + 1 for m in lengths]
        if math.prod(counts) <= _GRID_POINTS:
            return counts, True
    return _affordable(counts), False


def _affordable(wanted: Sequence[int]) -> list[int]:
    """Return counts of points a mode whose product is within the limit, the largest cut first."""
    low, high = 2, max(wanted) + 1
    while high - low > 1:
        cap = (low + high) // 2
        if math.prod(min(n, cap) for n in wanted) <= _GRID_POINTS:
            low = cap
        else:
            high = cap
    return [min(n, low) for n in wanted]


def _grid_candidates(f: HostFunction, counts: Sequence[int], most: int) -> Array:
    """Return the local maxima of a grid that foretell the highest peaks, (n, d)."""
    points = [nodes(n) for n in counts]
    rows = [at(F, t) for t, F in zip(points, f.factors, strict=True)]
    V = mode_products(f.core, rows, _HOST)
    places = _HOST.unravel_index(_HOST.flatnonzero(_local_maxima(V, range(V.ndim))), V.shape)
    order = _HOST.argsort(-_foretold(V, places), kind="stable")[:most]
    return _HOST.stack([t[i[order]] for t, i in zip(points, places, strict=True)], axis=1)


def _local_maxima(V: Array, axes: Sequence[int]) -> Array:
    """Return the mask of values above their neighbours along axes; of equals the first is."""
    mask = _HOST.ones(V.shape, dtype=bool)
    for axis in axes:
        v, m = _HOST.moveaxis(V, axis, 0), _HOST.moveaxis(mask, axis, 0)
        rises = v[1:] > v[:-1]
        m[:-1] &= ~rises
        m[1:] &= rises
    return mask


def _foretold(V: Array, places: Sequence[Array]) -> Array:
    """Return the peak that a function has near local maxima of a grid, from three points an axis.

    Above the grid's mean the function is taken for a product of waves, or where that is higher for
    a sum of parabolas.
    """
    mean = float(_HOST.mean(V))
    here = V[tuple(places)] - mean
    product, total = _HOST.copy(here), _HOST.copy(here)
    for axis, i in enumerate(places):
        low, high = (V[_replaced(places, axis, j)] - mean for j in _beside(i, V.shape[axis]))
        total += _peak(low, here, high)[1]
        product *= _wave_ratio(low, here, high)
    return mean + _HOST.maximum(product, total)


def _beside(i: Array, n: int) -> tuple[Array, Array]:
    """Return the indices before and after, mirrored at the ends as the function of the angle is."""
    return _HOST.abs(i - 1), n - 1 - _HOST.abs(n - 2 - i)


def _replaced(places: Sequence[Array], axis: int, i: Array) -> tuple[Array, ...]:
    """Return indices with those of one axis replaced."""
    return tuple(i if k == axis else p for k, p in enumerate(places))


def _peak(low: Array, here: Array, high: Array) -> tuple[Array, Array]:
    """Return offset and rise of the vertex of the parabolas through three values."""
    bend = 2.0 * here - low - high
    offset = 0.5 * (high - low) / _HOST.where(bend > 0, bend, 1.0)
    offset = _HOST.clip(_HOST.where(bend > 0, offset, 0.0), -0.5, 0.5)
    return offset, 0.25 * offset * (high - low)


def _wave_ratio(low: Array, here: Array, high: Array) -> Array:
    """Return by what factor, at most sqrt(2), the amplitude of the waves exceeds the middle."""
    scale = _HOST.where(here > 0, here, 1.0)
    cosine = _HOST.clip(0.5 * (low + high) / scale, -1.0, 1.0)
    tangent = 0.5 * (high - low) / scale
    sine2 = _HOST.maximum(1.0 - cosine * cosine, tangent * tangent)
    ratio = _HOST.sqrt(1.0 + tangent * tangent / _HOST.where(sine2 > 0, sine2, 1.0))
    return _HOST.where(here > 0, ratio, 1.0)


# ------------------------------------------------------------------------------- along the axes


def _climb(f: HostFunction, T: Array) -> Array:
    """Return points moved to the largest value along one axis after the other, (n, d)."""
    T = T.copy()
    rows = [at(F, nodes(CELLS * int(F.shape[0]) + 1)) for F in f.factors]
    seen = None
    for _ in range(_SWEEPS):
        found = [_move(f, T, k, rows[k]) for k in range(T.shape[1])]
        if seen is not None and all(map(_HOST.array_equal, found, seen)):
            break
        seen = found
    return T


def _move(f: HostFunction, T: Array, axis: int, rows: Array) -> Array:
    """Move points (written in place) along an axis, and return the indices of the nodes there."""
    values = _fibres(f, T, axis) @ rows.T
    values -= _HOST.mean(values, axis=1)[:, None]
    n, every = int(rows.shape[0]), _HOST.arange(T.shape[0])
    i = _HOST.argmax(_foretold_on_lines(values), axis=1)
    low, high = (values[every, j] for j in _beside(i, n))
    offset, _ = _peak(low, values[every, i], high)
    T[:, axis] = -_HOST.cos(math.pi * _HOST.clip((i + offset) / (n - 1), 0.0, 1.0))
    return i


def _foretold_on_lines(values: Array) -> Array:
    """Return the peaks near the local maxima of rows of values, elsewhere the values."""
    row, i = _HOST.nonzero(_local_maxima(values, (1,)))
    low, high = (values[row, j] for j in _beside(i, values.shape[1]))
    here = values[row, i]
    peaks = _HOST.maximum(here + _peak(low, here, high)[1], here * _wave_ratio(low, here, high))
    values = values.copy()
    values[row, i] = peaks
    return values


def _fibres(f: HostFunction, T: Array, axis: int) -> Array:
    """Return the weights (n, r) of an axis' factors on the lines along it through points."""
    others = [k for k in range(T.shape[1]) if k != axis]
    core = _HOST.transpose(f.core, (*others, axis))
    first = _HOST.reshape(core, (core.shape[0], -1))
    rows = [at(f.factors[k], T[:, k]) for k in others]
    W = [
        _contracted(first, [B[part, :] for B in rows])
        for part in blocks(T.shape[0], int(first.shape[1]))
    ]
    return _HOST.concatenate(W, axis=0)


def _contracted(M: Array, rows: Sequence[Array]) -> Array:
    """Return the sums of a core's unfolding (r_1, ...) with one row a mode, for all points."""
    Y = rows[0] @ M
    for B in rows[1:]:
        Y = row_contract(_HOST, _HOST.reshape(Y, (Y.shape[0], B.shape[1], -1)), B)
    return Y
