"""The long-range potential of rock salt: ranks, errors, forces, and time beside direct sums."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from scipy.special import erf

from linalgkit._core.array import (
    Array,
    asarray,
    namespace_of,
    numpy_namespace,
    synchronise,
    to_numpy,
)
from linalgkit._demos._canonical import most
from linalgkit._demos._context import Context
from linalgkit._demos._section import Comparison
from linalgkit._demos._table import Table, small
from linalgkit.chebyshev import ChebTucker, long_range_potential, short_range_potential
from linalgkit.datasets import IonicCrystal, sodium_chloride

_HOST = numpy_namespace()
VOLT = 14.3996455  # of an elementary charge at one angstrom
MADELUNG = 1.7475645946  # of the infinite crystal
TOL = 1e-7
_HEAT = 0.2  # angstrom
_POINTS = 100_000  # values asked for
_PAIRS = 1_000_000  # of a point and an ion, in the direct sums
_BLOCK = 250_000  # of these at a time
_LEGEND = (
    "Alpha in 1/angstrom; ranks and degrees: the largest. Errors: the largest at random points,\n"
    "over the largest modulus of potential or force; told: what the function says of itself. The\n"
    "estimate is a sample: the truth may be a little larger. Long-range plus short-range part are\n"
    "off from the direct sum of q/r by at most {total}, over the same modulus. Build: the\n"
    "function from the ions; values: at {points:,} points; direct: their sums, extrapolated\n"
    "from fewer points.\n"
    "Moments: ions read once for all terms of the quadrature; cp: the paper's route, a Gaussian\n"
    "for each ion and term; lattice: one cell and its copies. Heat displaces by {heat} angstrom\n"
    "each way."
)


class Case(NamedTuple):
    """A crystal, where its potential is split (per angstrom), and how the smooth part is found."""

    name: str
    cells: int
    heat: float
    alpha: float
    route: str


_CASES = (
    Case("ideal", 24, 0.0, 1.0, "lattice"),
    Case("heated", 8, _HEAT, 0.5, "moments"),
    Case("heated", 3, _HEAT, 1.0, "moments"),
    Case("heated", 3, _HEAT, 1.0, "cp"),
    Case("ideal", 3, 0.0, 1.0, "lattice"),
)
_QUICK_CASES = (
    Case("ideal", 8, 0.0, 1.0, "lattice"),
    Case("heated", 2, _HEAT, 1.0, "moments"),
    Case("heated", 2, _HEAT, 1.0, "cp"),
    Case("ideal", 2, 0.0, 1.0, "lattice"),
)


class Solid(NamedTuple):
    """A potential found, and what direct sums say of it."""

    case: Case
    crystal: IonicCrystal
    function: ChebTucker
    error: float
    force: float
    total: float
    checked: int
    build: float
    values: float
    direct: float


class Sums(NamedTuple):
    """Direct sums at points: both potentials, and the gradient of the one of long range."""

    long: Array
    gradient: Array
    coulomb: Array


def direct_sums(positions: Array, charges: Array, x: Array, alpha: float) -> Sums:
    """Return potentials (n,), and gradients (n, 3), ion by ion, on the host."""
    n = max(1, _BLOCK // positions.shape[0])
    blocks = [_block(positions, charges, x[i : i + n, :], alpha) for i in range(0, len(x), n)]
    return Sums(*(_HOST.concatenate(parts) for parts in zip(*blocks, strict=True)))


def _block(positions: Array, charges: Array, x: Array, alpha: float) -> Sums:
    away = x[:, None, :] - positions[None, :, :]
    r = _HOST.sqrt((away**2).sum(axis=2))
    smooth = erf(alpha * r) / r
    bell = 2 * alpha / math.sqrt(math.pi) * _HOST.exp(-((alpha * r) ** 2))
    slopes = charges * (bell - smooth) / r**2
    gradient = (slopes[:, None, :] @ away)[:, 0, :]
    return Sums(smooth @ charges, gradient, (1 / r) @ charges)


# ----------------------------------------------------------------------------------- measuring


def measure_crystals(context: Context) -> list[Solid]:
    """Find the potentials of all crystals."""
    cases = _QUICK_CASES if context.quick else _CASES
    small_one = sodium_chloride(1, displacement=_HEAT, like=context.like, rng=context.seed)
    for method in ("moments", "cp"):  # what is compiled at first use
        T = _potential(Case("", 1, _HEAT, 1.0, method), small_one)
    T.gradient(small_one.cell_positions)
    found = []
    with context.progress("crystals", total=len(cases)) as bar:
        for case in cases:
            found.append(_solid(context, case))
            count = found[-1].crystal.charges.shape[0]
            context.done(f"{count:,} ions, {case.route}", found[-1].build + found[-1].values)
            bar.update(1)
    return found


def _potential(case: Case, crystal: IonicCrystal) -> ChebTucker:
    options: dict[str, Any] = {"alpha": case.alpha, "tol": TOL}
    if case.route == "lattice":
        ions = crystal.cell_positions, crystal.cell_charges
        return long_range_potential(*ions, crystal.box, lattice=crystal.lattice, **options)
    ions = crystal.positions, crystal.charges
    return long_range_potential(*ions, crystal.box, method=case.route, **options)


def _solid(context: Context, case: Case) -> Solid:
    crystal = sodium_chloride(
        case.cells, displacement=case.heat, like=context.like, rng=context.seed
    )
    T, build = _timed(lambda: _potential(case, crystal))
    x = _points(context, crystal)
    T(x[:1000, :])  # what is compiled at first use
    values = _timed(lambda: T(x))[1]
    positions, charges = to_numpy(crystal.positions), to_numpy(crystal.charges)
    count = max(8, min(_POINTS, _PAIRS // positions.shape[0]))
    few = x[:count, :]
    sums = direct_sums(positions, charges, to_numpy(few), case.alpha)
    direct = _direct_seconds(positions, charges, to_numpy(few), case.alpha)
    found = [to_numpy(part) for part in (T(few), T.gradient(few))]
    rest = short_range_potential(crystal.positions, crystal.charges, few, alpha=case.alpha)
    return Solid(
        case,
        crystal,
        T,
        _relative(found[0], sums.long),
        _relative(found[1], sums.gradient),
        float(abs(found[0] + to_numpy(rest) - sums.coulomb).max() / abs(sums.long).max()),
        count,
        build,
        values,
        direct * _POINTS / count,
    )


def _direct_seconds(positions: Array, charges: Array, x: Array, alpha: float) -> float:
    """Return the time of the direct sum of the long-range potential alone."""
    start = time.perf_counter()
    n = max(1, _BLOCK // positions.shape[0])
    for i in range(0, len(x), n):
        away = x[i : i + n, None, :] - positions[None, :, :]
        r = _HOST.sqrt((away**2).sum(axis=2))
        _ = (erf(alpha * r) / r) @ charges
    return time.perf_counter() - start


def _relative(found: Array, exact: Array) -> float:
    return float(abs(found - exact).max() / abs(exact).max())


def _points(context: Context, crystal: IonicCrystal) -> Array:
    """Return random points of the box."""
    low, high = _HOST.asarray(crystal.box).T
    points = _HOST.random.default_rng(context.seed).uniform(low, high, (_POINTS, 3))
    xp, where = namespace_of(context.like)
    return asarray(points, xp=xp, device=where)


def _timed(work: Any) -> tuple[Any, float]:
    start = time.perf_counter()
    result = work()
    synchronise(result.core if isinstance(result, ChebTucker) else result)
    return result, time.perf_counter() - start


# --------------------------------------------------------------------------------- what is shown


def crystal_table(solids: Sequence[Solid]) -> Table:
    """Return ranks, errors and times."""
    header = (
        f"rock salt,\ntol {TOL:.0e}",
        "alpha",
        "route",
        "rank /\ndegree",
        "error\ntold",
        "error\ntrue",
        "force\nerror",
        "status",
        "build\ns",
        "values\ns",
        "direct\ns",
    )
    left = frozenset(map(header.index, ("route", "status")))
    return Table(header, [_line(s) for s in solids], left=left)


def _line(s: Solid) -> tuple[str, ...]:
    T = s.function
    return (
        f"{s.crystal.charges.shape[0]:,} {s.case.name}",
        f"{s.case.alpha:g}",
        s.case.route,
        most(T),
        small(T.error_estimate / T.scale),
        small(s.error),
        small(s.force),
        T.status,
        f"{s.build:.2f}",
        f"{s.values:.3f}",
        f"{s.direct:.1f}",
    )


def crystal_legend(solids: Sequence[Solid]) -> str:
    """Return what the table says, and the potential at the ions inside the largest crystal."""
    largest = max(solids, key=lambda s: s.crystal.charges.shape[0])
    found = madelung(largest)
    count = largest.crystal.charges.shape[0]
    return (
        _LEGEND.format(total=small(max(s.total for s in solids)), points=_POINTS, heat=_HEAT)
        + f"\nMadelung's constant from the {count:,} ions, by both parts at the innermost ion: "
        f"{found:.6f};\nof the infinite crystal {MADELUNG:.6f}."
    )


def crystal_comparison(solids: Sequence[Solid]) -> Comparison:
    """Return the values of the largest potential beside their direct sums."""
    largest = max(solids, key=lambda s: s.crystal.charges.shape[0])
    T = largest.function
    return Comparison(
        f"potential of {largest.crystal.charges.shape[0]:,} ions at {_POINTS:,} points",
        f"error {small(largest.error)} of the largest value; ranks {max(T.ranks)}",
        f"error told {small(T.error_estimate / T.scale)}",
        largest.build + largest.values,
        f"direct sums, extrapolated from {largest.checked:,} of {_POINTS:,} points",
        largest.direct,
        "" if largest.error <= TOL else "error",
        largest.error,
        0.0,
        "within the tolerance",
        is_extrapolated=largest.checked < _POINTS,
    )


def madelung(solid: Solid) -> float:
    """Return minus the potential of the other ions at an innermost one, in units of q over r."""
    crystal = solid.crystal
    i = int((to_numpy(crystal.positions) ** 2).sum(axis=1).argmin())
    ion = crystal.positions[i : i + 1, :]
    charge = float(crystal.charges[i])
    itself = 2 * solid.case.alpha * charge / math.sqrt(math.pi)
    near = short_range_potential(crystal.positions, crystal.charges, ion, alpha=solid.case.alpha)
    total = float(solid.function(ion)[0]) + float(near[0]) - itself
    return -charge * total * crystal.lattice[0][1] / 2
