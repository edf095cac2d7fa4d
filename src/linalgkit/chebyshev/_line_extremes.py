"""The largest value of a polynomial of one variable on [-1, 1], from all its stationary points."""

from __future__ import annotations

import math

from linalgkit._core.array import Array, numpy_namespace
from linalgkit.chebyshev._basis import (
    coefficient_matrix,
    derivative_matrix,
    nodes,
)
from linalgkit.chebyshev._polish import EPS, at

_HOST = numpy_namespace()
# One variable: cells in the angle a coefficient, and local points of each: an error of 1e-17.
CELLS, _LOCAL = 4, 12


def line_maximum(c: Array) -> tuple[float, float]:
    """Return the largest value of a polynomial on [-1, 1], by all stationary points, and where."""
    cells = CELLS * int(c.shape[0])
    local = _on_cells(c, cells)
    slopes = derivative_matrix(_LOCAL) @ local
    best, s, cell = _largest_at_ends(local)
    bounds = local[0, :] + _HOST.sum(_HOST.abs(local[1:, :]), axis=0)
    turns = _HOST.abs(slopes[0, :]) <= _HOST.sum(_HOST.abs(slopes[1:, :]), axis=0)
    open_cells = _HOST.flatnonzero(turns & (bounds > best))
    for i in open_cells[_HOST.argsort(-bounds[open_cells], kind="stable")]:
        if bounds[i] <= best:
            break
        value, place = _largest_stationary(local[:, i], slopes[:, i])
        if value > best:
            best, s, cell = value, place, int(i)
    return best, math.cos(math.pi * ((cell + 0.5) + 0.5 * s) / cells)


def _on_cells(c: Array, cells: int) -> Array:
    """Return the Chebyshev coefficients (12, cells) of ``p(cos x)`` on equal pieces of [0, pi]."""
    j = _HOST.arange(int(c.shape[0]))
    V = _HOST.empty((_LOCAL, cells))
    for i, s in enumerate(nodes(_LOCAL)):
        turned = c * _HOST.exp((1j * math.pi * (0.5 + 0.5 * s) / cells) * j)
        V[i, :] = _HOST.real(_HOST.fft.ifft(turned, n=2 * cells, norm="forward"))[:cells]
    return coefficient_matrix(_LOCAL) @ V


def _largest_at_ends(local: Array) -> tuple[float, float, int]:
    """Return the largest value at the ends of the cells, the end and the cell."""
    signs = _HOST.where(_HOST.arange(_LOCAL) % 2 == 0, 1.0, -1.0)
    values = _HOST.stack([signs @ local, _HOST.sum(local, axis=0)], axis=0)
    end, cell = _HOST.unravel_index(int(_HOST.argmax(values)), values.shape)
    return float(values[end, cell]), 2.0 * float(end) - 1.0, int(cell)


def _largest_stationary(c: Array, slope: Array) -> tuple[float, float]:
    """Return the largest value of a polynomial of low degree at its stationary points."""
    large = _HOST.flatnonzero(_HOST.abs(slope) > EPS * _HOST.max(_HOST.abs(slope)))
    if large.shape[0] == 0:
        return -math.inf, 0.0
    roots = _HOST.polynomial.chebyshev.chebroots(slope[: int(large[-1]) + 1])
    # Pairs of roots that rounding has moved off the axis are kept: a place too many does no harm.
    near = (_HOST.abs(_HOST.imag(roots)) < 0.1) & (_HOST.abs(_HOST.real(roots)) < 1.1)
    s = _HOST.append(_HOST.clip(_HOST.real(roots[near]), -1.0, 1.0), 0.0)
    values = at(c[:, None], s)[:, 0]
    i = int(_HOST.argmax(values))
    return float(values[i]), float(s[i])
