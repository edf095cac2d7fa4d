"""Problems with fewer equations than unknowns: ``M = A^H``, with ``sqrt(alpha) I`` below it.

With ``M = Q R`` the solution of least norm is ``x = Q R^-H b``; with a ridge that of
``A x + sqrt(alpha) s = b`` with the least ``||x||^2 + ||s||^2``. The equations are few and are held
as one operator.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

from linalgkit._core.array import Array, adjoint
from linalgkit._core.linalg import norm_fro
from linalgkit._core.operators import DenseOperator, Operator, SparseOperator
from linalgkit._core.scaling import silent
from linalgkit._core.summation import RUN, LongSum, long_matmul
from linalgkit._kernels import csr_residual_product
from linalgkit.regression._certificate import (
    Point,
    backward_errors,
    column_norms,
    damped_norms,
    upper_bounds,
)
from linalgkit.regression._problem import Equations
from linalgkit.regression._system import (
    PRODUCT_BYTES,
    Image,
    Share,
    State,
    System,
    add_to,
)


class WideSystem(System):
    """Least squares with ``n < d``.

    Parameters
    ----------
    equations : Equations
        Of any kind but ``"blocks"``.
    """

    is_wide = True

    def __init__(self, equations: Equations) -> None:
        super().__init__(equations)
        assert equations.n is not None
        self.size, self.length = equations.n, equations.d
        blocks = equations.blocks(block_rows=equations.n, check=False, dtype=self.dtype)
        ((_, self.A, self.B),) = list(blocks)

    def ridge(self) -> Array | None:
        """Return the diagonal (n,) that the ridge adds to ``A A^H``, or None."""
        alpha = self.equations.alpha_in_units
        if alpha == 0:
            return None
        return alpha * self.xp.ones((self.size,), dtype=self.real, device=self.device)

    def right_blocks(self) -> Iterator[tuple[int, Array]]:
        """Yield the right sides."""
        yield 0, self.B

    # ---------------------------------------------------------------------------- passes

    def m_blocks(self, n_bytes: int = PRODUCT_BYTES) -> Iterator[tuple[int, Operator]]:
        """Yield number of the first row and operator of blocks of rows of ``A^H``."""
        if not isinstance(self.A, DenseOperator):
            yield 0, self.A.H
            return
        step = self.block_rows(n_bytes, self.size)
        for start in range(0, self.length, step):
            yield start, DenseOperator(self.A.A[:, start : min(start + step, self.length)]).H

    def sample(self, count: int) -> Array:
        """Return about `count` rows of ``A^H``, evenly spread over an array."""
        if isinstance(self.A, DenseOperator):
            return adjoint(self.A.A[:, :: max(1, self.length // count)], self.xp)
        return self.A.H.matmul(self.identity())[:count, :]

    def accumulate(
        self, share: Share, *, with_gradient: bool = True
    ) -> tuple[tuple[Array, ...], State]:
        """Return the sums of what blocks of ``A^H`` give, and the state at ``x = 0``."""
        total: tuple[Array, ...] | None = None
        with silent():
            for _, block in self.m_blocks():
                total = add_to(total, share(block, None))
        assert total is not None
        return total, self.origin()

    def origin(self) -> State:
        """Return the state at ``x = 0``."""
        with silent():
            self.b_norms = self.check_range(self.squares(self.B))
        slack = None if self._root() is None else self.zeros(self.size, self.k)
        return State(self.zeros(self.length, self.k), slack, self.B, self.B, self.b_norms)

    def _root(self) -> float | None:
        """Return ``sqrt(alpha)``, or None where it is 0."""
        alpha = self.equations.alpha_in_units
        return math.sqrt(alpha) if alpha else None

    def advance(self, state: State, step: Array, image: Image) -> State:
        """Return the unknowns moved by the product of `M` with a step."""
        moved = [image(block, step) for _, block in self.m_blocks()]
        X = state.X + (moved[0] if len(moved) == 1 else self.xp.concat(moved, axis=0))
        slack, root = state.slack, self._root()
        if slack is not None and root is not None:
            slack = slack + image(DenseOperator(root * self.identity()), step)
        return State(X, slack, state.gradient)

    def evaluate(self, state: State, *, keep: bool = False) -> State:
        """Return ``b - A X`` and ``b - A X - sqrt(alpha) s``: one pass."""
        with silent():
            r = self._residual(state.X)
        root = self._root()
        g = r if root is None or state.slack is None else r - root * state.slack
        return State(state.X, state.slack, g, r, column_norms(r, self.xp))

    def _residual(self, X: Array) -> Array:
        """Return ``b - A X``; the sums are as long as the rows."""
        xp, A = self.xp, self.A
        if isinstance(A, SparseOperator):
            r, _ = csr_residual_product(xp, A.A, X, self.B)
            return r
        if not isinstance(A, DenseOperator):
            return self.B - A.matmul(X)
        total, step = LongSum(self.B, xp), RUN * self.block_rows(PRODUCT_BYTES, self.size * self.k)
        for start in range(0, self.length, step):
            stop = min(start + step, self.length)
            total.add(-long_matmul(A.A[:, start:stop], X[start:stop, :], xp))
        return total.value()

    # ----------------------------------------------------------------------- certificate

    def errors(self, R: Array, state: State, units: Array | None, *, exact: bool) -> list[float]:
        """Return the backward error of each right side; ``R^H R = A A^H`` with the ridge."""
        xp, t, alpha = self.xp, state.gradient, self.equations.alpha_in_units
        point = self._point(state, R @ t, self.frobenius(R, None))
        if alpha == 0:
            return backward_errors(adjoint(R, xp), point, xp, exact=exact)
        # The gradient is A^H t, and (A A^H + alpha) (A A^H + alpha + mu^2)^-1 is too large by
        # alpha times the second factor.
        excess = damped_norms(R, t, point.dampings(), point.r_norms, xp, exact=False)
        less = [math.sqrt(alpha) * e for e in excess]
        errors = backward_errors(adjoint(R, xp), point, xp, exact=False, less=less)
        return self._with_rounding(errors, state, point)

    def _with_rounding(self, errors: list[float], state: State, point: Point) -> list[float]:
        """Return bounds for unknowns that differ from ``A^H s / sqrt(alpha)`` by rounding.

        The gradient then lacks alpha times the difference, which counts at most ``sqrt(alpha)``.
        """
        if not state.rounding:
            return errors
        root = math.sqrt(self.equations.alpha_in_units)
        rows = zip(errors, state.rounding, point.sizes(), strict=True)
        return [error + root * (x / size) if size else error for error, x, size in rows]

    def rounded(self, state: State, X: Array) -> State:
        """Return the state of the unknowns after rounding, which moves them off the slack."""
        moved = column_norms(X - state.X, self.xp)
        return replace(super().rounded(state, X), rounding=moved)

    def bounds(
        self, state: State, kept: list[float], units: Array | None, a_norm: float
    ) -> list[float]:
        """Return upper bounds on the backward errors from the residual."""
        point = self._point(state, a_norm * state.gradient, a_norm)
        return self._with_rounding(upper_bounds(kept, point, self.xp), state, point)

    def frobenius(self, R: Array, units: Array | None) -> float:
        """Return ``||A||_F`` with the ridge."""
        missing = self.equations.alpha_in_units * (self.length - self.size)
        return math.hypot(norm_fro(R, self.xp), math.sqrt(missing))

    def _point(self, state: State, gradient: Array, a_norm: float) -> Point:
        sizes = self.sizes(state, None)
        root = math.sqrt(self.equations.alpha_in_units)
        norms = [math.hypot(r, root * x) for r, x in zip(state.residual_norms, sizes, strict=True)]
        return Point(gradient, norms, sizes, self.b_norms, a_norm)

    def sizes(self, state: State, units: Array | None) -> list[float]:
        """Return the norms of the unknowns."""
        return column_norms(state.X, self.xp)
