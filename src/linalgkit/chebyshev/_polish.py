"""Newton's method for the local maxima of a function on [-1, 1]^d, from many points at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from linalgkit._core.array import Array, numpy_namespace
from linalgkit._kernels.chebyshev import chebyshev_rows
from linalgkit.chebyshev._basis import (
    resized,
)

_HOST = numpy_namespace()
EPS = 2.0**-52
_BLOCK = 4_000_000
_SWEEPS, _NEWTON_STEPS, _SHORTEST, _CLIMBED_AGAIN = 6, 40, 2.0**-30, 10


class HostFunction(NamedTuple):
    """A real function on [-1, 1]^d on the host, its core of order one."""

    core: Array
    factors: list[Array]
    size: float


def at(F: Array, t: Array) -> Array:
    """Return the values (n, r) of columns at points."""
    rows = chebyshev_rows(_HOST, t, int(F.shape[0]))
    # Of few points and long columns OpenBLAS takes this form ten times as fast as the other.
    return (F.T @ rows).T if t.shape[0] < 64 else rows.T @ F


def blocks(n: int, numbers: int) -> list[slice]:
    """Return pieces of n points that take so many numbers each."""
    step = max(1, _BLOCK // max(numbers, 1))
    return [slice(start, min(start + step, n)) for start in range(0, n, step)]


class _Local(NamedTuple):
    """Values (n,), gradients (n, d) and Hessians (n, d, d) at points."""

    value: Array
    gradient: Array
    hessian: Array


def polish(f: HostFunction, T: Array) -> tuple[Array, Array]:
    """Return values and points that Newton's method reaches from points inside the box.

    Each goes on until it is at a maximum, or can no longer reach the best of them.
    """
    T, triples = T.copy(), [_with_derivatives(F) for F in f.factors]
    here = _derivatives(f.core, triples, T)
    shorter = _HOST.ones(T.shape[0])
    for n in range(_NEWTON_STEPS):
        step, rise = _newton_steps(T, here.gradient, here.hessian, [F.shape[0] for F in f.factors])
        live = (_ascent(T, here.gradient) > EPS * f.size) & (shorter > _SHORTEST)
        if n > 0:
            live &= here.value + 4.0 * rise >= _HOST.max(here.value)
        i = _HOST.flatnonzero(live)
        if i.shape[0] == 0:
            break
        new = _HOST.clip(T[i, :] + shorter[i, None] * step[i, :], -1.0, 1.0)
        there = _derivatives(f.core, triples, new)
        good = _better(T[i, :], _Local(*(A[i] for A in here)), new, there, f.size)
        shorter[i] = _HOST.where(good, 1.0, 0.25 * shorter[i])
        T[i[good], :] = new[good, :]
        for A, B in zip(here, there, strict=True):
            A[i[good]] = B[good]
    return here.value, T


def _with_derivatives(F: Array) -> Array:
    """Return coefficients of columns and of their first two derivatives, (m, 3 r)."""
    m, derivative = int(F.shape[0]), _HOST.polynomial.chebyshev.chebder
    first = derivative(F, axis=0)
    second = derivative(first, axis=0)
    return _HOST.concatenate([F, resized(first, m, _HOST), resized(second, m, _HOST)], axis=1)


def _derivatives(core: Array, triples: Sequence[Array], T: Array) -> _Local:
    """Return values, gradients and Hessians at points, in blocks."""
    widest = 3 * core.size // int(core.shape[0]) + sum(int(F.shape[0]) for F in triples)
    parts = [_derivatives_of_block(core, triples, T[p, :]) for p in blocks(T.shape[0], widest)]
    return _Local(*(_HOST.concatenate(A, axis=0) for A in zip(*parts, strict=True)))


def _derivatives_of_block(core: Array, triples: Sequence[Array], T: Array) -> _Local:
    """Return them from one pass over the core, in which orders above two are left out."""
    n, d = (int(s) for s in T.shape)
    orders = _HOST.zeros((1, 0), dtype=int)
    Y = _HOST.reshape(core, (1, 1, -1))
    for k, F in enumerate(triples):
        rows = _HOST.reshape(at(F, T[:, k]), (n, 1, 3, -1))
        Y = _HOST.reshape(Y, (*Y.shape[:2], rows.shape[3], -1))
        if k == 0:
            Y = _HOST.reshape(_HOST.reshape(rows, (3 * n, -1)) @ Y[0, 0, :, :], (n, 3, -1))
        else:
            Y = _HOST.reshape(rows @ Y, (n, 3 * orders.shape[0], -1))
        orders = _HOST.concatenate(
            [
                _HOST.repeat(orders, 3, axis=0),
                _HOST.tile(_HOST.arange(3), orders.shape[0])[:, None],
            ],
            axis=1,
        )
        kept = _HOST.sum(orders, axis=1) <= 2
        orders, Y = orders[kept, :], Y[:, kept, :]
    index = {tuple(map(int, order)): i for i, order in enumerate(orders)}
    e = _HOST.eye(d, dtype=int)
    first = [index[tuple(map(int, e[k, :]))] for k in range(d)]
    second = [[index[tuple(map(int, e[k, :] + e[j, :]))] for j in range(d)] for k in range(d)]
    return _Local(Y[:, index[(0,) * d], 0].copy(), Y[:, first, 0], Y[:, second, 0])


def _better(T: Array, here: _Local, new: Array, there: _Local, size: float) -> Array:
    """Tell which points are higher, or as high to rounding and closer to stationary."""
    slack = 4 * EPS * size
    closer = _ascent(new, there.gradient) < 0.5 * _ascent(T, here.gradient)
    return (there.value > here.value + slack) | (closer & (there.value >= here.value - slack))


def _held(T: Array, G: Array) -> Array:
    """Return the mask of the variables at an end of their interval beyond which f would rise."""
    return ((T >= 1.0) & (G >= 0)) | ((T <= -1.0) & (G <= 0))


def _ascent(T: Array, G: Array) -> Array:
    """Return the largest slope inside the box: 0 at a local maximum."""
    return _HOST.max(_HOST.where(_held(T, G), 0.0, _HOST.abs(G)), axis=1)


def _newton_steps(T: Array, G: Array, H: Array, lengths: Sequence[int]) -> tuple[Array, Array]:
    """Return steps of the variables that are not held, along which f rises, and by how much.

    None is longer than a quarter of the shortest wave there.
    """
    free = ~_held(T, G)
    G = _HOST.where(free, G, 0.0)
    w, V = _HOST.linalg.eigh(_HOST.where(free[:, :, None] & free[:, None, :], H, 0.0))
    curvature = _HOST.maximum(
        _HOST.abs(w), 1e-10 * _HOST.max(_HOST.abs(w), axis=1)[:, None] + 1e-300
    )
    slope = (G[:, None, :] @ V)[:, 0, :]
    rise = 0.5 * _HOST.sum(slope * (slope / curvature), axis=1)
    step = (V @ _HOST.clip(slope / curvature, -2.0, 2.0)[:, :, None])[:, :, 0]
    angle = math.pi / (2.0 * _HOST.asarray(lengths, dtype=_HOST.float64))
    reach = _HOST.sqrt(1.0 - T * T) * angle + 0.5 * angle * angle
    return _HOST.where(free, _HOST.clip(step, -reach, reach), 0.0), rise
