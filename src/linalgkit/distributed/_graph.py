"""Map and tree reduction as a graph of Dask.

::

    answer = reduced("gram", leaf, merge, parts.tasks)     # Delayed: one task a part, then a tree
    computed(answer)

Rules that make a retried task give the same answer: a function of a task depends on nothing but
its arguments, draws nothing of its own, and never writes into what it was handed (Dask keeps
results for other tasks, and gives them again to one that is repeated after a worker died). The
tree depends on the number of parts alone, never on the workers.
"""

from __future__ import annotations

import functools
import uuid
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import dask
from dask.delayed import Delayed

from linalgkit._core.random import as_generator
from linalgkit.distributed._aligned import aligned, called


def task(label: str, function: Callable[..., Any], *arguments: Any) -> Delayed:
    """Return a task named ``linalgkit-<label>-<token>``; dashboards group by the label."""
    key = f"linalgkit-{label}-{uuid.uuid4().hex}"
    return dask.delayed(called, pure=False, traverse=False)(function, *arguments, dask_key_name=key)


def mapped(
    label: str, function: Callable[..., Any], tasks: Iterable[Delayed], *shared: Any
) -> list[Delayed]:
    """Return ``function(part, *shared)`` of every part; large shared things travel once."""
    sent = [once(item) for item in shared]
    return [task(label, function, part, *sent) for part in tasks]


def once(item: Any) -> Any:
    """Return something that all tasks share as a task of its own, so that it travels once."""
    return item if isinstance(item, Delayed) else task("shared", _same, item)


def reduced(
    label: str,
    merge: Callable[[Any, Any], Any],
    tasks: Sequence[Delayed],
    fanin: int = 8,
) -> Delayed:
    """Return the merged result of tasks, joined in order by a tree.

    `merge` returns a new object or changes its first argument, which is its own copy for all but
    the leaves of a node: see :func:`joined`.
    """
    level = list(tasks)
    while len(level) > 1:
        groups = [level[i : i + fanin] for i in range(0, len(level), fanin)]
        level = [g[0] if len(g) == 1 else task(f"{label}-merge", joined, merge, *g) for g in groups]
    return level[0]


def joined(merge: Callable[[Any, Any], Any], *items: Any) -> Any:
    """Merge items from left to right; `merge` must not write into either argument."""
    return functools.reduce(merge, items)


def computed(*tasks: Delayed) -> Any:
    """Compute with the scheduler that Dask has been told to use; one task gives its result."""
    results = aligned(dask.compute(*tasks))
    return results[0] if len(tasks) == 1 else results


def shared_key(rng: object) -> object:
    """Return a source of random numbers that every task can draw the same from.

    An int or a SeedSequence is one already. None becomes a fresh int, and a Generator or
    BitGenerator gives one and goes on.
    """
    if rng is None or hasattr(rng, "bit_generator") or hasattr(rng, "random_raw"):
        return int(as_generator(rng).integers(2**63))
    as_generator(rng)  # refuses what is no source
    return rng


def _same(x: Any) -> Any:
    return x
