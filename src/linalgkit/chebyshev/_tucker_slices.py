"""Slices of a tensor that are too small to matter, left out before anything is decomposed.

Coefficients of smooth functions decay along every mode, and those of even functions vanish at
every other place: what is left is often a fraction of the tensor. Leaving slices out is an
orthogonal projection, so that the energies lost add up as those of a truncation do.

::

    kept, lost = significant_slices(T, allowed, least, xp)    # one slice(start, stop, step) a mode
    small = restricted(T, kept, xp)
    ...
    U = extended(U_small, n, kept[axis], xp)                  # zeros elsewhere
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from linalgkit._core.array import (
    Array,
    Namespace,
    device,
    is_complex,
    itemsize,
    numpy_namespace,
    to_numpy,
)

_HOST = numpy_namespace()

_PIECE_BYTES = 2**19


def significant_slices(
    T: Array, allowed: float, least: Sequence[int], xp: Namespace
) -> tuple[list[slice], float]:
    """Return places to keep along each mode, at least so many, and a bound of the energy outside.

    The bound is at most `allowed`. The last mode is looked at only if the others shrink: energies
    of its slices take another pass.
    """
    shape = tuple(map(int, T.shape))
    d = len(shape)
    fibres = _energies(T, xp)
    kept, lost = [slice(0, n, 1) for n in shape], 0.0
    for axis in range(d - 1):
        others = tuple(k for k in range(d - 1) if k != axis)
        energies = xp.sum(fibres, axis=others) if others else fibres
        kept[axis], gone = _cover(to_numpy(energies), allowed / d, least[axis])
        lost += gone
    if d > 1 and any(s != slice(0, n, 1) for s, n in zip(kept, shape, strict=True)):
        energies = _last_energies(T[tuple(kept)], xp)
        kept[-1], gone = _cover(to_numpy(energies), allowed / d, least[-1])
        lost += gone
    return kept, lost


def restricted(T: Array, kept: Sequence[slice], xp: Namespace) -> Array:
    """Return the tensor at those places in C order: a copy, or itself where it is that."""
    shape = tuple(map(int, T.shape))
    if any(s != slice(0, n, 1) for s, n in zip(kept, shape, strict=True)):
        T = T[tuple(kept)]
    return xp.reshape(xp.reshape(T, (-1,)), tuple(T.shape))


def extended(U: Array, n: int, kept: slice, xp: Namespace) -> Array:
    """Return the matrix with its rows at those places of n, zeros elsewhere."""
    if kept == slice(0, n, 1):
        return U
    places = xp.eye(n, dtype=U.dtype, device=device(U))
    return places[:, kept] @ U


def _energies(T: Array, xp: Namespace) -> Array:
    """Return the energies of the fibres along the last mode."""
    energies = xp.vecdot(T, T)
    return xp.real(energies) if is_complex(T, xp) else energies


def _last_energies(T: Array, xp: Namespace) -> Array:
    """Return the energies of the slices of the last mode, from pieces along the first."""
    shape = tuple(map(int, T.shape))
    rows = max(1, _PIECE_BYTES // (itemsize(xp, T.dtype) * math.prod(shape[1:])))
    total = None
    for start in range(0, shape[0], rows):
        piece = xp.abs(T[start : min(start + rows, shape[0]), ...])
        share = xp.sum(piece * piece, axis=tuple(range(len(shape) - 1)))
        total = share if total is None else total + share
    return total


def _cover(energies: Array, allowed: float, least: int) -> tuple[slice, float]:
    """Return the shortest evenly spaced range around the places that matter, and what is outside.

    `energies` lie on the host. The range has at least so many places.
    """
    energies = _HOST.asarray(energies, dtype=_HOST.float64)
    n = energies.shape[0]
    order = _HOST.argsort(energies, kind="stable", descending=False)
    gone = int(_HOST.searchsorted(_HOST.cumsum(energies[order]), allowed, side="right"))
    places = _HOST.sort(order[min(gone, n - max(1, least)) :])
    first, last = int(places[0]), int(places[-1])
    step = math.gcd(*(int(p) for p in places[1:] - places[:-1])) if places.shape[0] > 1 else 1
    kept = slice(first, last + 1, step)
    inside = _HOST.zeros(n, dtype=bool)
    inside[kept] = True
    return kept, float(_HOST.sum(energies[~inside]))
