"""What truncations have discarded, exactly, and what follows for the matrix that nobody kept.

A stream keeps ``A^`` and drops ``E_k`` at step k. With best approximations, or projections from
the right, the rows of ``E_k`` are orthogonal to those of all later ``E_j`` and of ``A^``, whence
``A A^H = A^ A^^H + D`` with ``D = sum E_k E_k^H >= 0``, and::

    ||A - A^||_F^2 = sum ||E_k||_F^2                (lost)
    ||A - A^||_2^2 <= sum ||E_k||_2^2               (delta)
    s_i(A^)^2 <= s_i(A)^2 <= s_i(A^)^2 + delta

The same holds for every tree of concatenations. Updates of what is there end a run: from then on
norms of differences add up, which is all that is left.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from linalgkit._core.scaling import ldexp_float


@dataclass(frozen=True)
class Account:
    """Squares of what a run has seen and discarded, and the errors of the runs before it.

    Attributes
    ----------
    energy : float
        ``||A||_F^2`` for what came in since the run began, ``A^`` at its beginning included.
    lost : float
        ``tr D``, for truncated singular values ``||A - A^||_F^2``.
    delta : float
        Bound on ``||D||_2``.
    largest : tuple of float
        Sums over the steps of the squares of the largest, the second largest, ... singular value
        that was discarded.
    is_shrunk : bool
        Whether singular values were shrunk (Frequent Directions), so that `lost` is no norm of a
        difference.
    rough_lost, rough_delta : float
        The parts of `lost` and `delta` of which no single singular values are known.
    apart_fro, apart_spectral : float
        Sums over the steps of the norms of what each of them took: with shrunk values the
        differences are not orthogonal, and this is all that bounds their sum.
    before_fro, before_spectral : float
        Sums over earlier runs of the norms of the differences.
    noise : float
        Sum over the squares that were read from Gram matrices, or subtracted, of the largest
        there was: times a few roundoffs, what is uncertain about them.
    turns : int
        Steps and changes that there were.
    top : float
        The largest square of a singular value that there ever was.
    whole : float or None
        Sum of the squares of all that was appended; None once it has been changed since.
    """

    energy: float = 0.0
    lost: float = 0.0
    delta: float = 0.0
    largest: tuple[float, ...] = ()
    is_shrunk: bool = False
    rough_lost: float = 0.0
    rough_delta: float = 0.0
    apart_fro: float = 0.0
    apart_spectral: float = 0.0
    before_fro: float = 0.0
    before_spectral: float = 0.0
    noise: float = 0.0
    turns: int = 0
    top: float = 0.0
    whole: float | None = 0.0

    @property
    def is_exact(self) -> bool:
        """Tell whether `lost` is ``||A - A^||_F^2`` exactly."""
        return not self.is_shrunk and self.before_fro == 0.0

    def taken_in(self, energy: float) -> Account:
        """Return the account after new columns or rows of a given squared norm."""
        whole = None if self.whole is None else self.whole + energy
        return replace(self, energy=self.energy + energy, whole=whole)

    def truncated(self, squares: Sequence[float], cap: int) -> Account:
        """Return the account after a step that discarded singular values.

        Parameters
        ----------
        squares : sequence of float
            Their squares, descending.
        cap : int
            How many of the largest are kept apart.
        """
        found = [max(0.0, float(value)) for value in squares]
        pairs = itertools.zip_longest(self.largest, found[:cap], fillvalue=0.0)
        return replace(
            self,
            lost=self.lost + math.fsum(found),
            delta=self.delta + (found[0] if found else 0.0),
            largest=tuple(a + b for a, b in pairs),
            apart_fro=self.apart_fro + math.sqrt(math.fsum(found)),
            apart_spectral=self.apart_spectral + (math.sqrt(found[0]) if found else 0.0),
            turns=self.turns + 1,
        )

    def shrunk(self, amount: float, total: float) -> Account:
        """Return the account after squares were lowered by `amount`, in sum by `total`."""
        return replace(
            self,
            lost=self.lost + total,
            delta=self.delta + amount,
            apart_fro=self.apart_fro + math.sqrt(total),
            apart_spectral=self.apart_spectral + math.sqrt(amount),
            is_shrunk=True,
            turns=self.turns + 1,
        )

    def new_energy(self, energy: float) -> Account:
        """Return the account of a matrix that has become another one, of this squared norm."""
        is_all = self.lost == 0.0 == self.before_fro
        return replace(self, energy=energy, whole=energy if is_all else None)

    @property
    def norm_square(self) -> float:
        """``||A||_F^2``, or that of the matrix changes were made to where it is not known."""
        return self.energy if self.whole is None else self.whole

    def leaf(self, lost: float, delta: float) -> Account:
        """Return the account after new columns were projected on a few vectors."""
        return replace(
            self,
            lost=self.lost + lost,
            delta=self.delta + delta,
            rough_lost=self.rough_lost + lost,
            rough_delta=self.rough_delta + delta,
            turns=self.turns + 1,
        )

    def faded(self, factor: float) -> Account:
        """Return the account of the matrix times a factor."""
        f = factor * factor
        return replace(
            self,
            energy=f * self.energy,
            whole=None if self.whole is None else f * self.whole,
            lost=f * self.lost,
            delta=f * self.delta,
            rough_lost=f * self.rough_lost,
            rough_delta=f * self.rough_delta,
            top=f * self.top,
            noise=f * self.noise,
            largest=tuple(f * value for value in self.largest),
            apart_fro=abs(factor) * self.apart_fro,
            apart_spectral=abs(factor) * self.apart_spectral,
            before_fro=abs(factor) * self.before_fro,
            before_spectral=abs(factor) * self.before_spectral,
        )

    def in_units(self, exponent: int) -> Account:
        """Return the account of the matrix times ``2**-exponent``."""
        square, plain = -2 * exponent, -exponent
        return replace(
            self,
            energy=ldexp_float(self.energy, square),
            whole=None if self.whole is None else ldexp_float(self.whole, square),
            lost=ldexp_float(self.lost, square),
            delta=ldexp_float(self.delta, square),
            rough_lost=ldexp_float(self.rough_lost, square),
            rough_delta=ldexp_float(self.rough_delta, square),
            top=ldexp_float(self.top, square),
            noise=ldexp_float(self.noise, square),
            largest=tuple(ldexp_float(value, square) for value in self.largest),
            apart_fro=ldexp_float(self.apart_fro, plain),
            apart_spectral=ldexp_float(self.apart_spectral, plain),
            before_fro=ldexp_float(self.before_fro, plain),
            before_spectral=ldexp_float(self.before_spectral, plain),
        )

    def merged(self, other: Account) -> Account:
        """Return the account of two matrices side by side."""
        pairs = itertools.zip_longest(self.largest, other.largest, fillvalue=0.0)
        is_known = self.whole is not None and other.whole is not None
        return Account(
            energy=self.energy + other.energy,
            whole=(self.whole or 0.0) + (other.whole or 0.0) if is_known else None,
            lost=self.lost + other.lost,
            delta=self.delta + other.delta,
            largest=tuple(a + b for a, b in pairs),
            is_shrunk=self.is_shrunk or other.is_shrunk,
            rough_lost=self.rough_lost + other.rough_lost,
            rough_delta=self.rough_delta + other.rough_delta,
            apart_fro=math.hypot(self.apart_fro, other.apart_fro),
            apart_spectral=math.hypot(self.apart_spectral, other.apart_spectral),
            before_fro=math.hypot(self.before_fro, other.before_fro),
            before_spectral=math.hypot(self.before_spectral, other.before_spectral),
            noise=self.noise + other.noise,
            turns=self.turns + other.turns,
            top=max(self.top, other.top),
        )

    def new_run(self, energy: float) -> Account:
        """Return the account of a matrix of which ``A^`` alone goes on to be changed.

        Parameters
        ----------
        energy : float
            ``||A^||_F^2`` after the change.
        """
        fro, spectral = math.sqrt(self.lost), math.sqrt(self.delta)
        if self.is_shrunk:
            fro, spectral = self.apart_fro, self.apart_spectral
        return Account(
            energy=energy,
            before_fro=self.before_fro + fro,
            before_spectral=self.before_spectral + spectral,
            is_shrunk=self.is_shrunk,
            noise=self.noise,
            turns=self.turns + 1,
            top=self.top,
            whole=self.whole,
        )

    def seen(self, square: float, count: int = 0) -> Account:
        """Return the account after a step with a largest square, and `count` uncertain ones."""
        top = max(self.top, square)
        return replace(self, top=top, noise=self.noise + count * max(square, self.top))

    def of_rank(self, r: int) -> float:
        """Return a bound on the sum of the `r` largest eigenvalues of ``D``."""
        bound = min(self.lost, r * self.delta)
        if self.is_shrunk or r > len(self.largest) > 0:
            return bound
        rough = min(self.rough_lost, r * self.rough_delta)
        return min(bound, math.fsum(self.largest[:r]) + rough)

    def to_state(self) -> dict[str, Any]:
        """Return the numbers as they are."""
        return {**self.__dict__, "largest": list(self.largest)}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Account:
        """Return the account that :meth:`to_state` wrote down."""
        return cls(**{**state, "largest": tuple(float(value) for value in state["largest"])})


@dataclass(frozen=True)
class Enclosure:
    """What is certain about a matrix from the part that was kept, in one unit.

    Attributes
    ----------
    squares : tuple of float
        Squares of the singular values that were kept, descending, those beyond the answer
        included.
    account : Account
        What was discarded.
    slack : float
        Bound on the rounding error of a singular value.
    square_slack : float
        Bound on the rounding error of the sums of squares in the account.
    is_of_rows : bool
        Whether the last run appended rows: errors are then orthogonal on the other side.
    """

    squares: tuple[float, ...]
    account: Account
    slack: float
    square_slack: float
    is_of_rows: bool = False

    def square(self, i: int) -> float:
        """Return the square of singular value `i`, 0 beyond those kept."""
        return self.squares[i] if i < len(self.squares) else 0.0

    def missing(self, r: int) -> float:
        """Return ``||A||_F^2`` less the `r` largest squares kept."""
        return self.account.lost + math.fsum(self.squares[r:])

    def error(self, r: int) -> float:
        """Return ``||A - A^_r||_F``, or a bound on it where runs have ended."""
        return math.sqrt(self.missing(r)) + self.account.before_fro

    def error_bound(self, r: int) -> float:
        """Return a bound on the same error, rounding included."""
        square = self.missing(r) + self.square_slack
        return math.sqrt(square) + self.account.before_fro + self.slack

    def spectral_bound(self, r: int) -> float:
        """Return a bound on ``||A - A^_r||_2``."""
        square = self.account.delta + self.square(r) + self.square_slack
        bound = math.sqrt(square) + self.account.before_spectral + self.slack
        return min(bound, self.error_bound(r))

    def sigma_bounds(self, r: int) -> tuple[list[float], list[float]]:
        """Return lower and upper ends for the `r` largest singular values."""
        outside = self.account.before_spectral + self.slack
        room = self.account.delta + self.square_slack
        squares = [self.square(i) for i in range(r)]
        lower = [max(0.0, math.sqrt(square) - outside) for square in squares]
        return lower, [math.sqrt(square + room) + outside for square in squares]

    def optimal_error_bounds(self, r: int) -> tuple[float, float]:
        """Return an interval for the Frobenius error of the best approximation of rank `r`."""
        squared = self.missing(r)
        outside = self.account.before_fro + self.slack
        least = squared - self.account.of_rank(r) - self.square_slack
        low = math.sqrt(max(0.0, least)) - outside
        return max(0.0, low), math.sqrt(squared + self.square_slack) + outside

    def angle_bound(self, r: int) -> float:
        """Return a bound on the sine between the leading subspaces, 1 where nothing is known."""
        if self.square(r - 1) == 0.0:
            return 1.0
        if self.account.before_spectral > 0 or self.is_of_rows:
            gap = math.sqrt(self.square(r - 1)) - math.sqrt(self.square(r))
            shift = math.sqrt(self.account.delta + self.square_slack)
            shift += self.account.before_spectral + self.slack
            return min(1.0, shift / (gap - shift)) if gap > shift else 1.0
        shift = self.account.delta + self.square_slack
        shift += 2.0 * math.sqrt(self.square(0)) * self.slack
        gap = self.square(r - 1) - self.square(r) - shift
        return min(1.0, shift / gap) if gap > 0 else 1.0
