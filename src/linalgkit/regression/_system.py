"""A least-squares problem as the tall matrix `M` that its solvers factorise or iterate with.

Tall problems have ``M = A`` (below it the rows of the ridge), wide ones ``M = A^H``::

    G, state = system.gram()                # M^H M and the state at x = 0, one pass
    state = system.advance(state, step, image)  # x + step, or x + M step
    state = system.evaluate(state)          # residual and gradient, one pass
    system.errors(R, state, exact=False)    # backward errors, where R^H R = M^H M

All arithmetic is in the widest float of the device. The two kinds are in
:mod:`linalgkit.regression._tall` and :mod:`linalgkit.regression._wide`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from linalgkit._core.array import (
    Array,
    DType,
    eps,
    is_complex,
    itemsize,
    library_name,
    real_dtype,
    widest_dtype,
)
from linalgkit._core.operators import DenseOperator, Operator
from linalgkit._core.scaling import silent
from linalgkit._kernels import gram
from linalgkit.regression._certificate import floats
from linalgkit.regression._problem import Equations

# Blocks that are read twice stay in cache; those of matrix products are larger. Other libraries
# and devices have dearer calls.
_CACHED_BYTES = 3 * 2**18
PRODUCT_BYTES = 2**22
_DEVICE_BYTES = 2**28


Image: TypeAlias = Callable[[Operator, Array], Array]

# Columns whose lengths differ by less than this are measured as they are.
_ALIKE = 16

Share: TypeAlias = Callable[[Operator, Array | None], tuple[Array, ...]]
PlacedShare: TypeAlias = Callable[[int, Operator], tuple[Array, ...]]
RightShare: TypeAlias = Callable[[int, Array], tuple[Array, ...]]


def add_to(total: tuple[Array, ...] | None, share: tuple[Array, ...]) -> tuple[Array, ...]:
    """Return the sums of arrays, the first of which may be written to."""
    if total is None:
        return share
    added = []
    for a, b in zip(total, share, strict=True):
        a += b
        added.append(a)
    return tuple(added)


def sums(a: tuple[Array, ...], b: tuple[Array, ...]) -> tuple[Array, ...]:
    """Return the sums of arrays, none of which is written to."""
    return tuple(x + y for x, y in zip(a, b, strict=True))


class OutOfRangeError(ValueError):
    """Squares of the data leave the range of the floating-point numbers; scaling could help.

    Its text is for the case that it did not.
    """

    def __init__(self) -> None:
        super().__init__("products with A must be finite, got NaN or infinity in one.")


@dataclass(frozen=True)
class State:
    """An approximate solution, and what a pass over the data has found about it.

    Attributes
    ----------
    X : array (d, k)
        The unknowns.
    slack : array (n, k) or None
        For wide problems with a ridge the unknowns `s` in ``A x + sqrt(alpha) s = b``, of which
        the solution of least norm ``||x||^2 + ||s||^2`` is sought.
    gradient : array (p, k)
        ``A^H (b - A X) - alpha X`` of tall problems, ``b - A X - sqrt(alpha) s`` of wide ones:
        zero at the solution.
    residual : array (n, k) or None
        ``b - A X``, where it was asked for.
    residual_norms : list of float
        ``||b - A x||`` of each right side.
    rounding : list of float
        Of wide problems, what rounding has moved the unknowns by; empty where it has not.
    """

    X: Array
    slack: Array | None
    gradient: Array
    residual: Array | None = None
    residual_norms: list[float] = field(default_factory=list)
    rounding: list[float] = field(default_factory=list)


class System(ABC):
    """What both kinds of problem share.

    Attributes
    ----------
    equations : Equations
        The problem.
    size, length : int
        Columns and rows of `M`, the rows of the ridge not counted.
    dtype : dtype
        Widest dtype of the device, real or complex as the data.
    roundoff : float
        Unit roundoff of `dtype`.
    b_norms : list of float
        ``||b||`` of each right side, known after the first pass.
    units : array (p, 1) or None
        The units of the columns of tall problems that were scaled, in proportion.
    """

    is_wide = False
    size: int
    length: int

    def __init__(self, equations: Equations) -> None:
        self.equations = equations
        self.xp, self.device = equations.xp, equations.device
        self.dtype = widest_dtype(self.xp, self.device, equations.dtype)
        self.roundoff = eps(self.xp, self.dtype) / 2
        self.alpha, self.d, self.k = equations.alpha, equations.d, equations.k
        self.b_norms: list[float] = []
        self.units: Array | None = None

    # ---------------------------------------------------------------------------- passes

    @abstractmethod
    def m_blocks(self, n_bytes: int = PRODUCT_BYTES) -> Iterator[tuple[int, Operator]]:
        """Yield number of the first row and operator of blocks of rows of `M`."""

    @abstractmethod
    def accumulate(
        self, share: Share, *, with_gradient: bool = True
    ) -> tuple[tuple[Array, ...], State]:
        """Return the sums of what blocks of `M` give, and the state at ``x = 0``: one pass.

        `share` gets a block of rows of `M` and, of tall problems, their right sides, and gives
        new arrays. The gradient is left at zero where it is not asked for.
        """

    def total(self, share: PlacedShare, n_bytes: int = PRODUCT_BYTES) -> tuple[Array, ...]:
        """Return the sums of what blocks of rows of `M` give: one pass.

        `share` gets the number of the first row and the block, and gives new arrays.
        """
        total: tuple[Array, ...] | None = None
        for start, block in self.m_blocks(n_bytes):
            total = add_to(total, share(start, block))
        assert total is not None
        return total

    def right_total(self, share: RightShare) -> tuple[Array, ...]:
        """Return the sums of what blocks of right sides give, as :meth:`total`."""
        total: tuple[Array, ...] | None = None
        for start, B in self.right_blocks():
            total = add_to(total, share(start, B))
        assert total is not None
        return total

    def collected(self, function: Callable[[Operator], Array]) -> list[Array]:
        """Return what blocks of rows of `M` give, in order: one pass."""
        return [function(block) for _, block in self.m_blocks()]

    def gram(self) -> tuple[Array, State]:
        """Return ``M^H M`` with the ridge, and the state at ``x = 0``: one pass."""
        (G,), state = self.accumulate(lambda block, B: (self.gram_of(block),))
        return self.with_ridge(G), state

    def gram_of(self, block: Operator) -> Array:
        """Return ``X^H X`` of a block in the working precision."""
        if isinstance(block, DenseOperator):
            return gram(self.xp, block.A)
        return block.gram()

    @abstractmethod
    def sample(self, count: int) -> Array:
        """Return about `count` rows of `M`, dense, to look at (weights left out)."""

    @abstractmethod
    def origin(self) -> State:
        """Return the state at ``x = 0``: one pass."""

    @abstractmethod
    def advance(self, state: State, step: Array, image: Image) -> State:
        """Return the unknowns moved by a correction; nothing else is valid in the result.

        Of tall problems the step is added to `X`; of wide ones `image` gives its product with
        blocks of rows of `M`, which is.
        """

    def rounded(self, state: State, X: Array) -> State:
        """Return the state of the unknowns after rounding: one pass."""
        return self.evaluate(replace(state, X=X))

    @abstractmethod
    def evaluate(self, state: State, *, keep: bool = False) -> State:
        """Return the state with all that follows from the unknowns made new: one pass."""

    @abstractmethod
    def errors(self, R: Array, state: State, units: Array | None, *, exact: bool) -> list[float]:
        """Return the backward error of each right side; ``R^H R = M^H M`` with the ridge.

        Columns of a tall problem are measured in `units` (p, 1): `units` times as long, and the
        unknowns divided by them.
        """

    @abstractmethod
    def bounds(
        self, state: State, kept: list[float], units: Array | None, a_norm: float
    ) -> list[float]:
        """Return upper bounds on the backward errors; see :meth:`Solver.kept`."""

    @abstractmethod
    def frobenius(self, R: Array, units: Array | None) -> float:
        """Return ``||A||_F`` with the ridge; ``R^H R = M^H M`` with the ridge."""

    @abstractmethod
    def sizes(self, state: State, units: Array | None) -> list[float]:
        """Return the norms of the unknowns."""

    @abstractmethod
    def right_blocks(self) -> Iterator[tuple[int, Array]]:
        """Yield number of the first row and block of right sides."""

    def measure_right_sides(self) -> None:
        """Find ``||b||``: one pass over the right sides."""
        with silent():
            (squares,) = self.right_total(lambda _, B: (self.squares(B),))
        self.b_norms = self.check_range(squares)

    def original(self, X: Array) -> Array:
        """Return unknowns of scaled columns in units in which their norms can be compared."""
        return X if self.units is None else X / self.units

    def scaled(self, X: Array) -> Array:
        """Undo :meth:`original`."""
        return X if self.units is None else X * self.units

    @abstractmethod
    def ridge(self) -> Array | None:
        """Return the diagonal (p,) that is added to ``M^H M``, or None."""

    # --------------------------------------------------------------------------- helpers

    @property
    def real(self) -> DType:
        """The real dtype of the working precision."""
        return real_dtype(self.xp, self.dtype)

    @property
    def is_in_place(self) -> bool:
        """Whether blocks are views of the caller's array."""
        eq = self.equations
        return eq.is_unchanged and self.dtype == eq.dtype

    @property
    def whole_bytes(self) -> int:
        """The size of the data in the working precision."""
        return 2 * self.size * self.length * itemsize(self.xp, self.dtype)

    def units_of(self, scale: Array) -> Array | None:
        """Return what makes columns of unit length as (p, 1), or None where they are alike."""
        xp = self.xp
        is_alike = float(xp.max(scale)) <= _ALIKE * float(xp.min(scale))
        return None if is_alike and self.units is None else self.as_dtype(scale)[:, None]

    def zeros(self, *shape: int) -> Array:
        """Return zeros in the working precision."""
        return self.xp.zeros(shape, dtype=self.dtype, device=self.device)

    def identity(self) -> Array:
        """Return the identity (p, p) in the working precision."""
        return self.xp.eye(self.size, dtype=self.dtype, device=self.device)

    def as_dtype(self, values: Array) -> Array:
        """Return values in the working precision, complex where the data are."""
        return self.xp.astype(values, self.dtype, copy=False)

    def block_rows(self, n_bytes: int, width: int) -> int:
        """Return how many rows of a width make a block of about a size."""
        if library_name(self.xp) != "numpy":
            on_cpu = str(self.device) in ("cpu", "CPU_DEVICE")
            n_bytes = max(n_bytes, 8 * PRODUCT_BYTES if on_cpu else _DEVICE_BYTES)
        return max(16, n_bytes // (itemsize(self.xp, self.dtype) * max(width, 1)))

    def cached_rows(self, width: int) -> int:
        """Return how many rows stay in cache while they are used twice."""
        return self.block_rows(_CACHED_BYTES, width)

    def squares(self, X: Array) -> Array:
        """Return the squared norms of the columns, (k,), on the device."""
        squares = self.xp.vecdot(X, X, axis=-2)
        return self.xp.real(squares) if is_complex(X, self.xp) else squares

    def with_ridge(self, G: Array) -> Array:
        """Return ``G`` with the ridge on its diagonal."""
        ridge = self.ridge()
        if ridge is None:
            return G
        return G + self.identity() * self.as_dtype(ridge)[:, None]

    def check_range(self, squares: Array) -> list[float]:
        """Return square roots of squared norms, or raise where these are out of range.

        Raises
        ------
        ValueError
            If the data hold NaN or infinity.
        OutOfRangeError
            If a scaling by powers of two could help, or products are not finite in spite of it.
        """
        values = floats(squares)
        if not all(map(math.isfinite, values)):
            self.equations.check_finite()
            if self.equations.column_exponents is not None:
                raise OutOfRangeError
        if self.equations.column_exponents is None:
            bound = 2.0 ** (2 * self.safe_exponent())
            if not all(1 / bound < value < bound for value in values):
                raise OutOfRangeError
        return [math.sqrt(value) for value in values]

    def check_finite_factor(self, R: Array) -> None:
        """Raise where a factor of the data is not finite or its columns are out of range."""
        with silent():
            self.check_range(self.squares(R))

    def safe_exponent(self) -> int:
        """Return the exponent up to which data, answers and their squares stay in range."""
        return math.frexp(float(self.xp.finfo(self.real).max))[1] // 6
