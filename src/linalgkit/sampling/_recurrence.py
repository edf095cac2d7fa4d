"""Orthonormal polynomials of one variable by their three-term recurrence.

Values, zeros, and envelopes of ``psi_j^2 dmu``: between two zeros the density is log-concave
where the weight is.
"""

from __future__ import annotations

import functools
import math
from abc import abstractmethod
from typing import Any

import scipy.linalg

from linalgkit._core.array import Array, Namespace, numpy_namespace
from linalgkit._kernels.tensor_basis import recurrence_table, recurrence_values
from linalgkit.sampling._family import Family
from linalgkit.sampling._induced import envelope_of, log_concave_bounds

_HOST = numpy_namespace()
PER_LOBE = 16  # cells between two zeros


class Polynomials(Family):
    """Families that follow a three-term recurrence in ``t = (x - centre) / unit``."""

    @property
    @abstractmethod
    def _map(self) -> tuple[float, float]:
        """The centre and the unit."""

    @abstractmethod
    def _jacobi_matrix(self, p: int) -> tuple[Array, Array]:
        """Return diagonal `a` (p,) and off-diagonal `b` (p,) of the multiplication by `t`.

        ``t psi_j = b[j] psi_{j+1} + a[j] psi_j + b[j - 1] psi_{j-1}``.
        """

    def _table(self, xp: Namespace, x: Array, p: int) -> Array:
        centre, unit = self._map
        t = x if (centre, unit) == (0.0, 1.0) else (x - centre) * (1 / unit)
        table: Array = recurrence_table(xp, t, recurrence_of(self, p))
        return table

    def _values(self, t: Array, degrees: Array) -> Array:
        """Return every number's polynomial of its own degree (host)."""
        p = int(_HOST.max(degrees))
        values: Array = recurrence_values(_HOST, t, degrees, recurrence_of(self, p))
        return values

    def _draw_positive(self, degrees: Array, rng: Any) -> Array:
        return self._from_standard(self._standard_draws(degrees, rng))

    def _standard_draws(self, degrees: Array, rng: Any) -> Array:
        return envelope_of(self).draw(degrees, rng)

    def _from_standard(self, t: Array) -> Array:
        (centre, unit), (low, high) = self._map, self.domain
        x: Array = _HOST.minimum(_HOST.maximum(centre + unit * t, low), high)
        return x

    def _zeros(self, degree: int) -> Array:
        """Return the zeros of a polynomial, ascending (Golub and Welsch 1969)."""
        diagonal, off = self._jacobi_matrix(degree)
        zeros: Array = scipy.linalg.eigh_tridiagonal(diagonal, off[:-1], eigvals_only=True)
        return zeros


@functools.lru_cache(maxsize=1024)
def recurrence_of(family: Polynomials, p: int) -> Array:
    """Return the coefficients that the kernels take."""
    diagonal, off = family._jacobi_matrix(p)
    before = _HOST.concatenate((_HOST.zeros(1), off[:-1]))
    return _HOST.stack((1 / off, -diagonal / off, before / off))


def log_slope(t: Array, zeros: Array) -> Array:
    """Return the logarithmic derivative of the square of a polynomial."""
    with _HOST.errstate(divide="ignore"):
        slope: Array = 2 * _HOST.sum(1 / (t[:, None] - zeros[None, :]), axis=1)
    return slope


def lobe_cells(edges: Array, zero: Array, log_density: Array, slope: Array) -> Array:
    """Return the logarithmic bounds of the cells of a density with given zeros among the edges."""
    value = _HOST.where(zero, -math.inf, log_density)
    lower, upper = _HOST.where(zero, math.inf, slope), _HOST.where(zero, -math.inf, slope)
    ends = _HOST.stack((value[:-1], value[1:]))
    return log_concave_bounds(edges, ends, _HOST.stack((lower[:-1], upper[1:])))
