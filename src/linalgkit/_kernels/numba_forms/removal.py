"""Greedy removal of rows with the eigendecomposition carried along by rank-one updates.

A step takes one product of the rows with a small matrix, ``k m^2`` multiplications, and a few
passes over the squares of the rows; no eigenvalue problem is solved anew.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from linalgkit._core.array import Array, Namespace
from linalgkit._kernels.numba_forms.jit import jit, strict

_EPS = 2.220446049250313e-16
_MOST = 100


# Distances from poles must be formed as written: all that is below is compiled without regrouping.
@strict
def _sums(d: Any, z2: Any, origin: float, tau: float, first: int, last: int) -> Any:
    """Return ``sum z2_k / (d_k - x)`` over a range, and its derivative, at ``origin + tau``."""
    total = slope = 0.0
    for k in range(first, last):
        q = 1.0 / ((d[k] - origin) - tau)
        term = z2[k] * q
        total += term
        slope += term * q
    return total, slope


@strict
def _step(left: float, right: float, g: float, slopes: Any, j: int) -> Any:
    """Return the correction that two poles, fitted to values and slopes, give."""
    lower, upper = slopes
    if j == 0:
        c = g - upper * right
        return right + upper * right * right / c if c != 0.0 else np.nan
    c = g - lower * left - upper * right
    b = c * (left + right) + lower * left * left + upper * right * right
    root = np.sqrt(abs(b * b - 4.0 * c * (left * right * g)))
    if b <= 0.0:
        return (b - root) / (2.0 * c) if c != 0.0 else np.nan
    return 2.0 * left * right * g / (b + root)


# R.-C. Li, "Solving secular equations stably and efficiently" (LAPACK working note 89): the
# middle way. Differs from it: 1. the matrix is D - z z^T, so that root j lies below pole j;
# 2. a step that leaves the bracket is replaced by halving.
@strict
def _root(d: Any, z2: Any, j: int) -> Any:
    """Return root `j` of ``sum z2_k / (d_k - x) = 1`` as its nearest pole and a distance."""
    p = d.shape[0]
    if j == 0:
        origin, high = d[0], 0.0
        low = -(1.0 + 4.0 * p * _EPS) * z2.sum()
        tau = 0.5 * low
    else:
        half = 0.5 * (d[j] - d[j - 1])
        value = _sums(d, z2, d[j - 1], half, 0, p)[0]
        if value > 1.0:
            origin, low, high, tau = d[j - 1], 0.0, half, half
        else:
            origin, low, high, tau = d[j], -half, 0.0, -half
    for _ in range(_MOST):
        if tau == 0.0:
            break
        lower, lower_slope = _sums(d, z2, origin, tau, 0, j)
        upper, upper_slope = _sums(d, z2, origin, tau, j, p)
        g = lower + upper - 1.0
        if abs(g) <= _EPS * (1.0 + upper - lower):
            break
        if g > 0.0:
            high = tau
        else:
            low = tau
        left = (d[j - 1] - origin) - tau if j > 0 else 0.0
        new = tau + _step(left, (d[j] - origin) - tau, g, (lower_slope, upper_slope), j)
        if not low < new < high:
            new = 0.5 * (low + high)
        if new == tau or not low < new < high:
            break
        tau = new
    return origin, tau


@strict
def _at(d: Any, z2: Any, j: int) -> float:
    """Return root `j` itself."""
    origin, tau = _root(d, z2, j)
    return float(origin + tau)


# ------------------------------------------------------------------------------ the choice


@jit
def _responses(d: Any, squares: Any, x: float, found: Any) -> None:
    """Write ``sum_j squares_ij / (d_j - x)`` for every row `i`."""
    m = d.shape[0]
    inverse = np.empty(m)
    for j in range(m):
        inverse[j] = 1.0 / (d[j] - x)
    for i in range(found.shape[0]):
        total = 0.0
        for j in range(m):
            total += squares[i, j] * inverse[j]
        found[i] = total


@jit
def _best_smallest(d: Any, squares: Any, found: Any) -> Any:
    """Return the row whose loss leaves the largest smallest eigenvalue, and that eigenvalue.

    A row leaves more than `x` if and only if its response at `x` is below 1: so all rows are
    compared at the value of the best one so far, until none is better.
    """
    cap = d[0] - 4.0 * _EPS * d[-1]
    best = int(np.argmin(squares[:, 0]))
    x = _at(d, squares[best], 0)
    for _ in range(squares.shape[0]):
        _responses(d, squares, min(x, cap), found)
        rival = int(np.argmin(found))
        if x >= cap:
            return rival, x
        if rival == best or found[rival] >= 1.0 - 1e-14:
            break
        y = _at(d, squares[rival], 0)
        if y <= x:
            break
        best, x = rival, y
    return best, x


@jit
def _distance(d: Any, z2: Any, count: int) -> Any:
    """Return how far below and above 1 the eigenvalues over `count` are after a loss."""
    return 1.0 - _at(d, z2, 0) / count, _at(d, z2, d.shape[0] - 1) / count - 1.0


@jit
def _better(d: Any, squares: Any, v: float, count: int, by_low: bool, low: Any, top: Any) -> int:
    """Return a row whose loss leaves a norm below `v`, or -1: the one with most room."""
    m = d.shape[0]
    ulps = 8.0 * _EPS * d[m - 1]  # ties to rounding are no rivals
    x, y = (1.0 - v) * count + ulps, (1.0 + v) * count - ulps
    second = d[m - 2] if m > 1 else -np.inf
    if x >= d[0] or y <= second:
        return -1
    _responses(d, squares, x, low)
    top[:] = np.inf
    if y < d[m - 1]:
        _responses(d, squares, y, top)
    found = -1
    for i in range(low.shape[0]):
        if low[i] < 1.0 - 1e-14 and top[i] > 1.0 + 1e-14:
            more = found >= 0 and (low[i] < low[found] if by_low else top[i] > top[found])
            if found < 0 or more:
                found = i
    return found


@jit
def _best_norm(d: Any, squares: Any, low: Any, top: Any) -> Any:
    """Return the row whose loss leaves the smallest ``||G - I||``, and that norm."""
    count = squares.shape[0] - 1
    best = int(np.argmin(squares[:, 0]))
    below, above = _distance(d, squares[best], count)
    for _ in range(squares.shape[0]):
        v = max(below, above)
        rival = _better(d, squares, v, count, below >= above, low, top)
        if rival < 0 or rival == best:
            break
        new_below, new_above = _distance(d, squares[rival], count)
        if max(new_below, new_above) >= v:
            break
        best, below, above = rival, new_below, new_above
    return best, max(below, above)


# ------------------------------------------------------------------------------ the update


@jit
def _deflate(d: Any, z: Any, Z: Any) -> Any:
    """Turn pairs of columns of `Z` until the update acts on well separated eigenvalues only.

    Returns the numbers of the eigenvalues that move, and those that stay.
    """
    m = d.shape[0]
    norm = np.sqrt((z * z).sum())
    tol = 8.0 * _EPS * max(np.abs(d).max(), norm * norm)
    moving, staying = np.empty(m, dtype=np.int64), np.empty(m, dtype=np.int64)
    p = q = 0
    for k in range(m):
        if z[k] * norm <= tol:
            staying[q] = k
            q += 1
            continue
        if p > 0:
            before = moving[p - 1]
            r = np.hypot(z[k], z[before])
            c, s = z[k] / r, z[before] / r
            if abs((d[k] - d[before]) * c * s) <= tol:
                for i in range(Z.shape[0]):
                    a, b = Z[i, before], Z[i, k]
                    Z[i, before], Z[i, k] = c * a - s * b, s * a + c * b
                z[before], z[k] = 0.0, r
                a, b = d[before], d[k]
                d[before], d[k] = c * c * a + s * s * b, s * s * a + c * c * b
                staying[q] = before
                q += 1
                p -= 1
        moving[p] = k
        p += 1
    return moving[:p], staying[:q]


# M. Gu, S. C. Eisenstat, "A stable and efficient algorithm for the rank-one modification of the
# symmetric eigenproblem" (1994): the vector that has exactly the computed roots.
@strict
def _vectors(d: Any, z2: Any, roots: Any) -> Any:
    """Return the eigenvectors (columns) of ``diag(d) - z z^T`` and write its eigenvalues."""
    p = d.shape[0]
    gaps = np.empty((p, p))
    for j in range(p):
        origin, tau = _root(d, z2, j)
        roots[j] = origin + tau
        for k in range(p):
            gaps[j, k] = (d[k] - origin) - tau
    squares = np.ones(p)
    for j in range(p):
        for k in range(p):
            squares[k] *= gaps[j, k] if k == j else gaps[j, k] / (d[k] - d[j])
    V = np.empty((p, p))
    for j in range(p):
        total = 0.0
        for k in range(p):
            V[j, k] = np.sqrt(abs(squares[k])) / gaps[j, k]
            total += V[j, k] * V[j, k]
        scale = 1.0 / np.sqrt(total)
        for k in range(p):
            V[j, k] *= scale
    return V.T


@jit
def _downdate(d: Any, z: Any, Z: Any) -> Any:
    """Return eigenvalues and rows in their eigenbasis after the loss of the real row `z`."""
    m = d.shape[0]
    moving, staying = _deflate(d, z, Z)
    p = moving.shape[0]
    fresh, V = np.empty(m), np.zeros((m, m))
    roots = np.empty(p)
    inner = _vectors(d[moving], z[moving] ** 2, roots)
    fresh[:p] = roots
    fresh[p:] = d[staying]
    order = np.argsort(fresh)
    for place in range(m):
        j = order[place]
        if j >= p:
            V[staying[j - p], place] = 1.0
        else:
            for k in range(p):
                V[moving[k], place] = inner[k, j]
    return fresh[order], np.dot(Z, V.astype(Z.dtype))


@jit
def _turn(Z: Any, row: Any) -> Any:
    """Turn the columns of `Z` so that `row` is real and not negative; return what it is then."""
    z = np.abs(row)
    for j in range(z.shape[0]):
        if z[j] > 0.0:
            phase = np.conj(row[j]) / z[j]
            for i in range(Z.shape[0]):
                Z[i, j] *= phase
    return z


@jit
def _run(d: Any, Z: Any, steps: int, delta: float, two_sided: bool) -> Any:
    """Return the removed rows; `Z` is overwritten."""
    k = Z.shape[0]
    numbers, removed = np.arange(k), np.empty(steps, dtype=np.int64)
    low, top = np.empty(k), np.empty(k)
    for done in range(steps):
        squares = np.abs(Z) ** 2
        if two_sided:
            best, worst = _best_norm(d, squares, low[:k], top[:k])
        else:
            best, x = _best_smallest(d, squares, low[:k])
            worst = 1.0 - x / (k - 1)
        if not worst <= delta:
            return removed[:done]
        removed[done] = numbers[best]
        row = Z[best].copy()
        k -= 1
        Z[best], numbers[best] = Z[k], numbers[k]
        Z = Z[:k]
        if done + 1 < steps:
            d, Z = _downdate(d, _turn(Z, row), Z)
    return removed


def greedy_removal(
    xp: Namespace, values: Array, Z: Array, steps: int, delta: float, two_sided: bool
) -> Array:
    """Return the rows that are removed one after another."""
    d = np.array(values, dtype=np.float64)
    return _run(d, np.array(Z, order="C"), int(steps), float(delta), bool(two_sided))
