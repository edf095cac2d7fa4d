"""The published search: seeds of the heaviest matrices, candidates in an order fixed by the seed.

::

    groups, status = published_groups(blocks, plan)

"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from linalgkit.svd._blocks import HOST, Blocks, Places
from linalgkit.svd._bounds import heaviest, residual_norms, seed_basis
from linalgkit.svd._groups import Group, Plan, exhaustive, galloping, one_by_one

_TAKING: dict[str, Callable[[Group, Places], Group]] = {
    "paper": one_by_one,
    "gallop": galloping,
    "exhaustive": exhaustive,
}


# Shamrai (arXiv:2601.11626), the greedy algorithms of the author's code. Differs from them:
# 1. A matrix wider than the rank counts with its largest singular values, not as a whole.
# 2. Candidates that fail end a group, or are passed over, as asked; several are tried at once.
# 3. No matrix is lost: what a group does not take stays for the next one.
def published_groups(blocks: Blocks, plan: Plan) -> tuple[list[Group], str]:
    """Return groups that cover all matrices, and how the search ended."""
    alive = blocks.by_norm(range(len(blocks)))
    groups: list[Group] = []
    without = 0
    while len(alive):
        if without >= plan.patience:
            groups.extend(Group(blocks, plan, [i]) for i in alive)
            return groups, "patience"
        seed = heaviest(blocks, alive, plan.rank, is_sorted=True)
        group = Group(blocks, plan, seed)
        if not group.fits():
            seed = seed[:1]
            group = Group(blocks, plan, seed)
        rest = alive[len(seed) :]
        size = len(seed)
        if len(rest) and (plan.search == "paper" or group.fits()):
            group = _TAKING[plan.search](group, _candidates(blocks, seed, rest, plan))
        without = 0 if len(group.members) > size else without + 1
        groups.append(group)
        alive = alive[~HOST.isin(alive, group.members)]
    return groups, "converged"


def _candidates(blocks: Blocks, seed: Sequence[int], rest: Places, plan: Plan) -> Places:
    """Return the others in the order in which they are tried."""
    keys = blocks.norms[rest]
    if plan.order == "residual":
        keys = residual_norms(blocks, rest, seed_basis(blocks, seed))
    return rest[HOST.lexsort((rest, keys))]
