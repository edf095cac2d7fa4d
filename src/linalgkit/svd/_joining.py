"""Finished groups joined from their states, without the matrices.

::

    groups = joined_groups(groups, plan)

"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Sequence
from typing import Any

from linalgkit._core.array import Array, to_numpy
from linalgkit.svd._blocks import HOST
from linalgkit.svd._columns import conj
from linalgkit.svd._groups import Group
from linalgkit.svd._steps import columns

_NEIGHBOURS = 8  # groups that each one is tried to be joined with
_MOST_GROUPS = 1024  # that take part
_ROUNDING = 1e-5  # share of the squares that the leading parts may be off by


def joined_groups(groups: Sequence[Group]) -> list[Group]:
    """Join groups from their states, nearest first, as long as that is certified.

    Every group is tried with the few that are nearest to it, a joined one anew; of very many
    groups only those with most members take part.
    """
    order = sorted(range(len(groups)), key=lambda k: -len(groups[k].members))
    alive = {number: groups[k] for number, k in enumerate(order[:_MOST_GROUPS])}
    rest = [groups[k] for k in order[_MOST_GROUPS:]]
    nearness = _Nearness(list(alive.values()))
    heap = [pair for number in alive for pair in nearness.pairs(number, alive)]
    heapq.heapify(heap)
    seen: set[tuple[int, int]] = set()
    while heap:
        _, i, j = heapq.heappop(heap)
        if i not in alive or j not in alive or (i, j) in seen:
            continue
        seen.add((i, j))
        joined = _joined(alive[i], alive[j])
        if joined is None:
            continue
        del alive[i], alive[j]
        number = nearness.add(joined)
        alive[number] = joined
        for pair in nearness.pairs(number, alive):
            heapq.heappush(heap, pair)
    return [*alive.values(), *rest]


def _joined(a: Group, b: Group) -> Group | None:
    """Return two groups as one, or None where that saves nothing or is not certified."""
    members = HOST.concat([a.members, b.members])
    larger = Group(a.blocks, a.plan, members)
    if larger.stored > a.stored + b.stored:
        return None
    larger = Group(a.blocks, a.plan, members, a.pile.merged(b.pile))
    return larger if larger.pile.upper() <= a.plan.eps else None


class _Nearness:
    """How much of one group lies in the directions of another, for all groups."""

    def __init__(self, groups: Sequence[Group]) -> None:
        self.xp = groups[0].blocks.xp
        self.groups = list(groups)
        self.rows = [self._leading(group) for group in groups]
        self.table = self.xp.concat(self.rows, axis=0)
        self.starts = [0, *itertools.accumulate(int(rows.shape[0]) for rows in self.rows)]

    def _leading(self, group: Group) -> Array:
        """Return the leading columns of what a group kept, as rows, `rank` of them at most."""
        xp, blocks = self.xp, group.blocks
        kept = group.pile.kept
        if kept is None or kept.rank == 0:
            return xp.zeros((1, blocks.m), dtype=blocks.dtype, device=blocks.device)
        return columns(kept, xp)[: min(kept.rank, group.plan.rank), :]

    def add(self, group: Group) -> int:
        """Count in a group and return its number."""
        rows = self._leading(group)
        self.groups.append(group)
        self.rows.append(rows)
        self.table = self.xp.concat([self.table, rows], axis=0)
        self.starts.append(self.starts[-1] + int(rows.shape[0]))
        return len(self.rows) - 1

    def pairs(self, number: int, alive: dict[int, Group]) -> list[tuple[float, int, int]]:
        """Return the nearest groups, as (minus the nearness, smaller number, larger number)."""
        xp = self.xp
        product = to_numpy(conj(self.rows[number], xp) @ xp.matrix_transpose(self.table))
        product = HOST.astype(product, "complex128" if HOST.iscomplexobj(product) else "float64")
        squares = HOST.sum(HOST.abs(product) ** 2, axis=0)
        norms = HOST.sqrt(HOST.asarray([group.energy for group in self.groups]))
        scores = HOST.add.reduceat(squares, self.starts[:-1])
        scores = scores / HOST.where(norms > 0, norms, 1.0) ** 2
        others = [k for k in alive if k != number]
        nearest = heapq.nsmallest(_NEIGHBOURS, others, key=lambda k: (-scores[k], k))
        return [
            (-float(scores[k]), min(k, number), max(k, number))
            for k in nearest
            if self._may_join(number, k, product)
        ]

    # M M^H is the sum of the leading parts and a remainder whose trace is what both groups lack,
    # so that H_r(M) is at most that of the leading parts plus this trace.
    def _may_join(self, i: int, j: int, product: Any) -> bool:
        """Tell whether the leading parts alone do not rule out that both fit into one rank."""
        a, b = self.groups[i], self.groups[j]
        rank = a.plan.rank
        cross = product[:, self.starts[j] : self.starts[j + 1]]
        own = product[:, self.starts[i] : self.starts[i + 1]]
        squares = b.pile.leading_squares()
        other = HOST.diag(HOST.asarray([*squares, 0.0][: cross.shape[1]]))
        G = HOST.concat(
            [
                HOST.concat([own, cross], axis=1),
                HOST.concat([HOST.conj(cross.T), other], axis=1),
            ]
        )
        values = HOST.linalg.eigvalsh(G)
        left = float(HOST.sum(values[: max(0, len(values) - rank)]))
        energy = a.energy + b.energy
        return left <= (a.plan.eps**2 + _ROUNDING) * energy
