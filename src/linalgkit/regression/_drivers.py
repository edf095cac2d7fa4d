"""Which driver is tried first, which next, and when an answer is good enough.

::

    plan = Plan("auto", SketchOptions("sparse_sign", None, generator), rcond=None)
    solved, equations = solve(equations, plan)      # in units that the equations know

"""

from __future__ import annotations

import math
from dataclasses import dataclass

from linalgkit._core.array import eps, matmul_h
from linalgkit._core.linalg import NotPositiveDefiniteError, cholesky
from linalgkit._core.scaling import silent
from linalgkit.regression._certificate import floats
from linalgkit.regression._cholesky import LARGEST, cholesky_solver
from linalgkit.regression._lsmr import LsmrSolver, PlainLsmrSolver
from linalgkit.regression._precondition import SketchOptions
from linalgkit.regression._preconditioned import preconditioned
from linalgkit.regression._problem import Equations
from linalgkit.regression._sketch_cholqr import cholqr_solver
from linalgkit.regression._solver import Solved, Solver, refine
from linalgkit.regression._spir import SpirSolver
from linalgkit.regression._system import OutOfRangeError, System
from linalgkit.regression._tall import TallSystem
from linalgkit.regression._truncation import truncated
from linalgkit.regression._wide import WideSystem

DRIVERS = ("auto", "cholesky", "sketch_cholqr", "spir", "lsmr")
# Singular values so many roundoffs below the largest cannot be told from zero.
RANK_TOLERANCE = 6.0
# Beyond so many columns, for at least so many rows a column, iterations are faster than products.
LARGEST_DIRECT = 512
LONG = 64
# A sketch of more columns than this does not pay for a sparse matrix.
LARGEST_SKETCHED = 2500
_SAMPLE = 2
# Singular values of a sketch are right within such a factor.
_UNSURE = 4.0
_FALLING = ("cholesky", "sketch_cholqr", "spir")


@dataclass(frozen=True)
class Plan:
    """What a caller asks for."""

    driver: str
    sketch: SketchOptions
    rcond: float | None


def solve(equations: Equations, plan: Plan) -> tuple[Solved, System]:
    """Solve equations, in other units where those of the data are extreme.

    Returns
    -------
    solved : Solved
        The best answer that the drivers found.
    system : System
        Whose equations know the units of the answer.

    Raises
    ------
    ValueError
        If the data hold NaN or infinity, or nothing finite came out.
    """
    system = make_system(equations)
    try:
        return _try_drivers(system, plan), system
    except OutOfRangeError:
        safe = system.safe_exponent()
        scaled = system.equations.rescaled(safe=safe, one_unit=system.is_wide)
        system = make_system(scaled)
        return _try_drivers(system, plan), system


def make_system(equations: Equations) -> System:
    """Return the tall or wide system; blocks of a wide one are put together."""
    assert equations.n is not None
    if equations.n >= equations.d:
        return TallSystem(equations)
    return WideSystem(equations if equations.kind != "blocks" else equations.gathered())


def roundoff(system: System) -> float:
    """Return the unit roundoff of the caller's precision."""
    return eps(system.xp, system.equations.dtype) / 2


def _try_drivers(system: System, plan: Plan) -> Solved:
    """Return the first answer with a small backward error, or the best of all."""
    best: Solved | None = None
    for driver in sequence(system, plan):
        solver = _solver(driver, system, plan)
        if solver is None:
            continue
        if plan.rcond is not None:
            solver = _truncated(system, solver, plan)
        solved = refine(system, solver, roundoff(system) / 2)
        if solved is None:
            continue
        if best is None or solved.worst < best.worst or solver.is_truncated:
            best = solved
        if solved.is_converged:
            break
    if best is None:
        raise ValueError(
            f"no driver found a finite solution for A of shape ({system.equations.n}, "
            f"{system.d}) and alpha={system.alpha}. Scale the columns, or pass alpha > 0."
        )
    return best


def _solver(driver: str, system: System, plan: Plan) -> Solver | None:
    tolerance, target = _tolerance(system, plan), roundoff(system) / 2
    if driver == "cholesky":
        return cholesky_solver(system, tolerance)
    if driver == "sketch_cholqr":
        return cholqr_solver(system, plan.sketch, tolerance, is_quick=plan.rcond is None)
    if driver == "lsmr" and system.size > LARGEST_SKETCHED and plan.sketch.m is None:
        return PlainLsmrSolver(system, target)
    assert isinstance(system, TallSystem)  # as `sequence` sees to
    kind = SpirSolver if driver == "spir" else LsmrSolver
    return preconditioned(kind, system, plan.sketch, tolerance, target)


def _truncated(system: System, solver: Solver, plan: Plan) -> Solver:
    """Return a solver without small singular values, from a factor as good as one of QR.

    What is left out is never corrected by the data. Of the factor of a Gram matrix the singular
    vectors would be wrong by the square of the condition, and a sketch does not know them.
    """
    assert plan.rcond is not None
    if solver.driver != "sketch_cholqr":
        if truncated(system, solver, _UNSURE * plan.rcond) is solver:
            return solver
        tolerance = _tolerance(system, plan)
        solver = cholqr_solver(system, plan.sketch, tolerance, is_quick=False) or solver
    return truncated(system, solver, plan.rcond)


def _tolerance(system: System, plan: Plan) -> float:
    default = RANK_TOLERANCE * 2 * roundoff(system)
    return default if plan.rcond is None else min(default, plan.rcond)


# ------------------------------------------------------------------------------------ choice


def sequence(system: System, plan: Plan) -> tuple[str, ...]:
    """Return the drivers to try, in order."""
    first = choose(system) if plan.driver == "auto" else plan.driver
    if first == "lsmr" and system.size > LARGEST_SKETCHED and plan.sketch.m is None:
        return ("lsmr",)
    if first == "cholesky" and plan.driver == "auto" and system.equations.kind == "sparse":
        return ("cholesky", "lsmr", "spir", "sketch_cholqr")
    if system.is_wide:
        return ("cholesky", "sketch_cholqr") if first == "cholesky" else ("sketch_cholqr",)
    if first == "lsmr":
        return ("lsmr", "spir", "sketch_cholqr")
    if first == "spir":
        return ("spir", "sketch_cholqr")
    return _FALLING[_FALLING.index(first) :]


def choose(system: System) -> str:
    """Return the driver that is tried first; the docstring of `lstsq` states the rule."""
    n, d = system.length, system.size
    if system.equations.kind in ("sparse", "operator"):
        is_small = system.equations.kind == "sparse" and d <= LARGEST_SKETCHED
        return "cholesky" if is_small and not system.is_wide else "lsmr"
    if n >= 4 * _SAMPLE * d and _looks_well_conditioned(system):
        return "cholesky"
    is_long = d > LARGEST_DIRECT and n >= LONG * d
    return "spir" if is_long and not system.is_wide else "sketch_cholqr"


def _looks_well_conditioned(system: System) -> bool:
    """Tell whether a few rows, evenly spread, have a Gram matrix that can be factorised.

    They can only waste time: the Cholesky driver looks at the condition of all rows.
    """
    xp, ridge = system.xp, system.ridge()
    rows = system.sample(_SAMPLE * system.size)
    with silent():
        squares = system.squares(rows)
        squares = squares if ridge is None else squares + ridge
        norms = xp.sqrt(xp.where(squares > 0, squares, xp.ones_like(squares)))
        rows = rows * system.as_dtype(1 / norms)[None, :]
        # What the squares lack of one: the ridge, and all of it for columns of zeros.
        missing = 1 - system.squares(rows)
        G = matmul_h(rows, rows, xp) + system.identity() * system.as_dtype(missing)[:, None]
    try:
        pivots = floats(xp.abs(xp.linalg.diagonal(cholesky(G, xp))))
    except NotPositiveDefiniteError:
        return False
    return max(pivots) * math.sqrt(system.roundoff) < LARGEST * min(pivots)
