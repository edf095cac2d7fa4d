"""Solvers of ``M^H M dY = g``, and the refinement in which all of them are used.

A solver has maps to coordinates in which `M` is nearly orthonormal, and back::

    h = reduce(g)                   # ||h|| = ||(M^H M)^(-1/2) g||
    dY = expand(h)                  # (M^H M)^+ g
    solved = refine(system, solver, target)

"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

from linalgkit._core.array import Array
from linalgkit._core.operators import Operator
from linalgkit.regression._certificate import column_norms
from linalgkit.regression._coordinates import Map, Maps
from linalgkit.regression._system import State, System

MOST_CORRECTIONS = 8
# With bounds this far above the target another correction costs no more than to know better.
FAR = 1e3
# An error within this factor of the target is rounding.
ROUNDING = 20
# Right sides from which on one singular value decomposition is cheaper than a factor of each.
_FEW = 3
# Above this the estimate and the exact backward error may differ in the first digits.
_TELL_APART = 1e-4


class Solver(ABC):
    """A way to correct an approximate solution.

    Attributes
    ----------
    driver : str
        The name of its driver.
    R : array (q, p) or None
        ``R^H R = M^H M`` with the ridge, for the certificate.
    units : array (p, 1) or None
        Of tall problems, what makes columns of unit length: corrections stop when the backward
        error in these units is small, so that small columns are not lost beside large ones.
    a_norm : float
        ``||A||_F`` in these units, the ridge included.
    rank : int
        Numerical rank of `M`.
    condition : float
        Condition number of `M` with columns of unit length, up to the rank.
    shorten : callable or None
        From a step of a tall problem to the one of least norm with the same image; None where
        there is one only.
    is_truncated : bool
        Whether directions were dropped that the data do determine.
    keeps_residual : bool
        Whether :meth:`correction` wants the residual itself.
    n_iterations : int
        Iterations or corrections up to now.
    """

    driver = ""
    keeps_residual = False
    is_truncated = False

    def __init__(self, R: Array | None, units: Array | None, rank: int, condition: float) -> None:
        self.R, self.units, self.rank, self.condition = R, units, rank, condition
        self.shorten: Map | None = None
        self.a_norm = 0.0
        self.n_iterations = 0

    @property
    def has_estimates(self) -> bool:
        """Whether the backward error can be estimated, and measures what is corrected."""
        return self.R is not None and not self.is_truncated

    @abstractmethod
    def start(self) -> State:
        """Return the state from which the first correction is made."""

    @abstractmethod
    def kept(self, g: Array) -> Array:
        """Return an array whose columns have the norms of what is still to be corrected.

        Of tall problems the gradient in coordinates in which `M` is nearly orthonormal, of wide
        ones the part of the residual that lies in the range of `A`, or all of it.
        """

    @abstractmethod
    def correction(self, system: System, state: State) -> Array:
        """Return the step for :meth:`System.advance`: (p, k), or reduced for wide problems."""

    def image(self, block: Operator, step: Array) -> Array:
        """Return the product of rows of `M` with a step of a wide problem."""
        raise AssertionError("this solver is for tall problems")

    def moved(self, system: System, state: State, step: Array) -> State:
        """Return the unknowns moved by a step."""
        step = step if self.shorten is None else self.shorten(step)
        return system.advance(state, step, self.image)


class DirectSolver(Solver):
    """A solver that multiplies by explicit factors.

    Parameters
    ----------
    driver : str
        Name of the driver.
    state : State
        The state at ``x = 0``.
    maps : Maps
        To the coordinates in which `M` is nearly orthonormal, and back.
    R, units, rank, condition
        See :class:`Solver`.
    """

    def __init__(
        self,
        driver: str,
        state: State,
        maps: Maps,
        R: Array,
        units: Array | None,
        rank: int,
        condition: float,
    ) -> None:
        super().__init__(R, units, rank, condition)
        self.driver, self.maps = driver, maps
        self._state = state
        #: The reduced gradient at ``x = 0`` where it is known more accurately than from there.
        self.first: Array | None = None

    def start(self) -> State:
        """Return the state at ``x = 0``."""
        return self._state

    def kept(self, g: Array) -> Array:
        """Return what is still to be corrected."""
        return self.maps.kept(g)

    def correction(self, system: System, state: State) -> Array:
        """Return the step that the factors give."""
        self.n_iterations += 1
        h, self.first = self.first, None
        h = self.maps.reduce(state.gradient) if h is None else h
        return h if system.is_wide else self.maps.expand(h)

    def image(self, block: Operator, step: Array) -> Array:
        """Return the product of rows of `M` with a reduced step."""
        return self.maps.image(block, step)


@dataclass(frozen=True)
class Solved:
    """A solution in the coordinates of its system.

    Attributes
    ----------
    state : State
        The unknowns and what is known of them.
    solver : Solver
        What produced them.
    errors : list of float
        Backward error of each right side.
    is_converged : bool
        Whether the last corrections were at the level of rounding.
    """

    state: State
    solver: Solver
    errors: list[float]
    is_converged: bool

    @property
    def worst(self) -> float:
        """The largest backward error."""
        return max(self.errors)


class Found(NamedTuple):
    """Backward errors, whether they are estimates or only bounds, and whether final ones."""

    errors: list[float]
    are_bounds: bool
    is_certificate: bool = False


class _Progress:
    """The best state up to now, and whether corrections still help."""

    def __init__(self) -> None:
        self.best: State | None = None
        self.worst = self.least = math.inf
        self.certificate: list[float] | None = None

    def judge(self, state: State, found: Found, absolute: float) -> bool:
        """Take a state in and tell whether it is much better than those before."""
        worst = max(found.errors)
        # Of a solution that is much too long the relative error is small: its decrease alone
        # does not tell whether corrections still help.
        helps = worst < self.worst / 2 or absolute < self.least / 2
        self.least = min(self.least, absolute)
        if worst < self.worst:
            self.best, self.worst = state, worst
            self.certificate = found.errors if found.is_certificate else None
        return helps


def refine(system: System, solver: Solver, target: float) -> Solved | None:
    """Correct the start of a solver until its backward error is below `target`.

    Stops, too, where a correction no longer halves the error. Each correction is one pass over
    the data, or as many as the solver iterates. None if no state was finite.
    """
    if solver.R is not None:
        solver.a_norm = system.frobenius(solver.R, solver.units)
    state, progress, is_close = solver.start(), _Progress(), False
    if not any(system.b_norms):
        return Solved(state, solver, [0.0] * system.k, True)
    for _ in range(MOST_CORRECTIONS):
        moved = solver.moved(system, state, solver.correction(system, state))
        state = system.evaluate(moved, keep=solver.keeps_residual)
        found = look_at(system, solver, state, target, is_close)
        helps = progress.judge(state, found, _absolute(system, solver, state, found.errors))
        if not helps and found.are_bounds and solver.has_estimates:
            # Bounds may stand still while the error does not: look closely from now on.
            is_close, progress = True, _Progress()
            found = look_at(system, solver, state, target, is_close)
            helps = progress.judge(state, found, _absolute(system, solver, state, found.errors))
        if not helps or progress.worst <= target:
            break
    return _finished(system, solver, progress, target)


def _finished(system: System, solver: Solver, progress: _Progress, target: float) -> Solved | None:
    if progress.best is None:
        return None
    errors = progress.certificate or certified(system, solver, progress.best)
    reached = progress.worst if solver.is_truncated else max(errors)
    return Solved(progress.best, solver, errors, reached <= ROUNDING * target)


def _absolute(system: System, solver: Solver, state: State, errors: list[float]) -> float:
    """Return the largest backward error in units of the right side, whatever the length of x."""
    sizes = system.sizes(state, solver.units)
    rows = zip(errors, sizes, system.b_norms, strict=True)
    return max(error * math.hypot(1, solver.a_norm * x / b) for error, x, b in rows if b)


def look_at(system: System, solver: Solver, state: State, target: float, is_close: bool) -> Found:
    """Return bounds on the backward errors, or estimates where the bounds do not decide."""
    bounds = reduced_errors(system, solver, state)
    decide = max(bounds) <= target or (max(bounds) > FAR * target and not is_close)
    if decide or not solver.has_estimates:
        return Found(bounds, max(bounds) > target)
    assert solver.R is not None
    errors = system.errors(solver.R, state, solver.units, exact=system.k > _FEW)
    are_natural = solver.units is None and system.units is None
    return Found(errors, False, are_natural and max(errors) < _TELL_APART)


def reduced_errors(system: System, solver: Solver, state: State) -> list[float]:
    """Return upper bounds on the backward errors that cost no factorisation."""
    kept = column_norms(solver.kept(state.gradient), system.xp)
    return system.bounds(state, kept, solver.units, solver.a_norm)


def certified(system: System, solver: Solver, state: State) -> list[float]:
    """Return the certificate of a final state."""
    if solver.R is None:
        return reduced_errors(system, solver, state)
    errors = system.errors(solver.R, state, system.units, exact=system.k > _FEW)
    if max(errors) > _TELL_APART and system.k <= _FEW:
        errors = system.errors(solver.R, state, system.units, exact=True)
    return errors
