"""Many scattered points at once: the core is expanded in one variable, a panel of points at a time.

In ``theta = arccos(t)`` a Chebyshev polynomial is a cosine, and on a panel of half-width h it has
few terms: with s = (theta - c) / h in [-1, 1], by Jacobi and Anger,

    T_j(t) = cos(j c) (J_0(jh) - 2 J_2(jh) T_2(s) + ...) - sin(j c) (2 J_1(jh) T_1(s) - ...).

Points are sorted into panels of one variable. A panel multiplies the core by its few expanded
factors once; its points then need products with p rows instead of as many as the rank, and no
polynomials of high degree in that variable. Of other variables with a high degree the factors are
tabulated in the same way. The terms left away are below the rounding.

This is work for NumPy: the sizes of the panels depend on the points.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

from scipy.special import jv

from linalgkit._core.array import Array, numpy_namespace
from linalgkit._kernels._kernel import numba_available
from linalgkit._kernels.chebyshev import chebyshev_rows, panel_rows

_HOST = numpy_namespace()
_BATCH = 2**18  # points that are sorted together
_CHUNK = 2**18  # numbers of the product with the core that stay in cache
_POINTS = (64, 128, 256, 512)  # a panel, as planned
_TABLE = 256  # panels of a tabulated factor
_TABLE_POINTS = 8192  # from which on it pays to tabulate
_TABLE_GAIN = 4  # times as many coefficients as terms
_GAIN = 0.75  # of the products, at most so much must be left
_OVERHEAD = 1.5e5  # numbers that a product writes while a panel is prepared


class Plan(NamedTuple):
    """Number of panels, and terms in each."""

    panels: int
    terms: int


def plan(points: int, degree: int, core: Array, eps: float) -> Plan | None:
    """Return the cheapest plan for an unfolded core (r, q), or None where panels do not pay."""
    rank, width = core.shape
    points = min(points, _BATCH)
    best, least = None, _GAIN * rank
    for size in _POINTS:
        panels = points // size
        if panels < 2:
            break
        terms = terms_needed(degree * math.pi / (2 * panels), eps)
        cost = terms * (1.0 + rank / size) + _OVERHEAD / (size * width)
        if cost < least:
            best, least = Plan(panels, terms), cost
    return best


def terms_needed(z: float, eps: float) -> int:
    """Return how many Bessel functions ``J_k(z)``, doubled, add up to 1 but for `eps`."""
    half, terms = 0.5 * z, 1
    bound = 2.0 * half  # of 2 |J_k(z)|: 2 (z/2)^k / k!
    while terms <= half or bound / (1.0 - half / (terms + 1)) > eps:
        terms += 1
        bound *= half / terms
    return terms


def expanded(F: Array, found: Plan) -> Array:
    """Return the terms of the columns of `F` (m, r) on every panel, (panels, terms, r)."""
    m, (panels, terms) = F.shape[0], found
    j, k = _HOST.arange(m), _HOST.arange(terms)
    h = math.pi / (2 * panels)
    J = jv(k[:, None], j * h)
    J[1:, :] *= 2.0
    J *= _HOST.asarray([1.0, -1.0, -1.0, 1.0])[k % 4][:, None]
    # j c is a multiple of pi / (2 panels), of which 4 panels are a whole turn.
    steps = _HOST.multiply.outer(2 * _HOST.arange(panels) + 1, j) % (4 * panels)
    turn = _HOST.arange(4 * panels) * h
    result = _HOST.empty((panels, terms, F.shape[1]), dtype=F.dtype)
    for parity, wave in enumerate((_HOST.cos(turn), _HOST.sin(turn))):
        W = J[parity::2, :, None] * F  # (about terms / 2, m, r)
        columns = _HOST.reshape(_HOST.permute_dims(W, (1, 0, 2)), (m, -1))
        result[:, parity::2, :] = _HOST.reshape(
            wave[steps] @ columns, (panels, W.shape[0], F.shape[1])
        )
    return result


def basis_at(
    t: Array, factor: Array, eps: float, direct: Callable[[Array], Array]
) -> Callable[[Array], Array]:
    """Return a function of places that gives the functions of a variable there, (n, r).

    From a table of panels where that pays, else as ``direct(places)``. `t` holds the variable of
    all points in [-1, 1], float64.
    """
    m = factor.shape[0]
    found = Plan(_TABLE, terms_needed((m - 1) * math.pi / (2 * _TABLE), eps))
    if t.shape[0] < _TABLE_POINTS or _TABLE_GAIN * found.terms > m or not numba_available():
        return direct
    L = expanded(factor, found)
    panel, s = _located(t, found)
    s = s.astype(factor.real.dtype, copy=False)
    return lambda places: panel_rows(_HOST, panel[places], s[places], L)


def panel_values(
    core: Array, factor: Array, t: Array, found: Plan, rest: Callable[[Array, Array], Array]
) -> Array:
    """Return the values at all points.

    Parameters
    ----------
    core : array, shape (r, q)
        Unfolded along the variable of the panels.
    factor : array, shape (m, r)
        Coefficients of that variable, in the dtype of `core`.
    t : array, shape (n,)
        That variable in [-1, 1], float64.
    found : Plan
    rest : callable
        ``rest(Y, places)``: the values at points, from their rows ``Y`` of the product with the
        core and their places among the n.

    Returns
    -------
    array, shape (n,)

    Notes
    -----
    Storage: ``panels terms r + terms q + 2^18`` numbers (512 q if that is less), and five for each
    of 2^18 points.
    """
    L = expanded(factor, found)
    result = _HOST.empty(t.shape[0], dtype=core.dtype)
    real = core.real.dtype
    most = min(512, max(32, _CHUNK // core.shape[1]))
    P = _HOST.empty((found.terms, core.shape[1]), dtype=core.dtype)
    Y = _HOST.empty((most, core.shape[1]), dtype=core.dtype)
    for start in range(0, t.shape[0], _BATCH):
        panel, s = _located(t[start : start + _BATCH], found)
        order = _HOST.argsort(panel, stable=True)
        s = s[order].astype(real, copy=False)
        order += start
        values = _HOST.empty(order.shape[0], dtype=core.dtype)
        held = -1
        for group in _groups(panel, found.panels, most):
            begin, end = group[0][1], group[-1][2]
            rows = chebyshev_rows(_HOST, s[begin:end], found.terms).T
            for q, i, k in group:
                if q != held:
                    _HOST.matmul(L[q, :, :], core, out=P)
                    held = q
                # A complex core is twice as many real columns.
                i, k = i - begin, k - begin
                _HOST.matmul(rows[i:k, :], P.view(real), out=Y[i:k, :].view(real))
            values[begin:end] = rest(Y[: end - begin, :], order[begin:end])
        result[order] = values
    return result


def _located(t: Array, found: Plan) -> tuple[Array, Array]:
    """Return the panel of each point and its place there, in [-1, 1]."""
    position = _HOST.arccos(t) * (found.panels / math.pi)
    panel = _HOST.minimum(position.astype(_HOST.int16), found.panels - 1)
    return panel, 2.0 * (position - panel) - 1.0


def _groups(panel: Array, panels: int, most: int) -> Iterator[list[tuple[int, int, int]]]:
    """Yield groups of at most so many points: the panels in them, with first point and end.

    Points are counted in the order of the panels; a panel may be in several groups.
    """
    ends = _HOST.cumulative_sum(_HOST.bincount(panel, minlength=panels)).tolist()
    group: list[tuple[int, int, int]] = []
    begin = first = 0
    for q, last in enumerate(ends):
        while first < last:
            stop = min(last, begin + most)
            group.append((q, first, stop))
            first = stop
            if stop == begin + most:
                yield group
                group, begin = [], stop
    if group:
        yield group
