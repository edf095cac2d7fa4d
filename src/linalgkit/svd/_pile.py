"""States that grow by trial: matrices side by side with the interval for their joint error.

A trial leaves the state before it as it was::

    pile = Pile.started(blocks, [4, 2], rank)
    larger = pile.with_blocks([7, 1])
    if larger.upper() <= eps: pile = larger

"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from linalgkit._core.array import eps, widest_dtype
from linalgkit.svd._account import Account, Enclosure
from linalgkit.svd._blocks import Blocks
from linalgkit.svd._columns import Columns, DenseColumns, as_columns
from linalgkit.svd._steps import (
    Kept,
    Truncation,
    columns,
    direct_step,
    gram_step,
    host,
)

_ROUNDING = 8.0


@dataclass(frozen=True, eq=False)
class Pile:
    """Matrices of a collection side by side, truncated.

    Attributes
    ----------
    blocks : Blocks
        The collection.
    members : tuple of int
        Which matrices.
    rank, cap : int
        Rank of the approximation, and of what is kept.
    kept : Kept or None
        What is kept.
    account : Account
        What was discarded.
    """

    blocks: Blocks
    members: tuple[int, ...]
    rank: int
    cap: int
    kept: Kept | None = None
    account: Account = field(default_factory=Account)

    @property
    def width(self) -> int:
        """Columns of all members."""
        return sum(self.blocks.widths[i] for i in self.members)

    def with_blocks(self, places: Sequence[int]) -> Pile:
        """Return the pile with more matrices."""
        pile, waiting = self, list(places)
        step = max(self.cap, 64)
        while waiting:
            taken: list[int] = []
            width = 0
            while waiting and (not taken or width + self.blocks.widths[waiting[0]] <= step):
                taken.append(waiting.pop(0))
                width += self.blocks.widths[taken[-1]]
            pile = pile._grown(as_columns(self.blocks.columns(taken)), taken)
        return pile

    def _grown(self, new: Columns, places: Sequence[int]) -> Pile:
        energy = math.fsum(self.blocks.norms[i] ** 2 for i in places)
        account = self.account.taken_in(energy)
        return self._stepped(new, account, (*self.members, *places))

    def _stepped(self, new: Columns, account: Account, members: tuple[int, ...]) -> Pile:
        xp = self.blocks.xp
        rule = Truncation(self.cap, floor=math.sqrt(50.0 * self._wide_eps))
        k = 0 if self.kept is None else self.kept.rank
        step = direct_step if self.blocks.m <= k + new.b else gram_step
        found = step(self.kept, new, rule, xp)
        account = account.truncated(found.squares[found.kept.rank :], self.cap)
        return replace(self, kept=found.kept, account=account, members=members)

    def merged(self, other: Pile) -> Pile:
        """Return two piles as one, from what each of them kept."""
        if other.kept is None:
            return self
        xp = self.blocks.xp
        new = DenseColumns(columns(other.kept, xp), xp)
        account = self.account.merged(other.account)
        return self._stepped(new, account, (*self.members, *other.members))

    @property
    def _wide_eps(self) -> float:
        xp = self.blocks.xp
        return eps(xp, widest_dtype(xp, self.blocks.device, self.blocks.dtype))

    def enclosure(self) -> Enclosure:
        """Return what is certain, with room for rounding errors."""
        squares = [] if self.kept is None else [v * v for v in host(self.kept.s)]
        top = squares[0] if squares else 0.0
        roundoff = eps(self.blocks.xp, self.blocks.dtype)
        slack = _ROUNDING * roundoff * math.sqrt(top * max(1, self.width))
        room = _ROUNDING * self._wide_eps * top * (1 + self.account.steps)
        return Enclosure(tuple(squares), self.account, slack, room)

    def interval(self) -> tuple[float, float]:
        """Return an interval for the relative error of rank `rank`."""
        norm = math.sqrt(self.account.energy)
        if norm == 0.0 or self.width <= self.rank:
            return 0.0, 0.0
        low, high = self.enclosure().optimal_error_bounds(self.rank)
        return min(1.0, low / norm), min(1.0, high / norm)

    def upper(self) -> float:
        """Return the certified relative error."""
        return self.interval()[1]


def started(blocks: Blocks, places: Sequence[int], rank: int, oversamples: int) -> Pile:
    """Return the pile of some matrices."""
    return Pile(blocks, (), rank, min(blocks.m, rank + oversamples)).with_blocks(places)
