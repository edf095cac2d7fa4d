"""The truncated singular value decomposition that an explicit `rcond` asks for."""

from __future__ import annotations

from linalgkit._core.array import Array, matmul_h
from linalgkit.regression._coordinates import Map
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
        A solver of the whole problem, with its factor `R`.
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

    maps: tuple[Map, Map] = reduce, expand
    values = [float(value) for value in basis.values]
    answer = DirectSolver(
        solver.driver,
        solver.start(),
        maps,
        None,
        solver.R,
        system.units,
        basis.rank,
        condition_of(values),
    )
    answer.is_truncated = True
    if system.is_wide:
        answer.kept_map = lambda g: matmul_h(V, g, xp)
    return answer
