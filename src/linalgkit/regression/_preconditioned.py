"""What the iterative drivers share: a sketch's singular vectors, a start, and when to stop.

::

    solver = preconditioned(SpirSolver, system, options, tolerance, target)

"""

from __future__ import annotations

from typing import TypeVar

from linalgkit._core.array import Array, matmul_h
from linalgkit.regression._certificate import floats
from linalgkit.regression._coordinates import (
    alive_columns,
    is_confirmed,
    leading,
    scaled_basis,
    whole_factor,
)
from linalgkit.regression._precondition import (
    Basis,
    Sketched,
    SketchOptions,
    condition_of,
    default_rows,
    take_sketch,
)
from linalgkit.regression._shortest import shortest
from linalgkit.regression._solver import Solver
from linalgkit.regression._system import State
from linalgkit.regression._tall import TallSystem

MOST_ITERATIONS = 100
_ROWS_A_COLUMN = 8
_ATTEMPTS = 3
# Steps of the first correction that are as small, in units of the target, are rounding; the
# condition number counts with the share that the authors of the method found out.
_SMALL_STEP = 10
_CONDITION_SHARE = 0.04


class PreconditionedSolver(Solver):
    """A solver that iterates in the coordinates of a sketch.

    Parameters
    ----------
    system : TallSystem
        The problem.
    sketched : Sketched
        The sketch.
    basis : Basis
        Its singular vectors in the units of `M`.
    target : float
        Backward error at which iterations stop.
    """

    def __init__(self, system: TallSystem, sketched: Sketched, basis: Basis, target: float) -> None:
        coordinates = leading(basis, system)
        R = whole_factor(coordinates.inverse, basis, system)
        R = R * system.as_dtype(alive_columns(system, sketched))[None, :]
        condition = condition_of(floats(basis.values))
        units = system.units_of(sketched.scale)
        super().__init__(R, units, basis.rank, condition)
        self.system, self.target = system, target
        self.shorten = shortest(system, sketched, basis)
        self.reduce, self.expand = coordinates.reduce, coordinates.expand
        self._inverse = coordinates.inverse
        self._right = sketched.right

    def start(self) -> State:
        """Return the sketch-and-solve solution, or zero where the right side has no sketch."""
        system, right = self.system, self._right
        if right is None:
            return system.origin()
        system.measure_right_sides()
        origin = State(system.zeros(system.d, system.k), None, right)
        start = self.moved(system, origin, self.expand(self.reduce(right)))
        return system.evaluate(start, keep=self.keeps_residual)

    def kept(self, g: Array) -> Array:
        """Return what is still to be corrected."""
        return self.reduce(g)

    def gradient_of(self, h: Array) -> Array:
        """Return the gradient that `reduce` maps to `h`."""
        return matmul_h(self._inverse, h, self.system.xp)

    def are_rounding(self, steps: list[float], state: State) -> bool:
        """Tell whether steps, in the norm of their images, are at the level of rounding."""
        sizes = self.system.sizes(state, self.units)
        limits = [
            _SMALL_STEP * self.target * (self.a_norm * x + _CONDITION_SHARE * self.condition * r)
            for x, r in zip(sizes, state.residual_norms, strict=True)
        ]
        return all(step <= limit for step, limit in zip(steps, limits, strict=True))


_Kind = TypeVar("_Kind", bound=PreconditionedSolver)


def preconditioned(
    kind: type[_Kind], system: TallSystem, options: SketchOptions, tolerance: float, target: float
) -> _Kind | None:
    """Return a solver of a kind from a sketch, or None where no sketch kept the rank.

    Parameters
    ----------
    kind : type
        A subclass of :class:`PreconditionedSolver`.
    system : TallSystem
        The problem.
    options : SketchOptions
        The sketch; one that has lost rank is replaced by one of twice the rows, twice at most.
    tolerance : float
        Singular values below it, relative to the largest, count as zero.
    target : float
        Backward error at which iterations stop.
    """
    m = options.m or default_rows(system, _ROWS_A_COLUMN)
    for _ in range(_ATTEMPTS):
        sketched = take_sketch(system, options, m, with_right=True)
        basis = scaled_basis(system, sketched, tolerance)
        if sketched.is_whole or is_confirmed(system, basis, tolerance):
            return kind(system, sketched, basis, target)
        m *= 2
    return None
