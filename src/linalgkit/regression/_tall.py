"""Problems with at least as many equations as unknowns: ``M = A``, below it ``sqrt(alpha) I``."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from linalgkit._core.array import Array
from linalgkit._core.linalg import norm_fro
from linalgkit._core.operators import DenseOperator, Operator, SparseOperator
from linalgkit._core.scaling import silent
from linalgkit._core.summation import LongSum
from linalgkit._kernels import csr_residual_product, residual_product
from linalgkit.regression._certificate import (
    Point,
    backward_errors,
    column_norms,
    floats,
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

# Columns whose units are further apart than 2**396 (2**49 in single precision), in terms of
# :meth:`System.safe_exponent`, weigh nothing in a norm of all.
_LEAST_WEIGHT = 7 / 3


class TallSystem(System):
    """Least squares with ``n >= d``, or any shape with a ridge.

    Parameters
    ----------
    equations : Equations
        Whose number of rows is known.
    """

    def __init__(self, equations: Equations) -> None:
        super().__init__(equations)
        assert equations.n is not None
        self.size, self.length = equations.d, equations.n
        diagonal = equations.ridge_diagonal(self.dtype)
        self._ridge = None if diagonal is None else diagonal * diagonal
        self.units = self._natural_units()

    def ridge(self) -> Array | None:
        """Return the diagonal (d,) that the ridge adds to ``A^H A``, or None."""
        return self._ridge

    # ---------------------------------------------------------------------------- passes

    def blocks(self, rows: int) -> Iterator[tuple[int, Operator, Array]]:
        """Go through the equations in the working precision, unchecked."""
        return self.equations.blocks(block_rows=rows, check=False, dtype=self.dtype)

    def m_blocks(self, n_bytes: int = PRODUCT_BYTES) -> Iterator[tuple[int, Operator]]:
        """Yield number of the first row and operator of blocks of rows of `A`."""
        for start, block, _ in self.blocks(self.block_rows(n_bytes, self.d)):
            yield start, block

    def sample(self, count: int) -> Array:
        """Return about `count` rows, evenly spread over an array, or the first of blocks."""
        step = max(1, self.length // count)
        for _, block, _ in self.equations.sampled(step).blocks(check=False, dtype=self.dtype):
            rows = block.rows(0, min(count, block.shape[0]))
            return rows.A if isinstance(rows, DenseOperator) else rows.matmul(self.identity())
        raise AssertionError("equations have rows")

    def accumulate(
        self, share: Share, *, with_gradient: bool = True
    ) -> tuple[tuple[Array, ...], State]:
        """Return the sums of what blocks of equations give, and the state at ``x = 0``."""
        total: tuple[Array, ...] | None = None
        g, squares = self.zeros(self.d, self.k), 0
        with silent():
            for _, block, B in self.blocks(self.block_rows(PRODUCT_BYTES, self.d)):
                total = add_to(total, share(block, B))
                g = g + block.rmatmul(B) if with_gradient else g
                squares = squares + self.squares(B)
        assert total is not None
        return total, self._at_origin(g, squares)

    def origin(self) -> State:
        """Return the state at ``x = 0``: one pass."""
        g, squares = self.zeros(self.d, self.k), 0
        with silent():
            for _, block, B in self.blocks(self.cached_rows(self.d)):
                g = g + block.rmatmul(B)
                squares = squares + self.squares(B)
        return self._at_origin(g, squares)

    def _at_origin(self, g: Array, squares: Array) -> State:
        self.b_norms = self.check_range(squares)
        return State(self.zeros(self.d, self.k), None, g, None, self.b_norms)

    def advance(self, state: State, step: Array, image: Image) -> State:
        """Return the unknowns moved by a correction."""
        return State(state.X + step, None, state.gradient)

    def evaluate(self, state: State, *, keep: bool = False) -> State:
        """Return residual norms and gradient at `X`: one pass that reads each block once.

        Rounding of the gradient is a few units of ``|A|^H |r|``, however many rows there are.
        """
        X, g, kept = state.X, LongSum(self.zeros(self.d, self.k), self.xp), []
        squares: Any = 0
        with silent():
            for block, B in self._plain_blocks():
                r, share = self._residual(block, X, self.as_dtype(B))
                g.add(share)
                squares = squares + self.squares(r)
                if keep:
                    kept.append(r)
            if self._ridge is not None:
                g.add(-self.as_dtype(self._ridge)[:, None] * X)
        residual = self.xp.concat(kept, axis=0) if kept else None
        return State(X, None, g.value(), residual, [math.sqrt(value) for value in floats(squares)])

    def _residual(self, block: Operator, X: Array, B: Array) -> tuple[Array, Array]:
        """Return ``B - A X`` and ``A^H (B - A X)`` for a block."""
        if isinstance(block, DenseOperator):
            r, g = residual_product(self.xp, block.A, X, B)
            return r, g
        if isinstance(block, SparseOperator):
            r, g = csr_residual_product(self.xp, block.A, X, B)
            return r, g
        r = B - block.matmul(X)
        return r, block.rmatmul(r)

    def normal_product(self, Z: Array) -> Array:
        """Return ``A^H A Z`` with the ridge: one pass that reads each block once."""
        total = self.zeros(self.d, Z.shape[1])
        for block, B in self._plain_blocks():
            zeros = self.zeros(B.shape[0], Z.shape[1])
            total = total - self._residual(block, Z, zeros)[1]
        return total if self._ridge is None else total + self.as_dtype(self._ridge)[:, None] * Z

    def _plain_blocks(self) -> Iterator[tuple[Operator, Array]]:
        """Yield blocks for products with few columns, in the data's own precision.

        Only weights and scaled columns are worth a copy in the working precision.
        """
        eq = self.equations
        n_bytes, dtype = PRODUCT_BYTES, self.dtype
        if eq.is_unchanged:
            n_bytes, dtype = self.whole_bytes, eq.dtype
        rows = self.block_rows(n_bytes, self.d)
        for _, block, B in eq.blocks(block_rows=rows, check=False, dtype=dtype):
            yield block, B

    def right_blocks(self) -> Iterator[tuple[int, Array]]:
        """Yield number of the first row and block of right sides."""
        for start, _, B in self.blocks(self.block_rows(PRODUCT_BYTES, self.k)):
            yield start, B

    # ----------------------------------------------------------------------- certificate

    def errors(self, R: Array, state: State, units: Array | None, *, exact: bool) -> list[float]:
        """Return the backward error of each right side; ``R^H R = A^H A`` with the ridge."""
        R = R if units is None else R * self.xp.matrix_transpose(units)
        point = self._point(state, units, norm_fro(R, self.xp))
        return backward_errors(R, point, self.xp, exact=exact)

    def bounds(
        self, state: State, kept: list[float], units: Array | None, a_norm: float
    ) -> list[float]:
        """Return upper bounds on the backward errors from the reduced gradient."""
        return upper_bounds(kept, self._point(state, units, a_norm), self.xp)

    def frobenius(self, R: Array, units: Array | None) -> float:
        """Return ``||A||_F`` with the ridge."""
        return norm_fro(R if units is None else R * self.xp.matrix_transpose(units), self.xp)

    def _point(self, state: State, units: Array | None, a_norm: float) -> Point:
        """Return what is known of a state, columns measured in units."""
        norms, ridge = state.residual_norms, self._ridge
        if ridge is not None:
            rows = self.as_dtype(self.xp.sqrt(ridge))[:, None] * state.X
            norms = list(map(math.hypot, norms, column_norms(rows, self.xp)))
        g = state.gradient if units is None else state.gradient * units
        return Point(g, norms, self.sizes(state, units), self.b_norms, a_norm)

    def sizes(self, state: State, units: Array | None) -> list[float]:
        """Return the norms of the unknowns, columns measured in units."""
        return column_norms(state.X if units is None else state.X / units, self.xp)

    def _natural_units(self) -> Array | None:
        """Return the units of scaled columns over the largest one, or None if they are alike."""
        exponents = self.equations.column_exponents or [0]
        largest = max(exponents)
        if min(exponents) == largest:
            return None
        least = -int(_LEAST_WEIGHT * self.safe_exponent())
        units = [2.0 ** max(e - largest, least) for e in exponents]
        found = self.xp.asarray(units, dtype=self.real, device=self.device)
        return self.as_dtype(found)[:, None]
