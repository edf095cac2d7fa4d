"""Exact draws of the laws ``psi_j^2 dmu`` of one variable, many degrees in one call.

Rejection, with an envelope that holds by a theorem and never by a grid:

- :func:`arcsine_draws` for Legendre polynomials, by Bernstein's inequality;
- :class:`Envelope`, constant on short cells, for everything else. Where ``psi_j`` has real zeros
  only and the weight is log-concave, so is the density between two zeros; its tangents then bound
  it on a cell (:func:`log_concave_bounds`). For splines the Bernstein coefficients do.

Numbers are drawn in rounds, each for all that have not been accepted yet.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, Protocol

from linalgkit._core.array import Array, numpy_namespace

_HOST = numpy_namespace()
_ROUNDS = 10_000
_MARGIN = 1e-9  # of a bound, for the rounding of what it is computed from

#: How a cell is drawn from: uniformly, by a power of the distance to its lower or upper end, or
#: by an exponential law beyond its lower or upper end.
UNIFORM, LOW_POWER, HIGH_POWER, HIGH_TAIL, LOW_TAIL = range(5)


class Cells(NamedTuple):
    """The envelope of one density: proposals of a cell have its mass.

    Attributes
    ----------
    start : array (c,)
        Lower end; upper end for `HIGH_POWER` and `LOW_TAIL`.
    width : array (c,)
        Signed step that a number in [0, 1) multiplies (for tails, one from an exponential law).
    bound : array (c,)
        Bound of the density, without the factor that is drawn from.
    mass : array (c,)
        Integral of the envelope.
    kind : array (c,)
        One of the constants of this module.
    """

    start: Array
    width: Array
    bound: Array
    mass: Array
    kind: Array


class Induced(Protocol):
    """What an envelope asks of a family, in the unit of its recurrence."""

    def _cells(self, degree: int) -> Cells:
        """Return the cells of one degree."""

    def _density(self, t: Array, degrees: Array, kind: Array) -> Array:
        """Return the density, without the factor that cells of this kind are drawn from."""

    def _powers(self) -> tuple[float, float]:
        """Return the exponents of `LOW_POWER` and `HIGH_POWER` cells."""


Propose = Callable[[Array, Any], tuple[Array, Array]]


def in_rounds(propose: Propose, degrees: Array, rng: Any, tries: Iterable[int]) -> Array:
    """Return for every degree the first accepted of independent proposals.

    Parameters
    ----------
    propose : callable
        ``propose(degrees, rng) -> (numbers, accepted)``.
    degrees : int64 array (n,)
    rng : numpy.random.Generator
    tries : iterable of int
        Proposals for one number in each round; the last holds for all later rounds.
    """
    result = _HOST.empty(degrees.shape)
    pending = _HOST.arange(degrees.size)
    listed = list(tries)
    for k in itertools.chain(listed, itertools.repeat(listed[-1], _ROUNDS)):
        if pending.size == 0:
            return result
        x, accepted = propose(_HOST.repeat(degrees[pending], k), rng)
        accepted = accepted.reshape(-1, k)
        first = _HOST.argmax(accepted, axis=1)
        place = _HOST.arange(pending.size) * k + first
        hit = accepted.reshape(-1)[place]
        result[pending[hit]] = x[place[hit]]
        pending = pending[~hit]
    raise RuntimeError(f"no proposal was accepted in {_ROUNDS} rounds; the envelope is far off.")


# Bernstein's inequality, sharpened by Antonov and Kholshevnikov (1981): for x in [-1, 1]
# sqrt(1 - x^2) (2j + 1) P_j(x)^2 <= 4 / pi, so that (2j + 1) P_j(x)^2 / 2 is at most twice the
# arcsine density 1 / (pi sqrt(1 - x^2)), whatever j.
def arcsine_draws(values: Callable[[Array, Array], Array], degrees: Array, rng: Any) -> Array:
    """Return draws of ``psi_j(t)^2 / 2`` on [-1, 1] for Legendre polynomials of given degrees.

    Half of the proposals are accepted.
    """

    def propose(degrees: Array, rng: Any) -> tuple[Array, Array]:
        u, v = rng.random((2, degrees.size))
        t = _HOST.cos(math.pi * u)
        psi = values(t, degrees)
        return t, v < (math.pi / 4) * psi * psi * _HOST.sqrt((1 - t) * (1 + t))

    return in_rounds(propose, degrees, rng, (2, 4, 16))


# --------------------------------------------------------------------------- piecewise envelopes


class Envelope:
    """Piecewise envelopes of the induced densities of one family, made when first needed.

    Parameters
    ----------
    family : Induced
        Gives the cells of a degree and the density.
    """

    def __init__(self, family: Induced) -> None:
        self._family = family
        self._of_degree: dict[int, Cells] = {}
        self._joined: tuple[Array, Array, Cells] | None = None

    def draw(self, degrees: Array, rng: Any) -> Array:
        """Return draws of ``psi_j^2 dmu``, one for every degree (int64, at least 1)."""
        table = self._table(degrees)
        return in_rounds(functools.partial(self._propose, table), degrees, rng, (1, 4, 16))

    def _propose(
        self, table: tuple[Array, Array, Cells], degrees: Array, rng: Any
    ) -> tuple[Array, Array]:
        known, levels, cells = table
        u, v, w = rng.random((3, degrees.size))
        place = _HOST.searchsorted(levels, degrees + u, side="right")
        # `degrees + u` may round up to the next degree, whose first cell is one too far.
        place = _HOST.minimum(place, known[degrees])
        kind = cells.kind[place]
        start, width, bound = cells.start[place], cells.width[place], cells.bound[place]
        special = _HOST.flatnonzero(kind)
        if special.size:
            v[special], bound[special] = self._special(v[special], bound[special], kind[special])
        t = start + width * v
        return t, w * bound < self._family._density(t, degrees, kind)

    def _special(self, v: Array, bound: Array, kind: Array) -> tuple[Array, Array]:
        """Return the steps and bounds in cells that are not drawn from uniformly."""
        low, high = self._family._powers()
        is_tail = kind >= HIGH_TAIL
        power = _HOST.where(kind == LOW_POWER, 1 / (1 + low), 1 / (1 + high))
        with _HOST.errstate(under="ignore"):
            step = _HOST.where(is_tail, -_HOST.log1p(-v), v**power)
        return step, _HOST.where(is_tail, bound * (1 - v), bound)

    def _table(self, degrees: Array) -> tuple[Array, Array, Cells]:
        """Return the last cell of each degree, the cumulated masses, and all cells."""
        joined = self._joined
        wanted = _HOST.flatnonzero(_HOST.bincount(degrees)).tolist()
        if joined is None or not self._of_degree.keys() >= set(wanted):
            known = dict(self._of_degree)
            known.update((j, self._family._cells(j)) for j in wanted if j not in known)
            joined = _joined(known)
            self._joined, self._of_degree = joined, known
        return joined


def _joined(known: dict[int, Cells]) -> tuple[Array, Array, Cells]:
    """Lay the cells of all degrees one after another."""
    order = sorted(known)
    parts = [known[j] for j in order]
    levels = []
    for j, cells in zip(order, parts, strict=True):
        total = _HOST.cumsum(cells.mass)
        # Degree j takes the numbers from j to j + 1, so that what is drawn for it does not
        # depend on which other degrees are known.
        levels.append(j + total / total[-1])
    last = _HOST.zeros(order[-1] + 1, dtype=_HOST.int64)
    last[order] = _HOST.cumsum([cells.mass.size for cells in parts]) - 1
    joined = Cells(*(_HOST.concatenate(column) for column in zip(*parts, strict=True)))
    return last, _HOST.concatenate(levels), joined


@functools.lru_cache(maxsize=64)
def envelope_of(family: Any) -> Envelope:
    """Return the envelopes of a family, kept as long as it is in use."""
    return Envelope(family)


def log_concave_bounds(edges: Array, value: Array, slope: Array) -> Array:
    """Return the logarithm of a bound on each cell of a function that is log-concave there.

    Parameters
    ----------
    edges : array (c + 1,)
        Ends of the cells, ascending.
    value, slope : arrays (2, c)
        Logarithm of the function and its derivative at the lower and at the upper end of each
        cell; ``-inf`` and ``+-inf`` at a zero.

    Returns
    -------
    array (c,)
        Where both slopes have one sign the larger value; else where the tangents meet, or
        the one tangent at the far end where the other has no finite slope.
    """
    width = _HOST.diff(edges)
    rise, fall = slope[0, :], -slope[1, :]
    with _HOST.errstate(invalid="ignore", divide="ignore"):
        # Tangents value0 + rise s and value1 + fall (width - s) meet at s.
        s = (value[1, :] - value[0, :] + fall * width) / (rise + fall)
        met = value[0, :] + rise * _HOST.clip(s, 0, width)
        met = _HOST.where(_HOST.isposinf(rise), value[1, :] + fall * width, met)
        met = _HOST.where(_HOST.isposinf(fall), value[0, :] + rise * width, met)
    bound = _HOST.where(fall <= 0, value[1, :], _HOST.where(rise <= 0, value[0, :], met))
    result: Array = _HOST.maximum(bound, _HOST.maximum(value[0, :], value[1, :]))
    return result


def uniform_cells(edges: Array, log_bound: Array) -> Cells:
    """Return cells between consecutive edges that are drawn from uniformly."""
    width = _HOST.diff(edges)
    bound = _HOST.exp(log_bound) * (1 + _MARGIN)
    return Cells(edges[:-1], width, bound, bound * width, _HOST.zeros(width.size, dtype="int64"))


def subdivided(nodes: Array, parts: Array | int) -> Array:
    """Return `nodes` with each interval between two cut into so many equal ones."""
    counts = _HOST.broadcast_to(_HOST.asarray(parts), (nodes.size - 1,))
    steps = _HOST.concatenate([_HOST.arange(c) / c for c in counts])
    inner = _HOST.repeat(nodes[:-1], counts) + _HOST.repeat(_HOST.diff(nodes), counts) * steps
    result: Array = _HOST.concatenate((inner, nodes[-1:]))
    return result
