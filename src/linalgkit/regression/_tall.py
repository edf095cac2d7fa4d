"""Problems with at least as many equations as unknowns: ``M = A``, below it ``sqrt(alpha) I``."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeAlias

from linalgkit._core.array import Array, DType
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
    PlacedShare,
    RightShare,
    Share,
    State,
    System,
    add_to,
    sums,
)

# Columns whose units are further apart than 2**396 (2**49 in single precision), in terms of
# :meth:`System.safe_exponent`, weigh nothing in a norm of all.
_LEAST_WEIGHT = 7 / 3


_AnyShare: TypeAlias = Callable[[int, Operator, Array], tuple[Array, ...]]


class _Found(NamedTuple):
    """What a pass has found of residuals: the gradient, their squared norms, and themselves."""

    gradient: LongSum
    squares: Array
    kept: list[Array]


def _both(a: _Found, b: _Found) -> _Found:
    """Return what two runs of rows have found together."""
    return _Found(a.gradient.plus(b.gradient), a.squares + b.squares, a.kept + b.kept)


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

        def all_shares(_: int, block: Operator, B: Array) -> tuple[Array, ...]:
            gradient = (block.rmatmul(B),) if with_gradient else ()
            return (self.squares(B), *gradient, *share(block, B))

        with silent():
            squares, *total = self._summed(all_shares, self.block_rows(PRODUCT_BYTES, self.d))
        g = total.pop(0) if with_gradient else self.zeros(self.d, self.k)
        return tuple(total), self._at_origin(g, squares)

    def origin(self) -> State:
        """Return the state at ``x = 0``: one pass."""

        def share(_: int, block: Operator, B: Array) -> tuple[Array, ...]:
            return block.rmatmul(B), self.squares(B)

        with silent():
            g, squares = self._summed(share, self.cached_rows(self.d))
        return self._at_origin(g, squares)

    def _summed(self, share: _AnyShare, rows: int, dtype: DType | None = None) -> tuple[Array, ...]:
        """Return the sums of what blocks give, in the working precision: one pass."""

        def step(
            found: tuple[Array, ...] | None, start: int, block: Operator, B: Array
        ) -> tuple[Array, ...]:
            return add_to(found, share(start, block, B))

        dtype = self.dtype if dtype is None else dtype
        return self.equations.folded(step, sums, block_rows=rows, check=False, dtype=dtype)

    def total(self, share: PlacedShare, n_bytes: int = PRODUCT_BYTES) -> tuple[Array, ...]:
        """Return the sums of what blocks of rows of `A` give: one pass."""
        rows = self.block_rows(n_bytes, self.d)
        return self._summed(lambda start, block, _: share(start, block), rows)

    def right_total(self, share: RightShare) -> tuple[Array, ...]:
        """Return the sums of what blocks of right sides give."""
        rows = self.block_rows(PRODUCT_BYTES, self.k)
        return self._summed(lambda start, _, B: share(start, B), rows)

    def collected(self, function: Callable[[Operator], Array]) -> list[Array]:
        """Return what blocks of rows of `A` give, in order: one pass."""

        def step(found: list[Array] | None, _: int, block: Operator, B: Array) -> list[Array]:
            return [*(found or ()), function(block)]

        rows = self.block_rows(PRODUCT_BYTES, self.d)
        how = {"block_rows": rows, "check": False, "dtype": self.dtype}
        return self.equations.folded(step, operator.add, **how)

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
        X = state.X

        def step(found: _Found | None, _: int, block: Operator, B: Array) -> _Found:
            r, share = self._residual(block, X, self.as_dtype(B))
            kept = [r] if keep else []
            if found is None:
                return _Found(LongSum(share, self.xp), self.squares(r), kept)
            found.gradient.add(share)
            return _Found(found.gradient, found.squares + self.squares(r), found.kept + kept)

        with silent():
            found = self.equations.folded(step, _both, check=False, **self._plain())
            if self._ridge is not None:
                found.gradient.add(-self.as_dtype(self._ridge)[:, None] * X)
        residual = self.xp.concat(found.kept, axis=0) if keep else None
        norms = [math.sqrt(value) for value in floats(found.squares)]
        return State(X, None, found.gradient.value(), residual, norms)

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

        def share(_: int, block: Operator, B: Array) -> tuple[Array, ...]:
            zeros = self.zeros(B.shape[0], Z.shape[1])
            return (-self._residual(block, Z, zeros)[1],)

        (total,) = self._summed(share, **self._plain("rows"))
        return total if self._ridge is None else total + self.as_dtype(self._ridge)[:, None] * Z

    def _plain(self, rows: str = "block_rows") -> dict[str, Any]:
        """Return how blocks for products with few columns come: in the data's own precision.

        Only weights and scaled columns are worth a copy in the working precision.
        """
        eq = self.equations
        n_bytes, dtype = PRODUCT_BYTES, self.dtype
        if eq.is_unchanged:
            n_bytes, dtype = self.whole_bytes, eq.dtype
        return {rows: self.block_rows(n_bytes, self.d), "dtype": dtype}

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
