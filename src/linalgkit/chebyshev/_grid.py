"""The full grid: all values at a product of Chebyshev points, on the device."""

from __future__ import annotations

from collections.abc import Sequence

from linalgkit._core.array import Array, Namespace, numpy_namespace
from linalgkit._core.modes import mode_product
from linalgkit.chebyshev._basis import (
    coefficient_matrix,
    nodes,
    on_device,
    parseval,
    to_coefficients,
)
from linalgkit.chebyshev._sampler import Sampler

_HOST = numpy_namespace()


def weighted_coefficients(F: Array, xp: Namespace) -> Array:
    """Return the Chebyshev coefficients of values on a grid, weighted: the norm is that of L2."""
    for axis in range(F.ndim):
        F = weighted_transform(F, axis, xp)
    return F


def weighted_transform(F: Array, axis: int, xp: Namespace) -> Array:
    """Return values along one axis as weighted coefficients."""
    m = int(F.shape[axis])
    if m <= 513:
        A = parseval(m)[:, None] * coefficient_matrix(m)
        return mode_product(F, on_device(A, F, xp), axis, xp)
    C = to_coefficients(F, axis, xp)
    shape = (*(1,) * axis, m, *(1,) * (F.ndim - axis - 1))
    return C * xp.reshape(on_device(parseval(m), C, xp), shape)


def grid_values(sampler: Sampler, lengths: Sequence[int]) -> Array:
    """Return the values on the product of Chebyshev points."""
    return sampler.tensor([nodes(m) for m in lengths])
