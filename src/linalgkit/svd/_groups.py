"""Groups of matrices that grow by trial, each with the interval for its joint error.

::

    group = Group(blocks, plan, seed)
    larger = group.with_blocks(places)
    if larger.fits(): group = larger

"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

from linalgkit.svd._blocks import HOST, Blocks, Places
from linalgkit.svd._bounds import certain_energy, error_from, heaviest, residual_directions
from linalgkit.svd._pile import Pile

Test = Callable[["Group"], bool]


@dataclass(frozen=True)
class Plan:
    """What was asked for."""

    rank: int
    eps: float
    bound: str
    order: str
    search: str
    merge: bool
    patience: float
    oversamples: int


class Group:
    """Some of the matrices, with their state where that certifies their error.

    Parameters
    ----------
    blocks : Blocks
        The collection.
    plan : Plan
        Rank, error, and the bound that certifies it.
    members : sequence of int
        Numbers of the matrices.
    pile : Pile, optional
        Their state, made when it is needed.
    """

    def __init__(
        self, blocks: Blocks, plan: Plan, members: Places, pile: Pile | None = None
    ) -> None:
        self.blocks, self.plan = blocks, plan
        self.members: Any = HOST.asarray(members, dtype="int64")
        if pile is not None:
            self.__dict__["pile"] = pile

    @cached_property
    def pile(self) -> Pile:
        """What is kept of all members."""
        cap = min(self.blocks.m, self.plan.rank + self.plan.oversamples)
        pile = Pile(self.blocks, self.plan.rank, cap, self.plan.eps)
        return pile.with_blocks(self.members)

    @cached_property
    def width(self) -> int:
        """Columns of all members."""
        return self.blocks.width(self.members)

    @cached_property
    def energy(self) -> float:
        """Sum of the squares of all numbers."""
        return self.blocks.energy(self.members)

    def with_blocks(self, places: Places) -> Self:
        """Return the group with candidates."""
        pile = None
        if self.plan.bound == "incremental":
            pile = self.pile.with_blocks(places)
        members = HOST.concat([self.members, HOST.asarray(places, dtype="int64")])
        return type(self)(self.blocks, self.plan, members, pile)

    @cached_property
    def interval(self) -> tuple[float, float]:
        """An interval for the relative error."""
        blocks, plan = self.blocks, self.plan
        if self.width <= plan.rank:
            return 0.0, 0.0
        if plan.bound == "incremental":
            return self.pile.interval()
        norm = math.sqrt(self.energy)
        if norm == 0.0:
            return 0.0, 0.0
        seed = heaviest(blocks, self.members, plan.rank)
        if plan.bound == "weyl":
            energy = certain_energy(blocks, seed, plan.rank)
        else:
            rest = self.members[~HOST.isin(self.members, seed)]
            order = HOST.concat([HOST.asarray(seed), rest])
            energy = math.fsum(residual_directions(blocks, order)[0][: plan.rank])
        return 0.0, error_from(energy, norm, blocks)

    def fits(self) -> bool:
        """Tell whether the error is certified."""
        return self.interval[1] <= self.plan.eps

    @property
    def slack(self) -> float:
        """The square that may still be lost."""
        return (self.plan.eps**2 - self.interval[1] ** 2) * self.energy

    @property
    def raw(self) -> int:
        """How many numbers the members are."""
        return self.blocks.m * self.width

    @property
    def stored(self) -> int:
        """How many numbers are stored: one matrix, or what saves nothing, as it is."""
        if len(self.members) == 1:
            return self.raw
        return min(self.plan.rank * (self.blocks.m + self.width), self.raw)

    @property
    def saves(self) -> bool:
        """Tell whether less is stored than all numbers."""
        return self.stored < self.raw


def certified_pile(group: Group) -> Pile:
    """Return a state whose basis is certified, for groups that other bounds vouch for."""
    blocks, plan = group.blocks, group.plan
    cap = min(blocks.m, 2 * plan.rank)
    while True:
        pile = Pile(blocks, plan.rank, cap).with_blocks(group.members)
        if cap >= blocks.m or pile.upper() <= plan.eps:
            return pile
        cap = min(blocks.m, 2 * cap)


# ------------------------------------------------------------------------------ adding candidates


def one_by_one(group: Group, candidates: Places) -> Group:
    """Take candidates until the first that fails."""
    for i in candidates:
        larger = group.with_blocks([i])
        if not larger.fits():
            return group
        group = larger
    return group


def galloping(group: Group, candidates: Places, first: int = 1, finest: int = 1) -> Group:
    """Take twice as many candidates each time, and go back by bisection after the first failure.

    Parameters
    ----------
    group : Group
        The group.
    candidates : array of the host
        In their order.
    first : int
        How many are tried first.
    finest : int
        Where bisection ends.
    """
    start, step = 0, max(1, first)
    while start < len(candidates):
        part = candidates[start : start + step]
        larger = group.with_blocks(part)
        if not larger.fits():
            return _bisected(group, part, finest)
        group, start = larger, start + step
        step = 2 * step if start > step else max(1, first // 8)
    return group


def _bisected(group: Group, candidates: Places, finest: int) -> Group:
    """Return the group with as many leading candidates as fit, where all of them do not."""
    low, high = 0, len(candidates)
    while high - low > max(1, finest):
        middle = (low + high) // 2
        larger = group.with_blocks(candidates[low:middle])
        if larger.fits():
            group, low = larger, middle
        else:
            high = middle
    return group


def exhaustive(group: Group, candidates: Places) -> Group:
    """Take as many at a time as fit, and pass over those that do not."""
    waiting = [candidates]
    while waiting:
        part = waiting.pop()
        if len(part) == 0:
            continue
        larger = group.with_blocks(part)
        if larger.fits():
            group = larger
        elif len(part) > 1:
            middle = (len(part) + 1) // 2
            waiting.extend([part[middle:], part[:middle]])
    return group
