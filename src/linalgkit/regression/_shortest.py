"""The step of least norm, in the caller's units, among those that do the same to the equations.

The null space is known in units in which columns have unit length, the norm is that of the
caller, and the units of the columns may be a hundred orders of magnitude apart. What must hold
to the last digit, that the image of a step stays, is computed in the former; what may be less
accurate, how far to go along the null space, in the latter::

    shorten = shortest(system, sketched, basis)
    step = shorten(step)                            # A step as before, ||step|| minimal

"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from linalgkit._core.array import Array, adjoint, matmul_h, numpy_namespace, to_numpy
from linalgkit._core.linalg import qr_positive
from linalgkit.regression._certificate import floats
from linalgkit.regression._precondition import Basis, Sketched, condition_of
from linalgkit.regression._system import System

Map: TypeAlias = Callable[[Array], Array]

# Units less far apart cost an orthogonal projection no more digits than corrections win back.
_ALIKE = 2.0**10
# Null vectors are known up to the roundoff times the condition number. Entries that are not this
# far above it, or above the roundoff, are taken for zero where they would shorten a step.
_ABOVE_NOISE, _ABOVE_ROUNDOFF = 2.0**4, 2.0**10
_MOST_NOISE = 2.0**-10


def shortest(system: System, sketched: Sketched, basis: Basis | None = None) -> Map | None:
    """Return the map to steps of least norm with the same image, or None where there are no others.

    Parameters
    ----------
    system : System
        The problem. Steps of wide ones are of least norm as they are.
    sketched : Sketched
        Which columns are zero, and the lengths of the others.
    basis : Basis, optional
        What is kept and what is not, in the units of `M`; all but columns of zeros by default.
    """
    if system.is_wide:
        return None
    n_lost = 0 if basis is None else int(basis.lost_values.shape[0])
    if basis is None or n_lost <= sketched.n_dead:
        return _masked(system, sketched, None)
    scale = system.as_dtype(sketched.scale)[:, None]
    Z, weights = basis.lost_vectors / scale, _weights(system, sketched)
    if max(weights) <= _ALIKE * min(weights):
        return _masked(system, sketched, _projection(system, Z, weights))
    noise = _noise(system, basis)
    exchange, V = _exchange(system, Z, weights, noise), basis.vectors / scale

    def shorten(step: Array) -> Array:
        y = step / scale
        shorter = exchange(y)
        # What a small pivot has cost of the image is made good.
        missing = V @ matmul_h(V, y - shorter, system.xp)
        return scale * (shorter + exchange(missing))

    return _masked(system, sketched, shorten)


def _noise(system: System, basis: Basis) -> float:
    """Return what cannot be told from zero in null vectors."""
    factor = max(_ABOVE_ROUNDOFF, _ABOVE_NOISE * condition_of(floats(basis.values)))
    return min(factor * system.roundoff, _MOST_NOISE)


def _weights(system: System, sketched: Sketched) -> list[float]:
    """Return the caller's units of unknowns of columns of unit length; those of zeros the most."""
    xp = system.xp
    units = system.original(system.as_dtype(sketched.scale)[:, None])[:, 0]
    weights = floats(xp.abs(units))
    if sketched.dead is None:
        return weights
    dead = [bool(flag) for flag in to_numpy(sketched.dead)]
    most = max((w for w, flag in zip(weights, dead, strict=True) if not flag), default=1.0)
    return [most if flag else w for w, flag in zip(weights, dead, strict=True)]


def _masked(system: System, sketched: Sketched, shorten: Map | None) -> Map | None:
    """Return the map followed by zeros for the unknowns of columns of zeros."""
    if sketched.dead is None:
        return shorten
    dead = sketched.dead[:, None]

    def masked(step: Array) -> Array:
        step = step if shorten is None else shorten(step)
        return system.xp.where(dead, system.xp.zeros_like(step), step)

    return masked


def _projection(system: System, Z: Array, weights: list[float]) -> Map:
    """Return the orthogonal projection, where the units are alike."""
    Z = qr_positive(Z * _column(system, weights), system.xp)[0]

    def shorten(step: Array) -> Array:
        X = system.original(step)
        return system.scaled(X - Z @ matmul_h(Z, X, system.xp))

    return shorten


def _exchange(system: System, Z: Array, weights: list[float], noise: float) -> Map:
    """Return the map that sets unknowns of large units to zero, and then finds the best of them.

    With null vectors ``[I; T] c``, the first rows those of the unknowns `u` that are set to zero,
    ``[0; v - T u]`` has the same image as ``[u; v]``. It has the least norm of all after that `c`
    has been added which makes it orthogonal to the null vectors, units counted.
    """
    xp = system.xp
    first = _pivots(Z, weights, noise)
    rest = sorted(set(range(len(weights))) - set(first))
    order = [*first, *rest]
    back = _indices(system, sorted(range(len(order)), key=order.__getitem__))
    top, bottom = _indices(system, first), _indices(system, rest)
    w, v = _column(system, [weights[i] for i in first]), _column(system, [weights[i] for i in rest])
    upper = xp.matrix_transpose(xp.take(Z, top, axis=0))
    lower = xp.matrix_transpose(xp.take(Z, bottom, axis=0))
    T = xp.matrix_transpose(xp.linalg.solve(upper, lower))
    best = _least_norm(system, T, v, w, noise)

    def shorten(step: Array) -> Array:
        base = xp.take(step, bottom, axis=0) - T @ xp.take(step, top, axis=0)
        c = -(best @ (v * base)) / w
        return xp.take(xp.concat([c, base + T @ c], axis=0), back, axis=0)

    return shorten


def _least_norm(system: System, T: Array, v: Array, w: Array, noise: float) -> Array:
    """Return ``(I + N^H N)^-1 N^H`` with ``N = diag(v) T diag(1 / w)``, entries of noise left out.

    The rows of `T` were chosen such that no other entry of `N` is much above one.
    """
    xp = system.xp
    sizes = xp.abs(T)
    largest = xp.max(sizes, axis=0)
    floor = noise * xp.where(largest > 1, largest, xp.ones_like(largest))
    N = T * v / xp.matrix_transpose(w)
    known = (sizes > floor[None, :]) & (xp.abs(N) < 1 / _MOST_NOISE)
    N = xp.where(known, N, xp.zeros_like(N))
    normal = matmul_h(N, N, xp)
    identity = xp.eye(normal.shape[0], dtype=system.dtype, device=system.device)
    return xp.linalg.solve(normal + identity, adjoint(N, xp))


def _pivots(Z: Array, weights: list[float], noise: float) -> list[int]:
    """Return rows whose null vectors are independent, of the largest weights there are.

    Gaussian elimination with complete pivoting of the weighted rows, on the host.
    """
    host = numpy_namespace()
    left, w = to_numpy(Z), host.asarray(weights)[:, None]
    rows: list[int] = []
    while left.shape[1]:
        sizes = host.abs(left)
        above = sizes > noise
        scores = host.where(above, w * sizes, 0.0) if above.any() else sizes
        i, j = divmod(int(scores.argmax()), left.shape[1])
        rows.append(i)
        pivot, others = left[:, j], host.arange(left.shape[1]) != j
        left = left[:, others] - pivot[:, None] * (left[i, others] / pivot[i])[None, :]
        left[i, :] = 0
    return rows


def _column(system: System, values: list[float]) -> Array:
    column = system.xp.asarray(values, dtype=system.real, device=system.device)
    return system.as_dtype(column)[:, None]


def _indices(system: System, rows: list[int]) -> Array:
    return system.xp.asarray(rows, dtype=system.xp.int64, device=system.device)
