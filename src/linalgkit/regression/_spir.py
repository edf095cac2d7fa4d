"""Driver ``"spir"``: sketch-and-precondition with iterative refinement.

The singular value decomposition of a sketch gives coordinates in which `A` is nearly
orthonormal. Conjugate gradients on the normal equations in these coordinates correct the
sketch-and-solve solution, and correct the result again from its true residual, which is what
makes the method backward stable. Each iteration is one pass over the data.
"""

from __future__ import annotations

from dataclasses import replace

from linalgkit._core.array import Array
from linalgkit.regression._certificate import floats
from linalgkit.regression._preconditioned import MOST_ITERATIONS, PreconditionedSolver
from linalgkit.regression._solver import reduced_errors
from linalgkit.regression._system import State, System


# Epperly, Meier, Nakatsukasa, "Fast randomized least-squares solvers can be just as accurate and
# stable as classical direct solvers", Comm. Pure Appl. Math. (2025), sketch-and-precondition with
# iterative refinement. Differs from it:
# 1. All right sides are iterated together, each with its own step lengths.
# 2. After the first correction the iterations stop by an upper bound on the Karlson-Walden
#    estimate that follows from the recursion, not every five iterations by the estimate.
# 3. Two corrections are the rule, not the law: the certificate of the true residual decides.
class SpirSolver(PreconditionedSolver):
    """Corrections by conjugate gradients."""

    driver = "spir"
    _is_first = True

    def correction(self, system: System, state: State) -> Array:
        """Return the solution of the normal equations for a gradient, (p, k)."""
        by_steps, self._is_first = self._is_first, False
        xp = system.xp
        rho = self.reduce(state.gradient)
        y, p, size = xp.zeros_like(rho), rho, system.squares(rho)
        for _ in range(MOST_ITERATIONS):
            self.n_iterations += 1
            q = self.reduce(self.system.normal_product(self.expand(p)))
            length = _ratio(size, self._inner(p, q), system)
            y, rho = (
                y + system.as_dtype(length)[None, :] * p,
                rho - (system.as_dtype(length)[None, :] * q),
            )
            if self._is_done(system, state, p, length, rho, by_steps):
                break
            previous, size = size, system.squares(rho)
            p = rho + system.as_dtype(_ratio(size, previous, system))[None, :] * p
        return self.expand(y)

    def _inner(self, p: Array, q: Array) -> Array:
        """Return the real part of ``p^H q`` for each column."""
        xp = self.system.xp
        inner = xp.vecdot(p, q, axis=-2)
        return xp.real(inner) if xp.isdtype(inner.dtype, "complex floating") else inner

    def _is_done(
        self, system: System, state: State, p: Array, length: Array, rho: Array, by_steps: bool
    ) -> bool:
        """Apply the rule of the first correction or that of the later ones."""
        if by_steps:
            steps = length * system.xp.sqrt(system.squares(p))
            return self.are_rounding(floats(steps), state)
        now = replace(state, gradient=self.gradient_of(rho))
        return max(reduced_errors(system, self, now)) <= self.target


def _ratio(numerator: Array, denominator: Array, system: System) -> Array:
    """Return the quotient of real arrays, 0 where the denominator is not positive."""
    xp = system.xp
    positive = denominator > 0
    safe = xp.where(positive, denominator, xp.ones_like(denominator))
    return xp.where(positive, numerator / safe, xp.zeros_like(safe))
