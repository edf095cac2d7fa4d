"""From the caller's rows to the rows that are accumulated: scaled, weighted, forgotten, centred.

All four act on one block of rows and keep a few numbers::

    pre = Preprocessor(center=True, forgetting=1.0, space=space)
    block = pre.process(X, weights)       # rows in units of 2**pre.exponent

Centring is exact in one pass. Rows are shifted by the mean of the first block, so that a large
mean costs no digits, and each block is centred by its own mean; what is missing from the
centred sum of squares is one more row, ``sqrt(W w / (W + w)) (mean before - mean of block)``
(Chan, Golub and LeVeque, 1979). It is appended to the block, so that every method sees an
ordinary stream of rows whose ``A^H A`` is the centred one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from linalgkit._core.array import (
    Array,
    Device,
    DType,
    Namespace,
    asarray,
    is_sparse,
    real_dtype,
    to_numpy,
    widest_dtype,
)
from linalgkit._core.linalg import ldexp, scale_exponent
from linalgkit._core.operators import Operator, as_operator
from linalgkit._core.state import PortablePickle
from linalgkit._core.validation import check_finite_block
from linalgkit.streaming._blocks import RowBlock, StackedRows, shifted_rows

# Numbers between 2**-100 and 2**100 divide what is O(1) in any dtype and stay in its range.
_TAME_EXPONENT = 100


@dataclass(frozen=True)
class Space(PortablePickle):
    """Where the rows live: library, device, working dtype and number of columns."""

    xp: Namespace
    device: Device
    dtype: DType
    d: int

    def __deepcopy__(self, memo: dict[int, Any]) -> Space:
        return self  # it never changes, and its namespace is a module

    @property
    def wide(self) -> DType:
        """The widest dtype of the device, real or complex as the rows are."""
        return widest_dtype(self.xp, self.device, self.dtype)

    @property
    def real(self) -> DType:
        """The real dtype of the rows' precision."""
        return real_dtype(self.xp, self.dtype)

    def zeros(self, *shape: int, dtype: DType | None = None) -> Array:
        """Return zeros in the rows' dtype, or another, on their device."""
        chosen = self.dtype if dtype is None else dtype
        return self.xp.zeros(shape, dtype=chosen, device=self.device)


class Preprocessor:
    """Scale, weight, forget and centre blocks of rows.

    Parameters
    ----------
    space : Space
        Where the rows live.
    center : bool
        Whether the mean is removed.
    forgetting : float
        Factor a row by which the weight of everything older shrinks.

    Attributes
    ----------
    exponent : int
        Rows leave in units of ``2**exponent``; 0 unless the data come near overflow or
        underflow of a sum of squares.
    weight : float
        Sum of the weights in force.
    spread : float
        Square root of the sum of their squares.
    """

    def __init__(self, space: Space, *, center: bool, forgetting: float) -> None:
        self.space = space
        self.center = center
        self.forgetting = forgetting
        self.exponent = 0
        largest = math.log2(float(space.xp.finfo(space.real).max))
        self._lowest = 2.0 ** (-0.3 * largest)  # least squared norm that is safe unscaled
        self.weight = 0.0
        self.spread = 0.0
        self.is_empty = True
        self.offset: Array = space.zeros(space.d) if center else None
        self.sums: Array = space.zeros(space.d, dtype=space.wide) if center else None

    # ------------------------------------------------------------------------- scale

    def load(
        self, X: Any, basis: Array | None = None, weights: Array | None = None
    ) -> tuple[Operator, Any, int]:
        """Return the rows as an operator, their squared norms, and how the unit has changed.

        The norms are on the host, without the weights; the change is 0 while there was nothing
        but zeros to be brought to another unit. One synchronisation, two with weights. Raises
        ValueError for NaN and infinity.
        """
        block = self._operator(X, basis)
        norms = to_numpy(block.row_norms_squared())
        host = None if weights is None else to_numpy(weights)
        peak, change = _peak(norms, host), 0
        if not self._lowest <= peak <= 1.0 / self._lowest:
            change = self._exponent_for(X, weights) - self.exponent
            if change:
                self.move_to(self.exponent + change)
                block = self._operator(X, basis)
                norms = to_numpy(block.row_norms_squared())
        was_empty = self.is_empty
        self.is_empty = was_empty and peak == 0.0 and change == 0
        return block, norms, 0 if was_empty else change

    def _operator(self, X: Any, basis: Array | None) -> Operator:
        if is_sparse(X):
            return as_operator(X).scaled(-self.exponent)
        X = ldexp(X, -self.exponent, self.space.xp) if self.exponent else X
        return RowBlock(X, basis, (self.space.xp, self.space.device))

    def move_to(self, exponent: int) -> None:
        """Change the unit; the numbers kept here change with it."""
        if self.center:
            self.offset = ldexp(self.offset, self.exponent - exponent, self.space.xp)
            self.sums = ldexp(self.sums, self.exponent - exponent, self.space.xp)
        self.exponent = exponent

    def _exponent_for(self, X: Any, weights: Array | None) -> int:
        """Return the exponent that brings the rows, weighted, to O(1), if the present does not."""
        check_finite_block(X)
        rows = as_operator(X)
        if weights is not None:  # rows without weight have no say
            rows = rows.weighted(self.space.xp.astype(weights > 0, self.space.dtype))
        largest = rows.max_abs()
        if largest == 0.0:
            return self.exponent
        needed = scale_exponent(largest)
        if weights is not None:
            norms = to_numpy(rows.scaled(-needed).row_norms_squared())
            pairs = zip(norms.tolist(), to_numpy(weights).tolist(), strict=True)
            squares = (math.frexp(n)[1] + math.frexp(w)[1] for n, w in pairs if n > 0.0 < w)
            needed += max(squares, default=0) // 2
        return needed if self.is_empty or needed > self.exponent else self.exponent

    # ----------------------------------------------------------- weights and centring

    @property
    def is_plain(self) -> bool:
        """Whether unweighted rows pass unchanged."""
        return not self.center and self.forgetting == 1.0

    @property
    def n_effective(self) -> float:
        """Number of rows of equal weight that say as much about a population."""
        return (self.weight / self.spread) ** 2 if self.spread > 0.0 else 0.0

    def count(self, n: int) -> None:
        """Count in rows of weight one."""
        self.weight += n
        self.spread = math.hypot(self.spread, math.sqrt(n))

    def transform(self, block: Operator, weights: Array | None) -> Operator:
        """Return the block weighted and centred; update the totals."""
        n = block.shape[0]
        factors = self.factors(n, weights)
        mass, spread = (float(n), math.sqrt(n)) if factors is None else _moments(factors)
        self.spread = math.hypot(self.spread * self.forgetting**n, spread)
        before = self.weight * self.forgetting**n
        roots = None if factors is None else self.space.xp.sqrt(factors)
        if self.center:
            block = self._centred(block, factors, roots, mass, before)
        elif roots is not None:
            block = _weighted(block, roots)
        self.weight = before + mass
        return block

    def factors(self, n: int, weights: Array | None) -> Array | None:
        """Return the weight of each row when the block is over, or None if all are one."""
        if self.forgetting == 1.0:
            return weights
        ages = [self.forgetting ** (n - 1 - i) for i in range(n)]
        space = self.space
        fading = asarray(ages, xp=space.xp, device=space.device, dtype=space.real, copy=False)
        return fading if weights is None else fading * weights

    def _centred(
        self,
        block: Operator,
        factors: Array | None,
        roots: Array | None,
        mass: float,
        before: float,
    ) -> Operator:
        """Centre a block by its own mean and append the row that joins it to the past."""
        xp, space = self.space.xp, self.space
        old = self.sums * (before / self.weight if self.weight > 0 else 0.0)
        if mass == 0.0:
            self.sums = old
            return block.rows(0, 0)
        if self.weight == 0.0:
            self.offset = xp.astype(_mean(block, factors, mass, space), space.dtype)
        offset = self.offset
        dense = block.A - offset if isinstance(block, RowBlock) else None
        local = (
            _mean(block, factors, mass, space) - xp.astype(offset, space.wide)
            if dense is None
            else _mean(RowBlock(dense), factors, mass, space)
        )
        shift = xp.astype(local, space.dtype)
        joint = _joining_row(_over(self.sums, self.weight), local, before, mass, space)
        self.sums = old + local * mass
        if dense is None:
            return StackedRows([_shifted(block, roots, offset + shift, space), joint])
        dense = dense - shift
        centred = RowBlock(dense) if roots is None else _weighted(RowBlock(dense), roots)
        return StackedRows([centred, joint])

    def mean(self) -> Array:
        """Return the mean that is removed, in the caller's units; zero without centring."""
        if not self.center:
            return self.space.zeros(self.space.d)
        xp, space = self.space.xp, self.space
        mean = xp.astype(self.offset, space.wide) + _over(self.sums, self.weight)
        return xp.astype(ldexp(mean, self.exponent, xp), space.dtype)

    # ------------------------------------------------------------------- merge, state

    def absorb(self, other: Preprocessor) -> Operator | None:
        """Add the totals of `other`, in the same unit; return the row that joins the means."""
        before, mass = self.weight, other.weight
        self.is_empty = self.is_empty and other.is_empty
        self.weight, self.spread = before + mass, math.hypot(self.spread, other.spread)
        if not self.center or mass == 0.0:
            return None
        space, xp = self.space, self.space.xp
        if before == 0.0:
            self.offset, self.sums = other.offset, other.sums
            return None
        distance = xp.astype(other.offset, space.wide) - xp.astype(self.offset, space.wide)
        local = distance + _over(other.sums, mass)
        joint = _joining_row(_over(self.sums, before), local, before, mass, space)
        self.sums = self.sums + local * mass
        return joint

    def to_state(self) -> dict[str, Any]:
        """Return the totals on the host."""
        arrays = {}
        if self.center:
            arrays = {"offset": to_numpy(self.offset), "sums": to_numpy(self.sums)}
        return {
            "exponent": self.exponent,
            "weight": self.weight,
            "spread": self.spread,
            "is_empty": self.is_empty,
            **arrays,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take the totals back."""
        space = self.space
        self.exponent = int(state["exponent"])
        self.weight = float(state["weight"])
        self.spread = float(state["spread"])
        self.is_empty = bool(state["is_empty"])
        if self.center:
            move = {"xp": space.xp, "device": space.device}
            self.offset = asarray(state["offset"], dtype=space.dtype, **move)
            self.sums = asarray(state["sums"], dtype=space.wide, **move)


def _moments(factors: Array) -> tuple[float, float]:
    """Return the sum of weights and the root of that of their squares (one synchronisation)."""
    values = to_numpy(factors).astype("float64")
    largest = float(values.max(initial=0.0))
    shares = values / (largest or 1.0)
    return float(values.sum()), largest * math.sqrt(float((shares * shares).sum()))


def _peak(norms: Any, weights: Any) -> float:
    """Return the largest squared norm of a row, weighted; NaN where that is not known."""
    if weights is None:
        return float(norms.max(initial=0.0))
    if not math.isfinite(norms.sum(dtype="float64")):
        return math.nan
    pairs = zip(norms.tolist(), weights.tolist(), strict=True)
    return max((norm * weight for norm, weight in pairs), default=0.0)


def _mean(block: Operator, factors: Array | None, mass: float, space: Space) -> Array:
    """Return the weighted mean row of a block in the widest dtype."""
    xp = space.xp
    if isinstance(block, RowBlock):
        A = block.A
        if factors is not None:
            A = A * xp.reshape(xp.astype(factors, A.dtype), (-1, 1))
        return _over(xp.sum(A, axis=0, dtype=space.wide), mass)
    column = space.zeros(block.shape[0], 1, dtype=space.wide) + 1
    if factors is not None:
        column = xp.reshape(xp.astype(factors, space.wide), (-1, 1))
    total = xp.astype(block.rmatmul(column)[:, 0], space.wide)
    return _over(xp.conj(total) if xp.isdtype(space.wide, "complex floating") else total, mass)


def _over(sums: Array, mass: float) -> Array:
    """Return ``sums / mass``, 0 without mass, also where the reciprocal of `mass` overflows."""
    fraction, exponent = math.frexp(mass)
    if -_TAME_EXPONENT < exponent < _TAME_EXPONENT:
        return sums / mass if mass > 0.0 else sums * 0.0
    return ldexp(sums, -exponent) / fraction


def _joining_row(mean: Array, local: Array, before: float, mass: float, space: Space) -> RowBlock:
    """Return the row that the union of two centred sets has beyond both, from their means."""
    if before == 0.0:
        return RowBlock(space.zeros(1, space.d))
    row = (mean - local) * math.sqrt(before / (before + mass) * mass)
    return RowBlock(space.xp.astype(space.xp.reshape(row, (1, -1)), space.dtype))


def _weighted(block: Operator, roots: Array) -> Operator:
    """Return the block with its rows multiplied by `roots`."""
    if isinstance(block, RowBlock):
        xp = block.xp
        return RowBlock(block.A * xp.reshape(xp.astype(roots, block.A.dtype), (-1, 1)))
    return block.weighted(roots)


def _shifted(block: Any, roots: Array | None, shift: Array, space: Space) -> Operator:
    """Return a sparse block minus `shift`, its rows multiplied by `roots`, without fill-in."""
    if roots is None:
        return shifted_rows(block, space.zeros(block.shape[0], 1) + 1, shift)
    column = space.xp.astype(roots, space.dtype)
    return shifted_rows(block.weighted(roots), column, shift)
