"""A step for many sparse columns at once: nothing of their number of rows but what is kept.

The old matrix and the new columns are projected on leading right vectors, found by products with
the columns alone; what that leaves is orthogonal to all that stays, as after any other step::

    step, lost, delta = leaf_step(kept, block, rule, xp, rng=rng, wanted=20, energy=energy)
"""

from __future__ import annotations

import math
from typing import Any

from linalgkit._core.array import (
    Array,
    Namespace,
    adjoint,
    device,
    eps,
    real_dtype,
    widest_dtype,
)
from linalgkit._core.random import standard_normal
from linalgkit.svd._columns import SparseColumns
from linalgkit.svd._ritz import leading, remainder_bound
from linalgkit.svd._steps import Kept, Step, Truncation, columns, host, kept_gram, real_diagonal

_MOST_TRIES = 4  # spaces: a further one has the vectors for which those before were blind
MANY = 6  # columns, over the triplets kept, from which a space of few vectors pays


def leaf_step(
    kept: Kept | None,
    block: SparseColumns,
    rule: Truncation,
    xp: Namespace,
    *,
    rng: Any,
    wanted: int,
    energy: float,
) -> tuple[Step, float, float]:
    """Add sparse columns by a projection from the right.

    Parameters
    ----------
    kept, rule, xp
        As for :func:`~linalgkit.svd._steps.gram_step`.
    block : SparseColumns
        New columns, several times as many as are kept.
    rng : Generator
        Starts the Krylov space, and tests what it leaves.
    wanted : int
        Triplets that must have settled.
    energy : float
        ``||A||_F^2`` of the new columns.

    Returns
    -------
    step : Step
        With the squares that are kept, and no others.
    lost, delta : float
        ``||E||_F^2`` of what was projected away, and a bound on ``||E||_2^2``.
    """
    k = 0 if kept is None else kept.rank
    dev = device(block.rows.data)
    wide = widest_dtype(xp, dev, block.dtype)
    old = None if kept is None or k == 0 else columns(kept, xp)
    cross = None if old is None else block.cross(old)
    first = None if kept is None or old is None else kept_gram(kept, old, xp)
    product = block.gram_operator()

    def times(X: Array) -> Array:
        new = product(X[k:, :])
        if first is None or cross is None:
            return new
        top = first @ X[:k, :] + cross @ X[k:, :]
        return xp.concat([top, new + adjoint(cross, xp) @ X[:k, :]], axis=0)

    total = energy
    if first is not None:  # rounded since the last step, in lower precision
        total += math.fsum(host(real_diagonal(first, xp)))
    order = k + block.b
    place = {"xp": xp, "device": dev, "dtype": wide}
    start = standard_normal(rng, (order, min(order, max(8, min(32, rule.cap // 6)))), **place)
    for _ in range(_MOST_TRIES):
        found = leading(times, start, cap=rule.cap, wanted=wanted, energy=total)
        values = found.values
        lacking = found.others if found.is_exhausted else [total, *(-value for value in values)]
        rest = max(0.0, math.fsum(lacking))
        above = [value for value in values if value > rule.floor**2 * values[0]]
        count, target = rule([*above, rest])
        count = min(count, len(above))
        V = found.vectors[:, :count]
        lost = rest + math.fsum(values[count:])
        following = max([*values[count:], *found.others, lost / order, 0.0])
        if following <= eps(xp, wide) ** 2 * total:
            delta, unseen = lost, None
        else:
            delta, unseen = remainder_bound(times, V, following, rng)
        if unseen is None or lost <= eps(xp, wide) * total:
            break
        start = xp.concat([found.vectors, unseen], axis=1)
    small = xp.astype(V, block.dtype)
    basis = block.combined(small[k:, :], *(() if old is None else ((small[:k, :], old),)))
    s = xp.asarray(
        [math.sqrt(value) for value in target[:count]], dtype=real_dtype(xp, wide), device=dev
    )
    return Step(Kept(basis, s, True), V, found.values[:count]), lost, min(lost, delta)
