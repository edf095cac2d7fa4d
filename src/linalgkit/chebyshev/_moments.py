"""Long-range potentials of particles by moments: the particles are read once, for all Gaussians.

A sum of Gaussians ``sum_k w_k exp(-t_k^2 r^2)`` is separable term by term. In one coordinate the
factors ``exp(-t_k^2 (x - y)^2)``, for all terms at once, are functions of the target x in a space
of small dimension and functions of the source y in another. With bases of these spaces::

    exp(-t_k^2 (x - y)^2) = sum_{i, j} u_i(x) S_k[i, j] phi_j(y)          (one coordinate)
    M    = sum_v q_v phi(x_v) o phi(y_v) o phi(z_v)                       (particles, once)
    core = sum_k w_k M x_1 S_{k, 1} x_2 S_{k, 2} x_3 S_{k, 3}

The targets' basis consists of polynomials on the box, orthonormal in the weighted norm; that of the
sources of piecewise polynomials, on panels that grow with the distance from the box, or of values
at the sources where these are few.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

from scipy.special import ive

from linalgkit._core.array import (
    Array,
    DType,
    Namespace,
    asarray,
    complex_dtype,
    device,
    is_on_host,
    itemsize,
    numpy_namespace,
    widest_float,
)
from linalgkit._core.linalg import svd_desc, tsqr
from linalgkit._core.modes import mode_products
from linalgkit.chebyshev._basis import (
    coefficient_matrix,
    nodes,
    parseval,
    scaled,
    to_unit,
    vandermonde,
)
from linalgkit.chebyshev._copies import Copies, copied_gaussians, least_gap
from linalgkit.chebyshev._newton import erf_rule
from linalgkit.chebyshev._particles import System
from linalgkit.chebyshev._parts import Interval, Parts, unweighted

_HOST = numpy_namespace()
# Numbers of a core that are never exceeded: half a GiB.
_MOST_NUMBERS = 2**26
# Half-width of a panel in units of 1/t for the narrowest Gaussian, and of its distance to the box.
_NEAR_PANEL, _FAR_PANEL = 2.0, 0.4
_MOST_PIECES = 12
# Parts of a tolerance: of the quadrature, of terms left out, of degrees.
_QUADRATURE, _NEGLIGIBLE, _DEGREE = 0.1, 0.01, 0.1
_LEAST_EPS = 1e-14
#: Largest number of coefficients of a variable.
MOST_COEFFICIENTS = 4096
# Bytes of a block of kernel values, and of the products of a block of particles (host, device).
_BLOCK_BYTES = 8 * 2**20
_PARTICLE_BYTES = 4 * 2**20, 64 * 2**20
# An interval of sources this near to the ends of the box, in parts of its width, is the box.
_SNAP = 0.15


@dataclass(frozen=True, eq=False)
class Rule:
    """Terms of a quadrature, ascending in t, and what they weigh in one coordinate.

    `bounds` (3, T): largest value of each term's factor in each coordinate; `total`: bound of the
    potential of one particle of charge 1 and its copies.
    """

    t: Array
    w: Array
    bounds: Array
    total: float

    def weights(self, mode: int) -> Array:
        """Return the square root of the share that each term's error in one coordinate has."""
        others = _HOST.prod(_HOST.delete(self.bounds, mode, axis=0), axis=0)
        return _HOST.sqrt(self.w * others / self.total)


@dataclass(frozen=True, eq=False)
class ModeMap:
    """The Gaussians in one coordinate (host).

    `left` (m, r): weighted coefficients of the targets' basis. `panels` (P, 2): ascending
    intervals, single points for p = 1; `right` (P p, s): coefficients of the sources' basis on
    them. `transfers` (T, r, s).
    """

    left: Array
    panels: Array
    right: Array
    transfers: Array

    def locate(self, y: Array) -> tuple[Array, Array]:
        """Return the panel of each source, and its place in [-1, 1] there."""
        last = self.panels.shape[0] - 1
        number = _HOST.clip(_HOST.searchsorted(self.panels[:, 0], y, side="right") - 1, 0, last)
        if self.right.shape[0] == self.panels.shape[0]:
            return number, _HOST.zeros_like(y)
        place = to_unit(y, (self.panels[number, 0], self.panels[number, 1]))
        return number, _HOST.clip(place, -1.0, 1.0)


# ------------------------------------------------------------------------------- the quadrature


def quadrature(system: System, tolerance: float) -> Rule:
    """Return the terms for ``erf(alpha r)/r``, error and left-out terms below the tolerance.

    The tolerance is relative to the potential of one particle of charge 1.
    """
    eps = max(_QUADRATURE * tolerance, _LEAST_EPS)
    t, w, _ = erf_rule(min(eps, 0.1), system.nearest, system.reach, system.alpha)
    copies = zip(system.gaps, system.lattice, strict=True)
    bounds = _HOST.stack([_largest(t, gap, lattice) for gap, lattice in copies])
    shares = w * _HOST.prod(bounds, axis=0)
    if math.prod(n for n, _ in system.lattice) == 1:
        shares = w * _HOST.exp(-((t * system.nearest) ** 2))
    total = float(_HOST.sum(shares))
    kept = shares > _NEGLIGIBLE * max(tolerance, _LEAST_EPS) * total / t.shape[0]
    return Rule(t[kept], w[kept], bounds[:, kept], total)


def _largest(t: Array, gap: float, copies: Copies) -> Array:
    """Return a bound of a Gaussian and its copies at a distance in one coordinate."""
    count, period = copies
    several = 1 + (math.sqrt(math.pi) / t) / abs(period) if count > 1 else _HOST.ones_like(t)
    return _HOST.exp(-((t * gap) ** 2)) * _HOST.minimum(several, count)


# ----------------------------------------------------------------------------- one coordinate


def mode_maps(system: System, rule: Rule, tolerance: float) -> list[ModeMap]:
    """Return the Gaussians in each coordinate; equal coordinates share one computation."""
    made: dict[object, ModeMap] = {}
    maps = []
    for k in range(3):
        box, copies = system.domain[k], system.lattice[k]
        panels, p = _sources_of(system.points[:, k], box, copies, float(rule.t[-1]), tolerance)
        weights = rule.weights(k)
        key = (box, copies, panels.tobytes(), weights.tobytes())
        if key not in made:
            made[key] = _mode_map(rule.t, weights, box, (panels, p), copies, tolerance)
        maps.append(made[key])
    return maps


def _sources_of(
    y: Array, box: Interval, copies: Copies, t: float, tolerance: float
) -> tuple[Array, int]:
    """Return panels and their number of nodes; the sources themselves where these are fewer."""
    panels = _panels(y, box, copies, t)
    p = gaussian_degree(_NEAR_PANEL, _DEGREE * tolerance)
    distinct = _HOST.unique_values(y)
    if distinct.shape[0] <= p * panels.shape[0]:
        return _HOST.stack([distinct, distinct], axis=1), 1
    return panels, p


def _mode_map(
    t: Array,
    weights: Array,
    box: Interval,
    sources: tuple[Array, int],
    copies: Copies,
    tolerance: float,
) -> ModeMap:
    """Return bases of targets and sources for all terms, errors below the tolerance.

    Each of the errors is the weighted norm over the targets, its squares summed over the terms with
    their weights and averaged over the nodes of the sources.
    """
    panels, p = sources
    resolved = gaussian_degree(float(t[-1]) * 0.5 * (box[1] - box[0]), _DEGREE * tolerance)
    y = _HOST.concat([scaled(nodes(p), (a, b)) for a, b in panels])
    allowed = tolerance * math.sqrt(y.shape[0])

    def kernels() -> Iterator[Array]:
        return _kernels(t, weights, box, resolved, y, copies)

    R = tsqr(_rows(C) for C in kernels())
    m = _last_above(R, _DEGREE * allowed)
    left = _leading(R[:, :m], allowed)
    B = _HOST.concat([left.T @ C[:, :m, :] for C in kernels()], axis=0)
    right = _leading(tsqr([B.reshape(-1, y.shape[0])]), allowed)
    transfers = (B @ right) / weights[:, None, None]
    pieces = coefficient_matrix(p) @ right.reshape(panels.shape[0], p, -1)
    return ModeMap(left, panels, pieces.reshape(panels.shape[0] * p, -1), transfers)


def _rows(C: Array) -> Array:
    """Return the columns of a stack of matrices as the rows of one."""
    return C.transpose(0, 2, 1).reshape(-1, C.shape[1])


def _kernels(
    t: Array, weights: Array, box: Interval, m: int, y: Array, copies: Copies
) -> Iterator[Array]:
    """Yield weighted coefficients (T, m, Y) of the Gaussians about sources y, block by block."""
    transform = parseval(m)[:, None] * coefficient_matrix(m)
    differences = scaled(nodes(m), box)[:, None] - y[None, :]
    step = max(1, _BLOCK_BYTES // (8 * m * y.shape[0]))
    for start in range(0, t.shape[0], step):
        block = slice(start, start + step)
        values = copied_gaussians(t[block, None, None], differences[None, :, :], copies)
        yield transform @ (values * weights[block, None, None])


def gaussian_degree(width: float, tolerance: float) -> int:
    """Return the number of Chebyshev coefficients that ``exp(-width^2 x^2)`` on [-1, 1] needs.

    They are ``2 exp(-a) I_j(a)`` with ``a = width^2 / 2`` for the degree 2 j; a shifted Gaussian
    has a few more above the tolerance, which the margin covers.
    """
    m = MOST_COEFFICIENTS + 1
    if width < MOST_COEFFICIENTS:
        j = _HOST.arange(MOST_COEFFICIENTS)
        above = _HOST.nonzero(2 * ive(j, 0.5 * width * width) > tolerance)[0]
        last = int(above[-1]) if above.shape[0] else 0
        m = 2 * last + 6 + last // 8
    if m > MOST_COEFFICIENTS:
        raise ValueError(
            "alpha must be smaller for this domain: a Gaussian of width 1/alpha needs more than "
            f"{MOST_COEFFICIENTS} coefficients a variable. Cut the domain into boxes."
        )
    return m


def _last_above(R: Array, allowed: float) -> int:
    """Return how many columns remain when the norm of the others together is allowed."""
    tails = _HOST.sqrt(_HOST.cumsum(_HOST.sum(R * R, axis=0)[::-1]))[::-1]
    return max(1, int(_HOST.sum(tails > allowed)))


def _leading(R: Array, allowed: float) -> Array:
    """Return the leading right singular vectors, the tail of the others allowed."""
    _, s, Vh = svd_desc(R, _HOST)
    tails = _HOST.sqrt(_HOST.cumsum((s * s)[::-1]))[::-1]
    return Vh[: max(1, int(_HOST.sum(tails > allowed))), :].T


def _panels(y: Array, box: Interval, copies: Copies, t: float) -> Array:
    """Return disjoint intervals (P, 2) that hold the sources, each short enough for one degree."""
    low, high = float(y.min()), float(y.max())
    margin = _SNAP * (box[1] - box[0])
    if copies[0] == 1 and 0 <= low - box[0] <= margin and 0 <= box[1] - high <= margin:
        low, high = box
    least = 1e-3 * min(_NEAR_PANEL / t, 1.0)
    if high - low < least:
        low, high = low - 0.5 * least, high + 0.5 * least
    ordered = _HOST.sort(y)
    found: list[Interval] = []
    waiting = [(low, high)]
    while waiting:
        a, b = waiting.pop()
        if _HOST.searchsorted(ordered, a) == _HOST.searchsorted(ordered, b, side="right"):
            continue  # no source in here
        limit = max(_NEAR_PANEL / t, _FAR_PANEL * least_gap((a, b), box, copies))
        if 0.5 * (b - a) <= limit:
            found.append((a, b))
            continue
        pieces = math.ceil(0.5 * (b - a) / limit * (1 - 1e-12))
        ends = _HOST.linspace(a, b, (pieces if pieces <= _MOST_PIECES else 2) + 1)
        waiting += [(float(c), float(d)) for c, d in itertools.pairwise(ends)][::-1]
    return _HOST.asarray(found)


# ------------------------------------------------------------------------------- the particles


def moments_parts(system: System, tolerance: float) -> Parts:
    """Return the potential in the units of the system, orthonormal, in the device's widest dtype.

    The tolerance is relative to the potential of one particle of charge 1, times the 2-norm of the
    charges.
    """
    rule = quadrature(system, tolerance)
    maps = mode_maps(system, rule, tolerance)
    _check_size(maps)
    xp, where = system.xp, system.device
    real = widest_float(xp, where)

    def placed(x: Array) -> Array:
        return asarray(x, xp=xp, device=where, dtype=real)

    M = _moments(system, maps, real)
    transfers = [placed(one.transfers) for one in maps]
    core = 0.0 * mode_products(M, [None, *(S[0, :, :] for S in transfers)], xp)
    for k, weight in enumerate(rule.w):
        term = mode_products(M, [None, *(S[k, :, :] for S in transfers)], xp)
        core = core + float(weight) * term
    factors = [placed(unweighted(one.left, _HOST)) for one in maps]
    return _joined(core, factors, system)


def _check_size(maps: list[ModeMap]) -> None:
    """Refuse a core that would be larger than what a Tucker format is for."""
    ranks = tuple(int(one.left.shape[1]) for one in maps)
    sources = tuple(int(one.right.shape[1]) for one in maps)
    numbers = max(math.prod(ranks), math.prod(sources))
    if numbers > _MOST_NUMBERS:
        raise ValueError(
            f"alpha must be smaller for this box: ranks {ranks} would make a core of "
            f"{numbers:.1e} numbers ({8 * numbers / 2**30:.1f} GiB). Ranks grow like 2.3 alpha "
            "times the width of the box: lower alpha, or cut the box into smaller ones."
        )


def _joined(core: Array, factors: list[Array], system: System) -> Parts:
    """Return the parts of a core whose first axis holds the real and the imaginary part."""
    xp = system.xp
    if not system.is_complex:
        return Parts(core[0, :, :, :], tuple(factors), system.domain, xp)
    dtype = complex_dtype(xp, core.dtype)
    real, imaginary = xp.astype(core[0, :, :, :], dtype), xp.astype(core[1, :, :, :], dtype)
    factors = [xp.astype(F, dtype) for F in factors]
    return Parts(real + 1j * imaginary, tuple(factors), system.domain, xp)


def _moments(system: System, maps: list[ModeMap], dtype: DType) -> Array:
    """Return ``sum_v q_v phi(x_v) o phi(y_v) o phi(z_v)``, shape (c, s_1, s_2, s_3)."""
    xp, where = system.xp, system.device
    tables = [asarray(one.right, xp=xp, device=where, dtype=dtype) for one in maps]
    sizes = [int(table.shape[1]) for table in tables]
    located = [one.locate(system.points[:, k]) for k, one in enumerate(maps)]
    numbers = [asarray(number, xp=xp, device=where, dtype=xp.int32) for number, _ in located]
    places = [asarray(place, xp=xp, device=where, dtype=dtype) for _, place in located]
    charges = asarray(system.charges, xp=xp, device=where, dtype=dtype)
    widest = max(sizes[1] * sizes[2], *(int(table.shape[0]) for table in tables))
    budget = _PARTICLE_BYTES[0 if is_on_host(charges) else 1]
    step = max(16, budget // (itemsize(xp, dtype) * widest))
    n, total = int(charges.shape[0]), None
    for start in range(0, n, step):
        stop = min(start + step, n)
        phi = [
            _sources(numbers[k][start:stop], places[k][start:stop], tables[k], maps[k], xp)
            for k in range(3)
        ]
        share = _block_moments(phi, charges[start:stop, :], xp)
        total = share if total is None else total + share
    return xp.reshape(total, (int(charges.shape[1]), *sizes))


def _sources(number: Array, place: Array, table: Array, one: ModeMap, xp: Namespace) -> Array:
    """Return the sources' basis (n, s) at particles given by panel and place."""
    n_panels = int(one.panels.shape[0])
    T = vandermonde(place, int(table.shape[0]) // n_panels, xp)
    if n_panels == 1:
        return T @ table
    panels = xp.arange(n_panels, dtype=number.dtype, device=device(number))
    chosen = xp.astype(number[:, None] == panels[None, :], table.dtype)
    return xp.reshape(chosen[:, :, None] * T[:, None, :], (int(T.shape[0]), -1)) @ table


def _block_moments(phi: list[Array], q: Array, xp: Namespace) -> Array:
    """Return the moments of a block of particles, shape (c s_1, s_2 s_3)."""
    n = int(q.shape[0])
    first = xp.reshape(q[:, :, None] * phi[0][:, None, :], (n, -1))
    others = xp.reshape(phi[1][:, :, None] * phi[2][:, None, :], (n, -1))
    return xp.matrix_transpose(first) @ others
