"""Groups of matrices that share one truncated decomposition within a certified error.

::

    found = cluster_matrices(blocks, 10, 0.05)
    found.labels, found.predicted_error, found.compression_ratio

"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from linalgkit._core.array import Array, asarray, to_numpy
from linalgkit._core.capabilities import capability
from linalgkit._core.estimator import EstimatorMixin
from linalgkit._core.validation import (
    check_bool,
    check_choice,
    check_float,
    check_int,
    require_fitted,
)
from linalgkit.svd._blocks import Blocks, as_blocks
from linalgkit.svd._bounds import (
    error_from,
    heaviest,
    residual_directions,
    residual_norms,
    seed_basis,
)
from linalgkit.svd._columns import conj
from linalgkit.svd._pile import Pile
from linalgkit.svd._shared import SharedSVD, shared_svd
from linalgkit.svd._steps import columns

BOUNDS = ("incremental", "weyl", "residual")
ORDERS = ("residual", "norm")
SEARCHES = ("gallop", "paper", "exhaustive")
_NEIGHBOURS = 8  # clusters that each one is tried to be merged with
_MOST_GROUPS = 1024  # that take part in merging


@dataclass(frozen=True, eq=False)
class MatrixClustering:
    """A partition of matrices into groups, each with one approximation of the rank asked for.

    Attributes
    ----------
    labels : array (K,)
        Number of each matrix's cluster, int64, of the library of the matrices.
    clusters : list of list of int
        Numbers of the matrices in each cluster.
    svds : list of SharedSVD or None
        Joint decompositions; None where the matrices are better stored as they are (one matrix, or
        one that saves nothing).
    predicted_error : list of float
        Certified upper bound on the relative Frobenius error of each cluster; at most `eps`.
    error_lower : list of float
        Lower bound on the smallest error that there is.
    compression_ratio : float
        Numbers of all matrices over those that are stored.
    status : str
        ``"converged"``; ``"patience"`` where the search was given up and the rest left alone.
    """

    labels: Array = field(repr=False)
    clusters: list[list[int]] = field(repr=False)
    svds: list[SharedSVD | None] = field(repr=False)
    predicted_error: list[float] = field(repr=False)
    error_lower: list[float] = field(repr=False)
    compression_ratio: float
    status: str


@dataclass(frozen=True)
class _Plan:
    """What was asked for."""

    rank: int
    eps: float
    bound: str
    order: str
    search: str
    patience: float
    oversamples: int


@capability("svd.cluster_matrices", sparse=True)
def cluster_matrices(
    blocks: Any,
    rank: int,
    eps: float,
    *,
    bound: str = "incremental",
    order: str = "residual",
    search: str = "gallop",
    merge: bool = True,
    patience: int | None = 10,
    row_weight: Array | None = None,
) -> MatrixClustering:
    """Partition matrices into few groups whose joint approximations of one rank are good enough.

    Parameters
    ----------
    blocks : list of array (m, n_i), array (K, m, n), iterable
        The matrices; sparse ones and LinearOperators as well.
    rank : int
        Rank of every joint approximation.
    eps : float
        Largest relative Frobenius error of a group, in [0, 1).
    bound : {"incremental", "weyl", "residual"}
        What certifies an error (:func:`concatenated_svd_bounds`).
    order : {"residual", "norm"}
        Candidates: those first that the seed of a group spans best, or the lightest.
    search : {"gallop", "paper", "exhaustive"}
        ``"paper"``: candidates one by one until the first that fails, as published. ``"gallop"``:
        twice as many at a time, and back by bisection; the same groups where bounds grow with the
        group. ``"exhaustive"``: candidates that fail are passed over.
    merge : bool, default True
        Whether finished groups are joined, from their states alone, wherever that is certified.
        Not with ``search="paper"``, nor other bounds than ``"incremental"``.
    patience : int or None, default 10
        Groups without a candidate, one after the other, after which the rest is left alone.
    row_weight : array (m,), optional
        Weights of the squares in each row.

    Returns
    -------
    MatrixClustering
        ``labels``, ``clusters``, ``svds``, ``predicted_error``, ``error_lower``,
        ``compression_ratio``, ``status``.

    Raises
    ------
    TypeError, ValueError
        If there is no matrix, rows differ, numbers are not finite, `rank` is below 1, `eps` is
        outside [0, 1), weights are negative, or a word is unknown.

    Notes
    -----
    Storage: the matrices, transposed where they have to be, and ``3 m rank`` numbers for every
    group.

    References
    ----------
    .. [1] M. Shamrai, "Concatenated Matrix SVD", arXiv:2601.11626.

    Examples
    --------
    >>> import numpy as np
    >>> from linalgkit.svd import cluster_matrices
    >>> rng = np.random.default_rng(0)
    >>> bases = rng.standard_normal((2, 30, 3))
    >>> blocks = [bases[k % 2] @ rng.standard_normal((3, 5)) for k in range(8)]
    >>> cluster_matrices(blocks, 3, 0.01).labels.tolist()
    [0, 1, 0, 1, 0, 1, 0, 1]
    """
    rank = check_int("rank", rank, 1)
    eps = check_float("eps", eps, 0.0, 1.0, high_open=True)
    check_choice("bound", bound, BOUNDS)
    check_choice("order", order, ORDERS)
    check_choice("search", search, SEARCHES)
    merge = check_bool("merge", merge)
    limit = math.inf if patience is None else check_int("patience", patience, 1)
    found = as_blocks(blocks, row_weight)
    oversamples = 5 if search == "paper" else rank
    plan = _Plan(rank, eps, bound, order, search, limit, oversamples)
    groups, status = _searched(found, plan)
    if merge and search != "paper" and bound == "incremental":
        groups = _merged(groups, plan)
    return _outcome(found, groups, plan, status, row_weight)


# -------------------------------------------------------------------------------- one group


class _Group:
    """A group that grows by candidates, with its certified interval."""

    def __init__(self, blocks: Blocks, members: Sequence[int], plan: _Plan) -> None:
        self.blocks, self.plan, self.members = blocks, plan, list(members)
        self.pile: Pile | None = None
        if plan.bound == "incremental":
            cap = min(blocks.m, plan.rank + plan.oversamples)
            self.pile = Pile(blocks, (), plan.rank, cap).with_blocks(members)

    def with_blocks(self, places: Sequence[int]) -> _Group:
        """Return the group with candidates."""
        larger = object.__new__(_Group)
        larger.blocks, larger.plan = self.blocks, self.plan
        larger.members = [*self.members, *places]
        larger.pile = None if self.pile is None else self.pile.with_blocks(places)
        return larger

    def interval(self) -> tuple[float, float]:
        """Return an interval for the relative error."""
        blocks, plan = self.blocks, self.plan
        if sum(blocks.widths[i] for i in self.members) <= plan.rank:
            return 0.0, 0.0
        if self.pile is not None:
            return self.pile.interval()
        norm = math.sqrt(math.fsum(blocks.norms[i] ** 2 for i in self.members))
        if norm == 0.0:
            return 0.0, 0.0
        seed = heaviest(blocks, self.members, plan.rank)
        rest = [i for i in self.members if i not in set(seed)]
        if plan.bound == "weyl":
            energy = _certain(blocks, seed, plan.rank)
        else:
            energy = math.fsum(residual_directions(blocks, [*seed, *rest])[0][: plan.rank])
        return 0.0, error_from(energy, norm, blocks)

    def fits(self) -> bool:
        """Tell whether the error is certified."""
        return self.interval()[1] <= self.plan.eps


def _certain(blocks: Blocks, seed: list[int], rank: int) -> float:
    if sum(blocks.widths[i] for i in seed) <= rank:
        return math.fsum(blocks.norms[i] ** 2 for i in seed)
    return math.fsum(residual_directions(blocks, seed)[0][:rank])


def _pile_of(blocks: Blocks, members: Sequence[int], plan: _Plan) -> Pile:
    """Return a state whose basis is certified, for groups that other bounds vouch for."""
    cap = min(blocks.m, 2 * plan.rank)
    while True:
        pile = Pile(blocks, (), plan.rank, cap).with_blocks(members)
        if cap >= blocks.m or pile.upper() <= plan.eps:
            return pile
        cap = min(blocks.m, 2 * cap)


# -------------------------------------------------------------------------------- the search


# Shamrai (arXiv:2601.11626), the greedy algorithms of the author's code. Differs from them:
# 1. A matrix wider than the rank counts with its largest singular values, not as a whole.
# 2. Candidates that fail end a group, or are passed over, as asked; several are tried at once.
# 3. No matrix is lost: what a group does not take stays for the next one.
def _searched(blocks: Blocks, plan: _Plan) -> tuple[list[_Group], str]:
    """Return groups that cover all matrices."""
    alive = sorted(range(len(blocks)), key=lambda i: (-blocks.norms[i], i))
    groups: list[_Group] = []
    without = 0
    while alive:
        if without >= plan.patience:
            groups.extend(_Group(blocks, [i], plan) for i in alive)
            return groups, "patience"
        seed = heaviest(blocks, alive, plan.rank, is_sorted=True)
        group = _Group(blocks, seed, plan)
        if not group.fits():
            group = _Group(blocks, seed[:1], plan)
            seed = seed[:1]
        taken = set(seed)
        rest = [i for i in alive if i not in taken]
        size = len(group.members)
        if rest and (plan.search == "paper" or group.fits()):
            candidates = _candidates(blocks, seed, rest, plan)
            group = _SEARCH[plan.search](group, candidates)
        without = 0 if len(group.members) > size else without + 1
        groups.append(group)
        taken = set(group.members)
        alive = [i for i in alive if i not in taken]
    return groups, "converged"


def _candidates(blocks: Blocks, seed: Sequence[int], rest: Sequence[int], plan: _Plan) -> list[int]:
    if plan.order == "norm":
        return sorted(rest, key=lambda i: (blocks.norms[i], i))
    missing = residual_norms(blocks, rest, seed_basis(blocks, seed))
    return [i for _, i in sorted(zip(missing, rest, strict=True))]


def _one_by_one(group: _Group, candidates: Sequence[int]) -> _Group:
    for i in candidates:
        larger = group.with_blocks([i])
        if not larger.fits():
            return group
        group = larger
    return group


def _galloping(group: _Group, candidates: Sequence[int]) -> _Group:
    start, step = 0, 1
    while start < len(candidates):
        larger = group.with_blocks(candidates[start : start + step])
        if larger.fits():
            group, start, step = larger, start + step, 2 * step
            continue
        return _bisected(group, candidates[start : start + step])
    return group


def _bisected(group: _Group, candidates: Sequence[int]) -> _Group:
    """Return the group with as many leading candidates as fit, where all of them do not."""
    low, high = 0, len(candidates)
    while high - low > 1:
        middle = (low + high) // 2
        larger = group.with_blocks(candidates[low:middle])
        if larger.fits():
            group, low = larger, middle
        else:
            high = middle
    return group


def _exhaustive(group: _Group, candidates: Sequence[int]) -> _Group:
    """Take as many at a time as fit, and pass over those that do not."""
    waiting = [list(candidates)]
    while waiting:
        part = waiting.pop()
        larger = group.with_blocks(part)
        if larger.fits():
            group = larger
        elif len(part) > 1:
            middle = (len(part) + 1) // 2
            waiting.extend([part[middle:], part[:middle]])
    return group


_SEARCH: dict[str, Callable[[_Group, Sequence[int]], _Group]] = {
    "paper": _one_by_one,
    "gallop": _galloping,
    "exhaustive": _exhaustive,
}


# ------------------------------------------------------------------------------ joining groups


def _merged(groups: list[_Group], plan: _Plan) -> list[_Group]:
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
    while heap:
        _, i, j = heapq.heappop(heap)
        if i not in alive or j not in alive:
            continue
        joined = _joined(alive[i], alive[j])
        if joined is None:
            continue
        del alive[i], alive[j]
        number = nearness.add(joined)
        alive[number] = joined
        for pair in nearness.pairs(number, alive):
            heapq.heappush(heap, pair)
    return [*alive.values(), *rest]


def _joined(a: _Group, b: _Group) -> _Group | None:
    """Return two groups as one, or None where that saves nothing or is not certified."""
    assert a.pile is not None
    assert b.pile is not None
    pile = a.pile.merged(b.pile)
    if pile.upper() > a.plan.eps:
        return None
    larger = object.__new__(_Group)
    larger.blocks, larger.plan, larger.pile = a.blocks, a.plan, pile
    larger.members = [*a.members, *b.members]
    before = sum(_stored(g.blocks, g.members, g.plan.rank) for g in (a, b))
    return larger if _stored(larger.blocks, larger.members, a.plan.rank) <= before else None


class _Nearness:
    """How much of one group lies in the directions of another, for all groups."""

    def __init__(self, groups: Sequence[_Group]) -> None:
        self.xp = groups[0].blocks.xp
        self.rank = groups[0].plan.rank
        self.table = self.xp.concat([self._unit(group) for group in groups], axis=0)

    def _unit(self, group: _Group) -> Array:
        """Return the leading columns of what a group kept, of norm one, `rank` of them."""
        xp, blocks = self.xp, group.blocks
        assert group.pile is not None
        kept = group.pile.kept
        rows = xp.zeros((0, blocks.m), dtype=blocks.dtype, device=blocks.device)
        if kept is not None and kept.rank:
            rows = columns(kept, xp)[: self.rank, :]
            norm = float(xp.linalg.vector_norm(rows))
            rows = rows / norm if norm > 0 else rows
        lacking = self.rank - int(rows.shape[0])
        zeros = xp.zeros((lacking, blocks.m), dtype=blocks.dtype, device=blocks.device)
        return xp.concat([rows, zeros], axis=0)

    def add(self, group: _Group) -> int:
        """Count in a group and return its number."""
        number = int(self.table.shape[0]) // self.rank
        self.table = self.xp.concat([self.table, self._unit(group)], axis=0)
        return number

    def pairs(self, number: int, alive: dict[int, _Group]) -> list[tuple[float, int, int]]:
        """Return the nearest groups, as (minus the nearness, smaller number, larger number)."""
        xp = self.xp
        own = self.table[number * self.rank : (number + 1) * self.rank, :]
        product = xp.abs(conj(own, xp) @ xp.matrix_transpose(self.table))
        squares = xp.reshape(xp.sum(product * product, axis=0), (-1, self.rank))
        scores = [float(value) for value in to_numpy(xp.sum(squares, axis=1))]
        others = [k for k in alive if k != number]
        nearest = heapq.nsmallest(_NEIGHBOURS, others, key=lambda k: (-scores[k], k))
        return [(-scores[k], min(k, number), max(k, number)) for k in nearest]


# ------------------------------------------------------------------------------- the answer


def _stored(blocks: Blocks, members: Sequence[int], rank: int) -> int:
    width = sum(blocks.widths[i] for i in members)
    whole = blocks.m * width
    return whole if len(members) == 1 else min(rank * (blocks.m + width), whole)


def _outcome(
    blocks: Blocks, groups: list[_Group], plan: _Plan, status: str, row_weight: Array | None
) -> MatrixClustering:
    """Return clusters numbered by their first matrix, those that save something decomposed."""
    groups = sorted(groups, key=lambda group: min(group.members))
    clusters = [sorted(group.members) for group in groups]
    labels = [0] * len(blocks)
    svds: list[SharedSVD | None] = []
    lower, upper = [], []
    stored = 0
    for number, (group, members) in enumerate(zip(groups, clusters, strict=True)):
        for i in members:
            labels[i] = number
        size = _stored(blocks, members, plan.rank)
        stored += size
        is_raw = len(members) == 1 or size == blocks.m * sum(blocks.widths[i] for i in members)
        low, high = (0.0, 0.0) if is_raw else group.interval()
        lower.append(low)
        upper.append(high)
        if is_raw:
            svds.append(None)
            continue
        pile = group.pile
        if pile is None:
            pile = _pile_of(blocks, group.members, plan)
            # Where not all is kept, what is delivered is certified by the state alone.
            upper[-1] = pile.upper() if pile.cap < blocks.m else high
        svds.append(shared_svd(pile, members, row_weight))
    total = blocks.m * sum(blocks.widths)
    return MatrixClustering(
        labels=asarray(labels, xp=blocks.xp, device=blocks.device, dtype=blocks.xp.int64),
        clusters=clusters,
        svds=svds,
        predicted_error=upper,
        error_lower=lower,
        compression_ratio=total / max(1, stored),
        status=status,
    )


@capability("svd.ErrorConstrainedClustering", sparse=True)
class ErrorConstrainedClustering(EstimatorMixin):
    """Groups of matrices with one approximation each, as an estimator.

    Parameters
    ----------
    rank, eps, bound, order, search, merge, patience, row_weight
        As for :func:`cluster_matrices`.

    Raises
    ------
    TypeError, ValueError
        By `fit` and `predict`, as :func:`cluster_matrices`.

    Attributes
    ----------
    labels_ : array (K,)
        Number of each matrix's cluster.
    clustering_ : MatrixClustering
        All that is known.

    Notes
    -----
    Storage: ``m rank`` numbers for the basis of every cluster, and the coordinates.

    Examples
    --------
    >>> import numpy as np
    >>> from linalgkit.svd import ErrorConstrainedClustering
    >>> rng = np.random.default_rng(0)
    >>> bases = rng.standard_normal((2, 30, 3))
    >>> blocks = [bases[k % 2] @ rng.standard_normal((3, 5)) for k in range(8)]
    >>> model = ErrorConstrainedClustering(3, 0.01).fit(blocks)
    >>> model.predict([bases[1] @ rng.standard_normal((3, 5))]).tolist()
    [1]
    """

    _estimator_type_name = "clusterer"

    def __init__(
        self,
        rank: int = 10,
        eps: float = 0.1,
        *,
        bound: str = "incremental",
        order: str = "residual",
        search: str = "gallop",
        merge: bool = True,
        patience: int | None = 10,
        row_weight: Any = None,
    ) -> None:
        self.rank = rank
        self.eps = eps
        self.bound = bound
        self.order = order
        self.search = search
        self.merge = merge
        self.patience = patience
        self.row_weight = row_weight

    def fit(self, X: Any, y: object = None) -> Self:
        """Partition a collection of matrices.

        Parameters
        ----------
        X : list of array (m, n_i), array (K, m, n), iterable
            The matrices.
        y : ignored
            Present for scikit-learn.

        Returns
        -------
        ErrorConstrainedClustering
            The object itself.
        """
        options = self.get_params(deep=False)
        found = cluster_matrices(X, options.pop("rank"), options.pop("eps"), **options)
        self.clustering_ = found
        return self

    def fit_predict(self, X: Any, y: object = None) -> Array:
        """Return the labels of a collection."""
        return self.fit(X, y).labels_

    @property
    def labels_(self) -> Array:
        """Number of each matrix's cluster."""
        require_fitted(self, hasattr(self, "clustering_"), "fit")
        return self.clustering_.labels

    def predict(self, X: Any) -> Array:
        """Return for each matrix the cluster whose joint basis leaves least of it.

        Parameters
        ----------
        X : list of array (m, n_i)
            New matrices, with as many rows. Clusters that are stored as they are have no basis and
            are not chosen, unless there is no other.

        Returns
        -------
        array (K,)
            Labels; whether the error is below `eps` is not said.
        """
        require_fitted(self, hasattr(self, "clustering_"), "fit")
        weight = self.row_weight
        blocks = as_blocks(X, weight)
        best = [math.inf] * len(blocks)
        labels = [0] * len(blocks)
        for number, svd in enumerate(self.clustering_.svds):
            if svd is None:
                continue
            missing = residual_norms(blocks, range(len(blocks)), svd.weighted_basis)
            for i, value in enumerate(missing):
                if value < best[i]:
                    best[i], labels[i] = value, number
        return asarray(labels, xp=blocks.xp, device=blocks.device, dtype=blocks.xp.int64)
