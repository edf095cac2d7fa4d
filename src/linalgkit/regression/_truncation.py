"""The truncated singular value decomposition that an explicit `rcond` asks for."""

from __future__ import annotations

from linalgkit._core.array import Array, matmul_h
from linalgkit._core.operators import Operator
from linalgkit.regression._certificate import floats
from linalgkit.regression._coordinates import Maps
from linalgkit.regression._precondition import condition_of, singular_basis
from linalgkit.regression._solver import DirectSolver, Solver
from linalgkit.regression._system import System


def truncated(system: System, solver: Solver, rcond: float) -> Solver:
    """Return a solver without the singular values of `A` up to `rcond` times the largest.

    Parameters
    ----------
    system : System
        The problem.
    solver : Solver
        A solver of the whole problem, with its factor `R`; where something is left out, the answer
        is as accurate as the singular vectors of `R`.
    rcond : float
        Relative bound.

    Returns
    -------
    Solver
        `solver` itself where all that it keeps is above the bound.
    """
    if solver.R is None:
        return solver
    xp = system.xp
    units = system.as_dtype(xp.ones((system.size, 1), device=system.device))
    units = units if system.units is None else system.units
    basis = singular_basis(solver.R * xp.matrix_transpose(units), rcond, xp)
    if basis.rank >= solver.rank:
        return solver
    s, V = system.as_dtype(basis.values)[:, None], basis.vectors

    def reduce(g: Array) -> Array:
        return matmul_h(V, g * units, xp) / s

    def expand(h: Array) -> Array:
        return (V @ (h / s)) * units

    def kept(g: Array) -> Array:
        return matmul_h(V, g, xp) if system.is_wide else reduce(g)

    def image(block: Operator, h: Array) -> Array:
        return block.matmul(V / xp.matrix_transpose(s)) @ h

    condition = condition_of(floats(basis.values))
    maps = Maps(reduce, expand, kept, image)
    start = solver.start()
    answer = DirectSolver(solver.driver, start, maps, solver.R, system.units, basis.rank, condition)
    answer.is_truncated = True
    return answer
