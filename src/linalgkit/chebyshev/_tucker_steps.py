"""Steps of a Tucker decomposition: slices left out, modes one after the other, sweeps.

The tensor is in the widest dtype of the device, and its squares are safe::

    core, bases, lost = reduced(T, norm2, allowed, most, svd, n_iter, rng, xp)
"""

from __future__ import annotations

import math
from typing import Any

from linalgkit._core.array import Array, Namespace, adjoint
from linalgkit._core.modes import mode_product, mode_products
from linalgkit._core.random import spawn
from linalgkit.chebyshev._tucker_slices import extended, restricted, significant_slices
from linalgkit.chebyshev._tucker_svd import Request, leading_vectors, left_basis, residual_energy

# A guess of the rank where none is given, as a part of the shortest mode.
_RANK_GUESS = 4
# Part of the energy allowed that slices left out may take, and the least entries worth a look.
_TRIMMED = 0.001
_WORTH_TRIMMING = 2**14


def reduced(
    T: Array,
    norm2: float,
    allowed: float,
    most: tuple[int, ...],
    svd: str,
    n_iter: int,
    rng: Any,
    xp: Namespace,
) -> tuple[Array, list[Array], float]:
    """Return core, bases and the energy lost of a tensor whose squares are safe."""
    shape = tuple(map(int, T.shape))
    kept, outside = [slice(0, n, 1) for n in shape], 0.0
    if math.prod(shape) >= _WORTH_TRIMMING:
        least = [r if r < n else 1 for r, n in zip(most, shape, strict=True)]
        kept, outside = significant_slices(T, _TRIMMED * allowed, least, xp)
    T = restricted(T, kept, xp)
    most = tuple(min(r, int(n)) for r, n in zip(most, T.shape, strict=True))
    core, bases, lost = _decompose(T, norm2, allowed - outside, most, svd, rng, xp)
    if n_iter:
        core, bases, lost = _improve(T, bases, n_iter, xp)
    bases = [extended(U, n, s, xp) for U, n, s in zip(bases, shape, kept, strict=True)]
    return core, bases, lost + outside


# Vannieuwenhoven, Vandebril, Meerbergen 2012, Algorithm 1 (ST-HOSVD). Differs from it:
# 1. The order of the modes follows from a cost model.
# 2. What a mode leaves unspent of its part of the tolerance is divided among the later ones.
def _decompose(
    T: Array,
    norm2: float,
    allowed: float,
    most: tuple[int, ...],
    svd: str,
    rng: Any,
    xp: Namespace,
) -> tuple[Array, list[Array], float]:
    """Return core, bases and the energy lost by the sequentially truncated decomposition."""
    bases: list[Any] = [None] * len(most)
    lost = spent = 0.0
    streams = spawn(rng, len(most))  # so that how far one mode draws does not move the others
    order = order_of_modes(tuple(map(int, T.shape)), most)
    for position, axis in enumerate(order):
        part = allowed if allowed < 0 else max(0.0, allowed - spent) / (len(order) - position)
        basis = left_basis(T, axis, Request(part, most[axis], norm2), svd, streams[axis], xp)
        bases[axis], T = basis.U, basis.core
        lost += basis.lost
        spent += min(basis.lost, part)  # what a rank given costs is not at the others' expense
    return T, bases, lost


def order_of_modes(shape: tuple[int, ...], most: tuple[int, ...]) -> list[int]:
    """Return the axes in the order in which projecting them costs least.

    A mode of length n and rank r costs about n + 2 r flops an entry of the tensor and leaves r / n
    of it: the total is least in ascending order of cost over reduction. A middle axis needs copies.
    """
    guess = max(1, min(shape) // _RANK_GUESS)

    def merit(axis: int) -> tuple[float, int]:
        n, last = shape[axis], len(shape) - 1
        r = most[axis] if most[axis] < n else min(n, guess)
        copies = 0 if axis in (0, last) else 16
        return (n + 2 * r + copies) / max(1 - r / n, 1e-3), 0 if axis == 0 else last - axis + 1

    return sorted(range(len(shape)), key=merit)


# De Lathauwer, De Moor, Vandewalle 2000, Algorithm 4.2 (HOOI). Differs from it:
# 1. It starts from the sequentially truncated decomposition, at its ranks.
# 2. The error comes from explicit differences, mode by mode.
def _improve(
    T: Array, bases: list[Array], n_iter: int, xp: Namespace
) -> tuple[Array, list[Array], float]:
    """Return core, bases and lost energy after sweeps of the orthogonal iteration."""
    bases = list(bases)
    for _ in range(n_iter):
        for axis, U in enumerate(bases):
            Y = mode_products(T, [adjoint(V, xp) for V in bases], xp, skip=(axis,))
            bases[axis] = leading_vectors(Y, axis, int(U.shape[1]), xp)
    lost = 0.0
    for axis in order_of_modes(tuple(map(int, T.shape)), tuple(int(U.shape[1]) for U in bases)):
        smaller = mode_product(T, adjoint(bases[axis], xp), axis, xp)
        lost += residual_energy(T, smaller, bases[axis], axis, xp)
        T = smaller
    return T, bases, lost
