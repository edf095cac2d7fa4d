"""Charged particles about a box: units of order one, distances, direct sums at check points.

Lengths are measured from the centre of the box in the power of two next to its largest half-width,
charges in the power of two next to the largest one: nothing overflows and no digit is lost::

    system = prepare(points, charges, domain, alpha, lattice)
    x = check_points(system)                  # (n, 3), in these units
    potential = direct_sum(system, x)         # sum_v q_v erf(alpha r)/r
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, replace
from typing import Any

from scipy.special import erf

from linalgkit._core.array import (
    Array,
    Device,
    DType,
    Namespace,
    array_namespace,
    detached,
    device,
    dtype_name,
    is_complex,
    numpy_namespace,
    to_numpy,
    working_dtype,
)
from linalgkit._core.random import as_generator
from linalgkit._core.scaling import ldexp, ldexp_float, max_abs, scale_exponent, silent
from linalgkit._core.state import PortablePickle
from linalgkit._core.validation import check_finite_block, message
from linalgkit.chebyshev._copies import (
    MOST_TERMS,
    Copies,
    copied_gaussians,
    least_gap,
    nearest_copy,
)
from linalgkit.chebyshev._newton import erf_rule
from linalgkit.chebyshev._parts import Interval

_HOST = numpy_namespace()
_SEED = 250301696
# Check points anywhere, near random sources, and at and around those of the highest peaks.
_ANYWHERE, _NEAR, _PEAKS = 120, 60, 30
# Distances around a peak, in units of 1/alpha.
_RING = 0.3, 5.0
# Pairs that a direct sum holds at a time.
_PAIRS = 2**17
# Rounding is all that the rule behind the sums over lattices leaves.
_RULE_EPS = 1e-14

# Distances from the box in a shell differ by this factor.
_SHELL_RATIO = 4.0


@dataclass(frozen=True, eq=False)
class System(PortablePickle):
    """Particles, copies and box in units of order one (host), and what the answer is to be.

    `points` (N, 3); `charges` (N, c) real: one column, or the real and the imaginary part. A
    potential in these units times ``2**exponent`` is that of the caller, whose lengths are
    ``centre + 2**length_exponent * x``.
    """

    points: Array
    charges: Array
    domain: tuple[Interval, ...]
    alpha: float
    lattice: tuple[Copies, ...]
    exponent: int
    length_exponent: int
    centre: tuple[float, ...]
    own_domain: tuple[Interval, ...]
    xp: Namespace
    device: Device
    dtype: DType

    @property
    def is_complex(self) -> bool:
        """Whether the charges are complex."""
        return int(self.charges.shape[1]) == 2

    @property
    def count(self) -> int:
        """The number N of particles of the cell."""
        return int(self.points.shape[0])

    def at(self, indices: Array) -> Array:
        """Return the positions of some particles."""
        return self.points[indices, :]

    def highest(self, count: int) -> tuple[Array, Array]:
        """Return the highest peaks in the box, descending, and their places."""
        heights, y = peak_heights(self)
        first = _HOST.argsort(-heights, stable=True)[:count]
        return heights[first], y[first, :]

    @functools.cached_property
    def charge_norm(self) -> float:
        """The 2-norm of the charges."""
        return math.sqrt(float(_HOST.sum(self.charges**2)))

    @functools.cached_property
    def extents(self) -> tuple[Interval, ...]:
        """The interval of the cell's particles in each coordinate."""
        low, high = _HOST.min(self.points, axis=0), _HOST.max(self.points, axis=0)
        return tuple((float(a), float(b)) for a, b in zip(low, high, strict=True))

    @functools.cached_property
    def gaps(self) -> tuple[float, ...]:
        """The least distance of a particle or copy from the box in each coordinate."""
        cells = zip(self.extents, self.domain, self.lattice, strict=True)
        return tuple(least_gap(extent, box, copies) for extent, box, copies in cells)

    @functools.cached_property
    def nearest(self) -> float:
        """A distance that no pair of a particle and a point of the box falls below."""
        if any(n > 1 for n, _ in self.lattice):
            return math.hypot(*self.gaps)
        outside = gaps_outside(self.points, self.domain)
        return float(
            _HOST.min(_HOST.hypot(_HOST.hypot(outside[:, 0], outside[:, 1]), outside[:, 2]))
        )

    @functools.cached_property
    def reach(self) -> float:
        """A distance that no pair of a particle and a point of the box exceeds."""
        spans = []
        for (low, high), (a, b), (count, period) in zip(
            self.extents, self.domain, self.lattice, strict=True
        ):
            shift = (count - 1) * period
            spans.append(max(max(high, high + shift) - a, b - min(low, low + shift)))
        return math.hypot(*spans)

    def to_units(self, x: Array) -> Array:
        """Return points of the caller in the units of the system."""
        e = self.length_exponent
        return ldexp(x, -e, _HOST) - ldexp(_HOST.asarray(self.centre), -e, _HOST)


def shells(system: System) -> list[System]:
    """Return the particles near the box, and shells of those ever farther away, nearest first.

    Particles far from the box in any coordinate need no narrow Gaussians in the others. A lattice
    remains whole.
    """
    if any(n > 1 for n, _ in system.lattice):
        return [system]
    gap = _HOST.maximum(_HOST.max(gaps_outside(system.points, system.domain), axis=1), 1.0)
    shell = _HOST.ceil(_HOST.log(gap) / math.log(_SHELL_RATIO))
    if float(_HOST.max(shell)) == float(_HOST.min(shell)):
        return [system]
    chosen = [shell == number for number in _HOST.unique_values(shell)]
    return [
        replace(system, points=system.points[one, :], charges=system.charges[one, :])
        for one in chosen
    ]


def gaps_outside(points: Array, box: tuple[Interval, ...]) -> Array:
    """Return how far points lie outside a box in each coordinate, shape (N, 3)."""
    low, high = (_HOST.asarray(ends) for ends in zip(*box, strict=True))
    return _HOST.maximum(_HOST.maximum(low - points, points - high), 0.0)


def merged(points: Array, charges: Array) -> tuple[Array, Array]:
    """Return the places that have a charge, each once, and their charges, summed exactly."""
    places, number = _HOST.unique(points, axis=0, return_inverse=True)
    order = _HOST.argsort(number.reshape(-1), stable=True)
    starts = _HOST.searchsorted(number.reshape(-1)[order], _HOST.arange(1, places.shape[0]))
    groups = _HOST.split(charges[order, :], starts)
    sums = _HOST.asarray([[math.fsum(column) for column in group.T] for group in groups])
    charged = _HOST.any(sums != 0, axis=1)
    return places[charged, :], sums[charged, :]


def checked_particles(points: Array, charges: Array) -> tuple[Array, Array, Array, DType]:
    """Return positions and charges on the host, an array of the caller's place, and the dtype."""
    points, charges = detached(points), detached(charges)
    xp = array_namespace(points, charges)
    if len(points.shape) != 2 or points.shape[1] != 3:
        raise ValueError(message("points", "have the shape (N, 3)", tuple(points.shape)))
    if tuple(charges.shape) != (points.shape[0],):
        rule = f"have the shape ({points.shape[0]},), one a point"
        raise ValueError(message("charges", rule, tuple(charges.shape)))
    where = device(points)
    if device(charges) != where:
        raise ValueError(message("charges", f"lie on {where} as points do", device(charges)))
    if is_complex(points, xp):
        raise TypeError(message("points", "be real", dtype_name(xp, points.dtype)))
    check_finite_block(points, name="points", unit="particle")
    check_finite_block(charges, name="charges", unit="particle")
    kinds = [working_dtype(xp, where, x.dtype) for x in (points, charges)]
    dtype = xp.result_type(*kinds)
    return on_host(points), on_host(charges), points, dtype


def on_host(x: Array) -> Array:
    """Return an array on the host in double precision."""
    host = to_numpy(x)
    wide = _HOST.complex128 if host.dtype.kind == "c" else _HOST.float64
    return _HOST.asarray(host, dtype=wide)


def prepare(
    points: Array,
    charges: Array,
    domain: tuple[Interval, ...],
    alpha: float,
    lattice: tuple[Copies, ...],
    xp: Namespace,
    where: Device,
    dtype: DType,
) -> System:
    """Return the system of host arrays `points` (N, 3) and `charges` (N,)."""
    half = max(0.5 * b - 0.5 * a for a, b in domain)
    e = scale_exponent(half)
    centre = tuple(0.5 * a + 0.5 * b for a, b in domain)
    middle = ldexp(_HOST.asarray(centre), -e, _HOST)
    ends = ldexp(_HOST.asarray(domain), -e, _HOST) - middle[:, None]
    parts = [charges.real, charges.imag] if charges.dtype.kind == "c" else [charges]
    q = _HOST.stack([_HOST.asarray(part, dtype=_HOST.float64) for part in parts], axis=1)
    charge_exponent = scale_exponent(max_abs(q, _HOST))
    with silent():
        x = ldexp(_HOST.asarray(points, dtype=_HOST.float64), -e, _HOST) - middle
        periods = tuple((n, ldexp_float(period, -e)) for n, period in lattice)
    return System(
        points=x,
        charges=ldexp(q, -charge_exponent, _HOST),
        domain=tuple((float(a), float(b)) for a, b in ends),
        alpha=ldexp_float(alpha, e),
        lattice=periods,
        exponent=charge_exponent - e,
        length_exponent=e,
        centre=centre,
        own_domain=domain,
        xp=xp,
        device=where,
        dtype=dtype,
    )


# --------------------------------------------------------------------------------- direct sums


def check_points(system: System) -> Array:
    """Return points of the box, the same in every call: anywhere, near sources, and the corners.

    A source outside the box counts as its nearest point of the box.
    """
    rng = as_generator(_SEED)
    low = _HOST.asarray([a for a, _ in system.domain])
    high = _HOST.asarray([b for _, b in system.domain])
    anywhere = low + (high - low) * rng.random((_ANYWHERE, 3))
    chosen = rng.integers(0, system.count, _NEAR)
    jitter = rng.standard_normal((_NEAR, 3)) * min(0.5 / system.alpha, 1.0)
    near = system.at(chosen) + _shifts(system, rng) + jitter
    corners = _HOST.asarray(_HOST.meshgrid(*system.domain, indexing="ij")).reshape(3, 8).T
    points = _HOST.concat([anywhere, near, _peaks(system, rng), corners], axis=0)
    return _HOST.clip(points, low, high)


def _peaks(system: System, rng: Any) -> Array:
    """Return the places of the highest peaks in the box, and places around them.

    The places around are shared out by the squares of the heights.
    """
    heights, y = system.highest(_PEAKS)
    shares = _HOST.cumsum(heights**2)
    wanted = (_HOST.arange(_PEAKS) + 0.5) / _PEAKS * shares[-1]
    chosen = _HOST.clip(_HOST.searchsorted(shares, wanted), 0, heights.shape[0] - 1)
    radii = _RING[0] * (_RING[1] / _RING[0]) ** rng.random(_PEAKS)
    directions = rng.standard_normal((_PEAKS, 3))
    directions /= _HOST.linalg.norm(directions, axis=1)[:, None]
    ring = y[chosen, :] + directions * (radii * min(1 / system.alpha, 1.0))[:, None]
    return _HOST.concat([y, ring], axis=0)


def peak_heights(system: System) -> tuple[Array, Array]:
    """Return the largest modulus of each particle's own potential in the box, and its nearest copy.

    Of a lattice only the copy nearest to the centre of the box counts.
    """
    middle = [0.5 * (a + b) for a, b in system.domain]
    y = _HOST.stack(
        [
            system.points[:, k] + nearest_copy(middle[k] - system.points[:, k], copies) * copies[1]
            for k, copies in enumerate(system.lattice)
        ],
        axis=1,
    )
    gap = _HOST.linalg.norm(gaps_outside(y, system.domain), axis=1)
    moduli = _HOST.linalg.norm(system.charges, axis=1)
    return moduli * kernel_at(gap, system.alpha), y


def _shifts(system: System, rng: Any) -> Array:
    """Return the shifts of random copies."""
    columns = [rng.integers(0, n, _NEAR) * period for n, period in system.lattice]
    return _HOST.stack(columns, axis=1)


def direct_sum(system: System, x: Array) -> Array:
    """Return ``sum_v q_v erf(alpha r)/r`` at points, copies included, and the sum of the moduli.

    Shape (n, c + 1).
    """
    moduli = _HOST.sqrt(_HOST.sum(system.charges**2, axis=1))[:, None]
    return _sums(replace(system, charges=_HOST.concat([system.charges, moduli], axis=1)), x)


def _sums(system: System, x: Array) -> Array:
    """Return the sum for each column of charges."""
    n_copies = math.prod(n for n, _ in system.lattice)
    if n_copies == 1:
        return _sum_of_pairs(system, x, system.points, system.charges)
    exponentials = 0.5 * sum(min(n, MOST_TERMS) for n, _ in system.lattice)
    if n_copies <= exponentials:
        return _sum_over_copies(system, x)
    rule = erf_rule(_RULE_EPS, system.nearest, system.reach, system.alpha)
    if n_copies <= exponentials * rule[0].shape[0]:
        return _sum_over_copies(system, x)
    return _sum_by_modes(system, x, rule[0], rule[1])


def _sum_of_pairs(system: System, x: Array, points: Array, charges: Array) -> Array:
    """Return the sum over particles, in blocks."""
    total = _HOST.zeros((x.shape[0], charges.shape[1]))
    step = max(1, _PAIRS // x.shape[0])
    for start in range(0, points.shape[0], step):
        block = slice(start, start + step)
        total += _kernel(x, points[block, :], system.alpha) @ charges[block, :]
    return total


def _kernel(x: Array, y: Array, alpha: float) -> Array:
    """Return ``erf(alpha r)/r`` for all pairs."""
    with silent():
        r = (x[:, None, 0] - y[None, :, 0]) ** 2
        for k in (1, 2):
            r += (x[:, None, k] - y[None, :, k]) ** 2
    _HOST.sqrt(r, out=r)
    return kernel_at(r, alpha)


def kernel_at(r: Array, alpha: float) -> Array:
    """Return ``erf(alpha r)/r`` at distances, which are overwritten."""
    values = _HOST.multiply(r, alpha)
    erf(values, out=values)
    zero = r == 0
    if not bool(zero.any()):
        return _HOST.divide(values, r, out=values)
    r[zero] = 1.0
    values /= r
    values[zero] = 2 * alpha / math.sqrt(math.pi)
    return values


def _sum_over_copies(system: System, x: Array) -> Array:
    """Return the sum, some copies of the cell at a time."""
    counts = tuple(n for n, _ in system.lattice)
    periods = _HOST.asarray([period for _, period in system.lattice])
    n_copies, n = math.prod(counts), int(system.points.shape[0])
    step = max(1, _PAIRS // (x.shape[0] * n))
    total = _HOST.zeros((x.shape[0], system.charges.shape[1]))
    for start in range(0, n_copies, step):
        numbers = _HOST.arange(start, min(start + step, n_copies))
        shifts = _HOST.stack(_HOST.unravel_index(numbers, counts), axis=1) * periods
        points = (shifts[:, None, :] + system.points[None, :, :]).reshape(-1, 3)
        charges = _HOST.tile(system.charges, (numbers.shape[0], 1))
        total += _sum_of_pairs(system, x, points, charges)
    return total


def _sum_by_modes(system: System, x: Array, t: Array, w: Array) -> Array:
    """Return the sum by a quadrature exact to rounding, whose terms factorise over the copies."""
    total = _HOST.zeros((x.shape[0], system.charges.shape[1]))
    step = max(1, _PAIRS // x.shape[0])
    for start in range(0, system.points.shape[0], step):
        y, q = system.points[start : start + step, :], system.charges[start : start + step, :]
        for tk, wk in zip(t, w, strict=True):
            product = wk
            for k, copies in enumerate(system.lattice):
                product = product * copied_gaussians(tk, x[:, None, k] - y[None, :, k], copies)
            total += product @ q
    return total
