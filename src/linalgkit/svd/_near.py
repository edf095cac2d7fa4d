"""A search that looks for matrices that lie near each other, whatever their size.

::

    groups, status = near_groups(blocks, plan)
    groups = filled_groups(groups)

A group starts from the heaviest matrix left. Its nearest neighbours give a basis, those nearest to
that basis a better one; what the last one spans well is the group. All of this is a guess from
products with few columns; what a group is certified by is its state alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from linalgkit._core.array import Array, is_complex_dtype
from linalgkit._core.array import eps as roundoff
from linalgkit._core.random import as_generator, standard_normal
from linalgkit.svd._blocks import HOST, Blocks, Places
from linalgkit.svd._columns import as_columns
from linalgkit.svd._groups import Group, Plan, exhaustive, galloping
from linalgkit.svd._steps import Truncation, gram_step

_STAGES = (0.25, 2.0, 4.0)  # columns of the neighbours a basis is made of, over the rank
_POOL = 8  # of the matrices, one in so many stays in view after the first stage
_SHADOW = 3  # rows of the shadow, over the rank
_LEAST = 32  # rows that a shadow has at least
_COARSE = 1e-3  # limit from which on the shadow may be in single precision
_RESOLVED = 64.0  # roundoffs that differences of squares are good for
_WORTH = 3  # so many times fewer rows than the matrices must a shadow have
_DISSOLVED = 32  # small groups that an exhaustive search tries to do without
_MANY = 4096  # columns from which on a shadow pays


def near_groups(blocks: Blocks, plan: Plan) -> tuple[list[Group], str]:
    """Return groups that cover all matrices, and how the search ended."""
    search = _Search(blocks, plan)
    alive = HOST.ones(len(blocks), dtype="bool")
    groups: list[Group] = []
    without = 0
    for seed in blocks.by_norm(range(len(blocks))):
        if not alive[seed]:
            continue
        if without >= plan.patience:
            groups.extend(Group(blocks, plan, [i]) for i in HOST.nonzero(alive)[0])
            return groups, "patience"
        alive[seed] = False
        group = search.group_of(int(seed), HOST.nonzero(alive)[0])
        alive[group.members] = False
        without = 0 if len(group.members) > 1 else without + 1
        groups.append(group)
    return groups, "converged"


class _Search:
    """The collection and, of many tall matrices, a shadow: random combinations of their rows.

    Lengths and angles are in the shadow what they are to a few per cent; candidates are found
    there, and are measured themselves before they are tried.
    """

    def __init__(self, blocks: Blocks, plan: Plan) -> None:
        self.blocks, self.plan = blocks, plan
        # No more than that share of the square of a member may be left, so that a group does not
        # spend on strangers what its own need.
        self.limit = min(2.0 * plan.eps, 0.5 * (1.0 + plan.eps)) ** 2
        rows = max(_LEAST, _SHADOW * plan.rank)
        self.map: Array | None = None
        self.view = blocks
        if blocks.m >= _WORTH * rows and int(blocks.starts[-1]) >= _MANY:
            self.map = standard_normal(
                as_generator(0),
                (blocks.m, rows),
                xp=blocks.xp,
                device=blocks.device,
                dtype=blocks.dtype,
            ) / math.sqrt(rows)
            self.view = Blocks(self._coarse(blocks.table @ self.map), blocks.widths)
        self.limit = max(self.limit, _RESOLVED * roundoff(blocks.xp, self.view.dtype))

    def _coarse(self, table: Array) -> Array:
        """Return numbers in single precision where that resolves what is looked for."""
        xp = self.blocks.xp
        if self.limit < _COARSE:
            return table
        is_complex = is_complex_dtype(xp, table.dtype)
        return xp.astype(table, xp.complex64 if is_complex else xp.float32, copy=False)

    def group_of(self, seed: int, others: Any) -> Group:
        """Return the group that grows from a matrix."""
        if self.blocks.norms[seed] == 0.0:
            return Group(self.blocks, self.plan, HOST.concat([[seed], others]))
        group = Group(self.blocks, self.plan, [seed])
        if len(others) == 0 or not group.fits():
            return group
        basis, pool = self._neighbourhood(seed, others)
        group = self._extended(group, pool, self.view, basis)
        rest = _rest(others, group)
        if len(group.members) > 1 and len(rest):
            own = group.pile.basis()
            group = self._extended(group, self._in_sight(rest, own), self.blocks, own)
        return group

    def _neighbourhood(self, seed: int, others: Any) -> tuple[Array, Any]:
        """Return a basis of what lies around a matrix, and the matrices that it may span."""
        view, rank = self.view, self.plan.rank
        basis = _leading(view, HOST.asarray([seed]), HOST.ones(1), rank)
        nonzero = pool = others[view.norms[others] ** 2 > 0]
        least = 1 + int(64 * rank / float(HOST.mean(view.widths)))
        for stage in _STAGES:
            if len(pool) == 0 or view.widths[seed] >= stage * rank:
                continue
            shares = view.inside(pool, basis) / view.norms[pool] ** 2
            near = _largest(shares, 1 + int(stage * rank))
            widths = HOST.cumsum(view.widths[pool[near]])
            near = near[: 1 + int(HOST.searchsorted(widths, stage * rank))]
            places = HOST.concat([HOST.asarray([seed]), pool[near]])
            weights = HOST.concat([HOST.ones(1), HOST.minimum(1.0, shares[near])])
            basis = _leading(view, places, weights, rank)
            if len(pool) == len(nonzero):
                pool = HOST.sort(pool[_largest(shares, max(least, len(pool) // _POOL))])
        return basis, pool

    def _in_sight(self, places: Any, basis: Array) -> Any:
        """Return the matrices that a basis may span, judged by their shadows."""
        if self.map is None:
            return places
        xp = self.blocks.xp
        shadows = xp.astype(xp.matrix_transpose(basis @ self.map), self.view.dtype, copy=False)
        seen = xp.matrix_transpose(xp.linalg.qr(shadows, mode="reduced")[0])
        missing, whole = _missing(self.view, places, seen)
        return places[missing <= self.limit * whole]

    def _extended(self, group: Group, places: Any, view: Blocks, basis: Array) -> Group:
        """Add the matrices that a basis spans well, those first that it spans best."""
        missing, whole = _missing(view, places, basis)
        near = missing <= self.limit * whole
        if not HOST.any(near):
            return group
        shares = missing[near] / HOST.where(whole[near] > 0, whole[near], 1.0)
        order = HOST.argsort(shares, stable=True)
        costs = (missing[near] - self.plan.eps**2 * whole[near])[order]
        own, energy = _missing(view, HOST.sort(group.members), basis)
        budget = float(HOST.sum(self.plan.eps**2 * energy - own))
        count = _affordable(costs, budget)
        return galloping(group, places[near][order], max(1, count), max(1, count // 64))


def with_cheapest(group: Group, places: Any) -> Group:
    """Add matrices that cost least of what a group may still lose.

    Parameters
    ----------
    group : Group
        The group.
    places : array of the host
        Candidates. In an exhaustive search those that fail are passed over.
    """
    slack = group.slack
    if slack <= 0.0 or len(places) == 0:
        return group
    missing, whole = _missing(group.blocks, places, group.pile.basis())
    costs = missing - group.plan.eps**2 * whole
    order = HOST.argsort(costs, stable=True)
    order = order[costs[order] <= slack]
    count = _affordable(costs[order], slack)
    candidates = places[order[: 2 * count + 64]]
    if group.plan.search == "exhaustive":
        return exhaustive(exhaustive(group, candidates[:count]), candidates[count:])
    return galloping(group, candidates, max(1, count), max(1, count // 64))


def filled_groups(groups: Sequence[Group]) -> list[Group]:
    """Give the room that groups have left to matrices that would be stored as they are.

    In an exhaustive search also to those of small groups, wherever that stores less.
    """
    saving = [group for group in groups if group.saves]
    others = [group for group in groups if not group.saves]
    saving, others = _placed(saving, others)
    if saving and saving[0].plan.search == "exhaustive":
        for small in sorted(saving, key=lambda group: group.width)[:_DISSOLVED]:
            if not any(group is small for group in saving):
                continue
            rest = [group for group in saving if group is not small]
            tried, left = _placed(rest, [small, *others])
            before = sum(group.stored for group in [*saving, *others])
            if rest and sum(group.stored for group in [*tried, *left]) < before:
                saving, others = tried, left
    return [*saving, *others]


def _placed(saving: Sequence[Group], others: Sequence[Group]) -> tuple[list[Group], list[Group]]:
    """Return the first groups with what they could take from the others, and what is left."""
    if not saving or not others:
        return list(saving), list(others)
    left = HOST.sort(HOST.concat([group.members for group in others]))
    larger = []
    for group in sorted(saving, key=lambda group: -group.slack):
        larger.append(with_cheapest(group, left))
        left = _rest(left, larger[-1])
    rest = []
    for group in others:
        members = group.members[HOST.isin(group.members, left)]
        if len(members) == len(group.members):
            rest.append(group)
        elif group.saves or len(members) == 1:
            rest.extend(Group(group.blocks, group.plan, [i]) for i in members)
        elif len(members):
            rest.append(Group(group.blocks, group.plan, members))
    return larger, rest


def _largest(values: Any, count: int) -> Any:
    """Return where the largest values are, the largest first, the earlier one of two equals."""
    if count < len(values) // 2:
        within = HOST.sort(HOST.argpartition(-values, count)[:count])
        return within[HOST.argsort(-values[within], stable=True)]
    return HOST.argsort(-values, stable=True)[:count]


def _rest(places: Any, group: Group) -> Any:
    return places[~HOST.isin(places, group.members)]


def _missing(view: Blocks, places: Any, basis: Array) -> tuple[Any, Any]:
    """Return what a basis leaves of the square of each matrix, and the whole of it."""
    whole = view.norms[places] ** 2
    missing = HOST.maximum(whole - view.inside(places, basis), 0.0)
    return missing, whole


def _affordable(costs: Any, budget: float) -> int:
    """Return the largest number of leading costs whose sum is within a budget."""
    within = HOST.nonzero(HOST.cumsum(costs) <= budget)[0]
    return int(within[-1]) + 1 if len(within) else 0


def _leading(view: Blocks, places: Places, weights: Any, rank: int) -> Array:
    """Return the directions, as rows, that matrices brought to norm one have in common."""
    xp = view.xp
    norms = view.norms[places]
    factors = HOST.repeat(weights / HOST.where(norms > 0, norms, 1.0), view.widths[places])
    columns = as_columns(view.columns(places)).weighted([float(value) for value in factors])
    kept = gram_step(None, columns, Truncation(min(rank, view.m), floor=1e-3), xp).kept
    return kept.basis / xp.astype(kept.s, view.dtype)[:, None]
